/**
 * What Cilium on AKS decides of a connection, by NetworkPolicy's decision procedure with some of Cilium's quirks applied.
 * Written over API objects from what documents and issues say of each quirk, never from tables.
 */
import { cidrContains, type Ip } from "../../addr/index.ts";
import {
  type Cell,
  type CellEnd,
  type ClusterState,
  type Labels,
  matchesSelector,
  type NetworkPolicy,
  type NetworkPolicyPeer,
  type NetworkPolicyPort,
  type NetworkPolicyRule,
  type Pod,
} from "../../k8s/index.ts";
import type { CiliumVariant } from "./variant.ts";

export type Quirk =
  | "ipblock-pods"
  | "ipblock-nodes"
  | "other-family"
  | "unlisted-rules"
  | "end-port"
  | "duplicate-names"
  | "cluster-names"
  | "sctp"
  | "own-node"
  | "service-source"
  | "source-ranges"
  | "labels";

export type Quirks = ReadonlySet<Quirk>;

/** One end as policies see it. */
interface Side {
  readonly ip: Ip;
  /** A pod with an identity of its own; pods of the host network are their node. */
  readonly pod: Pod | undefined;
  /** The node that it is, or that it runs on; `undefined` outside the cluster. */
  readonly node: string | undefined;
}

function sideOf(end: CellEnd, { family }: Cell): Side | undefined {
  const ips = end.kind === "pod" ? end.pod.ips : end.kind === "node" ? end.node.addresses : [end.ip];
  const ip = ips.find((one) => one.family === family);
  if (ip === undefined) return undefined;
  if (end.kind === "external") return { ip, pod: undefined, node: undefined };
  if (end.kind === "node") return { ip, pod: undefined, node: end.node.name };
  return { ip, pod: end.pod.hostNetwork ? undefined : end.pod, node: end.pod.nodeName };
}

/** A rule's other end and what is asked of it. */
interface Asked {
  readonly type: "Ingress" | "Egress";
  readonly peer: Side;
  /** The pod that has the port, where it is one. */
  readonly destination: Pod | undefined;
  readonly protocol: Cell["protocol"];
  readonly port: number;
}

export class Judge {
  readonly #variant: CiliumVariant;
  readonly #quirks: Quirks;

  constructor(variant: CiliumVariant, quirks: Quirks) {
    this.#variant = variant;
    this.#quirks = quirks;
  }

  verdictOf(state: ClusterState, cell: Cell): "allow" | "deny" {
    const [from, to] = [sideOf(cell.from, cell), sideOf(cell.to, cell)];
    if (from === undefined || to === undefined) return "deny";
    const isSamePod = from.pod !== undefined && from.pod === to.pod;
    if (isSamePod && cell.via === undefined) return "allow"; // does not leave the pod
    if (cell.protocol === "SCTP" && this.#isTracked(from, to) && this.#quirks.has("sctp")) return "deny";
    if (isSamePod) return "allow";
    return this.#allowsEgress(state, cell, from, to) && this.#allowsIngress(state, cell, from, to)
      ? "allow"
      : "deny";
  }

  /** Whether a program follows the connection: those of pods, with the host firewall those of nodes, but for their own. */
  #isTracked(from: Side, to: Side): boolean {
    if (from.pod !== undefined || to.pod !== undefined) return true;
    return this.#variant.hostFirewall && from.node !== to.node;
  }

  #allowsEgress(state: ClusterState, cell: Cell, from: Side, to: Side): boolean {
    if (from.pod === undefined) return true;
    const { protocol, via } = cell;
    const before = via?.before === undefined ? undefined : sideOf(via.before.to, cell);
    const peer = before ?? to;
    const isOwnNode = peer.pod === undefined && peer.node === from.node;
    if (isOwnNode && !this.#quirks.has("own-node")) return true;
    const port = via?.before?.port ?? cell.port;
    return this.#allows(state, from.pod, { type: "Egress", peer, destination: peer.pod, protocol, port });
  }

