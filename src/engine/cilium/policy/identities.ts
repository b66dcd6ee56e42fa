/**
 * Security identities: equal relevant labels, equal number, on all nodes. The real operator hands numbers out as label
 * sets appear, and an agent those of CIDRs; here a hash of the set chooses the number, the next free one where two sets
 * meet, so that a number mostly stays with its set while others come and go, and all nodes agree.
 * Governing source: cilium Documentation/operations/performance/scalability/identity-relevant-labels.rst,
 * Documentation/security/policy/layer3.rst, pkg/identity/numericidentity.go, pkg/labelsfilter.
 */
import { type Cidr, cidrCovers, type Family, formatCidr } from "../../../addr/index.ts";
import { hashText } from "../../../base/index.ts";
import {
  type ClusterState,
  isEnded,
  type LabelSelector,
  type Labels,
  matchesSelector,
  type Namespace,
  type Pod,
} from "../../../k8s/index.ts";
import type { CiliumVariant } from "../variant.ts";
import type { IdentityLabels, PrefixIdentity } from "./entry.ts";
import { namespaceLabelPrefix, podNamespaceKey, type RulePeer } from "./rule.ts";

export const anyIdentity = 0;
export const hostIdentity = 1;
export const worldIdentity = 2;
export const initIdentity = 5;
const worldOfFamily = { 4: 9, 6: 10 } as const;

/** Identity of addresses that nothing else is known of, on a cluster of these families. */
export function worldIdentityOf(
  families: readonly Family[],
  family: Family,
  { worldByFamily }: Pick<CiliumVariant, "worldByFamily">,
): number {
  return worldByFamily && families.length > 1 ? worldOfFamily[family] : worldIdentity;
}

const podRange = { first: 256, last: 65_535 };
const localRange = { first: 0x0100_0001, last: 0x01ff_ffff };

const clusterKey = "k8s:io.cilium.k8s.policy.cluster";

type CidrPeer = Extract<RulePeer, { kind: "cidr" }>;

interface Identity {
  readonly number: number;
  /** As Cilium prints them. */
  readonly labels: IdentityLabels;
  /** `labels`, and each of them with the source `any` too. */
  readonly seen: Labels;
}

/** Of a CIDR. */
interface NetIdentity extends Identity {
  readonly net: Cidr;
}

/** Who has which identity, and which identities a peer is. */
export class Identities {
  /** Label sets that found no number left. */
  readonly unnumbered: number;
  readonly prefixes: readonly PrefixIdentity[];
  readonly #numbers: ReadonlyMap<Pod, number>;
  /** In the order of numbers. */
  readonly #all: readonly Identity[];
  readonly #byNumber: ReadonlyMap<number, Identity>;
  /** By value of a label, for keys that a selector has asked for: few of many. */
  readonly #byKey = new Map<string, ReadonlyMap<string, readonly Identity[]>>();
  /** In the order of `compareNets`. */
  readonly #cidrs: readonly NetIdentity[];
  readonly #variant: CiliumVariant;
  readonly #families: readonly Family[];
  readonly #selected = new Map<string, readonly number[]>();

  /** `nets`: every prefix that a policy names. */
  constructor(state: ClusterState, nets: Iterable<Cidr>, variant: CiliumVariant) {
    this.#variant = variant;
    this.#families = state.options.ipFamilies;
    const pods = identitiesOfPods(state);
    this.#numbers = pods.numbers;
    this.unnumbered = pods.unnumbered;
    const local = this.#numberPrefixes(nets);
    this.prefixes = local.prefixes;
    this.#cidrs = [...local.identities].sort((a, b) => compareNets(a.net, b.net));
    const hasBothWorlds = this.#worldOf(4) !== this.#worldOf(6);
    this.#all = [...reservedIdentities(hasBothWorlds), ...pods.identities, ...local.identities];
    this.#byNumber = new Map(this.#all.map((one) => [one.number, one]));
  }

