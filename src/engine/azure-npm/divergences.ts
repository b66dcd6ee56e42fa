/**
 * Where Azure NPM departs from the API, on Linux and on Windows nodes, as predicates over API objects: each quirk is stated
 * by what NPM's documents and issues say it does, `npmVerdict` is NetworkPolicy's decision procedure with some applied.
 */
import { cidrContains, formatIp, type Ip } from "../../addr/index.ts";
import { unreachable } from "../../base/index.ts";
import {
  type Cell,
  type CellEnd,
  type ClusterState,
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
import { quirkDivergences } from "../index.ts";
import { masqueradeMark, windowsServiceDivergences, wireserverAddress } from "../platform/index.ts";
import { effectivePolicies, translatedRules } from "./effective-policies.ts";
import { type Quirk, quirksOn, statements } from "./quirks.ts";
import type { NpmVariant } from "./versions.ts";

/** Of one system's nodes; in a mixed cluster each node has its own, and both have a say. */
export function npmDivergences(variant: NpmVariant): readonly Divergence[] {
  const own = statements.filter(({ system = "linux" }) => system === "both" || system === variant.dataplane);
  const active = activeQuirks(variant);
  const ofServices =
    variant.dataplane === "windows"
      ? windowsServiceDivergences((state, cell) => npmVerdict(state, cell, active))
      : [];
  return [
    ...ofServices,
    ...quirkDivergences(own, active, (quirks) => (state, cell) => npmVerdict(state, cell, quirks)),
  ];
}

/** Of a version, on nodes of either system. */
function activeQuirks(variant: NpmVariant): Quirks {
  const active = variant.isLite ? liteQuirks(variant) : fullQuirks(variant);
  if (!variant.placeFirst) active.add("marked-ingress").add("marked-egress");
  else if (variant.marks.ingressDrop === masqueradeMark) active.add("mark-collision");
  return active;
}

/** What NPM Lite refuses it refuses before anything else of it could go wrong. */
function liteQuirks(variant: NpmVariant): Set<Quirk> {
  return new Set([
    "windows-wireserver",
    "windows-pod-negation",
    "windows-sctp",
    "windows-own-node",
    "windows-service-ingress",
    "ipv6-policy",
    "ipv6-unfiltered",
    "wireserver",
    "lite-peers",
    "lite-own-pods",
    variant.liteExcept === "ignored" ? "lite-except-ignored" : "lite-except-first",
  ]);
}

function fullQuirks(variant: NpmVariant): Set<Quirk> {
  const active = new Set<Quirk>([
    "windows-wireserver",
    "windows-named-port",
    "windows-pod-negation",
    "windows-except",
    "windows-sctp",
    "windows-namespace-negation",
    "windows-own-node",
    "windows-service-ingress",
    "ipv6-policy",
    "ipv6-unfiltered",
    "all-namespaces-key",
    "sidecar-ports",
    "wireserver",
  ]);
  if (variant.namespaceNotIn === "any-of-negations") active.add("namespace-not-in");
  if (variant.bareNegation === "unscoped") active.add("bare-negation");
  active.add(variant.windowsNegations === "unseen" ? "windows-inverted-egress" : "windows-egress-negation");
  return active;
}

type Quirks = ReadonlySet<Quirk>;

function without(quirks: Quirks, quirk: Quirk): Quirks {
  return new Set([...quirks].filter((one) => one !== quirk));
}

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
  const passes =
    linuxAllows(state, cell, from, to, quirksOn("linux", quirks)) &&
    windowsAllows(state, cell, from, to, quirksOn("windows", quirks));
  return passes ? "allow" : "deny";
}

/** FORWARD of a Linux node asks both directions' policies of whatever it carries, on the way out and on the way in. */
function linuxAllows(state: ClusterState, cell: Cell, from: Side, to: Side, quirks: Quirks): boolean {
  if (![from, to].some((side) => systemOf(state, side) === "linux")) return true;
  if (isLocalNode(to, from)) return true; // a pod to its own node passes INPUT, where NPM has no jump
  const policies = effectivePolicies(state, quirks);
  if (quirks.has("wireserver") && policies.length === 0 && isWireserver(from, to, cell)) return false;
  const knows = (side: Side): boolean => !quirks.has("lite-own-pods") || systemOf(state, side) === "linux";
  return (
    (!knows(from) || sideAllows(state, policies, "Egress", from, to, to, cell, quirks)) &&
    (isLocalNode(from, to) ||
      !knows(to) ||
      sideAllows(state, policies, "Ingress", to, from, to, cell, quirks))
  );
}

/** The endpoint of a pod on a Windows node asks what is about that pod: policies of egress on its way out, of ingress on its way in. */
function windowsAllows(state: ClusterState, cell: Cell, from: Side, to: Side, quirks: Quirks): boolean {
  const policies = effectivePolicies(state, quirks);
  if (systemOf(state, from) === "windows") {
    if (quirks.has("windows-wireserver") && isWireserver(from, to, cell)) return false;
    const isAsked = !isLocalNode(to, from) || quirks.has("windows-own-node");
    if (isAsked && !sideAllows(state, policies, "Egress", from, to, to, cell, quirks)) return false;
  }
  if (systemOf(state, to) !== "windows" || isLocalNode(from, to)) return true;
  return sideAllows(
    state,
    policies,
    "Ingress",
    to,
    from,
    to,
    cell,
    without(quirks, "windows-inverted-egress"),
  );
}

