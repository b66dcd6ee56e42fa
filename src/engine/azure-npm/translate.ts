/**
 * NetworkPolicy to NPM's internal form: a list of ACLs over named sets, the same for Linux and Windows. Governing
 * source: azure-container-networking npm/pkg/controlplane/translation (translatePolicy.go, parseSelector.go).
 * Go walks maps in random order there; here label keys are sorted, so that equal input gives equal output.
 */
import { type Cidr, formatCidr, parseIp } from "../../addr/index.ts";
import type { Origin } from "../../base/index.ts";
import type {
  IpBlock,
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicyRule,
} from "../../k8s/index.ts";
import type { NpmVariant } from "./versions.ts";

export type Direction = "ingress" | "egress";

/** Readable name of a set before hashing, with what its members are. */
export type SetName =
  | { readonly kind: "namespace"; readonly text: string }
  | { readonly kind: "pod-label"; readonly text: string }
  | { readonly kind: "namespace-label"; readonly text: string }
  | { readonly kind: "named-port"; readonly text: string }
  | { readonly kind: "cidr"; readonly text: string; readonly members: readonly CidrMember[] }
  | { readonly kind: "nested-label"; readonly text: string; readonly members: readonly SetName[] };

export interface CidrMember {
  readonly net: Cidr;
  readonly nomatch: boolean;
}

export interface SetMatch {
  readonly set: SetName;
  /** False: `! --match-set`. */
  readonly isIncluded: boolean;
}

export interface LiteralBlock {
  readonly cidr: Cidr;
  readonly except: readonly Cidr[];
}

/** What stands for the far side of a rule. */
interface Far {
  readonly peers: readonly SetMatch[];
  readonly block?: LiteralBlock;
}

/** One iptables rule (or HNS ACL) to be. */
export interface Acl {
  readonly direction: Direction;
  readonly action: "allow" | "drop";
  readonly protocol: "TCP" | "UDP" | "SCTP" | undefined;
  readonly ports: readonly [min: number, max: number] | undefined;
  /** Sets of the far side: `src` for ingress, `dst` for egress. */
  readonly peers: readonly SetMatch[];
  /** NPM Lite on Windows: the far side's addresses themselves, and those that are excepted; no sets then. */
  readonly block?: LiteralBlock;
  /** Always matched on the destination, `dst,dst`. */
  readonly namedPort: SetMatch | undefined;
  readonly origin: Origin;
}

export interface TranslatedPolicy {
  /** `namespace/name` */
  readonly key: string;
  readonly namespace: string;
  /** Sets that select the policy's pods; the namespace's own set is always among them, last. */
  readonly selector: readonly SetMatch[];
  readonly acls: readonly Acl[];
  readonly selectOrigin: Origin;
}

export type Translation =
  | { readonly ok: true; readonly policy: TranslatedPolicy }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly origin: Origin };

export const namespaceSet = (namespace: string): SetName => ({ kind: "namespace", text: `ns-${namespace}` });
export const podLabelSet = (key: string, value?: string): SetName => ({
  kind: "pod-label",
  text: value === undefined ? `podlabel-${key}` : `podlabel-${key}:${value}`,
});
export const namespaceLabelSet = (key: string, value?: string): SetName => ({
  kind: "namespace-label",
  text: value === undefined ? `nslabel-${key}` : `nslabel-${key}:${value}`,
});
/** A label key of this name on a namespace shares the set. */
export const allNamespacesSet: SetName = { kind: "namespace-label", text: "nslabel-all-namespaces" };
export const namedPortSet = (name: string): SetName => ({ kind: "named-port", text: `namedport:${name}` });

/** Thrown inside the translation only; the whole policy is given up then. */
class Untranslatable extends Error {
  readonly code: string;
  readonly path: string;
  constructor(code: string, path: string, message: string) {
    super(message);
    this.code = code;
    this.path = path;
  }
}

export function translatePolicy(policy: NetworkPolicy, variant: NpmVariant): Translation {
  const key = `${policy.namespace}/${policy.name}`;
  const origin = (path: string, role: Origin["role"], direction?: Direction): Origin => ({
    kind: "NetworkPolicy",
    name: key,
    path,
    role,
    ...(direction === undefined ? {} : { direction }),
    ...(policy.source === undefined ? {} : { source: policy.source }),
  });
  try {
    const translator = new Translator(policy, key, variant, origin);
    const selector = translator.podSets(policy.podSelector, "spec.podSelector");
    const acls = [
      ...(policy.policyTypes.includes("Ingress") ? translator.direction("ingress", policy.ingress) : []),
      ...(policy.policyTypes.includes("Egress") ? translator.direction("egress", policy.egress) : []),
    ];
    if (variant.dataplane === "windows") checkWindows(acls, variant);
    return {
      ok: true,
      policy: {
        key,
        namespace: policy.namespace,
        selector: [...selector, included(namespaceSet(policy.namespace))],
        acls,
        selectOrigin: origin("spec.podSelector", "select"),
      },
    };
  } catch (error) {
    if (!(error instanceof Untranslatable)) throw error;
    return { ok: false, code: error.code, message: error.message, origin: origin(error.path, "allow") };
  }
}

