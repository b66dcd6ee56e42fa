/**
 * Where Azure NPM on Linux departs from the API, as predicates over API objects: each quirk is stated by what NPM's
 * documents and issues say it does, `npmVerdict` is NetworkPolicy's decision procedure with some of them applied.
 */
import { cidrContains, formatIp, type Ip } from "../../addr/index.ts";
import { unreachable } from "../../base/index.ts";
import {
  type Cell,
  type CellEnd,
  type ClusterState,
  type IpBlock,
  type LabelSelector,
  type Labels,
  matchesSelector,
  type NetworkPolicy,
  type NetworkPolicyPeer,
  type NetworkPolicyPort,
  type NetworkPolicyRule,
  type Node,
  type Pod,
  type Translation,
} from "../../k8s/index.ts";
import type { Divergence } from "../engine.ts";
import { type QuirkStatement, quirkDivergences } from "../index.ts";
import { masqueradeMark, wireserverAddress } from "../platform/index.ts";
import type { NpmVariant } from "./versions.ts";

type Quirk =
  | "namespace-not-in"
  | "bare-negation"
  | "ipv6-policy"
  | "ipv6-unfiltered"
  | "all-namespaces-key"
  | "sidecar-ports"
  | "marked-ingress"
  | "marked-egress"
  | "mark-collision"
  | "wireserver";

const statements: readonly QuirkStatement<Quirk>[] = [
  {
    quirk: "namespace-not-in",
    id: "npm-namespace-not-in",
    cause:
      "NotIn with several values in a namespaceSelector becomes one rule a value, so that being outside one of them is enough",
    source: "Azure/azure-container-networking #4866, #4662",
    versions: "up to 2026-08",
  },
  {
    quirk: "bare-negation",
    id: "npm-bare-negation",
    cause:
      "a namespaceSelector of negations only becomes a bare `! set`, which also matches node and external addresses",
    source: "Azure/azure-container-networking #4868",
    versions: "up to 2026-08",
  },
  {
    quirk: "ipv6-policy",
    id: "npm-ipv6-policy-skipped",
    cause:
      "a policy with an ipBlock of IPv6, or of all addresses written other than 0.0.0.0/0, is not translated at all: its pods stay open",
    source:
      "azure-container-networking npm/pkg/controlplane/translation (unsupported IP address), npm/util IsIPV4; AKS: no IPv6",
    versions: "all",
  },
  {
    quirk: "ipv6-unfiltered",
    id: "npm-ipv6-unfiltered",
    cause: "NPM programs iptables only, ip6tables stays as it was: IPv6 is not filtered",
    source: "AKS: Azure NPM does not support IPv6",
    versions: "all",
  },
  {
    quirk: "all-namespaces-key",
    id: "npm-all-namespaces-key",
    cause:
      "the set of all namespaces has the name that a namespace label key `all-namespaces` gets: selecting on that key selects every namespace",
    source:
      "azure-container-networking npm/util/const.go (KubeAllNamespacesFlag) and the namespace controller",
    versions: "all",
  },
  {
    quirk: "sidecar-ports",
    id: "npm-sidecar-port-names",
    cause:
      "port names of sidecars (init containers that go on running) are in no set: a rule that uses one matches nothing",
    source:
      "azure-container-networking npm/pkg/controlplane/controllers (getContainerPortList: spec.containers alone)",
    versions: "all",
  },
  {
    quirk: "marked-ingress",
    id: "service-ingress-snat",
    cause:
      "what a node masquerades for a Service (load balancer, node port, hairpin) carries kube-proxy's mark 0x4000, which KUBE-FORWARD accepts before AZURE-NPM: a backend on that node is reached whatever its policies say",
    source: "AKS: use network policies; Azure/azure-container-networking #940, #1086",
    versions: "all, unless PlaceAzureChainFirst",
  },
  {
    quirk: "marked-egress",
    id: "egress-own-node",
    cause:
      "a pod's connection to a load balancer or a node port of its own node carries kube-proxy's mark 0x4000, which KUBE-FORWARD accepts before AZURE-NPM: its egress policies are not asked",
    source: "AKS: migrate from Azure NPM to Cilium; Azure/azure-container-networking #1086",
    versions: "all, unless PlaceAzureChainFirst",
  },
  {
    quirk: "mark-collision",
    id: "npm-mark-collision",
    cause:
      "NPM's own mark for dropped ingress was kube-proxy's mark for masquerading, 0x4000, and AZURE-NPM came first: what a node is to masquerade for a Service is dropped there; where an ingress policy of the backend's lets it in, the mark is overwritten and the source stays",
    source:
      "a live dump of April 2022 (AZURE-NPM-INGRESS -m mark --mark 0x4000 -j DROP; KUBE-MARK-MASQ --set-xmark 0x4000/0x4000)",
    versions: "2022-04",
  },
  {
    quirk: "wireserver",
    id: "platform-wireserver",
    cause:
      "AKS nodes drop forwarded TCP to port 80 of Azure's wireserver, unless NPM accepts the packet first, which it does once there is a policy",
    source: "live dumps of AKS nodes (FORWARD -d 168.63.129.16/32 -p tcp --dport 80 -j DROP)",
    versions: "all",
  },
];

