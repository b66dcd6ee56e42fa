/**
 * All writes to packets. Each keeps bytes, checksums and columns in step. Internet checksums are updated
 * incrementally (RFC 1624), so that a wrong checksum stays wrong, as in the kernel's NAT; SCTP's CRC32c is made anew
 * if it held before.
 */
import { assert } from "../base/index.ts";
import {
  crc32c,
  finishSum,
  IpProtocol,
  icmpHeaderSize,
  pseudoHeaderSum,
  readCrc32c,
  readOffender,
  readU16,
  readU32,
  sctpChecksumAt,
  sumWords,
  updateChecksum,
  updateChecksum32,
  writeCrc32c,
  writeU16,
  writeU32,
} from "../wire/index.ts";
import { DecodeStatus, type PacketBatch } from "./batch.ts";

export type Side = "src" | "dst";

/** Sets an address (one word for IPv4, four for IPv6) and fixes header and transport checksums. */
export function setAddress(batch: PacketBatch, row: number, side: Side, words: readonly number[]): void {
  assert(batch.status[row] !== DecodeStatus.dirty, "edit of an undecoded row");
  const family = batch.family[row]!;
  assert(words.length === (family === 4 ? 1 : 4), "address family differs from the packet's");
  const { bytes } = batch;
  const start = batch.offset[row]!;
  const column = side === "src" ? batch.src : batch.dst;
  const at = start + (family === 4 ? (side === "src" ? 12 : 16) : side === "src" ? 8 : 24);
  for (let i = 0; i < words.length; i++) {
    const before = readU32(bytes, at + 4 * i);
    const after = words[i]! >>> 0;
    if (before === after) continue;
    writeU32(bytes, at + 4 * i, after);
    if (family === 4)
      writeU16(bytes, start + 10, updateChecksum32(readU16(bytes, start + 10), before, after));
    fixTransportSum(batch, row, before, after, true);
    column[row * 4 + i] = after;
  }
}

/** Sets a port of a TCP, UDP or SCTP row. */
export function setPort(batch: PacketBatch, row: number, side: Side, port: number): void {
  assert(batch.status[row] === DecodeStatus.ok, "a port is set on a row without transport header");
  const at = batch.offset[row]! + batch.transport[row]! + (side === "src" ? 0 : 2);
  const before = readU16(batch.bytes, at);
  if (before === port) return;
  const crcHeld = batch.protocol[row] === IpProtocol.sctp && sctpCrcHolds(batch, row);
  writeU16(batch.bytes, at, port);
  if (crcHeld) writeSctpCrc(batch, row);
  else fixTransportSum(batch, row, before, port, false);
  if (batch.protocol[row] === udpLite) return; // its ports are no columns
  if (side === "src") batch.sport[row] = port;
  else batch.dport[row] = port;
}

/** Sets the identifier of an ICMP query (the "port" that NAT rewrites). */
export function setIcmpIdentifier(batch: PacketBatch, row: number, identifier: number): void {
  assert(batch.status[row] === DecodeStatus.ok, "an identifier is set on a row without ICMP header");
  const at = batch.offset[row]! + batch.transport[row]!;
  const before = readU16(batch.bytes, at + 4);
  writeU16(batch.bytes, at + 4, identifier);
  writeU16(batch.bytes, at + 2, updateChecksum(readU16(batch.bytes, at + 2), before, identifier));
}

/**
 * Rewrites one side of the packet that an ICMP error carries: its address and its port (of a query: the identifier), as
 * the kernel's NAT does. Carried checksums are kept right where their header is whole; SCTP's CRC32c is made anew over
 * what was carried; the error's own checksum follows. Returns false, perhaps half done, if the carried header is too short.
 */
