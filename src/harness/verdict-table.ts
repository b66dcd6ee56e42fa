/** The exact verdict table of an emulated cluster: what its nodes' datapaths state, for the addresses of its pods and nodes. */
import type { Questions } from "../base/index.ts";
import { buildVerdictTable, type ClassifiedEnd, type VerdictTable } from "../classify/index.ts";
import type { EmulatedCluster } from "./compose.ts";

/** A node without tables lets everything pass. */
const open: Questions = {
  ways: {
    "pod-pod": [],
    "pod-wire": [],
    "wire-pod": [],
    "pod-node": [],
    "node-pod": [],
    "node-wire": [],
    "wire-node": [],
  },
};

/** Nodes are numbered as in the topology. */
export function verdictTable({ topology, datapaths }: EmulatedCluster): VerdictTable {
  const { nodes, endpoints } = topology.spec;
  const numbers = new Map(nodes.map(({ name }, number) => [name, number]));
  const ends: ClassifiedEnd[] = [];
  for (const { node, ips } of endpoints)
    for (const { family, words } of ips)
      ends.push({ kind: "pod", family, words, node: numbers.get(node) ?? 0 });
  for (const [node, { addresses }] of nodes.entries())
    for (const { family, words } of addresses) ends.push({ kind: "node", family, words, node });
  return buildVerdictTable({
    nodes: nodes.map(({ name }) => {
      const datapath = datapaths.get(name);
      return datapath === undefined ? open : datapath.questions();
    }),
    ends,
  });
}