export function npmDivergences(variant: NpmVariant): readonly Divergence[] {
  const active = new Set<Quirk>([
    "ipv6-policy",
    "ipv6-unfiltered",
    "all-namespaces-key",
    "sidecar-ports",
    "wireserver",
  ]);
  if (variant.namespaceNotIn === "any-of-negations") active.add("namespace-not-in");
  if (variant.bareNegation === "unscoped") active.add("bare-negation");
  if (!variant.placeFirst) active.add("marked-ingress").add("marked-egress");
  else if (variant.marks.ingressDrop === masqueradeMark) active.add("mark-collision");
  return quirkDivergences(statements, active, (quirks) => (state, cell) => npmVerdict(state, cell, quirks));
}

type Quirks = ReadonlySet<Quirk>;

interface Side {
  readonly end: CellEnd;
  readonly ip: Ip;
  /** A pod that policies can select; hostNetwork pods are in no set of NPM. */
  readonly pod: Pod | undefined;
}

function sideOf(end: CellEnd, { family }: Cell): Side | undefined {
  const ips = end.kind === "pod" ? end.pod.ips : end.kind === "node" ? end.node.addresses : [end.ip];
  const ip = ips.find((one) => one.family === family);
  if (ip === undefined) return undefined;
  return { end, ip, pod: end.kind === "pod" && !end.pod.hostNetwork ? end.pod : undefined };
}

function npmVerdict(state: ClusterState, cell: Cell, quirks: Quirks): "allow" | "deny" {
  const [from, to] = [sideOf(cell.from, cell), sideOf(cell.to, cell)];
  if (from === undefined || to === undefined) return "deny";
  if (cell.family === 6 && quirks.has("ipv6-unfiltered")) return "allow";
  if (cell.via !== undefined)
    return serviceVerdict(state, cell, cell.via, from, to, quirks) ? "allow" : "deny";
  if (from.pod !== undefined && from.pod === to.pod) return "allow";
  if (isLocalNode(to, from)) return "allow"; // a pod to its own node passes INPUT, where NPM has no jump
  const policies = effectivePolicies(state, quirks);
  if (quirks.has("wireserver") && policies.length === 0 && isWireserver(from, to, cell)) return "deny";
  const passes =
    sideAllows(state, policies, "Egress", from, to, to, cell, quirks) &&
    (isLocalNode(from, to) || sideAllows(state, policies, "Ingress", to, from, to, cell, quirks));
  return passes ? "allow" : "deny";
}

/**
 * A connection that a Service's node translated: judged in FORWARD of that node (its own traffic and its own stack are
 * not), and again on the backend's node, as coming from the first if that masqueraded it. Where the client's own node is
 * another, it saw a connection to a node port.
 */
