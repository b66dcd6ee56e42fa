/**
 * Who is at the other end of a connection, as Cilium's documentation tells parties apart (network/kubernetes/policy,
 * security/policy/layer3): pods by their labels, the own node, other nodes, and the world by address. An address of a
 * pod or node is never matched by a CIDR.
 */
import { cidrContains, type Ip, parseCidr } from "../../addr/index.ts";
import type { ClusterState, LabelSelector, NetworkPolicyPeer, Node, Pod } from "../../k8s/index.ts";
import type { WrittenCidrSet, WrittenSelector, WrittenService } from "./documents.ts";

export type Party =
  | { readonly kind: "pod"; readonly pod: Pod }
  | { readonly kind: "host" | "remote-node" }
  | { readonly kind: "world"; readonly ip: Ip };

export type PartyTest = (party: Party) => boolean;

const podNamespaceKey = "io.kubernetes.pod.namespace";
const namespaceLabelPrefix = "io.cilium.k8s.namespace.labels.";

/** Label keys that make no identity (operations/performance/scalability/identity-relevant-labels): beginnings. */
const irrelevant = [
  /^io\.kubernetes/,
  /^kubernetes\.io/,
  /^.*beta\.kubernetes\.io/,
  /^k8s\.io/,
  /^pod-template-(hash|generation)/,
  /^controller-(revision-hash|uid)/,
  /^statefulset\.kubernetes\.io\/pod-name/,
  /^apps\.kubernetes\.io\/pod-index/,
  /^batch\.kubernetes\.io\/(job-completion-index|controller-uid)/,
  /^annotation.*/,
  /^etcd_node/,
];

/** A key without the source that it may name. */
function bareKey(key: string): string {
  const source = ["k8s:", "any:"].find((prefix) => key.startsWith(prefix)) ?? "";
  return key.slice(source.length);
}

/** The value that a pod has under a key of a selector; `undefined`: it lacks the label. */
function labelOf(state: ClusterState, pod: Pod, writtenKey: string): string | undefined {
  const key = bareKey(writtenKey);
  if (key === podNamespaceKey) return pod.namespace;
  if (key.startsWith(namespaceLabelPrefix)) {
    const labels = state.namespaces.get(pod.namespace)?.labels ?? {};
    const name = key.slice(namespaceLabelPrefix.length);
    return Object.hasOwn(labels, name) ? labels[name] : undefined;
  }
  return ownLabel(pod.labels, key);
}

function ownLabel(labels: Readonly<Record<string, string>>, key: string): string | undefined {
  const isSeen = Object.hasOwn(labels, key) && !irrelevant.some((pattern) => pattern.test(key));
  return isSeen ? labels[key] : undefined;
}

/** Whether a pod has all that a selector asks for. */
function hasAll(
  { matchLabels = {}, matchExpressions = [] }: WrittenSelector,
  value: (key: string) => string | undefined,
): boolean {
  if (Object.entries(matchLabels).some(([key, wanted]) => value(key) !== wanted)) return false;
  return matchExpressions.every(({ key, operator, values = [] }) => {
    const found = value(key);
    if (operator === "Exists") return found !== undefined;
    if (operator === "DoesNotExist") return found === undefined;
    const isListed = found !== undefined && values.includes(found);
    return operator === "In" ? isListed : !isListed;
  });
}

/** A selector of a CNP (of its own namespace unless it names one) or, without a namespace, of a CCNP. */
export function endpointTest(
  state: ClusterState,
  selector: WrittenSelector,
  namespace: string | undefined,
): PartyTest {
  const keys = [
    ...Object.keys(selector.matchLabels ?? {}),
    ...(selector.matchExpressions ?? []).map(({ key }) => key),
  ];
  const namesNamespace = keys.some((key) => bareKey(key) === podNamespaceKey);
  return (party) =>
    party.kind === "pod" &&
    (namespace === undefined || namesNamespace || party.pod.namespace === namespace) &&
    hasAll(selector, (key) => labelOf(state, party.pod, key));
}

