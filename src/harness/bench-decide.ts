/**
 * Decisions by a cluster's exact verdict table, from header columns and from frames, and what it took to make the table.
 * The clock comes from outside; packets and verdicts are a function of cluster, engine, shape and seed alone.
 */
import { hashText } from "../base/index.ts";
import { BatchDecider, countSlice, Decision, type SliceCounts, type TableSize } from "../classify/index.ts";
import type { ClusterState } from "../k8s/index.ts";
import { createBatch, decode } from "../packet/index.ts";
import { emulate } from "./compose.ts";
import { interleavedRounds, quantile, type RoundsOptions } from "./rounds.ts";
import type { ProductSelection } from "./selection.ts";
import { createTrafficColumns, Traffic, type TrafficShape } from "./traffic.ts";
import { ClusterTable } from "./verdict-table.ts";

/** Paths by the verdict table: a packet after the other, and all pairs of pods at once. */
export type DecidePath = "decide" | "parse+decide" | "slice";

/** Figures of one path. */
export interface DecideMeasure {
  readonly path: DecidePath;
  /** The best round. */
  readonly nsPerDecision: number;
  readonly decisionsPerSecond: number;
  /** Of 256 packets each in a pass of their own, in nanoseconds a decision; of whole slices by protocol and port. */
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

/** Services of which slices are taken: one that policies name, one that none does, and another protocol. */
const slicedServices = [
  { protocol: 6, port: 80 },
  { protocol: 6, port: 8080 },
  { protocol: 6, port: 12_345 },
  { protocol: 17, port: 53 },
] as const;

/** All paths in interleaved rounds, on packets that open connections. */
export function measureDecisions(
  state: ClusterState,
  selection: ProductSelection,
  { seed, shape, rows = 65_536, frames = 4096, rounds = 7, roundMs = 60, nowMs }: DecideOptions,
): TableMeasure {
  const started = nowMs();
  const emulated = emulate(state, selection, { seed });
  const emulatedAt = nowMs();
  const { table, ends } = new ClusterTable(emulated);
  const tableAt = nowMs();
  const decider = new BatchDecider(table);
  const columns = createTrafficColumns(rows);
  new Traffic(state, { shape, seed }).fill(columns, 0, rows);
  const batch = createBatch(frames, frameBytes);
  new Traffic(state, { shape, seed }).fillBatch(batch);
  const out = { decide: new Uint8Array(rows), "parse+decide": new Uint8Array(batch.length) };
  const paths: readonly {
    readonly path: "decide" | "parse+decide";
    run(first: number, last: number): void;
  }[] = [
    { path: "decide", run: (first, last) => decider.decide(columns, first, last, out.decide) },
    {
      path: "parse+decide",
      run: (first, last) => {
        decode(batch, first, last);
        decider.decide(batch, first, last, out["parse+decide"]);
      },
    },
  ];
  const slices = slicedServices.map(({ protocol, port }) => countSlice(table, ends, protocol, port));
  const measures = interleavedRounds(
    [
      ...paths.map(
        ({ path, run }) =>
          () =>
            run(0, out[path].length),
      ),
      ...slicedServices.map(
        ({ protocol, port }) =>
          () =>
            void countSlice(table, ends, protocol, port),
      ),
    ],
    { rounds, roundMs, nowMs },
  );
  const sliceMs = measures.slice(paths.length).map(({ bestMs }) => bestMs);
  return {
    emulateMs: emulatedAt - started,
    tableMs: tableAt - emulatedAt,
    size: table.size,
    paths: [
      ...paths.map(({ path, run }, i): DecideMeasure => {
        const decisions = out[path];
        const shares: number[] = [];
        for (let first = 0; first < decisions.length; first += sliceRows) {
          const last = Math.min(first + sliceRows, decisions.length);
          const sliceStarted = nowMs();
          run(first, last);
          shares.push(((nowMs() - sliceStarted) * 1e6) / (last - first));
        }
        const nsPerDecision = ((measures[i]?.bestMs ?? 0) * 1e6) / decisions.length;
        return {
          path,
          nsPerDecision,
          decisionsPerSecond: 1e9 / nsPerDecision,
          p50: quantile(shares, 0.5),
          p99: quantile(shares, 0.99),
          accepted: countOf(decisions, Decision.allow),
          asked: countOf(decisions, Decision.ask),
          packets: decisions.length,
          resultHash: hashOf(decisions.join("")),
        };
      }),
      sliceMeasure(slices, sliceMs),
    ],
  };
}

/** Of all slices together; `p50` and `p99` are of the middle and the dearest one. */
function sliceMeasure(slices: readonly SliceCounts[], ms: readonly number[]): DecideMeasure {
  const sum = (countIn: (slice: SliceCounts) => number): number =>
    slices.reduce((total, slice) => total + countIn(slice), 0);
  const pairs = sum(({ allowed, denied, asked }) => allowed + denied + asked);
  const nsOfPairs = ms.map((one) => (one * 1e6 * slices.length) / pairs);
  const nsPerDecision = nsOfPairs.reduce((total, ns) => total + ns, 0) / slices.length;
  return {
    path: "slice",
    nsPerDecision,
    decisionsPerSecond: 1e9 / nsPerDecision,
    p50: quantile(nsOfPairs, 0.5),
    p99: quantile(nsOfPairs, 0.99),
    accepted: sum(({ allowed }) => allowed),
    asked: sum(({ asked }) => asked),
    packets: pairs,
    resultHash: hashOf(JSON.stringify(slices)),
  };
}

function hashOf(text: string): string {
  return hashText(text).toString(16).padStart(8, "0");
}

function countOf(decisions: Uint8Array, one: Decision): number {
  return decisions.reduce((sum, decision) => sum + (decision === one ? 1 : 0), 0);
}