  #allowsIngress(state: ClusterState, cell: Cell, from: Side, to: Side): boolean {
    if (to.pod === undefined) return true;
    const node = this.#isFromNode(cell, from, to) ? cell.via?.node : undefined;
    const peer = node === undefined ? from : sideOf({ kind: "node", node }, cell);
    if (peer === undefined) return false;
    if (peer.pod === undefined && peer.node === to.node) return true; // the pod's own node
    const { protocol, port } = cell;
    return this.#allows(state, to.pod, { type: "Ingress", peer, destination: to.pod, protocol, port });
  }

  /** The backend sees the node that translated, instead of the client. */
  #isFromNode({ via }: Cell, from: Side, to: Side): boolean {
    if (via === undefined) return false;
    if (!this.#quirks.has("service-source")) return via.isMasqueraded;
    const isTranslatedAtClient = from.node === via.node.name && via.before === undefined;
    return !isTranslatedAtClient && to.node !== via.node.name;
  }

  #allows(state: ClusterState, subject: Pod, asked: Asked): boolean {
    let isIsolated = false;
    for (const policy of policiesOf(state, subject.namespace)) {
      const rules = asked.type === "Ingress" ? policy.ingress : policy.egress;
      const isListed = policy.policyTypes.includes(asked.type);
      if (!isListed && (rules.length === 0 || !this.#quirks.has("unlisted-rules"))) continue;
      if (!matchesSelector(policy.podSelector, this.#labels(subject))) continue;
      isIsolated = true;
      if (rules.some((rule) => this.#covers(state, policy, rule, asked))) return true;
    }
    return !isIsolated;
  }

  #covers(state: ClusterState, policy: NetworkPolicy, rule: NetworkPolicyRule, asked: Asked): boolean {
    const { peers, ports } = rule;
    const isPeer =
      peers.length === 0 || peers.some((peer) => this.#matchesPeer(state, policy, peer, asked.peer));
    return (
      isPeer &&
      (ports.length === 0 || ports.some((port) => this.#matchesPort(state, policy, rule, port, asked)))
    );
  }

  #matchesPeer(state: ClusterState, policy: NetworkPolicy, rule: NetworkPolicyPeer, peer: Side): boolean {
    const { pod, ip, node } = peer;
    if (rule.ipBlock !== undefined) {
      if (pod !== undefined && this.#quirks.has("ipblock-pods")) return false;
      if (pod === undefined && node !== undefined && this.#quirks.has("ipblock-nodes")) return false;
      const { cidr, except } = rule.ipBlock;
      if (cidr.prefix === 0 && cidr.family !== ip.family && node === undefined)
        return this.#quirks.has("other-family") && this.#isOneWorld(state, rule.ipBlock);
      return cidrContains(cidr, ip) && !except.some((range) => cidrContains(range, ip));
    }
    return pod !== undefined && this.#selects(state, policy, rule, pod);
  }

  /** A block of all addresses of one family stands for those of the other. */
  #isOneWorld({ options }: ClusterState, { except }: NonNullable<NetworkPolicyPeer["ipBlock"]>): boolean {
    const { otherFamilyIsWorld, worldByFamily, cidrHoles } = this.#variant;
    const hasOneWorld = options.ipFamilies.length === 1 || !worldByFamily;
    return hasOneWorld && otherFamilyIsWorld.includes("cidr-set") && (except.length === 0 || cidrHoles);
  }

  #selects(state: ClusterState, policy: NetworkPolicy, rule: NetworkPolicyPeer, pod: Pod): boolean {
    if (rule.podSelector !== undefined && !matchesSelector(rule.podSelector, this.#labels(pod))) return false;
    if (rule.namespaceSelector === undefined) return pod.namespace === policy.namespace;
    return matchesSelector(rule.namespaceSelector, state.namespaces.get(pod.namespace)?.labels ?? {});
  }

  #matchesPort(
    state: ClusterState,
    policy: NetworkPolicy,
    rule: NetworkPolicyRule,
    wanted: NetworkPolicyPort,
    { type, destination, protocol, port }: Asked,
  ): boolean {
    if (wanted.protocol !== protocol) return false;
    if (wanted.port === undefined) return true;
    if (typeof wanted.port === "number") {
      const last = this.#quirks.has("end-port") ? wanted.port : (wanted.endPort ?? wanted.port);
      return port >= wanted.port && port <= last;
    }
    const own = numbersOf(destination === undefined ? [] : [destination], wanted.port, protocol);
    if (type === "Ingress") return own.has(port);
    const everywhere = numbersOf(this.#namingPods(state, policy, rule), wanted.port, protocol);
    if (everywhere.size > 1 && this.#quirks.has("duplicate-names")) return false;
    return everywhere.size === 1 && this.#quirks.has("cluster-names") ? everywhere.has(port) : own.has(port);
  }

  /** The pods among which an egress rule's port name is looked up. */
  #namingPods(state: ClusterState, policy: NetworkPolicy, { peers }: NetworkPolicyRule): readonly Pod[] {
    const pods = namedPods(state);
    if (this.#variant.egressNamedPorts === "unique-in-cluster" || peers.length === 0) return pods;
    return pods.filter((pod) =>
      peers.some((peer) => peer.ipBlock === undefined && this.#selects(state, policy, peer, pod)),
    );
  }

  #labels({ labels }: Pod): Labels {
    return this.#quirks.has("labels") ? identityLabels(labels) : labels;
  }
}

function numbersOf(pods: readonly Pod[], name: string, protocol: string): ReadonlySet<number> {
  const numbers = new Set<number>();
  for (const { ports } of pods)
    for (const port of ports)
      if (port.name === name && port.protocol === protocol) numbers.add(port.containerPort);
  return numbers;
}

const namedByPods = new WeakMap<ClusterState["pods"], readonly Pod[]>();

/** Pods whose port names an agent knows: those that name one and have an identity of their own. */
function namedPods({ pods }: ClusterState): readonly Pod[] {
  let named = namedByPods.get(pods);
  if (named === undefined) {
    named = [...pods.values()].filter(
      (pod) => !pod.hostNetwork && pod.ips.length > 0 && pod.ports.some(({ name }) => name !== undefined),
    );
    namedByPods.set(pods, named);
  }
  return named;
}

const byNamespace = new WeakMap<
  ClusterState["networkPolicies"],
  ReadonlyMap<string, readonly NetworkPolicy[]>
>();

function policiesOf({ networkPolicies }: ClusterState, namespace: string): readonly NetworkPolicy[] {
  let grouped = byNamespace.get(networkPolicies);
  if (grouped === undefined) {
    const made = new Map<string, NetworkPolicy[]>();
    for (const policy of networkPolicies.values())
      made.set(policy.namespace, [...(made.get(policy.namespace) ?? []), policy]);
    grouped = made;
    byNamespace.set(networkPolicies, grouped);
  }
  return grouped.get(namespace) ?? [];
}

/** Beginnings of label keys that identities leave out by default. */
const leftOut =
  /^(io\.kubernetes|kubernetes\.io|.*beta\.kubernetes\.io|k8s\.io|pod-template-hash|pod-template-generation|controller-revision-hash|controller-uid|annotation.*|etcd_node|statefulset\.kubernetes\.io\/pod-name|apps\.kubernetes\.io\/pod-index|batch\.kubernetes\.io\/(job-completion-index|controller-uid))/;

function identityLabels(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !leftOut.test(key)));
}
