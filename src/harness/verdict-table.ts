/** The exact verdict table of an emulated cluster: what its nodes' datapaths state, for the addresses of its pods and nodes. */
import type { Questions } from "../base/index.ts";
import { buildVerdictTable, type ClassifiedEnd, Decision, type VerdictTable } from "../classify/index.ts";
import type { Connection } from "../k8s/index.ts";
import type { EmulatedCluster } from "./compose.ts";
import { endAddress } from "./ends.ts";

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

const protocolNumbers = { TCP: 6, UDP: 17, SCTP: 132 } as const;

/** What a table tells of a connection. */
export interface TableAnswer {
  readonly verdict: "allow" | "deny";
  /** Equal for connections that no table tells apart. */
  readonly alike: number;
}

export class ClusterTable {
  readonly table: VerdictTable;
  /** Addresses of pods and nodes, as the table knows them. */
  readonly ends: readonly ClassifiedEnd[];
  /** Whether any node states what its verdicts depend on. */
  readonly isStated: boolean;

  constructor({ topology, datapaths }: Pick<EmulatedCluster, "topology" | "datapaths">) {
    const { nodes, endpoints } = topology.spec;
    const numbers = new Map(nodes.map(({ name }, number) => [name, number]));
    const ends: ClassifiedEnd[] = [];
    for (const { node, ips } of endpoints)
      for (const { family, words } of ips)
        ends.push({ kind: "pod", family, words, node: numbers.get(node) ?? 0 });
    for (const [node, { addresses }] of nodes.entries())
      for (const { family, words } of addresses) ends.push({ kind: "node", family, words, node });
    const stated = nodes.map(({ name }) => {
      const datapath = datapaths.get(name);
      return datapath === undefined ? open : datapath.questions();
    });
    this.isStated = stated.some((questions) => questions !== undefined);
    this.ends = ends;
    this.table = buildVerdictTable({ nodes: stated, ends });
  }

  /** `undefined`: only the walk knows, as of every connection to a Service. */
  judge({ from, to, protocol, port, family }: Connection): TableAnswer | undefined {
    if (to.kind === "service" || to.kind === "node-port") return undefined;
    const [src, dst] = [endAddress(from, family), endAddress(to, family)];
    if (src === undefined || dst === undefined) return undefined;
    const isEcho = protocol === "ICMP";
    const echo = family === 4 ? ([1, 8] as const) : ([58, 128] as const);
    const [number, service] = isEcho ? echo : ([protocolNumbers[protocol], port] as const);
    const pair = this.table.pair(src, dst);
    const atom = this.table.atoms.of(number, service);
    if (pair === undefined) return undefined;
    const decision = this.table.decideClasses(pair.source, pair.destination, pair.isNear, atom);
    if (decision === Decision.ask) return undefined;
    const { classes, atoms } = this.table;
    const alike =
      ((pair.source * classes + pair.destination) * 2 + Number(pair.isNear)) * atoms.atoms.length + atom;
    return { verdict: decision === Decision.allow ? "allow" : "deny", alike };
  }
}
