/**
 * Interleaved rounds: what competes is measured turn by turn in one process, so that the machine's noise falls on all
 * alike; the best round is the figure that noise can only make worse. The clock comes from outside.
 */

export interface RoundsOptions {
  readonly rounds: number;
  /** Each case runs again and again until its turn has taken this long. */
  readonly roundMs: number;
  readonly nowMs: () => number;
}

export interface RoundsMeasure {
  /** Milliseconds of one call: the best round, and the median of rounds. */
  readonly bestMs: number;
  readonly medianMs: number;
}

/** Calls every case once to warm up, then in `rounds` turns. Answers stand in the order of `cases`. */
export function interleavedRounds(
  cases: readonly (() => void)[],
  { rounds, roundMs, nowMs }: RoundsOptions,
): readonly RoundsMeasure[] {
  for (const once of cases) once();
  const samples = cases.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, once] of cases.entries()) {
      const started = nowMs();
      let calls = 0;
      let elapsed = 0;
      while (elapsed < roundMs || calls === 0) {
        once();
        calls++;
        elapsed = nowMs() - started;
      }
      samples[i]?.push(elapsed / calls);
    }
  }
  return samples.map((ms) => ({ bestMs: Math.min(...ms), medianMs: quantile(ms, 0.5) }));
}

/** The value at `share` (0..1) of the sorted samples, by nearest rank. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? 0;
}
