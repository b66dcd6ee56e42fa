/**
 * IPv4 headers (RFC 791; DSCP and ECN: RFC 2474, RFC 3168). Options are kept as raw bytes (ipv4-options.ts reads them). The payload is what the total length covers; bytes behind it are link padding.
 */
import { assert } from "../base/index.ts";
import { fault, type Parsed, parsed, readU16, readU32, writeU16, writeU32 } from "./bytes.ts";
import { checksumHolds, internetChecksum } from "./checksum.ts";
import { ipv4OptionsSizeMax } from "./ipv4-options.ts";

export const Ipv4Field = {
  versionLength: 0,
  tos: 1,
  totalLength: 2,
  identification: 4,
  flagsOffset: 6,
  ttl: 8,
  protocol: 9,
  checksum: 10,
  src: 12,
  dst: 16,
} as const;

export const ipv4HeaderSize = 20;

export interface Ipv4Repr {
  /** DSCP in the upper six bits, ECN in the lower two. */
  readonly tos: number;
  readonly identification: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** In bytes, a multiple of 8, up to 65,528. */
  readonly fragmentOffset: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly src: number;
  readonly dst: number;
  /** Raw (`emitIpv4Options`); a multiple of four bytes, at most 40. */
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
}

/** Fields that `emit` computes unless they are given, so that wrong ones can be made on purpose. */
export interface Ipv4Overrides {
  readonly checksum?: number;
  readonly totalLength?: number;
  readonly headerWords?: number;
}

export function parseIpv4(bytes: Uint8Array, start = 0, end: number = bytes.length): Parsed<Ipv4Repr> {
  if (end - start < ipv4HeaderSize) return fault("truncated");
  if (bytes[start]! >>> 4 !== 4) return fault("bad-version");
  const headerSize = (bytes[start]! & 15) * 4;
  const totalLength = readU16(bytes, start + Ipv4Field.totalLength);
  if (headerSize < ipv4HeaderSize || totalLength < headerSize) return fault("bad-length");
  if (start + totalLength > end) return fault("truncated");
  const flags = readU16(bytes, start + Ipv4Field.flagsOffset);
  return parsed({
    tos: bytes[start + Ipv4Field.tos]!,
    identification: readU16(bytes, start + Ipv4Field.identification),
    dontFragment: (flags & 0x4000) !== 0,
    moreFragments: (flags & 0x2000) !== 0,
    fragmentOffset: (flags & 0x1fff) * 8,
    ttl: bytes[start + Ipv4Field.ttl]!,
    protocol: bytes[start + Ipv4Field.protocol]!,
    src: readU32(bytes, start + Ipv4Field.src),
    dst: readU32(bytes, start + Ipv4Field.dst),
    options: bytes.slice(start + ipv4HeaderSize, start + headerSize),
    payload: bytes.slice(start + headerSize, start + totalLength),
  });
}

export function sizeIpv4(repr: Ipv4Repr): number {
  return ipv4HeaderSize + repr.options.length + repr.payload.length;
}

export function emitIpv4(
  repr: Ipv4Repr,
  bytes: Uint8Array,
  start = 0,
  overrides: Ipv4Overrides = {},
): number {
  const headerSize = ipv4HeaderSize + repr.options.length;
  assert(
    repr.options.length <= ipv4OptionsSizeMax && repr.options.length % 4 === 0,
    "IPv4 options must be whole words, at most ten",
  );
  bytes[start] = 0x40 | (overrides.headerWords ?? headerSize / 4);
  bytes[start + Ipv4Field.tos] = repr.tos;
  writeU16(bytes, start + Ipv4Field.totalLength, overrides.totalLength ?? headerSize + repr.payload.length);
  writeU16(bytes, start + Ipv4Field.identification, repr.identification);
  const flags = (repr.dontFragment ? 0x4000 : 0) | (repr.moreFragments ? 0x2000 : 0);
  writeU16(bytes, start + Ipv4Field.flagsOffset, flags | (repr.fragmentOffset >>> 3));
  bytes[start + Ipv4Field.ttl] = repr.ttl;
  bytes[start + Ipv4Field.protocol] = repr.protocol;
  writeU16(bytes, start + Ipv4Field.checksum, 0);
  writeU32(bytes, start + Ipv4Field.src, repr.src);
  writeU32(bytes, start + Ipv4Field.dst, repr.dst);
  bytes.set(repr.options, start + ipv4HeaderSize);
  const checksum = overrides.checksum ?? internetChecksum(bytes, start, start + headerSize);
  writeU16(bytes, start + Ipv4Field.checksum, checksum);
  bytes.set(repr.payload, start + headerSize);
  return headerSize + repr.payload.length;
}

/** True if the header's checksum is right, as ip_rcv demands of what arrives. The header must be whole. */
export function ipv4ChecksumHolds(bytes: Uint8Array, start: number): boolean {
  return checksumHolds(bytes, start, start + (bytes[start]! & 15) * 4);
}

/** tcpdump's note on a fragment (as its -v prints it); empty for whole packets. */
export function printIpv4Fragment(repr: Ipv4Repr): string {
  if (!repr.moreFragments && repr.fragmentOffset === 0) return "";
  const more = repr.moreFragments ? "+" : "";
  return ` (frag ${repr.identification}:${repr.payload.length}@${repr.fragmentOffset}${more})`;
}