/** What is found out once a policy is translated (npm/pkg/dataplane/policies). */
function checkWindows(acls: readonly Acl[], variant: NpmVariant): void {
  for (const { protocol, peers, origin } of acls) {
    if (protocol === "SCTP")
      throw new Untranslatable("windows-sctp", origin.path, "unsupported SCTP protocol used on windows");
    if (variant.windowsNegations === "refused" && peers.some((one) => !one.isIncluded))
      throw new Untranslatable("windows-negation", origin.path, negationMessage);
  }
}

/** NPM Lite's one answer to whatever it does not take. */
const liteMessage =
  "Non-CIDR blocks, named ports, and ingress/egress namespace/pod selectors are not supported when NPM Lite is enabled, allowing only CIDR-based policies";

/** HNS has no negated sets. */
export const negationMessage = "Negative match types is not supported in windows dataplane";

function included(set: SetName): SetMatch {
  return { set, isIncluded: true };
}

class Translator {
  readonly #policy: NetworkPolicy;
  readonly #key: string;
  readonly #variant: NpmVariant;
  readonly #origin: (path: string, role: Origin["role"], direction?: Direction) => Origin;

  constructor(
    policy: NetworkPolicy,
    key: string,
    variant: NpmVariant,
    origin: (path: string, role: Origin["role"], direction?: Direction) => Origin,
  ) {
    this.#policy = policy;
    this.#key = key;
    this.#variant = variant;
    this.#origin = origin;
  }

