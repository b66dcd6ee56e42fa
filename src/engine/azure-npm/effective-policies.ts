/** Policies that NPM does not program, by the quirks that say so of them; every other takes effect as a whole. */
import type {
  ClusterState,
  IpBlock,
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicyRule,
} from "../../k8s/index.ts";
import type { Quirk } from "./quirks.ts";

/** By the quirks for which policies are refused. */
const translatable = new WeakMap<ClusterState["networkPolicies"], Map<string, readonly NetworkPolicy[]>>();

export function effectivePolicies(state: ClusterState, quirks: ReadonlySet<Quirk>): readonly NetworkPolicy[] {
  const refused = refusals.filter(([quirk]) => quirks.has(quirk));
  const known = translatable.get(state.networkPolicies) ?? new Map<string, readonly NetworkPolicy[]>();
  translatable.set(state.networkPolicies, known);
  const key = refused.map(([quirk]) => quirk).join();
  let policies = known.get(key);
  if (policies === undefined) {
    policies = [...state.networkPolicies.values()].filter(
      (policy) => !refused.some(([, isRefused]) => isRefused(policy)),
    );
    known.set(key, policies);
  }
  return policies;
}

/** Quirks of the translation: whole policies that are not programmed. */
const refusals: readonly (readonly [Quirk, (policy: NetworkPolicy) => boolean])[] = [
  ["ipv6-policy", (policy) => hasPeer(policy, ({ ipBlock }) => ipBlock !== undefined && isRefused(ipBlock))],
  [
    "windows-except",
    (policy) => hasPeer(policy, ({ ipBlock }) => ipBlock !== undefined && ipBlock.except.length > 0),
  ],
  [
    "windows-pod-negation",
    (policy) =>
      hasNegation(policy.podSelector) || hasPeer(policy, ({ podSelector }) => hasNegation(podSelector)),
  ],
  [
    "windows-namespace-negation",
    (policy) => hasPeer(policy, ({ namespaceSelector }) => hasNegation(namespaceSelector), ["Ingress"]),
  ],
  [
    "windows-egress-negation",
    (policy) => hasPeer(policy, ({ namespaceSelector }) => hasNegation(namespaceSelector), ["Egress"]),
  ],
  ["windows-named-port", (policy) => hasPort(policy, ({ port }) => typeof port === "string")],
  ["windows-sctp", (policy) => hasPort(policy, ({ protocol }) => protocol === "SCTP")],
  [
    "lite-peers",
    (policy) =>
      hasPeer(policy, ({ ipBlock }) => ipBlock === undefined) ||
      hasPort(policy, ({ port }) => typeof port === "string"),
  ],
];

/**
 * Only what takes effect is translated: rules of a direction that the policy does not have are not looked at, nor those
 * beside a rule that allows everything.
 */
export function translatedRules(
  policy: NetworkPolicy,
  types: readonly ("Ingress" | "Egress")[] = ["Ingress", "Egress"],
): readonly NetworkPolicyRule[] {
  return types
    .filter((type) => policy.policyTypes.includes(type))
    .map((type) => (type === "Ingress" ? policy.ingress : policy.egress))
    .filter((rules) => !rules.some(({ peers, ports }) => peers.length === 0 && ports.length === 0))
    .flat();
}

function hasPeer(
  policy: NetworkPolicy,
  is: (peer: NetworkPolicyPeer) => boolean,
  types?: readonly ("Ingress" | "Egress")[],
): boolean {
  return translatedRules(policy, types).some(({ peers }) => peers.some(is));
}

function hasPort(policy: NetworkPolicy, is: (port: NetworkPolicyPort) => boolean): boolean {
  return translatedRules(policy).some(({ ports }) => ports.some(is));
}

function hasNegation(selector: LabelSelector | undefined): boolean {
  return (selector?.matchExpressions ?? []).some(
    ({ operator }) => operator === "NotIn" || operator === "DoesNotExist",
  );
}

/** NPM tests the text of the block: a dotted quad without leading zeros, and `/0` only behind 0.0.0.0. */
function isRefused({ cidr, cidrText }: IpBlock): boolean {
  if (cidr.family === 6 || !/^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){3}\//.test(cidrText)) return true;
  return /\/0/.test(cidrText) && !cidrText.startsWith("0.0.0.0/");
}