export function setEmbedded(
  batch: PacketBatch,
  row: number,
  side: Side,
  words: readonly number[],
  port: number,
): boolean {
  assert(batch.status[row] === DecodeStatus.ok, "an embedded packet is edited in an undecoded row");
  const { bytes } = batch;
  const icmpAt = batch.offset[row]! + batch.transport[row]!;
  const at = icmpAt + icmpHeaderSize;
  const end = packetEnd(batch, row);
  const carried = readOffender(bytes, at, end);
  if (carried === undefined) return false;
  const { family, protocol } = carried;
  const transportAt = carried.transportAt < 0 ? end : carried.transportAt; // what has no ports needs no header
  const isWhole = setCarriedPort(bytes, transportAt, end, protocol, side, port);
  const sumAt =
    isWhole && protocol !== IpProtocol.icmp ? carriedSumAt(bytes, transportAt, protocol, end) : -1;
  const addressAt = side === "src" ? carried.srcAt : carried.dstAt;
  words.forEach((word, i) => {
    const before = readU32(bytes, addressAt + 4 * i);
    writeU32(bytes, addressAt + 4 * i, word);
    if (family === 4) writeU16(bytes, at + 10, updateChecksum32(readU16(bytes, at + 10), before, word >>> 0));
    if (sumAt >= 0)
      writeU16(bytes, sumAt, sentSum(protocol, updateChecksum32(readU16(bytes, sumAt), before, word >>> 0)));
  });
  writeU16(bytes, icmpAt + 2, 0);
  const pseudo = family === 4 ? 0 : pseudoSumV6(batch, row, end - icmpAt);
  writeU16(bytes, icmpAt + 2, finishSum(sumWords(bytes, icmpAt, end, pseudo)));
  return isWhole || family === 6;
}

/** UDP sends a computed zero as all ones, since zero means that there is no checksum. */
function sentSum(protocol: number, sum: number): number {
  return sum === 0 && (protocol === IpProtocol.udp || protocol === udpLite) ? 0xffff : sum;
}

function pseudoSumV6(batch: PacketBatch, row: number, length: number): number {
  const lane = row * 4;
  const words = (column: Uint32Array): number[] => [...column.subarray(lane, lane + 4)];
  return pseudoHeaderSum(words(batch.src), words(batch.dst), IpProtocol.icmpv6, length);
}

/** Sets a carried port or identifier. False: the eight bytes that NAT needs are not there. */
function setCarriedPort(
  bytes: Uint8Array,
  at: number,
  end: number,
  protocol: number,
  side: Side,
  port: number,
): boolean {
  const isQuery = protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
  if (!isQuery && protocol !== IpProtocol.gre && !portProtocols.has(protocol)) return true;
  if (at + 8 > end) return false;
  if (protocol === IpProtocol.gre) return isTranslatableGre(bytes, at, end, side);
  if (isQuery && !queryTypes.has(bytes[at]!)) return true;
  const portAt = at + (isQuery ? 4 : side === "src" ? 0 : 2);
  const before = readU16(bytes, portAt);
  writeU16(bytes, portAt, port);
  const sumAt = carriedSumAt(bytes, at, protocol, end);
  if (sumAt >= 0)
    writeU16(bytes, sumAt, sentSum(protocol, updateChecksum(readU16(bytes, sumAt), before, port)));
  if (protocol === IpProtocol.sctp && at + 12 <= end)
    writeCrc32c(bytes, at + sctpChecksumAt, crc32c(bytes, at, end, at + sctpChecksumAt));
  return true;
}

/**
 * Whether NAT takes a GRE header: eight bytes of it must be there, and a new destination is for versions 0 and 1 alone
 * (kernel net/netfilter/nf_nat_proto.c, gre_manip_pkt).
 */
export function isTranslatableGre(bytes: Uint8Array, at: number, end: number, side: Side): boolean {
  return at + 8 <= end && (side === "src" || (bytes[at + 1]! & 7) <= 1);
}

const udpLite = 136;
const portProtocols: ReadonlySet<number> = new Set([
  IpProtocol.tcp,
  IpProtocol.udp,
  IpProtocol.sctp,
  udpLite,
]);
/** ICMP types with an identifier, of both families. */
const queryTypes: ReadonlySet<number> = new Set([0, 8, 13, 14, 15, 16, 17, 18, 128, 129]);

/** Offset of the carried packet's transport checksum; -1 when it has none or its header was cut off. */
function carriedSumAt(bytes: Uint8Array, at: number, protocol: number, end: number): number {
  switch (protocol) {
    case IpProtocol.tcp:
      return at + 20 <= end ? at + 16 : -1;
    case IpProtocol.udp:
      return readU16(bytes, at + 6) === 0 ? -1 : at + 6;
    case udpLite:
      return at + 6;
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return at + 2;
    default:
      return -1;
  }
}

