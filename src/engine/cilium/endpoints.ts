/**
 * Endpoints: the pods of a node that Cilium manages, each known to the datapath by a number of 16 bits. The real agent
 * draws the number at random and keeps it; here it follows from the pod's name, so that equal clusters have equal
 * tables and an agent ends where the compiler does.
 */
import { hashText } from "../../base/index.ts";
import { type ClusterState, hasInterface, type Pod } from "../../k8s/index.ts";

/** The node's own processes, in the map of policies by endpoint: there only with host firewall. */
export const hostEndpointId = 65_535;

/** Ids of pods are 1 to this. */
const podIdMax = 65_534;

export interface Endpoint {
  readonly id: number;
  readonly pod: Pod;
}

/** A node's endpoints in the order of their ids. */
export function endpointsOf(state: ClusterState, nodeName: string): readonly Endpoint[] {
  let byNode = known.get(state.pods);
  if (byNode === undefined) {
    byNode = groupByNode(state.pods.values());
    known.set(state.pods, byNode);
  }
  return byNode.get(nodeName) ?? [];
}

const known = new WeakMap<ClusterState["pods"], ReadonlyMap<string, readonly Endpoint[]>>();

function groupByNode(pods: Iterable<Pod>): ReadonlyMap<string, readonly Endpoint[]> {
  const byNode = new Map<string, Pod[]>();
  for (const pod of pods) {
    if (!hasInterface(pod)) continue;
    const list = byNode.get(pod.nodeName);
    if (list === undefined) byNode.set(pod.nodeName, [pod]);
    else list.push(pod);
  }
  return new Map([...byNode].map(([node, list]) => [node, numbered(list)]));
}

/** A number that is taken is passed over, pods being asked in the order of their names. */
function numbered(pods: readonly Pod[]): readonly Endpoint[] {
  const byName = pods.map((pod) => ({ pod, name: `${pod.namespace}/${pod.name}` }));
  byName.sort((a, b) => (a.name < b.name ? -1 : 1));
  const taken = new Set<number>();
  const endpoints = byName.map(({ pod, name }): Endpoint => {
    let id = 1 + (hashText(name) % podIdMax);
    while (taken.has(id)) id = 1 + (id % podIdMax);
    taken.add(id);
    return { id, pod };
  });
  return endpoints.sort((a, b) => a.id - b.id);
}
