/**
 * 64-bit arithmetic on pairs of 32-bit words, without BigInt where a result can be had from 32-bit operations or from
 * doubles (exact below 2^53). Results come back in `result`: read them at once.
 */

/** The last result: signed words. */
export const result: { low: number; high: number } = { low: 0, high: 0 };

/** High word of the product of two unsigned 32-bit words. */
function multiplyHigh(a: number, b: number): number {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const other = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + (middle >>> 16) + (other >>> 16)) | 0;
}

export function multiply64(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  result.low = Math.imul(aLow, bLow);
  result.high = (multiplyHigh(aLow, bLow) + Math.imul(aLow, bHigh) + Math.imul(aHigh, bLow)) | 0;
}

/** Doubles hold the value exactly when the high word is below this. */
const exactHighMax = 0x20_0000;
const wordSpan = 0x1_0000_0000;

/** Unsigned quotient or remainder; the divisor must not be zero. */
export function divide64(
  aLow: number,
  aHigh: number,
  bLow: number,
  bHigh: number,
  wantsRemainder: boolean,
): void {
  const [aTop, bTop] = [aHigh >>> 0, bHigh >>> 0];
  if (aTop < exactHighMax && bTop < exactHighMax) {
    const a = aTop * wordSpan + (aLow >>> 0);
    const b = bTop * wordSpan + (bLow >>> 0);
    const value = wantsRemainder ? a % b : Math.floor(a / b);
    result.low = value | 0;
    result.high = (value / wordSpan) | 0;
    return;
  }
  const a = toBigInt(aLow, aHigh);
  const b = toBigInt(bLow, bHigh);
  setBigInt(wantsRemainder ? a % b : a / b);
}

/** Signed quotient (rounded towards zero) or remainder (with the dividend's sign); the divisor must not be zero. */
export function divideSigned64(
  aLow: number,
  aHigh: number,
  bLow: number,
  bHigh: number,
  wantsRemainder: boolean,
): void {
  const isNegative = wantsRemainder ? aHigh < 0 : aHigh < 0 !== bHigh < 0;
  if (aHigh < 0) [aLow, aHigh] = [-aLow | 0, (~aHigh + (aLow === 0 ? 1 : 0)) | 0];
  if (bHigh < 0) [bLow, bHigh] = [-bLow | 0, (~bHigh + (bLow === 0 ? 1 : 0)) | 0];
  divide64(aLow, aHigh, bLow, bHigh, wantsRemainder); // the magnitude of -2^63 is right as an unsigned number
  if (!isNegative) return;
  const { low, high } = result;
  result.low = -low | 0;
  result.high = (~high + (low === 0 ? 1 : 0)) | 0;
}

export function toBigInt(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

function setBigInt(value: bigint): void {
  result.low = Number(value & 0xffff_ffffn) | 0;
  result.high = Number((value >> 32n) & 0xffff_ffffn) | 0;
}

/** Reverses the bytes of a word. */
export function swapBytes32(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** `0x` and the digits of an unsigned 64-bit number, without leading zeros. */
export function formatHex64(low: number, high: number): string {
  return `0x${toBigInt(low, high).toString(16)}`;
}