  numberOf(pod: Pod): number {
    return pod.hostNetwork ? hostIdentity : (this.#numbers.get(pod) ?? initIdentity);
  }

  labelsOf(number: number): IdentityLabels | undefined {
    return this.#byNumber.get(number)?.labels;
  }

  /** Ascending. */
  select(peer: RulePeer): readonly number[] {
    if (peer.kind === "anyone") return [anyIdentity];
    const key =
      peer.kind === "labels"
        ? JSON.stringify(peer.selector)
        : `${peer.field} ${[peer.cidr, ...peer.except].map(formatCidr).join()}`;
    let numbers = this.#selected.get(key);
    if (numbers === undefined) {
      numbers = peer.kind === "labels" ? this.#withLabels(peer.selector) : this.#inCidr(peer);
      this.#selected.set(key, numbers);
    }
    return numbers;
  }

  /** By the rarest of the labels that a selector asks for. */
  #withLabels(selector: LabelSelector): readonly number[] {
    let candidates: readonly Identity[] = this.#all;
    const narrow = (key: string, value: string): void => {
      const list = this.#having(key).get(value) ?? [];
      if (list.length < candidates.length) candidates = list;
    };
    for (const [key, value] of Object.entries(selector.matchLabels)) narrow(key, value);
    for (const { key, operator, values } of selector.matchExpressions)
      if (operator === "In" && values.length === 1) narrow(key, values[0] ?? "");
    return candidates.filter(({ seen }) => matchesSelector(selector, seen)).map(({ number }) => number);
  }

