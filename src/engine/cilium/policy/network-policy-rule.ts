/**
 * NetworkPolicy to Cilium's rule form. Namespaces become labels: an own one of the pod, and a prefix for labels of the
 * namespace. A direction without rules isolates where the policy's types name it; one with rules is not asked for.
 * Governing source: cilium/cilium pkg/k8s/network_policy.go.
 */
import type {
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
} from "../../../k8s/index.ts";
import type { CiliumVariant } from "../variant.ts";
import { cidrSetPeers } from "./cidr-set.ts";
import type { Direction } from "./entry.ts";
import {
  bothSelectors,
  type CiliumRule,
  everything,
  inNamespace,
  namespaceLabelPrefix,
  type RulePeer,
  type RulePort,
  type RuleStatement,
  withKeys,
} from "./rule.ts";

const protocolNumber = { TCP: 6, UDP: 17, SCTP: 132 } as const;

export function ruleOfNetworkPolicy(policy: NetworkPolicy, variant: CiliumVariant): CiliumRule {
  const { namespace, name, podSelector, policyTypes, source } = policy;
  // DIVERGES(unlisted-rules): the API leaves out rules of a direction that the types do not name
  const directions = (["ingress", "egress"] as const).filter(
    (direction) =>
      policyTypes.includes(direction === "ingress" ? "Ingress" : "Egress") || policy[direction].length > 0,
  );
  return {
    kind: "NetworkPolicy",
    name: `${namespace}/${name}`,
    source,
    path: "spec",
    subject: inNamespace(ofPods(podSelector), namespace),
    isForNodes: false,
    isolates: new Map(directions.map((direction) => [direction, true])),
    statements: directions.flatMap((direction) => statementsOf(policy, direction, variant)),
  };
}

function statementsOf(
  policy: NetworkPolicy,
  direction: Direction,
  variant: CiliumVariant,
): readonly RuleStatement[] {
  return policy[direction].map(({ peers, ports }, i) => {
    const path = `spec.${direction}[${i}]`;
    const list = direction === "ingress" ? "from" : "to";
    return {
      direction,
      deny: false,
      peers:
        peers.length === 0
          ? [{ kind: "anyone", path }]
          : peers.flatMap((peer, j) => peersOf(peer, policy.namespace, `${path}.${list}[${j}]`, variant)),
      ports: ports.length === 0 ? undefined : ports.map((port, j) => portOf(port, `${path}.ports[${j}]`)),
    };
  });
}

function peersOf(
  { ipBlock, podSelector, namespaceSelector }: NetworkPolicyPeer,
  namespace: string,
  path: string,
  variant: CiliumVariant,
): readonly RulePeer[] {
  if (ipBlock !== undefined) return cidrSetPeers(ipBlock, path, variant);
  const pods = podSelector === undefined ? everything : ofPods(podSelector);
  const selector =
    namespaceSelector === undefined
      ? inNamespace(pods, namespace)
      : bothSelectors(pods, inNamespace(ofNamespaces(namespaceSelector), undefined));
  return [{ kind: "labels", path, selector }];
}

function ofNamespaces(selector: LabelSelector): LabelSelector {
  return withKeys(selector, (key) => `${namespaceLabelPrefix}${key}`);
}

function ofPods(selector: LabelSelector): LabelSelector {
  return withKeys(selector, (key) => `k8s:${key}`);
}

function portOf({ protocol, port, endPort }: NetworkPolicyPort, path: string): RulePort {
  return { path, protocol: protocolNumber[protocol], port, endPort, redirect: 0 };
}
