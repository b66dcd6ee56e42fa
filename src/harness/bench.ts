/**
 * Decision throughput: the step-faithful walk over one node's tables, and what it took to make them. The clock comes
 * from outside; what is computed is a function of profile, sizes and seed alone, and `resultHash` says whether it was
 * the same.
 */
import { createPrng, hashText } from "../base/index.ts";
import { createHookResults, type Datapath, Hook, type HookResults, Verdict } from "../filter/index.ts";
import { buildCluster, type ClusterState, loadObjects } from "../k8s/index.ts";
import { CtState, createBatch, type PacketBatch } from "../packet/index.ts";
import { Network } from "../sim/index.ts";
import { compileCluster, linkContext } from "./compose.ts";
import { generateCluster } from "./generate.ts";
import { linkTables } from "./kinds.ts";
import type { ClusterSize } from "./profiles.ts";
import { TraceRecorder } from "./recorder.ts";
import { interleavedRounds, quantile } from "./rounds.ts";
import type { ProductSelection } from "./selection.ts";
import { retainedBytes } from "./table-bytes.ts";
import { createTopology } from "./topology.ts";
import { Traffic, type TrafficShape } from "./traffic.ts";

/** One node's tables of a synthetic cluster, linked, and a batch of packets to judge. */
export interface BenchSetup {
  readonly state: ClusterState;
  readonly datapath: Datapath;
  readonly batch: PacketBatch;
  readonly rules: number;
  readonly setEntries: number;
  /** Tables of the measured node, and of all nodes with shared parts counted once (see `retainedBytes`). */
  readonly tableBytes: number;
  readonly allTablesBytes: number;
  readonly sizes: ClusterSize;
  /** Milliseconds: objects to cluster, cluster to tables of all nodes, tables of one node to a datapath. */
  readonly buildMs: number;
  readonly compileMs: number;
  readonly linkMs: number;
}

/** What to measure on; equal options give equal packets and tables. */
export interface BenchOptions {
  readonly profile: string;
  readonly sizes?: Partial<ClusterSize>;
  readonly seed: number;
  /** Who talks to whom; default: uniform. */
  readonly shape?: TrafficShape;
  /** Packets in a batch: at most 4,096. */
  readonly packets?: number;
  readonly nowMs: () => number;
}

/** Generates a cluster, compiles and links one node's tables, draws packets. */
export function prepareBench(selection: ProductSelection, options: BenchOptions): BenchSetup {
  const { seed, nowMs } = options;
  const loaded = loadObjects(options.profile, generateCluster(options.profile, seed, options.sizes));
  const started = nowMs();
  // beyond what AKS stands by, too
  const { state } = buildCluster(loaded, selection.aks, { force: true });
  const built = nowMs();
  const compiled = compileCluster(state, selection);
  const compiledAt = nowMs();
  const topology = createTopology(state).spec;
  const spec = topology.nodes[0];
  const tables = spec === undefined ? undefined : compiled.get(spec.name)?.tables;
  if (spec === undefined || tables === undefined)
    throw new RangeError("a cluster without nodes has nothing to measure");
  const network = new Network({
    nodes: [spec],
    endpoints: topology.endpoints.filter(({ node }) => node === spec.name),
    frontends: [],
  });
  const linkStarted = nowMs();
  const datapath = linkTables(
    tables,
    linkContext(network.node(spec.name), network.loop, createPrng(seed)),
  )?.datapath;
  if (datapath === undefined) throw new RangeError("the node has no tables");
  const linkedAt = nowMs();
  const chains = Object.values(tables.iptables?.v4.tables ?? {}).flatMap((table) => table.chains);
  const sizes = {
    nodes: state.nodes.size,
    pods: state.pods.size,
    namespaces: state.namespaces.size,
    policies: state.networkPolicies.size,
  };
  const batch = createBatch(options.packets ?? 1024, 128);
  new Traffic(state, { shape: options.shape ?? "uniform", seed }).fillBatch(batch);
  return {
    state,
    datapath,
    batch,
    rules: chains.reduce((sum, chain) => sum + chain.rules.length, 0),
    setEntries: [...(tables.iptables?.sets.values() ?? [])].reduce((sum, set) => sum + set.entries.length, 0),
    tableBytes: retainedBytes(tables),
    allTablesBytes: retainedBytes([...compiled.values()].map((node) => node.tables)),
    sizes,
    buildMs: built - started,
    compileMs: compiledAt - built,
    linkMs: linkedAt - linkStarted,
  };
}

/** What is measured: first packets of connections, packets of known ones, first packets with a trace recorder. */
export const benchCases = ["new", "established", "traced"] as const;
/** One of `benchCases`. */
export type BenchCase = (typeof benchCases)[number];

/** Judges the rows once at FORWARD, as packets of the case's connection state. */
export function walkRows(
  setup: BenchSetup,
  which: BenchCase,
  first: number,
  last: number,
  results: HookResults,
): void {
  const { batch, datapath } = setup;
  batch.state.mark.fill(0, first, last);
  batch.state.ctState.fill(which === "established" ? CtState.established : CtState.new, first, last);
  if (which !== "traced") datapath.run(Hook.forward, batch, first, last, results);
  else
    for (let row = first; row < last; row++) {
      const recorder = new TraceRecorder();
      const observer = recorder.before("", Hook.forward, datapath, batch, row);
      datapath.run(Hook.forward, batch, row, row + 1, results, observer);
      recorder.after("", Hook.forward, results, row);
    }
  results.emitted.length = 0;
  results.events.length = 0;
}

/** Figures of one case. */
export interface WalkMeasure {
  readonly path: "walk" | "walk-traced";
  readonly connections: "new" | "established";
  /** The best round. */
  readonly nsPerDecision: number;
  readonly decisionsPerSecond: number;
  /** Of slices of 16 packets in a pass of their own, in nanoseconds a decision. */
  readonly p50: number;
  readonly p99: number;
  readonly accepted: number;
  readonly packets: number;
  /** Of the verdicts: equal for equal profile, sizes and seed. */
  readonly resultHash: string;
}

const sliceRows = 16;

/** All cases in interleaved rounds. */
export function measureWalks(
  setup: BenchSetup,
  nowMs: () => number,
  { rounds = 7, roundMs = 60 }: { readonly rounds?: number; readonly roundMs?: number } = {},
): readonly WalkMeasure[] {
  const { batch } = setup;
  const results = createHookResults(batch.capacity);
  const measures = interleavedRounds(
    benchCases.map((which) => () => walkRows(setup, which, 0, batch.length, results)),
    { rounds, roundMs, nowMs },
  );
  return benchCases.map((which, i): WalkMeasure => {
    const slices: number[] = [];
    for (let first = 0; first < batch.length; first += sliceRows) {
      const last = Math.min(first + sliceRows, batch.length);
      const started = nowMs();
      walkRows(setup, which, first, last, results);
      slices.push(((nowMs() - started) * 1e6) / (last - first));
    }
    const judged = results.verdict.subarray(0, batch.length);
    const nsPerDecision = ((measures[i]?.bestMs ?? 0) * 1e6) / batch.length;
    return {
      path: which === "traced" ? "walk-traced" : "walk",
      connections: which === "established" ? "established" : "new",
      nsPerDecision,
      decisionsPerSecond: 1e9 / nsPerDecision,
      p50: quantile(slices, 0.5),
      p99: quantile(slices, 0.99),
      accepted: judged.reduce((sum, verdict) => sum + (verdict === Verdict.accept ? 1 : 0), 0),
      packets: batch.length,
      resultHash: hashText(judged.join("")).toString(16).padStart(8, "0"),
    };
  });
}
