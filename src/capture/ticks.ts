/**
 * Time stamps of pcapng: 64-bit counts of an interface's own unit, split into seconds and nanoseconds exactly. Long
 * division by 16-bit digits serves every unit down to 2^-37 s without allocation; finer ones go through BigInt.
 */

export interface TickScale {
  readonly ticksPerSecond: number;
  /** Nanoseconds of one tick, where that is a whole number; otherwise 0. */
  readonly tickNs: number;
  readonly offsetSeconds: number;
  /** Set where a second has too many ticks for numbers. */
  readonly exact: bigint | undefined;
}

const divisorMax = 2 ** 37; // (divisor - 1) * 2^16 + digit stays below 2^53

/** `resolution` is the value of if_tsresol: a negative power of 10, or of 2 with the top bit set. */
export function tickScale(resolution: number, offsetSeconds: number): TickScale {
  const power = resolution & 0x7f;
  const base = (resolution & 0x80) === 0 ? 10 : 2;
  const ticksPerSecond = base ** power;
  const tickNs = 1e9 / ticksPerSecond;
  return {
    ticksPerSecond,
    tickNs: Number.isInteger(tickNs) ? tickNs : 0,
    offsetSeconds,
    exact: ticksPerSecond > divisorMax ? BigInt(base) ** BigInt(power) : undefined,
  };
}

/** Writes seconds and nanoseconds (rounded down) of `high * 2^32 + low` ticks. */
export function timeOfTicks(
  scale: TickScale,
  high: number,
  low: number,
  out: { seconds: number; nanoseconds: number },
): void {
  const { ticksPerSecond, tickNs, offsetSeconds, exact } = scale;
  if (exact !== undefined) {
    const ticks = (BigInt(high) << 32n) | BigInt(low);
    out.seconds = Number(ticks / exact) + offsetSeconds;
    out.nanoseconds = Number(((ticks % exact) * 1_000_000_000n) / exact);
    return;
  }
  let rest = 0;
  let seconds = 0;
  for (let digit = 0; digit < 4; digit++) {
    const word = digit < 2 ? high : low;
    const current = rest * 0x1_0000 + (digit % 2 === 0 ? word >>> 16 : word & 0xffff);
    const quotient = Math.floor(current / ticksPerSecond);
    rest = current - quotient * ticksPerSecond;
    seconds = seconds * 0x1_0000 + quotient;
  }
  out.seconds = seconds + offsetSeconds;
  out.nanoseconds = tickNs > 0 ? rest * tickNs : scaled(rest, ticksPerSecond);
}

/** rest / ticksPerSecond in nanoseconds; the product may pass 2^53. */
function scaled(rest: number, ticksPerSecond: number): number {
  const product = rest * 1e9;
  if (product <= Number.MAX_SAFE_INTEGER) return Math.floor(product / ticksPerSecond);
  return Number((BigInt(rest) * 1_000_000_000n) / BigInt(ticksPerSecond));
}