/** `isWorld`: a block of everything is the world, of whichever family. */
export function cidrTest(cidr: string, except: readonly string[], isWorld: boolean): PartyTest {
  const [block, ...holes] = [cidr, ...except].map((text) =>
    parseCidr(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`),
  );
  return (party) =>
    party.kind === "world" &&
    block !== undefined &&
    ((isWorld && block.prefix === 0) || cidrContains(block, party.ip)) &&
    !holes.some((hole) => hole !== undefined && cidrContains(hole, party.ip));
}

export function cidrSetTest(
  set: WrittenCidrSet,
  groups: ReadonlyMap<string, readonly string[]>,
  isWorld: boolean,
): PartyTest {
  const cidrs = set.cidr === undefined ? (groups.get(set.cidrGroupRef ?? "") ?? []) : [set.cidr];
  return anyOf(cidrs.map((cidr) => cidrTest(cidr, set.except ?? [], isWorld)));
}

/** Entities that can stand at an end here; the others (health, init, ingress, kube-apiserver, ...) never do. */
export function entityTest(entity: string): PartyTest {
  return ({ kind }) =>
    entity === "all" ||
    entity === kind ||
    (entity === "cluster" && kind !== "world") ||
    ((entity === "world-ipv4" || entity === "world-ipv6") && kind === "world");
}

/** A Service stands for the pods that it selects, or for the addresses of its endpoints where it selects none. */
export function serviceTest(state: ClusterState, { k8sService }: WrittenService): PartyTest {
  const key = `${k8sService?.namespace}/${k8sService?.serviceName}`;
  const service = state.services.get(key);
  if (service === undefined) return () => false;
  const { selector } = service;
  if (selector !== undefined) return endpointTest(state, { matchLabels: selector }, service.namespace);
  const ips = [...state.endpointSlices.values()]
    .filter((slice) => slice.namespace === service.namespace && slice.serviceName === service.name)
    .flatMap((slice) => slice.endpoints.flatMap((endpoint) => endpoint.ips));
  return (party) =>
    party.kind === "world" &&
    ips.some((ip) => ip.family === party.ip.family && ip.words.join() === party.ip.words.join());
}

/** A peer of a NetworkPolicy. `isWorld` as for `cidrTest`. */
export function peerTest(
  state: ClusterState,
  { ipBlock, podSelector, namespaceSelector }: NetworkPolicyPeer,
  namespace: string,
  isWorld: boolean,
): PartyTest {
  if (ipBlock !== undefined)
    return (party) =>
      party.kind === "world" &&
      ((isWorld && ipBlock.cidr.prefix === 0) || cidrContains(ipBlock.cidr, party.ip)) &&
      !ipBlock.except.some((hole) => cidrContains(hole, party.ip));
  return (party) => {
    if (party.kind !== "pod") return false;
    const { pod } = party;
    const labelsOfNamespace = state.namespaces.get(pod.namespace)?.labels ?? {};
    const isThere =
      namespaceSelector === undefined
        ? pod.namespace === namespace
        : hasAll(namespaceSelector, (key) =>
            Object.hasOwn(labelsOfNamespace, key) ? labelsOfNamespace[key] : undefined,
          );
    return isThere && (podSelector === undefined || podTest(state, podSelector, pod));
  };
}

/** A node by its own labels; those that make no identity are not seen. */
export function nodeTest(selector: WrittenSelector, { labels }: Node): boolean {
  return hasAll(selector, (key) => ownLabel(labels, bareKey(key)));
}

export function podTest(state: ClusterState, selector: LabelSelector, pod: Pod): boolean {
  return hasAll(selector, (key) => labelOf(state, pod, key));
}

export function anyOf<T extends readonly unknown[]>(
  tests: readonly ((...what: T) => boolean)[],
): (...what: T) => boolean {
  return (...what) => tests.some((test) => test(...what));
}
