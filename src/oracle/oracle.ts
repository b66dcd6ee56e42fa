/**
 * What the Kubernetes API says should happen to a new connection: networking.k8s.io/v1 NetworkPolicy evaluated
 * directly over API objects. Governing sources: kubernetes/api networking/v1/types.go and the concept page on network
 * policies. Answers `undefined` where these leave the outcome open.
 */
import { formatIp, type Ip } from "../addr/index.ts";
import { assert } from "../base/index.ts";
import type { Cell, CellEnd, ClusterState, NetworkPolicy, Pod } from "../k8s/index.ts";
import { type ExplainedLine, explainSide } from "./explain.ts";
import { type Facts, type Peer, ruleCovers, selects, type Target } from "./match.ts";
import { defaultReadings, type OracleReadings } from "./readings.ts";
import { type Direction, rulesOf, type Side, type SideVerdict } from "./side.ts";

export interface OracleAnswer {
  readonly verdict: "allow" | "deny" | "undefined";
  /** The sides that deny. */
  readonly by: "egress" | "ingress" | "both" | undefined;
}

export interface Oracle {
  judge(cell: Cell): OracleAnswer;
  /** In words: which policies isolate each side, which rule allows, what came nearest. */
  explain(cell: Cell): readonly ExplainedLine[];
}

/** A state's policies are indexed once; a pod's isolating policies are found on first use. */
export function createOracle(state: ClusterState, readings: OracleReadings = defaultReadings): Oracle {
  const facts: Facts = { namespaces: state.namespaces, readings };
  const byNamespace = new Map<string, NetworkPolicy[]>();
  for (const policy of state.networkPolicies.values()) {
    const list = byNamespace.get(policy.namespace);
    if (list === undefined) byNamespace.set(policy.namespace, [policy]);
    else list.push(policy);
  }
  const isolation = {
    egress: new Map<Pod, readonly NetworkPolicy[]>(),
    ingress: new Map<Pod, readonly NetworkPolicy[]>(),
  };
  const isolating = (pod: Pod, direction: Direction): readonly NetworkPolicy[] => {
    let policies = isolation[direction].get(pod);
    if (policies === undefined) {
      const type = direction === "egress" ? "Egress" : "Ingress";
      policies = (byNamespace.get(pod.namespace) ?? []).filter(
        (policy) => policy.policyTypes.includes(type) && selects(policy.podSelector, pod.labels),
      );
      isolation[direction].set(pod, policies);
    }
    return policies;
  };
  const sides = (cell: Cell): readonly Side[] => sidesOf(cell, readings, isolating);
  return {
    judge: (cell) => combine(sides(cell).map((side) => ({ side, verdict: judgeSide(facts, side) }))),
    explain(cell) {
      if (isSamePod(cell)) return [{ text: "a pod cannot be isolated from itself: allowed" }];
      const lines = sides(cell).flatMap((side) => explainSide(facts, side, judgeSide(facts, side)));
      return lines.length > 0 ? lines : [{ text: "neither end is a pod that policies apply to: allowed" }];
    },
  };
}

function combine(judged: readonly { readonly side: Side; readonly verdict: SideVerdict }[]): OracleAnswer {
  const denied = judged.filter(({ verdict }) => verdict === "deny").map(({ side }) => side.direction);
  if (denied.length > 0) return { verdict: "deny", by: denied.length === 2 ? "both" : denied[0] };
  return {
    verdict: judged.some(({ verdict }) => verdict === "undefined") ? "undefined" : "allow",
    by: undefined,
  };
}

function judgeSide(facts: Facts, side: Side): SideVerdict {
  if (side.policies.length === 0) return "allow";
  if (side.exemption !== undefined && side.exemption.verdict !== "undefined") return side.exemption.verdict;
  let verdict: SideVerdict = side.exemption?.verdict ?? "deny";
  const { target } = side;
  if (target === undefined) return verdict;
  for (const policy of side.policies) {
    for (const rule of rulesOf(policy, side.direction)) {
      const covers = ruleCovers(facts, policy, rule, side.peer, target);
      if (covers === "yes") return "allow";
      if (covers === "maybe") verdict = "undefined";
    }
  }
  return verdict;
}

function isSamePod({ from, to }: Cell): boolean {
  return (
    from.kind === "pod" &&
    to.kind === "pod" &&
    from.pod.namespace === to.pod.namespace &&
    from.pod.name === to.pod.name
  );
}

/** The sides that policies have a say on: a pod's egress if it is the source, a pod's ingress if the destination. */
function sidesOf(
  cell: Cell,
  readings: OracleReadings,
  isolating: (pod: Pod, direction: Direction) => readonly NetworkPolicy[],
): readonly Side[] {
  if (isSamePod(cell)) return [];
  const [from, to] = [policedPod(cell.from, readings), policedPod(cell.to, readings)];
  const source: Peer = { pod: from, ip: addressOf(cell.from, cell) };
  const destination: Peer = { pod: to, ip: addressOf(cell.to, cell) };
  const target: Target | undefined =
    cell.protocol === "ICMP" ? undefined : { protocol: cell.protocol, port: cell.port, pod: to };
  const sides: Side[] = [];
  if (from !== undefined)
    sides.push({
      direction: "egress",
      subject: from,
      policies: isolating(from, "egress"),
      peer: destination,
      target,
      exemption: icmpExemption(cell, readings) ?? ownNodeExemption(from, cell.to, to, readings),
    });
  if (to !== undefined) {
    const isOwnNode = from === undefined && nodeNameOf(cell.from) === to.nodeName;
    sides.push({
      direction: "ingress",
      subject: to,
      policies: isolating(to, "ingress"),
      peer: source,
      target,
      exemption: isOwnNode
        ? { verdict: "allow", reason: "it comes from the pod's own node" }
        : icmpExemption(cell, readings),
    });
  }
  return sides;
}

/** The pod that policies may select; a hostNetwork pod counts as its node in the usual reading. */
function policedPod(end: CellEnd, readings: OracleReadings): Pod | undefined {
  if (end.kind !== "pod") return undefined;
  return end.pod.hostNetwork && readings.hostNetwork === "ignored" ? undefined : end.pod;
}

function nodeNameOf(end: CellEnd): string | undefined {
  if (end.kind === "node") return end.node.name;
  return end.kind === "pod" ? end.pod.nodeName : undefined;
}

function icmpExemption(cell: Cell, readings: OracleReadings): Side["exemption"] {
  if (cell.protocol !== "ICMP") return undefined;
  const verdict = { undefined: "undefined", allowed: "allow", denied: "deny" }[readings.icmp] as SideVerdict;
  return { verdict, reason: "the API speaks of TCP, UDP and SCTP only" };
}

function ownNodeExemption(
  from: Pod,
  to: CellEnd,
  toPod: Pod | undefined,
  readings: OracleReadings,
): Side["exemption"] {
  if (toPod !== undefined || nodeNameOf(to) !== from.nodeName || readings.ownNode === "policed")
    return undefined;
  const verdict = readings.ownNode === "allowed" ? "allow" : "undefined";
  return { verdict, reason: "the destination is the pod's own node, on which the API's texts differ" };
}

function addressOf(end: CellEnd, { family }: Cell): Ip {
  const ips = end.kind === "pod" ? end.pod.ips : end.kind === "node" ? end.node.addresses : [end.ip];
  const ip = ips.find((one) => one.family === family);
  assert(
    ip !== undefined,
    `an end of a cell has no IPv${family} address among ${ips.map(formatIp).join(", ")}`,
  );
  return ip;
}
