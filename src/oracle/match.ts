/**
 * Does a rule of a policy cover one connection? Written from the API's text, on its own: no other matcher of the house
 * is used here, so that a mistake in one of them cannot hide behind the same mistake in the other.
 */
import { cidrContains, type Ip } from "../addr/index.ts";
import type {
  IpBlock,
  LabelSelector,
  Labels,
  Namespace,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicyRule,
  Pod,
} from "../k8s/index.ts";
import type { OracleReadings } from "./readings.ts";

/** `maybe`: permitted readings of the API differ. */
export type Match = "yes" | "no" | "maybe";

/** The other side of a connection as a rule of a policy sees it. */
export interface Peer {
  readonly ip: Ip;
  /** `undefined` for nodes, hosts outside, and hostNetwork pods where they count as their node. */
  readonly pod: Pod | undefined;
}

/** What the connection wants to reach: the ports are those of the destination, whichever side is judged. */
export interface Target {
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly port: number;
  readonly pod: Pod | undefined;
}

export interface Facts {
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly readings: OracleReadings;
}

export function selects(selector: LabelSelector, labels: Labels): boolean {
  const has = (key: string): boolean => Object.hasOwn(labels, key);
  for (const [key, value] of Object.entries(selector.matchLabels))
    if (!has(key) || labels[key] !== value) return false;
  for (const { key, operator, values } of selector.matchExpressions) {
    const isListed = has(key) && values.some((value) => value === labels[key]);
    const holds = { In: isListed, NotIn: !isListed, Exists: has(key), DoesNotExist: !has(key) }[operator];
    if (!holds) return false;
  }
  return true;
}

/** Peer and port together; three-valued and. */
export function ruleCovers(
  facts: Facts,
  policy: NetworkPolicy,
  rule: NetworkPolicyRule,
  peer: Peer,
  target: Target,
): Match {
  if (rule.peers.length > 0 && !rule.peers.some((one) => peerMatches(facts, policy, one, peer))) return "no";
  if (rule.ports.length === 0) return "yes";
  let best: Match = "no";
  for (const port of rule.ports) {
    const match = portMatches(facts, port, target);
    if (match === "yes") return "yes";
    if (match === "maybe") best = "maybe";
  }
  return best;
}

export function peerMatches(
  facts: Facts,
  policy: NetworkPolicy,
  rule: NetworkPolicyPeer,
  peer: Peer,
): boolean {
  if (rule.ipBlock !== undefined) return blockMatches(facts, rule.ipBlock, peer);
  const { pod } = peer;
  if (pod === undefined) return false; // selectors select pods and nothing else
  if (rule.namespaceSelector === undefined) {
    if (pod.namespace !== policy.namespace) return false;
  } else if (!selects(rule.namespaceSelector, facts.namespaces.get(pod.namespace)?.labels ?? {})) {
    return false;
  }
  return rule.podSelector === undefined || selects(rule.podSelector, pod.labels);
}

function blockMatches(facts: Facts, block: IpBlock, peer: Peer): boolean {
  if (peer.pod !== undefined && facts.readings.ipBlockPods === "never") return false;
  return cidrContains(block.cidr, peer.ip) && !block.except.some((range) => cidrContains(range, peer.ip));
}

export function portMatches(facts: Facts, rule: NetworkPolicyPort, target: Target): Match {
  if (rule.protocol !== target.protocol) return "no";
  if (rule.port === undefined) return "yes";
  if (typeof rule.port === "number") {
    const last = rule.endPort ?? rule.port;
    return target.port >= rule.port && target.port <= last ? "yes" : "no";
  }
  const numbers = namedPorts(target.pod, rule.port, rule.protocol);
  const index = numbers.indexOf(target.port);
  if (index < 0) return "no";
  if (index === 0 || facts.readings.duplicatePortNames === "every") return "yes";
  return facts.readings.duplicatePortNames === "first" ? "no" : "maybe";
}

/** Distinct numbers that a pod declares under a name for a protocol, in container order. */
function namedPorts(pod: Pod | undefined, name: string, protocol: Target["protocol"]): readonly number[] {
  const ports = (pod?.ports ?? []).filter((port) => port.name === name && port.protocol === protocol);
  return [...new Set(ports.map((port) => port.containerPort))];
}
