/**
 * CRC32c (Castagnoli), the checksum of SCTP: RFC 9260 appendix A. Reflected polynomial 0x82f63b78, initial and final
 * value all ones; the result is stored least significant byte first.
 */

/** Signed, so that the loop stays in small integers. */
const table: Int32Array = makeTable();

function makeTable(): Int32Array {
  const entries = new Int32Array(256);
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    entries[i] = crc;
  }
  return entries;
}

/** CRC of `bytes[start..end)`, with four bytes at `zeroAt` (the checksum field itself) taken as zero if >= 0. */
export function crc32c(bytes: Uint8Array, start = 0, end: number = bytes.length, zeroAt = -1): number {
  if (zeroAt < 0) return ~follow(-1, bytes, start, end) >>> 0;
  const before = follow(-1, bytes, start, Math.min(zeroAt, end));
  const field = follow(before, zeros, 0, Math.max(0, Math.min(4, end - zeroAt)));
  return ~follow(field, bytes, zeroAt + 4, end) >>> 0;
}

const zeros = new Uint8Array(4);

function follow(before: number, bytes: Uint8Array, start: number, end: number): number {
  let crc = before;
  for (let at = start; at < end; at++) crc = (crc >>> 8) ^ table[(crc ^ bytes[at]!) & 0xff]!;
  return crc;
}

/** Writes a CRC in SCTP's byte order. */
export function writeCrc32c(bytes: Uint8Array, at: number, crc: number): void {
  bytes[at] = crc;
  bytes[at + 1] = crc >>> 8;
  bytes[at + 2] = crc >>> 16;
  bytes[at + 3] = crc >>> 24;
}

export function readCrc32c(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