function serviceVerdict(
  state: ClusterState,
  cell: Cell,
  via: Translation,
  from: Side,
  to: Side,
  quirks: Quirks,
): boolean {
  const policies = effectivePolicies(state, quirks);
  const allows = (
    type: "Ingress" | "Egress",
    subject: Side,
    peer: Side,
    destination: Side,
    at: Cell,
  ): boolean => sideAllows(state, policies, type, subject, peer, destination, at, quirks);
  if (via.before !== undefined) {
    const at: Cell = { ...cell, to: via.before.to, port: via.before.port };
    const receiver = sideOf(at.to, at);
    if (receiver === undefined || !allows("Egress", from, receiver, receiver, at)) return false;
  }
  const isItself = from.pod !== undefined && from.pod === to.pod;
  let isMasqueraded = via.isMasqueraded || isItself;
  const isForwarded = !isOn(from, via.node) && !isOn(to, via.node);
  const isMarked = (quirk: Quirk): boolean => isMasqueraded && quirks.has(quirk);
  if (isForwarded && isMarked("mark-collision") && policies.length > 0) {
    if (!isSelected(policies, "Ingress", to)) return false;
    isMasqueraded = false; // NPM overwrites the mark: the source stays, which Azure lets out of its own node alone
    if (isItself || ![from, to].some(({ pod }) => pod?.nodeName === via.node.name)) return false;
  }
  if (isForwarded && !isMarked("marked-egress") && !allows("Egress", from, to, to, cell)) return false;
  if (isForwarded && !isMarked("marked-ingress") && !allows("Ingress", to, from, to, cell)) return false;
  if (to.pod === undefined || to.pod.nodeName === via.node.name) return true;
  const seen = isMasqueraded ? sideOf({ kind: "node", node: via.node }, cell) : from;
  return seen !== undefined && allows("Ingress", to, seen, to, cell);
}

/** True for the node itself and for pods of its host network. */
function isOn({ end, pod }: Side, node: Node): boolean {
  if (pod !== undefined) return false;
  return end.kind === "node"
    ? end.node.name === node.name
    : end.kind === "pod" && end.pod.nodeName === node.name;
}

function isWireserver(from: Side, to: Side, cell: Cell): boolean {
  return (
    from.pod !== undefined &&
    to.end.kind === "external" &&
    formatIp(to.ip) === wireserverAddress &&
    cell.protocol === "TCP" &&
    cell.port === 80
  );
}

/** One side is the node (or a hostNetwork pod of the node) that the other, a pod, runs on: OUTPUT and INPUT are not filtered. */
function isLocalNode(host: Side, { pod }: Side): boolean {
  if (pod === undefined || host.pod !== undefined) return false;
  const node =
    host.end.kind === "node"
      ? host.end.node.name
      : host.end.kind === "pod"
        ? host.end.pod.nodeName
        : undefined;
  return node === pod.nodeName;
}

const translatable = new WeakMap<ClusterState["networkPolicies"], readonly NetworkPolicy[]>();

function effectivePolicies(state: ClusterState, quirks: Quirks): readonly NetworkPolicy[] {
  if (!quirks.has("ipv6-policy")) return [...state.networkPolicies.values()];
  let policies = translatable.get(state.networkPolicies);
  if (policies === undefined) {
    policies = [...state.networkPolicies.values()].filter((policy) => !hasRefusedBlock(policy));
    translatable.set(state.networkPolicies, policies);
  }
  return policies;
}

/** Only what takes effect is translated: rules of a direction that the policy does not have are not looked at. */
function hasRefusedBlock(policy: NetworkPolicy): boolean {
  const directions = [
    policy.policyTypes.includes("Ingress") ? policy.ingress : [],
    policy.policyTypes.includes("Egress") ? policy.egress : [],
  ];
  return directions.some((rules) => {
    if (rules.some((rule) => rule.peers.length === 0 && rule.ports.length === 0)) return false;
    return rules.some((rule) =>
      rule.peers.some((peer) => peer.ipBlock !== undefined && isRefused(peer.ipBlock)),
    );
  });
}

/** NPM tests the text of the block: a dotted quad without leading zeros, and `/0` only behind 0.0.0.0. */
function isRefused({ cidr, cidrText }: IpBlock): boolean {
  if (cidr.family === 6 || !/^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){3}\//.test(cidrText)) return true;
  return /\/0/.test(cidrText) && !cidrText.startsWith("0.0.0.0/");
}

function sideAllows(
  state: ClusterState,
  policies: readonly NetworkPolicy[],
  type: "Ingress" | "Egress",
  subject: Side,
  peer: Side,
  destination: Side,
  cell: Cell,
  quirks: Quirks,
): boolean {
  let isIsolated = false;
  for (const policy of policies) {
    if (!selects(policy, type, subject)) continue;
    isIsolated = true;
    const rules = type === "Ingress" ? policy.ingress : policy.egress;
    if (rules.some((rule) => ruleAllows(state, policy, rule, peer, destination, cell, quirks))) return true;
  }
  return !isIsolated;
}