  #having(key: string): ReadonlyMap<string, readonly Identity[]> {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const byValue = new Map<string, Identity[]>();
    for (const identity of this.#all) {
      const value = identity.seen[key];
      if (value === undefined) continue;
      const list = byValue.get(value);
      if (list === undefined) byValue.set(value, [identity]);
      else list.push(identity);
    }
    this.#byKey.set(key, byValue);
    return byValue;
  }

  /**
   * Every prefix that lies in the block and in no exception. A block of everything can be the world, which addresses
   * have that no prefix holds; it selects whatever carries the world's label.
   */
  #inCidr(peer: CidrPeer): readonly number[] {
    const { cidr, except } = peer;
    const world = this.#isWorld(peer) ? this.#worldOf(cidr.family) : undefined;
    const isHole = (net: Cidr): boolean => except.some((hole) => cidrCovers(hole, net));
    const nets =
      world === undefined
        ? this.#coveredBy(cidr)
        : this.#cidrs.filter(({ net }) => this.#worldOf(net.family) === world);
    const numbers = nets.filter(({ net }) => !isHole(net)).map(({ number }) => number);
    numbers.sort((a, b) => a - b);
    return world === undefined ? numbers : [world, ...numbers];
  }

  #isWorld({ field, cidr }: CidrPeer): boolean {
    if (cidr.prefix > 0) return false;
    const world = this.#worldOf(cidr.family);
    const ofWorld = this.#families.filter((family) => this.#worldOf(family) === world);
    if (ofWorld.every((family) => family === cidr.family)) return true;
    return this.#variant.otherFamilyIsWorld.includes(field);
  }

  /** They stand together, beginning with the block itself. */
  #coveredBy(cidr: Cidr): readonly NetIdentity[] {
    let [first, end] = [0, this.#cidrs.length];
    while (first < end) {
      const middle = (first + end) >> 1;
      if (compareNets((this.#cidrs[middle] as NetIdentity).net, cidr) < 0) first = middle + 1;
      else end = middle;
    }
    let last = first;
    while (last < this.#cidrs.length && cidrCovers(cidr, (this.#cidrs[last] as NetIdentity).net)) last++;
    return this.#cidrs.slice(first, last);
  }

  #worldOf(family: Family): number {
    return worldIdentityOf(this.#families, family, this.#variant);
  }

  #numberPrefixes(nets: Iterable<Cidr>): {
    readonly prefixes: readonly PrefixIdentity[];
    readonly identities: readonly NetIdentity[];
  } {
    const byText = new Map([...nets].map((net) => [formatCidr(net), net]));
    const texts = [...byText.keys()].sort();
    const numbers = spread(
      texts.filter((text) => byText.get(text)?.prefix !== 0),
      localRange,
    );
    const hasBothWorlds = this.#worldOf(4) !== this.#worldOf(6);
    const prefixes: PrefixIdentity[] = [];
    const identities: NetIdentity[] = [];
    for (const text of texts) {
      const net = byText.get(text) as Cidr;
      const number = numbers.get(text) ?? this.#worldOf(net.family);
      prefixes.push({ net, identity: number });
      const world = hasBothWorlds ? `reserved:world-ipv${net.family}` : "reserved:world";
      if (net.prefix > 0)
        identities.push({ ...identity(number, { [`cidr:${text}`]: "", [world]: "" }), net });
    }
    identities.sort((a, b) => a.number - b.number);
    return { prefixes, identities };
  }
}

/** A number for each text, by its hash; of two that meet, the later in the order of texts goes on to a free one. */
function spread(texts: readonly string[], range: typeof podRange): ReadonlyMap<string, number> {
  const taken = new Set<number>();
  const numbers = new Map<string, number>();
  for (const text of [...texts].sort()) {
    let number = range.first + (hashText(text) % (range.last - range.first + 1));
    while (taken.has(number)) number = number === range.last ? range.first : number + 1;
    taken.add(number);
    numbers.set(text, number);
  }
  return numbers;
}

/** By address, of one address the wider block first. */
function compareNets(a: Cidr, b: Cidr): number {
  if (a.family !== b.family) return a.family - b.family;
  for (let i = 0; i < a.words.length; i++) {
    const difference = (a.words[i] ?? 0) - (b.words[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.prefix - b.prefix;
}

function identity(number: number, labels: IdentityLabels): Identity {
  const seen: Record<string, string> = { ...labels };
  for (const key in labels) seen[`any:${key.slice(key.indexOf(":") + 1)}`] ??= labels[key] ?? "";
  return { number, labels, seen };
}

/** Numbers of pkg/identity/numericidentity.go with their labels. */
function reservedIdentities(hasBothWorlds: boolean): readonly Identity[] {
  const names: readonly (readonly [number, ...string[]])[] = [
    [1, "host"],
    [2, "world"],
    [3, "unmanaged"],
    [4, "health"],
    [5, "init"],
    [6, "remote-node"],
    [7, "kube-apiserver", "remote-node"],
    [8, "ingress"],
    ...(hasBothWorlds
      ? ([
          [9, "world-ipv4"],
          [10, "world-ipv6"],
        ] as const)
      : []),
  ];
  return names.map(([number, ...labels]) =>
    identity(number, Object.fromEntries(labels.map((name) => [`reserved:${name}`, ""]))),
  );
}

/** Label sets of running pods take numbers in the order of the pods' creation, as long as there are any. */
function identitiesOfPods(state: ClusterState): {
  readonly numbers: ReadonlyMap<Pod, number>;
  readonly identities: readonly Identity[];
  readonly unnumbered: number;
} {
  const sets = new Map<string, IdentityLabels>();
  const textOf = new Map<Pod, string>();
  const namespaces = new Map<string, readonly (readonly [string, string])[]>();
  let unnumbered = 0;
  for (const pod of state.pods.values()) {
    if (pod.hostNetwork || isEnded(pod)) continue;
    let ofNamespace = namespaces.get(pod.namespace);
    if (ofNamespace === undefined) {
      ofNamespace = namespacePairs(pod.namespace, state.namespaces.get(pod.namespace));
      namespaces.set(pod.namespace, ofNamespace);
    }
    const ofPod = Object.entries(pod.labels).filter(([key]) => isRelevant(key));
    const text = JSON.stringify([pod.namespace, ofPod.sort(([a], [b]) => (a < b ? -1 : 1))]);
    if (!sets.has(text)) {
      if (sets.size > podRange.last - podRange.first) {
        unnumbered++;
        continue;
      }
      const pairs = ofPod.map(([key, value]) => [`k8s:${key}`, value] as const);
      sets.set(text, Object.fromEntries([...pairs, ...ofNamespace]));
    }
    textOf.set(pod, text);
  }
  const labelTexts = new Map([...sets].map(([text, labels]) => [text, labelText(labels)]));
  const byLabels = spread([...labelTexts.values()], podRange);
  const numberOf = (text: string): number => byLabels.get(labelTexts.get(text) ?? "") ?? initIdentity;
  const identities = [...sets].map(([text, labels]) => identity(numberOf(text), labels));
  return {
    numbers: new Map([...textOf].map(([pod, text]) => [pod, numberOf(text)])),
    identities: identities.sort((a, b) => a.number - b.number),
    unnumbered,
  };
}

function labelText(labels: IdentityLabels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function namespacePairs(
  name: string,
  namespace: Namespace | undefined,
): readonly (readonly [string, string])[] {
  const labels = Object.entries(namespace?.labels ?? {});
  return [
    [podNamespaceKey, name],
    [clusterKey, "default"],
    ...labels.map(([key, value]) => [`${namespaceLabelPrefix}${key}`, value] as const),
  ];
}

/** Beginnings of label keys that are left out by default. */
const leftOut =
  /^(io\.kubernetes|kubernetes\.io|.*beta\.kubernetes\.io|k8s\.io|pod-template-hash|pod-template-generation|controller-revision-hash|controller-uid|annotation.*|etcd_node|statefulset\.kubernetes\.io\/pod-name|apps\.kubernetes\.io\/pod-index|batch\.kubernetes\.io\/(job-completion-index|controller-uid))/;

const known = new Map<string, boolean>();
const knownMax = 10_000;

/** Whether a label counts for an identity, by its key. */
export function isRelevant(key: string): boolean {
  let relevant = known.get(key);
  if (relevant === undefined) {
    relevant = !leftOut.test(key);
    if (known.size < knownMax) known.set(key, relevant);
  }
  return relevant;
}
