/** What all policies of a cluster name, whichever kind they are of. */
import { formatCidr } from "../addr/index.ts";
import type { ClusterState } from "./cluster.ts";
import type { LabelSelector, Mentions, NetworkPolicy } from "./types.ts";

/** Everything once. */
export function mentionsOf(state: ClusterState): Mentions {
  const vendor = [...state.vendor.values()].flatMap((objects) => [...objects.values()]);
  const all = [
    ...[...state.networkPolicies.values()].map(mentionsOfNetworkPolicy),
    ...vendor.map(({ mentions }) => mentions),
  ];
  const own = vendor.flatMap(({ namespace }) => namespace ?? []);
  const unique = <T>(items: readonly T[], keyOf: (item: T) => unknown = (item) => item): readonly T[] => [
    ...new Map(items.map((item) => [keyOf(item), item])).values(),
  ];
  return {
    ports: unique(
      all.flatMap(({ ports }) => ports),
      ({ protocol, port }) => `${protocol}/${port}`,
    ),
    blocks: unique(
      all.flatMap(({ blocks }) => blocks),
      formatCidr,
    ),
    namespaces: unique([...all.flatMap(({ namespaces }) => namespaces), ...own]),
    podKeys: unique(all.flatMap(({ podKeys }) => podKeys)).toSorted(),
    namespaceKeys: unique(all.flatMap(({ namespaceKeys }) => namespaceKeys)).toSorted(),
  };
}

function mentionsOfNetworkPolicy({ namespace, podSelector, ingress, egress }: NetworkPolicy): Mentions {
  const rules = [...ingress, ...egress];
  const peers = rules.flatMap((rule) => rule.peers);
  return {
    ports: rules.flatMap((rule) =>
      rule.ports.flatMap(({ protocol, port, endPort }) =>
        [port, endPort].flatMap((one) => (typeof one === "number" ? [{ protocol, port: one }] : [])),
      ),
    ),
    blocks: peers.flatMap(({ ipBlock }) => (ipBlock === undefined ? [] : [ipBlock.cidr, ...ipBlock.except])),
    namespaces: [namespace],
    podKeys: [podSelector, ...peers.map((peer) => peer.podSelector)].flatMap(selectorKeys),
    namespaceKeys: peers.flatMap((peer) => selectorKeys(peer.namespaceSelector)),
  };
}

export function selectorKeys(selector: LabelSelector | undefined): readonly string[] {
  if (selector === undefined) return [];
  return [...Object.keys(selector.matchLabels), ...selector.matchExpressions.map(({ key }) => key)];
}