function selects(policy: NetworkPolicy, type: "Ingress" | "Egress", { pod }: Side): boolean {
  return (
    pod !== undefined &&
    policy.namespace === pod.namespace &&
    policy.policyTypes.includes(type) &&
    matchesSelector(policy.podSelector, pod.labels)
  );
}

function isSelected(policies: readonly NetworkPolicy[], type: "Ingress" | "Egress", subject: Side): boolean {
  return policies.some((policy) => selects(policy, type, subject));
}

function ruleAllows(
  state: ClusterState,
  policy: NetworkPolicy,
  rule: NetworkPolicyRule,
  peer: Side,
  destination: Side,
  cell: Cell,
  quirks: Quirks,
): boolean {
  const isPeer =
    rule.peers.length === 0 || rule.peers.some((one) => peerMatches(state, policy, one, peer, quirks));
  return (
    isPeer &&
    (rule.ports.length === 0 || rule.ports.some((port) => portMatches(port, destination.pod, cell, quirks)))
  );
}

function peerMatches(
  state: ClusterState,
  policy: NetworkPolicy,
  rule: NetworkPolicyPeer,
  peer: Side,
  quirks: Quirks,
): boolean {
  if (rule.ipBlock !== undefined) {
    const { cidr, except } = rule.ipBlock;
    return cidrContains(cidr, peer.ip) && !except.some((range) => cidrContains(range, peer.ip));
  }
  const { pod } = peer;
  if (pod === undefined) return quirks.has("bare-negation") && isBareNegation(rule, quirks);
  if (rule.podSelector !== undefined && !matchesSelector(rule.podSelector, pod.labels)) return false;
  if (rule.namespaceSelector === undefined) return pod.namespace === policy.namespace;
  const labels = state.namespaces.get(pod.namespace)?.labels ?? {};
  return namespaceMatches(rule.namespaceSelector, labels, quirks);
}

/** Nothing but `! set`: an address that is in no set at all satisfies it. */
function isBareNegation({ podSelector, namespaceSelector }: NetworkPolicyPeer, quirks: Quirks): boolean {
  if (namespaceSelector === undefined || !isNegative(namespaceSelector, quirks)) return false;
  return podSelector === undefined || isNegative(podSelector, new Set()) || isEverything(podSelector);
}

function isEverything({ matchLabels, matchExpressions }: LabelSelector): boolean {
  return Object.keys(matchLabels).length === 0 && matchExpressions.length === 0;
}

function isNegative({ matchLabels, matchExpressions }: LabelSelector, quirks: Quirks): boolean {
  if (Object.keys(matchLabels).length > 0 || matchExpressions.length === 0) return false;
  return matchExpressions.every(({ key, operator }) => {
    if (quirks.has("all-namespaces-key") && key === "all-namespaces" && operator === "DoesNotExist")
      return true;
    return operator === "NotIn" || operator === "DoesNotExist";
  });
}

function namespaceMatches(selector: LabelSelector, labels: Labels, quirks: Quirks): boolean {
  // the set named by the key alone is the set of all namespaces
  const isAlwaysThere = (key: string): boolean =>
    quirks.has("all-namespaces-key") && key === "all-namespaces";
  for (const [key, value] of Object.entries(selector.matchLabels)) if (labels[key] !== value) return false;
  return selector.matchExpressions.every(({ key, operator, values }) => {
    const has = Object.hasOwn(labels, key);
    switch (operator) {
      case "In":
        return has && values.includes(labels[key] ?? "");
      case "NotIn":
        if (!quirks.has("namespace-not-in")) return !has || !values.includes(labels[key] ?? "");
        return new Set(values).size > 1 || !has || !values.includes(labels[key] ?? "");
      case "Exists":
        return has || isAlwaysThere(key);
      case "DoesNotExist":
        return !has && !isAlwaysThere(key);
      default:
        return unreachable(operator);
    }
  });
}

function portMatches(
  rule: NetworkPolicyPort,
  destination: Pod | undefined,
  { protocol, port }: Cell,
  quirks: Quirks,
): boolean {
  if (rule.protocol !== protocol) return false;
  if (rule.port === undefined) return true;
  if (typeof rule.port === "number") return port >= rule.port && port <= (rule.endPort ?? rule.port);
  const ports = (destination?.ports ?? []).filter((one) => !(one.ofSidecar && quirks.has("sidecar-ports")));
  return ports.some(
    (one) => one.name === rule.port && one.protocol === protocol && one.containerPort === port,
  );
}
