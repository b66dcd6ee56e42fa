/**
 * The rows of every engine's feature table: what of NetworkPolicy a cluster uses. By them the scenarios are found that
 * assert what the table says.
 */
import type {
  ClusterState,
  Connection,
  LabelSelector,
  NetworkPolicyPeer,
  NetworkPolicyPort,
} from "../k8s/index.ts";
import type { FeatureUses } from "./engine.ts";

/** One for each row that is about NetworkPolicy. */
export const featureUses: FeatureUses = {
  ingress: hasType("Ingress"),
  egress: hasType("Egress"),
  "selectors of peers": hasPeer(({ ipBlock }) => ipBlock === undefined),
  ipBlock: hasPeer(({ ipBlock }) => ipBlock !== undefined),
  "ipBlock except": hasPeer(({ ipBlock }) => (ipBlock?.except.length ?? 0) > 0),
  "named ports": hasPort(({ port }) => typeof port === "string"),
  endPort: hasPort(({ endPort }) => endPort !== undefined),
  SCTP: hasPort(({ protocol }) => protocol === "SCTP"),
  "negative selectors": hasPeer(
    ({ podSelector, namespaceSelector }) => isNegative(podSelector) || isNegative(namespaceSelector),
  ),
  IPv6: (state, { family }) => hasIpv6Block(state) || (family === 6 && state.networkPolicies.size > 0),
  "hostNetwork pods": ({ networkPolicies }, { from, to }) =>
    networkPolicies.size > 0 && (isOfHost(from) || isOfHost(to)),
};

/** Features that the API leaves to engines: whatever is expected where one is used asserts what the table says. */
export const leftToEngines: ReadonlySet<string> = new Set(["hostNetwork pods"]);

const hasIpv6Block = hasPeer(({ ipBlock }) => ipBlock?.cidr.family === 6);

function hasType(type: "Ingress" | "Egress"): (state: ClusterState) => boolean {
  return ({ networkPolicies }) =>
    [...networkPolicies.values()].some(({ policyTypes }) => policyTypes.includes(type));
}

function hasPeer(is: (peer: NetworkPolicyPeer) => boolean): (state: ClusterState) => boolean {
  return ({ networkPolicies }) =>
    [...networkPolicies.values()].some(({ ingress, egress }) =>
      [...ingress, ...egress].some(({ peers }) => peers.some(is)),
    );
}

function hasPort(is: (port: NetworkPolicyPort) => boolean): (state: ClusterState) => boolean {
  return ({ networkPolicies }) =>
    [...networkPolicies.values()].some(({ ingress, egress }) =>
      [...ingress, ...egress].some(({ ports }) => ports.some(is)),
    );
}

function isNegative(selector: LabelSelector | undefined): boolean {
  return (selector?.matchExpressions ?? []).some(
    ({ operator }) => operator === "NotIn" || operator === "DoesNotExist",
  );
}

function isOfHost(end: Connection["from"] | Connection["to"]): boolean {
  return end.kind === "pod" && end.pod.hostNetwork;
}
