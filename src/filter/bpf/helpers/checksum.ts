/**
 * Internet checksums as the kernel computes them, on little-endian words with its own order of folding, so that results
 * are equal where more than one would be valid (include/net/checksum.h, net/core/filter.c).
 */

/** One's complement sum of two 32-bit numbers. */
export function addSums(a: number, b: number): number {
  const sum = (a >>> 0) + (b >>> 0);
  return (sum > 0xffff_ffff ? sum - 0xffff_ffff : sum) >>> 0;
}

/** The complement of a 32-bit sum folded into 16 bits (csum_fold). */
export function foldSum(sum: number): number {
  return ~foldTo16(sum) & 0xffff;
}

/** A 32-bit sum folded into 16 bits (csum_from32to16). */
export function foldTo16(sum: number): number {
  let folded = (sum >>> 16) + (sum & 0xffff);
  folded = (folded >>> 16) + (folded & 0xffff);
  return folded & 0xffff;
}

/** Sum of little-endian words of 16 bits, on top of `seed`. */
export function sumOf(bytes: Uint8Array, at: number, size: number, seed: number): number {
  let sum = seed >>> 0;
  for (let i = 0; i < size; i += 2) {
    const low = bytes[at + i]!;
    const high = i + 1 < size ? bytes[at + i + 1]! : 0;
    sum = addSums(sum, low | (high << 8));
  }
  return sum;
}

/** A checksum field after a 32-bit word under it changed. */
export function replaceWord(field: number, from: number, to: number): number {
  return foldSum(addSums(addSums(~field, ~from), to));
}

/** A checksum field after a 16-bit word under it changed (csum_replace2: 16-bit arithmetic). */
export function replaceHalf(field: number, from: number, to: number): number {
  return ~addHalves(addHalves(~field & 0xffff, ~from & 0xffff), to & 0xffff) & 0xffff;
}

/** A checksum field after its words changed by a difference of sums. */
export function replaceByDifference(field: number, difference: number): number {
  return foldSum(addSums(difference, ~field));
}

function addHalves(a: number, b: number): number {
  const sum = (a + b) & 0xffff;
  return (sum + (sum < b ? 1 : 0)) & 0xffff;
}