/** Lowers TTL or hop limit by one. Returns false, changing nothing, when it would reach zero. */
export function decrementTtl(batch: PacketBatch, row: number): boolean {
  const { bytes } = batch;
  const start = batch.offset[row]!;
  if (batch.family[row] === 6) {
    if (bytes[start + 7]! <= 1) return false;
    bytes[start + 7]!--;
    return true;
  }
  if (bytes[start + 8]! <= 1) return false;
  const before = readU16(bytes, start + 8);
  writeU16(bytes, start + 8, before - 0x100);
  writeU16(bytes, start + 10, updateChecksum(readU16(bytes, start + 10), before, before - 0x100));
  return true;
}

/** Sets TTL or hop limit. */
export function setTtl(batch: PacketBatch, row: number, ttl: number): void {
  const { bytes } = batch;
  const start = batch.offset[row]!;
  if (batch.family[row] === 6) {
    bytes[start + 7] = ttl;
    return;
  }
  const before = readU16(bytes, start + 8);
  const after = (before & 0xff) | (ttl << 8);
  writeU16(bytes, start + 8, after);
  writeU16(bytes, start + 10, updateChecksum(readU16(bytes, start + 10), before, after));
}

/** Sets all eight bits of TOS or traffic class. */
export function setTos(batch: PacketBatch, row: number, tos: number): void {
  const { bytes } = batch;
  const start = batch.offset[row]!;
  const before = readU16(bytes, start);
  const isV6 = batch.family[row] === 6;
  const after = isV6 ? (before & 0xf00f) | (tos << 4) : (before & 0xff00) | tos;
  writeU16(bytes, start, after);
  if (!isV6) writeU16(bytes, start + 10, updateChecksum(readU16(bytes, start + 10), before, after));
}

/** Sets the six DSCP bits; ECN bits stay. */
export function setDscp(batch: PacketBatch, row: number, dscp: number): void {
  const { bytes } = batch;
  const start = batch.offset[row]!;
  const before = readU16(bytes, start);
  if (batch.family[row] === 6) {
    writeU16(bytes, start, (before & 0xf03f) | (dscp << 6));
    return;
  }
  const after = (before & 0xff03) | (dscp << 2);
  writeU16(bytes, start, after);
  writeU16(bytes, start + 10, updateChecksum(readU16(bytes, start + 10), before, after));
}

/** Offset of the transport checksum that covers addresses or ports; -1 where there is none. */
function transportSumAt(batch: PacketBatch, row: number): number {
  if (batch.status[row] !== DecodeStatus.ok) return -1;
  const at = batch.offset[row]! + batch.transport[row]!;
  switch (batch.protocol[row]) {
    case IpProtocol.tcp:
      return at + 16;
    case IpProtocol.udp:
      return readU16(batch.bytes, at + 6) === 0 ? -1 : at + 6;
    case udpLite:
      return at + 6;
    case IpProtocol.icmpv6:
      return at + 2;
    default:
      return -1;
  }
}

function fixTransportSum(
  batch: PacketBatch,
  row: number,
  before: number,
  after: number,
  isWord: boolean,
): void {
  const at = transportSumAt(batch, row);
  if (at < 0) return;
  const old = readU16(batch.bytes, at);
  const sum = isWord ? updateChecksum32(old, before, after) : updateChecksum(old, before, after);
  writeU16(batch.bytes, at, sentSum(batch.protocol[row]!, sum));
}

function sctpCrcHolds(batch: PacketBatch, row: number): boolean {
  const at = batch.offset[row]! + batch.transport[row]!;
  const end = packetEnd(batch, row);
  return crc32c(batch.bytes, at, end, at + sctpChecksumAt) === readCrc32c(batch.bytes, at + sctpChecksumAt);
}

function writeSctpCrc(batch: PacketBatch, row: number): void {
  const at = batch.offset[row]! + batch.transport[row]!;
  const crc = crc32c(batch.bytes, at, packetEnd(batch, row), at + sctpChecksumAt);
  writeCrc32c(batch.bytes, at + sctpChecksumAt, crc);
}

/** End of the row's packet in `bytes` as its own length field states it (link padding excluded). */
export function packetEnd(batch: PacketBatch, row: number): number {
  const start = batch.offset[row]!;
  return batch.family[row] === 6
    ? start + 40 + readU16(batch.bytes, start + 4)
    : start + readU16(batch.bytes, start + 2);
}
