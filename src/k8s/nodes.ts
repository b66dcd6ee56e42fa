/** Nodes of AKS node pools: names and labels as AKS gives them. */
import type { NodePool } from "./cluster.ts";
import type { Node } from "./types.ts";

/** Part of the names of a Linux pool's scale set; drawn by AKS, fixed here. */
const scaleSetNumber = "37463671";

/** Node number `which` of a pool, or (with its name) a node that is only known from pods. Addresses come later. */
export function poolNode(pool: NodePool, which: number): Node;
export function poolNode(pool: undefined, which: string): Node;
export function poolNode(pool: NodePool | undefined, which: number | string): Node {
  const windows = pool?.osType === "Windows";
  const instance = which.toString(36).padStart(6, "0");
  const name =
    pool === undefined
      ? String(which)
      : windows
        ? `aks${pool.name}${instance}`
        : `aks-${pool.name}-${scaleSetNumber}-vmss${instance}`;
  const os = windows ? "windows" : "linux";
  const labels: Record<string, string> = {
    "kubernetes.io/hostname": name,
    "kubernetes.io/os": os,
    "kubernetes.io/arch": "amd64",
  };
  if (pool !== undefined) {
    labels["kubernetes.azure.com/agentpool"] = pool.name;
    labels["kubernetes.azure.com/os-sku"] = pool.osSku;
  }
  return {
    kind: "Node",
    name,
    labels,
    annotations: {},
    source: undefined,
    os,
    osSku: pool?.osSku ?? "Ubuntu",
    pool: pool?.name ?? "",
    addresses: [],
    podCidrs: [],
    unschedulable: false,
  };
}