/** Of the node that a pod's endpoint is on; `undefined` for what has none. */
function systemOf(state: ClusterState, { pod }: Side): Node["os"] | undefined {
  return pod === undefined ? undefined : state.nodes.get(pod.nodeName)?.os;
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
  const policies = effectivePolicies(state, quirksOn("linux", quirks));
  /** As the nodes of one system, or those of the subject's own, see it. */
  const allows = (
    type: "Ingress" | "Egress",
    subject: Side,
    peer: Side,
    destination: Side,
    at: Cell,
    system: Node["os"] = systemOf(state, subject) ?? "linux",
  ): boolean => {
    const own = quirksOn(system, quirks);
    const asked = type === "Ingress" ? without(own, "windows-inverted-egress") : own;
    return sideAllows(state, effectivePolicies(state, asked), type, subject, peer, destination, at, asked);
  };
  if (via.before !== undefined) {
    const at: Cell = { ...cell, to: via.before.to, port: via.before.port };
    const receiver = sideOf(at.to, at);
    if (receiver === undefined || !allows("Egress", from, receiver, receiver, at)) return false;
  }
  if (via.node.os === "windows") return windowsServiceAllows(state, cell, via, from, to, quirks, allows);
  const isItself = from.pod !== undefined && from.pod === to.pod;
  let isMasqueraded = via.isMasqueraded || isItself;
  const knows = ({ pod }: Side): boolean => !quirks.has("lite-own-pods") || pod?.nodeName === via.node.name;
  const isForwarded = !isOn(from, via.node) && !isOn(to, via.node);
  const isMarked = (quirk: Quirk): boolean => isMasqueraded && quirks.has(quirk);
  if (isForwarded && isMarked("mark-collision") && policies.length > 0) {
    if (!knows(to) || !isSelected(policies, "Ingress", to)) return false;
    isMasqueraded = false; // NPM overwrites the mark: the source stays, which Azure lets out of its own node alone
    if (isItself || ![from, to].some(({ pod }) => pod?.nodeName === via.node.name)) return false;
  }
  const isAsked = (side: Side, quirk: Quirk): boolean => isForwarded && knows(side) && !isMarked(quirk);
  if (isAsked(from, "marked-egress") && !allows("Egress", from, to, to, cell, "linux")) return false;
  if (isAsked(to, "marked-ingress") && !allows("Ingress", to, from, to, cell, "linux")) return false;
  if (to.pod === undefined || to.pod.nodeName === via.node.name) return true;
  const seen = isMasqueraded ? sideOf({ kind: "node", node: via.node }, cell) : from;
  return seen !== undefined && allows("Ingress", to, seen, to, cell);
}

type Asks = (
  type: "Ingress" | "Egress",
  subject: Side,
  peer: Side,
  destination: Side,
  at: Cell,
  system?: Node["os"],
) => boolean;

/**
 * A Windows node translates before the endpoint of a client there is asked: its egress policies see the backend. The
 * backend's endpoint sees the node where the source was rewritten, and probes of its own node always pass.
 */
function windowsServiceAllows(
  state: ClusterState,
  cell: Cell,
  via: Translation,
  from: Side,
  to: Side,
  quirks: Quirks,
  allows: Asks,
): boolean {
  const isClientHere = from.pod?.nodeName === via.node.name;
  const isAsked = isClientHere && (!isLocalNode(to, from) || quirks.has("windows-own-node"));
  if (isAsked && !allows("Egress", from, to, to, cell, "windows")) return false;
  if (to.pod === undefined) return true;
  const isMasqueraded = via.isMasqueraded || from.pod === to.pod;
  const seen = isMasqueraded ? sideOf({ kind: "node", node: via.node }, cell) : from;
  if (seen === undefined) return false;
  if (isLocalNode(seen, to))
    return (
      isLocalNode(from, to) ||
      quirks.has("windows-service-ingress") ||
      allows("Ingress", to, from, to, cell, "windows")
    );
  const isForwarded = systemOf(state, to) === "linux" && !quirks.has("lite-own-pods");
  return (
    (!isForwarded || allows("Egress", seen, to, to, cell, "linux")) && allows("Ingress", to, seen, to, cell)
  );
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
  if (quirks.has("lite-except-first") && isExcepted(policies, type, subject, peer, destination, cell, quirks))
    return false;
  for (const policy of policies) {
    if (!selects(policy, type, subject)) continue;
    isIsolated = true;
    const rules = type === "Ingress" ? policy.ingress : policy.egress;
    if (rules.some((rule) => ruleAllows(state, policy, rule, peer, destination, cell, quirks))) return true;
  }
  return !isIsolated;
}

/** An exception of a rule for this port names the peer, whatever else is allowed. */
function isExcepted(
  policies: readonly NetworkPolicy[],
  type: "Ingress" | "Egress",
  subject: Side,
  peer: Side,
  destination: Side,
  cell: Cell,
  quirks: Quirks,
): boolean {
  return policies
    .filter((policy) => selects(policy, type, subject))
    .flatMap((policy) => translatedRules(policy, [type]))
    .some(
      ({ peers, ports }) =>
        peers.some(({ ipBlock }) => ipBlock?.except.some((range) => cidrContains(range, peer.ip))) &&
        (ports.length === 0 || ports.some((port) => portMatches(port, destination.pod, cell, quirks))),
    );
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
    return (
      cidrContains(cidr, peer.ip) &&
      (quirks.has("lite-except-ignored") || !except.some((range) => cidrContains(range, peer.ip)))
    );
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
        if (quirks.has("windows-inverted-egress")) return has && values.includes(labels[key] ?? "");
        if (!quirks.has("namespace-not-in")) return !has || !values.includes(labels[key] ?? "");
        return new Set(values).size > 1 || !has || !values.includes(labels[key] ?? "");
      case "Exists":
        return has || isAlwaysThere(key);
      case "DoesNotExist":
        if (quirks.has("windows-inverted-egress")) return has || isAlwaysThere(key);
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
