/** UDP (RFC 768). A checksum of zero means "none" over IPv4; a computed zero is sent as 0xffff. */
import { fault, type Parsed, parsed, readU16, writeU16 } from "./bytes.ts";
import { finishSum, sumWords } from "./checksum.ts";

export const udpHeaderSize = 8;

export interface UdpRepr {
  readonly sport: number;
  readonly dport: number;
  readonly payload: Uint8Array;
}

export interface UdpOverrides {
  readonly checksum?: number;
  readonly length?: number;
}

export function parseUdp(bytes: Uint8Array, start = 0, end: number = bytes.length): Parsed<UdpRepr> {
  if (end - start < udpHeaderSize) return fault("truncated");
  const length = readU16(bytes, start + 4);
  if (length < udpHeaderSize) return fault("bad-length");
  if (start + length > end) return fault("truncated");
  return parsed({
    sport: readU16(bytes, start),
    dport: readU16(bytes, start + 2),
    payload: bytes.slice(start + udpHeaderSize, start + length),
  });
}

export function sizeUdp(repr: UdpRepr): number {
  return udpHeaderSize + repr.payload.length;
}

/** `pseudoSum` is `pseudoHeaderSum` of the enclosing packet. */
export function emitUdp(
  repr: UdpRepr,
  bytes: Uint8Array,
  start: number,
  pseudoSum: number,
  overrides: UdpOverrides = {},
): number {
  const size = sizeUdp(repr);
  writeU16(bytes, start, repr.sport);
  writeU16(bytes, start + 2, repr.dport);
  writeU16(bytes, start + 4, overrides.length ?? size);
  writeU16(bytes, start + 6, 0);
  bytes.set(repr.payload, start + udpHeaderSize);
  const computed = finishSum(sumWords(bytes, start, start + size, pseudoSum)) || 0xffff;
  writeU16(bytes, start + 6, overrides.checksum ?? computed);
  return size;
}

/** `length`: bytes of payload. */
export function printUdp(length: number): string {
  return `UDP, length ${length}`;
}
