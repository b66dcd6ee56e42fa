/**
 * What the Kubernetes API says should happen to a new connection: networking.k8s.io/v1 NetworkPolicy evaluated
 * directly over API objects. Governing sources: kubernetes/api networking/v1/types.go and the concept page on network
 * policies. Answers `undefined` where these leave the outcome open.
 *
 * A connection to a Service is judged for each backend that it can reach, after translation: `some` where backends
 * differ. What a node rewrote beyond that (sources; destinations on another node than the client's) is judged both ways.
 */
import { formatIp, type Ip } from "../addr/index.ts";
import { assert, unreachable } from "../base/index.ts";
import type { Cell, CellEnd, ClusterState, Connection, NetworkPolicy, Pod } from "../k8s/index.ts";
import { type ExplainedLine, explainSide } from "./explain.ts";
import { type Facts, ruleCovers, selects } from "./match.ts";
import { defaultReadings, type OracleReadings } from "./readings.ts";
import { isToService, type ServiceRoutes, serviceRoutes } from "./service-routes.ts";
import { type Direction, rulesOf, type Side, type SideVerdict } from "./side.ts";

/** A verdict and the sides that isolate. */
export interface OracleAnswer {
  readonly verdict: "allow" | "deny" | "undefined" | "some";
  /** The sides that deny. */
  readonly by: "egress" | "ingress" | "both" | undefined;
}

/** NetworkPolicy as the API's text says, evaluated directly. */
export interface Oracle {
  judge(connection: Connection): OracleAnswer;
  /** In words: which policies isolate each side, which rule allows, what came nearest. */
  explain(connection: Connection): readonly ExplainedLine[];
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
  const judgeCell = (cell: Cell): OracleAnswer => {
    if (isSamePod(cell)) return { verdict: cell.via === undefined ? "allow" : "undefined", by: undefined };
    return combine(
      (["egress", "ingress"] as const).map((direction) => ({
        direction,
        verdict: agreement(
          facesOf(cell, direction, readings).map((face) => {
            const side = sideOf(face, direction, readings, isolating);
            return side === undefined ? "allow" : judgeSide(facts, side);
          }),
        ),
      })),
    );
  };
  const explainCell = (cell: Cell): readonly ExplainedLine[] => {
    if (isSamePod(cell))
      return cell.via === undefined
        ? [{ text: "a pod cannot be isolated from itself: allowed" }]
        : [{ text: "a pod that reaches itself through a Service: the API leaves it open" }];
    const lines = (["egress", "ingress"] as const).flatMap((direction) =>
      facesOf(cell, direction, readings).flatMap((face) => {
        const side = sideOf(face, direction, readings, isolating);
        return side === undefined ? [] : explainSide(facts, side, judgeSide(facts, side));
      }),
    );
    return lines.length > 0 ? lines : [{ text: "neither end is a pod that policies apply to: allowed" }];
  };
  return {
    judge: (connection) =>
      isToService(connection)
        ? combineRoutes(serviceRoutes(state, connection), judgeCell)
        : judgeCell(connection as Cell),
    explain: (connection) =>
      isToService(connection)
        ? explainRoutes(serviceRoutes(state, connection), explainCell)
        : explainCell(connection as Cell),
  };
}

interface JudgedSide {
  readonly direction: Direction;
  readonly verdict: SideVerdict;
}

function combine(sides: readonly JudgedSide[]): OracleAnswer {
  const denied = sides.filter(({ verdict }) => verdict === "deny").map(({ direction }) => direction);
  if (denied.length > 0) return { verdict: "deny", by: denied.length === 2 ? "both" : denied[0] };
  return {
    verdict: sides.some(({ verdict }) => verdict === "undefined") ? "undefined" : "allow",
    by: undefined,
  };
}

function agreement(verdicts: readonly SideVerdict[]): SideVerdict {
  const [first = "allow"] = verdicts;
  return verdicts.every((verdict) => verdict === first) ? first : "undefined";
}

function combineRoutes(routes: ServiceRoutes, judge: (cell: Cell) => OracleAnswer): OracleAnswer {
  if (routes.kind === "closed") return { verdict: "deny", by: undefined };
  if (routes.kind === "open") return { verdict: "undefined", by: undefined };
  const answers = routes.cells.map(judge);
  const verdicts = new Set(answers.map(({ verdict }) => verdict));
  if (verdicts.has("undefined")) return { verdict: "undefined", by: undefined };
  if (verdicts.size > 1) return { verdict: "some", by: undefined };
  const sides = new Set(answers.map(({ by }) => by));
  const [verdict = "deny"] = verdicts;
  return { verdict, by: sides.size > 1 ? "both" : answers[0]?.by };
}

/** Backends are explained one by one; this many, as the others are alike. */
const explainedBackends = 8;

function explainRoutes(
  routes: ServiceRoutes,
  explain: (cell: Cell) => readonly ExplainedLine[],
): readonly ExplainedLine[] {
  if (routes.kind === "closed") return [{ text: `${routes.why}: not reached` }];
  if (routes.kind === "open") return [{ text: `${routes.why}: the API leaves it open` }];
  const seen = new Set<string>();
  return routes.cells
    .slice(0, explainedBackends)
    .flatMap((cell) => explain(cell).filter(({ text }) => !seen.has(text) && seen.add(text) !== undefined));
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

/** A cell as a side's policies may see it: with what a Service's node rewrote, without, or either. */
function facesOf(cell: Cell, direction: Direction, readings: OracleReadings): readonly Cell[] {
  const { via } = cell;
  const before: Cell | undefined =
    direction === "egress" && via?.before !== undefined
      ? { ...cell, to: via.before.to, port: via.before.port }
      : direction === "ingress" && via?.isMasqueraded
        ? cell
        : undefined;
  if (via === undefined || before === undefined) return [cell];
  const after: Cell = direction === "egress" ? cell : { ...cell, from: { kind: "node", node: via.node } };
  switch (readings.rewritten) {
    case "before":
      return [before];
    case "after":
      return [after];
    case "undefined":
      return [before, after];
    default:
      return unreachable(readings.rewritten);
  }
}

/** What policies have a say on: a pod's egress if it is the source, a pod's ingress if the destination. */
function sideOf(
  cell: Cell,
  direction: Direction,
  readings: OracleReadings,
  isolating: (pod: Pod, direction: Direction) => readonly NetworkPolicy[],
): Side | undefined {
  const [from, to] = [policedPod(cell.from, readings), policedPod(cell.to, readings)];
  const subject = direction === "egress" ? from : to;
  if (subject === undefined) return undefined;
  const [peer, peerPod] = direction === "egress" ? [cell.to, to] : [cell.from, from];
  const isOwnNode =
    direction === "ingress" && from === undefined && nodeNameOf(cell.from) === subject.nodeName;
  const exemption = isOwnNode
    ? { verdict: "allow" as const, reason: "it comes from the pod's own node" }
    : icmpExemption(cell, readings);
  return {
    direction,
    subject,
    policies: isolating(subject, direction),
    peer: { pod: peerPod, ip: addressOf(peer, cell) },
    target: cell.protocol === "ICMP" ? undefined : { protocol: cell.protocol, port: cell.port, pod: to },
    exemption:
      exemption ?? (direction === "egress" ? ownNodeExemption(subject, cell.to, to, readings) : undefined),
  };
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
