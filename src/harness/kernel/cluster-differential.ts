/**
 * A whole engine against the kernel: what `compile` writes for each node is loaded into a namespace of the node's shape,
 * and every hop of every cell's request and reply (fate, outgoing interface, mark, bytes) and the counters of the engine's
 * rules must be the kernel's own. Hops are compared node by node: where all are equal, so are the ways. Connections whose
 * way is drawn (a Service with several endpoints) are counted and left out.
 */
import { createPrng, type Prng } from "../../base/index.ts";
import { restoreRuleset } from "../../filter/iptables/index.ts";
import type { ClusterState } from "../../k8s/index.ts";
import { judgeConnection } from "../../sim/index.ts";
import { printPacket } from "../../wire/index.ts";
import { connectionAttempt } from "../attempt.ts";
import { type TableCell, tableCells } from "../cell-table.ts";
import { compileCluster, type EmulatedCluster, emulate } from "../compose.ts";
import { type NodeFiles, nodeFiles } from "../node-files.ts";
import type { ProductSelection } from "../selection.ts";
import { fateText, type HopRecord, HopRecorder } from "./hops.ts";
import { judgedInterfacesMax, judgedNodeOf } from "./judged-node.ts";
import { type JudgedPacket, type KernelBackend, startKernelJudge } from "./kernel-judge.ts";

/** Something that a node does otherwise than the kernel in its place. */
export interface NodeDifference {
  readonly node: string;
  /** What differs, in one line. */
  readonly text: string;
  /** What of the two differs: the way of a packet (`kernel dropped, ours out`), its bytes or mark, a counter. */
  readonly kind: string;
  /** Whether the packet's connection can be, by what the kernel did; `undefined` where both let the packet go on. */
  readonly kernelAllows: boolean | undefined;
  /** The connection whose packet it is; `undefined` for a counter. */
  readonly cell: TableCell | undefined;
  /** What the node was given up to there, in order; of a counter, everything. */
  readonly packets: readonly JudgedPacket[];
  readonly files: NodeFiles;
}

export interface ClusterDifferential {
  readonly hops: number;
  readonly counters: number;
  /** Connections that were left out, since chance picks their way. */
  readonly drawn: number;
  /** At most a few a node. */
  readonly differences: readonly NodeDifference[];
}

const differencesMax = 3;

/** @throws Error when the system lacks what the judge needs, KernelRefusal when a tool refuses the tables. */
export async function compareClusterWithKernel(
  state: ClusterState,
  selection: ProductSelection,
  backend: KernelBackend,
): Promise<ClusterDifferential> {
  const { cluster, hops, recorder, drawn } = walkAll(state, selection);
  const compiled = compileCluster(state, selection);
  const differences: NodeDifference[] = [];
  let [compared, counters] = [0, 0];
  for (const spec of cluster.topology.spec.nodes) {
    const own = hops.filter(({ hop }) => hop.node === spec.name);
    const endpoints = cluster.topology.spec.endpoints.filter(({ node }) => node === spec.name);
    if (own.length === 0 || endpoints.length >= judgedInterfacesMax) continue;
    const files = nodeFiles(state, spec.name, compiled.get(spec.name)?.tables ?? {});
    const packets = own.map(({ hop: { from, bytes } }) => ({ from, bytes }));
    const judge = await startKernelJudge({
      backend,
      node: judgedNodeOf(cluster.network.node(spec.name).spec, endpoints),
    });
    try {
      const [v4 = "", v6 = "", sets = ""] = ["iptables.save", "ip6tables.save", "ipset.save"].map((name) =>
        files.get(name),
      );
      await judge.load({ v4, v6, sets });
      const fates = await judge.judge(packets);
      compared += own.length;
      const before = differences.length;
      for (const [i, { hop, cell }] of own.entries()) {
        const fate = fates[i];
        const theirs = fate === undefined ? "nothing" : fateText(fate);
        if (theirs === hop.fate || differences.length - before >= differencesMax) continue;
        const [kernel, ours] = [theirs, hop.fate].map(wayOf) as [string, string];
        differences.push({
          node: spec.name,
          text: `${hop.from} ${printPacket(hop.bytes)}: ours ${hop.fate}, kernel ${theirs}`,
          kind: kernel === ours ? `${kernel}, not as it was` : `kernel ${kernel}, ours ${ours}`,
          kernelAllows: goesOn(kernel) && goesOn(ours) ? undefined : goesOn(kernel),
          cell,
          packets: packets.slice(0, i + 1),
          files,
        });
      }
      if (drawn > 0) continue; // what was drawn was counted here, and was not sent there
      const counted = counterDifferences(cluster, recorder, spec.name, await judge.save(4));
      counters += counted.compared;
      for (const text of counted.texts.slice(0, differencesMax))
        differences.push({
          node: spec.name,
          text,
          kind: "counter",
          kernelAllows: undefined,
          cell: undefined,
          packets,
          files,
        });
    } finally {
      await judge.close();
    }
  }
  return { hops: compared, counters, drawn, differences };
}

