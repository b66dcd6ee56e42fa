/**
 * Decisions by a cluster's exact verdict table, from header columns and from frames, and what it took to make the table.
 * The clock comes from outside; packets and verdicts are a function of cluster, engine, shape and seed alone.
 */
import { hashText } from "../base/index.ts";
import { BatchDecider, Decision, type TableSize } from "../classify/index.ts";
import type { ClusterState } from "../k8s/index.ts";
import { createBatch, decode } from "../packet/index.ts";
import { emulate } from "./compose.ts";
import { interleavedRounds, quantile, type RoundsOptions } from "./rounds.ts";
import type { ProductSelection } from "./selection.ts";
import { createTrafficColumns, Traffic, type TrafficShape } from "./traffic.ts";
import { ClusterTable } from "./verdict-table.ts";

/** Paths by the verdict table. */
export type DecidePath = "decide" | "parse+decide";

/** Figures of one path. */
export interface DecideMeasure {
  readonly path: DecidePath;
  /** The best round. */
  readonly nsPerDecision: number;
  readonly decisionsPerSecond: number;
  /** Of slices of 256 packets in a pass of their own, in nanoseconds a decision. */
  readonly p50: number;
  readonly p99: number;
  readonly accepted: number;
  /** Left to the walk. */
  readonly asked: number;
  readonly packets: number;
  readonly resultHash: string;
}

/** The table of one engine and what is decided by it. */
export interface TableMeasure {
  /** Milliseconds: tables of all nodes compiled and linked; these tables' statements to the verdict table. */
  readonly emulateMs: number;
  readonly tableMs: number;
  readonly size: TableSize;
  readonly paths: readonly DecideMeasure[];
}

export interface DecideOptions extends Partial<Omit<RoundsOptions, "nowMs">> {
  readonly seed: number;
  readonly shape: TrafficShape;
  /** Rows of columns, and frames of a batch (at most 4,096). */
  readonly rows?: number;
  readonly frames?: number;
  readonly nowMs: () => number;
}

const sliceRows = 256;
/** Bytes of frames, headers without payload. */
const frameBytes = 128;

/** Both paths in interleaved rounds, on packets that open connections. */
export function measureDecisions(
  state: ClusterState,
  selection: ProductSelection,
  { seed, shape, rows = 65_536, frames = 4096, rounds = 7, roundMs = 60, nowMs }: DecideOptions,
): TableMeasure {
  const started = nowMs();
  const emulated = emulate(state, selection, { seed });
  const emulatedAt = nowMs();
  const { table } = new ClusterTable(emulated);
  const tableAt = nowMs();
  const decider = new BatchDecider(table);
  const columns = createTrafficColumns(rows);
  new Traffic(state, { shape, seed }).fill(columns, 0, rows);
  const batch = createBatch(frames, frameBytes);
  new Traffic(state, { shape, seed }).fillBatch(batch);
  const out = { decide: new Uint8Array(rows), "parse+decide": new Uint8Array(batch.length) };
  const paths: readonly { readonly path: DecidePath; run(first: number, last: number): void }[] = [
    { path: "decide", run: (first, last) => decider.decide(columns, first, last, out.decide) },
    {
      path: "parse+decide",
      run: (first, last) => {
        decode(batch, first, last);
        decider.decide(batch, first, last, out["parse+decide"]);
      },
    },
  ];
  const measures = interleavedRounds(
    paths.map(
      ({ path, run }) =>
        () =>
          run(0, out[path].length),
    ),
    { rounds, roundMs, nowMs },
  );
  return {
    emulateMs: emulatedAt - started,
    tableMs: tableAt - emulatedAt,
    size: table.size,
    paths: paths.map(({ path, run }, i): DecideMeasure => {
      const decisions = out[path];
      const slices: number[] = [];
      for (let first = 0; first < decisions.length; first += sliceRows) {
        const last = Math.min(first + sliceRows, decisions.length);
        const sliceStarted = nowMs();
        run(first, last);
        slices.push(((nowMs() - sliceStarted) * 1e6) / (last - first));
      }
      const nsPerDecision = ((measures[i]?.bestMs ?? 0) * 1e6) / decisions.length;
      return {
        path,
        nsPerDecision,
        decisionsPerSecond: 1e9 / nsPerDecision,
        p50: quantile(slices, 0.5),
        p99: quantile(slices, 0.99),
        accepted: countOf(decisions, Decision.allow),
        asked: countOf(decisions, Decision.ask),
        packets: decisions.length,
        resultHash: hashText(decisions.join("")).toString(16).padStart(8, "0"),
      };
    }),
  };
}

function countOf(decisions: Uint8Array, one: Decision): number {
  return decisions.reduce((sum, decision) => sum + (decision === one ? 1 : 0), 0);
}
