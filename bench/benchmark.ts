/**
 * What every benchmark file is: a question, cases of one suite that share their setup, and facts to print beside the
 * figures. `npm run bench` runs all of them by benny; the tests run each once at smoke size.
 */
import { cpus, loadavg } from "node:os";

export interface BenchmarkCase {
  readonly name: string;
  readonly run: () => void;
}

/** Something outside this process that does the unit of work too, and says how long it took. */
export interface Peer {
  readonly name: string;
  readonly measureMs: () => Promise<number>;
  readonly close: () => Promise<void>;
}

export interface Benchmark {
  /** Cases are comparable: one unit of work each. */
  readonly cases: readonly BenchmarkCase[];
  /** Measured in turns with the cases; none where this machine does not allow it. */
  readonly peers?: () => Promise<readonly Peer[]>;
  /** What one call of a case does, in words: "judges 1,024 packets". */
  readonly unit: string;
  /** Sizes, rule counts, table bytes: what the figures depend on. */
  readonly facts: Readonly<Record<string, string | number>>;
  /** Hash of what the cases computed last; equal for equal sizes and seed, so that no run measures nothing. */
  readonly resultHash: () => string;
}

export interface BenchmarkFile {
  readonly name: string;
  readonly question: string;
  readonly prepare: (size: "full" | "smoke") => Benchmark;
}

export const seed = 1;

export const nowMs = (): number => performance.now();

/** The machine, in one line: every report begins with it. */
export function machineLine(): string {
  const [first] = cpus();
  const load = loadavg().map((value) => value.toFixed(1));
  return `Node ${process.versions.node}, ${first?.model ?? "unknown CPU"} x ${cpus().length}, load ${load.join(" ")}`;
}