/** The first word of a fate: `out`, `local`, `rejected`, `dropped`, or another that ends the way. */
function wayOf(fate: string): string {
  return fate.split(" ", 1)[0] ?? fate;
}

function goesOn(way: string): boolean {
  return way === "out" || way === "local";
}

interface WalkedHop {
  readonly hop: HopRecord;
  readonly cell: TableCell;
}

interface WalkedCluster {
  readonly cluster: EmulatedCluster;
  readonly hops: readonly WalkedHop[];
  readonly recorder: HopRecorder;
  readonly drawn: number;
}

/** Walks every cell of the cluster, and writes down the hops of those whose way is certain. */
function walkAll(state: ClusterState, selection: ProductSelection): WalkedCluster {
  const count = { draws: 0 };
  const random = countingPrng(createPrng(1), count);
  const cluster = emulate(state, selection, { seed: 1, random });
  const recorder = new HopRecorder(cluster.network);
  const hops: WalkedHop[] = [];
  let sourcePort = 1024;
  let drawn = 0;
  for (const cell of tableCells(state, [selection], {}).cells) {
    if (cell.isSelf) continue;
    const attempt = connectionAttempt(cluster.network, cell.cell, sourcePort++, random);
    if (attempt === undefined) continue;
    const [draws, before] = [count.draws, recorder.hops.length];
    judgeConnection(cluster.network, attempt, () => recorder);
    if (count.draws === draws) for (const hop of recorder.hops.slice(before)) hops.push({ hop, cell });
    else drawn++;
  }
  return { cluster, hops, recorder, drawn };
}

/** Counts what is drawn: a cell for which the count moves has more than one way. */
function countingPrng(inner: Prng, count: { draws: number }): Prng {
  const drawn = <T>(value: T): T => {
    count.draws++;
    return value;
  };
  return {
    nextU32: () => drawn(inner.nextU32()),
    below: (below) => drawn(inner.below(below)),
    chance: (wins, of) => drawn(inner.chance(wins, of)),
    unit: () => drawn(inner.unit()),
    pick: (items) => drawn(inner.pick(items)),
    fork: (label) => countingPrng(inner.fork(label), count),
  };
}

/** Packets that each rule of the engine's chains, and of FORWARD, has matched. */
function counterDifferences(
  cluster: EmulatedCluster,
  recorder: HopRecorder,
  node: string,
  saved: string,
): { readonly compared: number; readonly texts: readonly string[] } {
  const datapath = cluster.datapaths.get(node);
  const counts = recorder.counts.get(node);
  if (datapath === undefined || counts === undefined) return { compared: 0, texts: [] };
  const ours = new Map<string, number>();
  for (const [index, packets] of counts) {
    const { table, chain, number } = datapath.describeRule(index);
    ours.set(`${table}/${chain} ${number}`, packets);
  }
  const chains = restoreRuleset(saved, "saved").tables.filter?.chains ?? [];
  const texts: string[] = [];
  let compared = 0;
  for (const { name, rules } of chains) {
    if (isPlatforms(name)) continue;
    for (const [i, { counters }] of rules.entries()) {
      compared++;
      const mine = ours.get(`filter/${name} ${i + 1}`) ?? 0;
      if (counters?.[0] !== mine)
        texts.push(`filter/${name} ${i + 1}: counted ${mine}, kernel ${counters?.[0]}`);
    }
  }
  return { compared, texts };
}

/** Chains that the node's own packets pass, too, which nobody here counts. */
function isPlatforms(chain: string): boolean {
  return chain === "INPUT" || chain === "OUTPUT" || chain.startsWith("KUBE-");
}
