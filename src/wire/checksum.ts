/**
 * The Internet checksum (RFC 1071), its incremental update (RFC 1624, equation 3) and the pseudo headers of
 * IPv4 (RFC 9293 section 3.1) and IPv6 (RFC 8200 section 8.1).
 */
/** One's-complement sum of 16-bit words, not folded or inverted; an odd last byte is the high half of a word. */
export function sumWords(bytes: Uint8Array, start: number, end: number, initial = 0): number {
  let sum = initial;
  let at = start;
  for (; at + 1 < end; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  if (at < end) sum += bytes[at]! << 8;
  return sum;
}

/** Folds carries and inverts: the value that goes into the header. */
export function finishSum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

export function internetChecksum(bytes: Uint8Array, start = 0, end: number = bytes.length): number {
  return finishSum(sumWords(bytes, start, end));
}

/** Sum of a pseudo header; address words are unsigned 32-bit. */
export function pseudoHeaderSum(
  src: readonly number[],
  dst: readonly number[],
  protocol: number,
  length: number,
): number {
  let sum = protocol + (length >>> 16) + (length & 0xffff);
  for (const word of src) sum += (word >>> 16) + (word & 0xffff);
  for (const word of dst) sum += (word >>> 16) + (word & 0xffff);
  return sum;
}

/** RFC 1624: HC' = ~(~HC + ~m + m'), for one 16-bit word that changes from `before` to `after`. */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return finishSum((~checksum & 0xffff) + (~before & 0xffff) + after);
}

/** The same for a 32-bit word. */
export function updateChecksum32(checksum: number, before: number, after: number): number {
  const sum =
    (~checksum & 0xffff) +
    (~(before >>> 16) & 0xffff) +
    (~before & 0xffff) +
    (after >>> 16) +
    (after & 0xffff);
  return finishSum(sum);
}

/** True if a block that includes its own checksum field sums to zero, as a receiver checks it. */
export function checksumHolds(bytes: Uint8Array, start: number, end: number, initial = 0): boolean {
  return finishSum(sumWords(bytes, start, end, initial)) === 0;
}