  /** A rule without peers and ports makes every other rule of its direction, and the drop, superfluous. */
  direction(direction: Direction, rules: readonly NetworkPolicyRule[]): readonly Acl[] {
    const allowAll = rules.findIndex((rule) => rule.peers.length === 0 && rule.ports.length === 0);
    if (allowAll >= 0)
      return [this.#acl(direction, { peers: [] }, undefined, `spec.${direction}[${allowAll}]`)];
    const acls = rules.flatMap((rule, i) => this.#rule(direction, rule, i));
    const path = rules.length === 0 ? "spec" : `spec.${direction}`; // without rules the types may be defaults
    const drop: Acl = {
      direction,
      action: "drop",
      protocol: undefined,
      ports: undefined,
      peers: [],
      namedPort: undefined,
      origin: this.#origin(path, "default-deny", direction),
    };
    return [...acls, drop];
  }

  #rule(direction: Direction, rule: NetworkPolicyRule, index: number): readonly Acl[] {
    const path = `spec.${direction}[${index}]`;
    const field = direction === "ingress" ? "from" : "to";
    const perPeer =
      rule.peers.length === 0
        ? [{ far: { peers: [] } as Far, path }]
        : rule.peers.flatMap((peer, j) => {
            const at = `${path}.${field}[${j}]`;
            return this.#peer(direction, peer, index, j, at).map((far) => ({ far, path: at }));
          });
    return perPeer.flatMap((one) => {
      if (rule.ports.length === 0) return [this.#acl(direction, one.far, undefined, one.path)];
      return rule.ports.map((port, j) =>
        this.#acl(direction, one.far, port, rule.peers.length === 0 ? `${path}.ports[${j}]` : one.path),
      );
    });
  }

  #acl(direction: Direction, far: Far, port: NetworkPolicyPort | undefined, path: string): Acl {
    if (typeof port?.port === "string" && this.#variant.isLite)
      throw new Untranslatable("npm-lite", path, liteMessage);
    if (typeof port?.port === "string" && this.#variant.dataplane === "windows")
      throw new Untranslatable(
        "windows-named-port",
        path,
        "unsupported namedport translation features used on windows",
      );
    const number = typeof port?.port === "number" ? port.port : undefined;
    return {
      direction,
      action: "allow",
      protocol: port?.protocol,
      ports: number === undefined ? undefined : [number, port?.endPort ?? number],
      ...far,
      namedPort: typeof port?.port === "string" ? included(namedPortSet(port.port)) : undefined,
      origin: this.#origin(path, "allow", direction),
    };
  }

  /** Alternatives of one peer, each a list of sets that must all match (or the addresses themselves). */
  #peer(
    direction: Direction,
    peer: NetworkPolicyPeer,
    ruleIndex: number,
    peerIndex: number,
    path: string,
  ): readonly Far[] {
    if (peer.ipBlock !== undefined) {
      const isWindows = this.#variant.dataplane === "windows";
      const members = cidrMembers(peer.ipBlock, `${path}.ipBlock.cidr`);
      if (isWindows && this.#variant.isLite) return [{ peers: [], block: peer.ipBlock }];
      const suffix = `${ruleIndex}-${peerIndex}${direction === "ingress" ? "IN" : "OUT"}`;
      const { name, namespace } = this.#policy;
      if (peer.ipBlock.except.length > 0 && isWindows)
        throw new Untranslatable(
          "windows-except",
          `${path}.ipBlock.except`,
          "unsupported Except CIDR block translation features used on windows",
        );
      const text =
        this.#variant.setNames === "delimited"
          ? `cidr-${name}:in-ns:${namespace}-${suffix}`
          : `cidr-${name}-in-ns-${namespace}-${suffix}`;
      return [{ peers: [included({ kind: "cidr", text, members })] }];
    }
    if (this.#variant.isLite) throw new Untranslatable("npm-lite", path, liteMessage);
    const pods = peer.podSelector === undefined ? [] : this.podSets(peer.podSelector, `${path}.podSelector`);
    if (peer.namespaceSelector === undefined)
      return [{ peers: [...pods, included(namespaceSet(this.#policy.namespace))] }];
    return this.#namespaceSets(peer.namespaceSelector).map((namespaces) => ({
      peers: [...namespaces, ...pods],
    }));
  }

  podSets(selector: LabelSelector, path: string): readonly SetMatch[] {
    const sets = labelsOf(selector).map(([key, value]) => included(podLabelSet(key, value)));
    for (const [i, { key, operator, values }] of selector.matchExpressions.entries()) {
      const isIncluded = operator === "In" || operator === "Exists";
      if (!isIncluded && this.#variant.dataplane === "windows")
        throw new Untranslatable(
          "windows-pod-negation",
          `${path}.matchExpressions[${i}]`,
          "unsupported NotExist operator translation features used on windows",
        );
      const distinct = [...new Set(values)];
      const set =
        distinct.length === 0
          ? podLabelSet(key)
          : distinct.length === 1
            ? podLabelSet(key, distinct[0])
            : this.#nested(key, distinct);
      sets.push({ set, isIncluded });
    }
    return withoutRepeats(sets);
  }

  #nested(key: string, values: readonly string[]): SetName {
    const owner = { "2022": "", dashes: `${this.#key}-`, delimited: `${this.#key}:` }[this.#variant.setNames];
    const text = `nestedlabel-${owner}${[key, ...values].join(":")}`;
    return { kind: "nested-label", text, members: values.map((value) => podLabelSet(key, value)) };
  }

  /**
   * Alternatives of a namespaceSelector. What has one value stands in all of them, in the order of the selector; then
   * each expression with several values multiplies the alternatives (flattenNameSpaceSelector).
   */
  #namespaceSets(selector: LabelSelector): readonly (readonly SetMatch[])[] {
    const common = labelsOf(selector).map(([key, value]) => included(namespaceLabelSet(key, value)));
    const choices: (readonly SetMatch[])[] = [];
    for (const { key, operator, values } of selector.matchExpressions) {
      const isIncluded = operator === "In" || operator === "Exists";
      const sets =
        values.length === 0
          ? [namespaceLabelSet(key)]
          : [...new Set(values)].map((value) => namespaceLabelSet(key, value));
      const matches = sets.map((set): SetMatch => ({ set, isIncluded }));
      const together = operator === "NotIn" && this.#variant.namespaceNotIn === "all-of-negations";
      if (together || matches.length === 1) common.push(...matches);
      else choices.push(matches);
    }
    let alternatives: readonly (readonly SetMatch[])[] = [common];
    for (const matches of choices)
      alternatives = alternatives.flatMap((one) => matches.map((match) => [...one, match]));
    return alternatives.map((sets) => {
      const isBare = sets.length > 0 && sets.every((match) => !match.isIncluded);
      const scope = sets.length === 0 || (isBare && this.#variant.bareNegation === "within-all-namespaces");
      return withoutRepeats(scope ? [...sets, included(allNamespacesSet)] : sets);
    });
  }
}

function labelsOf(selector: LabelSelector): readonly (readonly [string, string])[] {
  return Object.entries(selector.matchLabels).sort(([a], [b]) => (a < b ? -1 : 1));
}

function withoutRepeats(sets: readonly SetMatch[]): readonly SetMatch[] {
  const seen = new Map<string, SetMatch>();
  for (const match of sets) {
    const key = `${match.isIncluded} ${match.set.text}`;
    if (!seen.has(key)) seen.set(key, match);
  }
  return [...seen.values()];
}

/** hash:net holds no /0: `0.0.0.0/0` becomes its two halves, and a half that is excepted becomes `nomatch`. */
function cidrMembers({ cidr, cidrText, except }: IpBlock, path: string): readonly CidrMember[] {
  if (!isIpv4Block(cidrText))
    throw new Untranslatable("unsupported-ip-address", path, "unsupported IP address");
  const members = new Map<string, CidrMember>();
  const halves: readonly Cidr[] =
    cidr.prefix === 0
      ? [
          { family: 4, words: [0], prefix: 1 },
          { family: 4, words: [0x80000000], prefix: 1 },
        ]
      : [cidr];
  for (const net of halves) members.set(formatCidr(net), { net, nomatch: false });
  for (const net of except) members.set(formatCidr(net), { net, nomatch: true });
  return [...members.values()];
}

/** NPM's own test (npm/util IsIPV4), of the text: nothing that begins `/0` is taken but the whole address space as usually written. */
function isIpv4Block(text: string): boolean {
  const [address = ""] = text.split("/");
  return parseIp(address)?.family === 4 && (!text.includes("/0") || address === "0.0.0.0");
}
