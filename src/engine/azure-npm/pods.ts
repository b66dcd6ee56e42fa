/** Which pods an NPM knows: the cluster's, or in NPM Lite those of its own node. */
import type { ClusterState, Node, Pod } from "../../k8s/index.ts";
import type { NpmVariant } from "./versions.ts";

export function isWatched({ nodeName }: Pod, node: Pick<Node, "name">, { isLite }: NpmVariant): boolean {
  return !isLite || nodeName === node.name;
}

/** What follows from the pods that a node's NPM knows: once for all nodes where they know the same. */
export function perNode<T>(
  { pods }: ClusterState,
  variant: NpmVariant,
  make: (pods: Iterable<Pod>) => T,
): (node: Node) => T {
  if (variant.isLite)
    return (node) => make([...pods.values()].filter((pod) => isWatched(pod, node, variant)));
  const shared = make(pods.values());
  return () => shared;
}
