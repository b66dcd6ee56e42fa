/** An answer of the oracle in words: who isolates, which rule allows, and which rule came nearest and why not. */
import { formatCidr, formatIp } from "../addr/index.ts";
import type { Origin } from "../base/index.ts";
import type {
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicyRule,
} from "../k8s/index.ts";
import { type Facts, peerMatches, portMatches, ruleCovers } from "./match.ts";
import { rulesOf, type Side } from "./side.ts";

export interface ExplainedLine {
  readonly text: string;
  readonly origin?: Origin;
}

export function explainSide(
  facts: Facts,
  side: Side,
  verdict: "allow" | "deny" | "undefined",
): readonly ExplainedLine[] {
  const { direction, subject, policies, exemption } = side;
  const who = `${direction} of ${subject.namespace}/${subject.name}`;
  if (policies.length === 0)
    return [{ text: `${who}: no policy selects it for ${direction}, so it is not isolated: allowed` }];
  const lines: ExplainedLine[] = policies.map((policy) => ({
    text: `${who}: isolated by ${policy.namespace}/${policy.name}, which selects it`,
    origin: originOf(policy, side, "spec.podSelector", "select"),
  }));
  if (exemption !== undefined && exemption.verdict === verdict) {
    const word = { allow: "allowed", deny: "denied", undefined: "left open" }[verdict];
    return [...lines, { text: `${who}: ${word}: ${exemption.reason}` }];
  }
  const found = findRule(facts, side, verdict === "allow" ? "yes" : "maybe");
  if (verdict !== "deny" && found !== undefined) {
    const word = verdict === "allow" ? "allowed" : "left open (a port name with two numbers)";
    return [
      ...lines,
      {
        text: `${who}: ${word} by ${found.policy.namespace}/${found.policy.name} ${found.path}`,
        origin: originOf(found.policy, side, found.path, "allow"),
      },
    ];
  }
  const miss = nearestMiss(facts, side);
  if (miss === undefined)
    return [...lines, { text: `${who}: denied: these policies have no ${direction} rule` }];
  return [
    ...lines,
    {
      text: `${who}: denied: no rule allows it; nearest is ${miss.policy.namespace}/${miss.policy.name} ${miss.path}: ${miss.why}`,
      origin: originOf(miss.policy, side, miss.path, "allow"),
    },
  ];
}

function originOf(policy: NetworkPolicy, side: Side, path: string, role: Origin["role"]): Origin {
  const name = `${policy.namespace}/${policy.name}`;
  return {
    kind: "NetworkPolicy",
    name,
    path,
    role,
    direction: side.direction,
    ...(policy.source ? { source: policy.source } : {}),
  };
}

interface FoundRule {
  readonly policy: NetworkPolicy;
  readonly rule: NetworkPolicyRule;
  readonly path: string;
}

function* rules(side: Side): Iterable<FoundRule> {
  for (const policy of side.policies)
    for (const [i, rule] of rulesOf(policy, side.direction).entries())
      yield { policy, rule, path: `spec.${side.direction}[${i}]` };
}

function findRule(facts: Facts, side: Side, wanted: "yes" | "maybe"): FoundRule | undefined {
  const { target } = side;
  if (target === undefined) return undefined;
  for (const found of rules(side))
    if (ruleCovers(facts, found.policy, found.rule, side.peer, target) === wanted) return found;
  return undefined;
}

/** The rule that failed on the fewest counts (peer, port); of equals the first. */
function nearestMiss(facts: Facts, side: Side): (FoundRule & { readonly why: string }) | undefined {
  let best: (FoundRule & { readonly why: string; readonly counts: number }) | undefined;
  for (const found of rules(side)) {
    const { policy, rule } = found;
    const peerOk =
      rule.peers.length === 0 || rule.peers.some((peer) => peerMatches(facts, policy, peer, side.peer));
    const { target } = side;
    const portOk =
      target !== undefined &&
      (rule.ports.length === 0 || rule.ports.some((port) => portMatches(facts, port, target) !== "no"));
    const reasons: string[] = [];
    if (!peerOk)
      reasons.push(
        `${peerText(side)} is none of its peers (${rule.peers.map((peer) => rulePeerText(policy, peer)).join("; ")})`,
      );
    if (!portOk)
      reasons.push(`${targetText(side)} is none of its ports (${rule.ports.map(portText).join(", ")})`);
    if (best === undefined || reasons.length < best.counts)
      best = { ...found, why: reasons.join(", and "), counts: reasons.length };
  }
  return best;
}

function peerText({ peer }: Side): string {
  return peer.pod === undefined
    ? formatIp(peer.ip)
    : `${peer.pod.namespace}/${peer.pod.name} (${labelText(peer.pod.labels)})`;
}

function labelText(labels: Readonly<Record<string, string>>): string {
  return (
    Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(",") || "no labels"
  );
}

function targetText({ target }: Side): string {
  return target === undefined ? "ICMP" : `${target.port}/${target.protocol}`;
}

function rulePeerText(policy: NetworkPolicy, peer: NetworkPolicyPeer): string {
  if (peer.ipBlock !== undefined) {
    const except = peer.ipBlock.except.map(formatCidr).join(", ");
    return `ipBlock ${formatCidr(peer.ipBlock.cidr)}${except && ` except ${except}`}`;
  }
  const pods = peer.podSelector === undefined ? "all pods" : `pods with ${selectorText(peer.podSelector)}`;
  const where =
    peer.namespaceSelector === undefined
      ? `namespace ${policy.namespace}`
      : `namespaces with ${selectorText(peer.namespaceSelector)}`;
  return `${pods} in ${where}`;
}

function selectorText(selector: LabelSelector): string {
  const parts = Object.entries(selector.matchLabels).map(([key, value]) => `${key}=${value}`);
  for (const { key, operator, values } of selector.matchExpressions)
    parts.push(values.length > 0 ? `${key} ${operator} (${values.join(", ")})` : `${key} ${operator}`);
  return parts.join(",") || "any labels";
}

function portText(port: NetworkPolicyPort): string {
  const range = port.endPort === undefined ? (port.port ?? "every port") : `${port.port}-${port.endPort}`;
  return `${range}/${port.protocol}`;
}
