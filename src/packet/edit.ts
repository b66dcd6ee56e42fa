/**
 * All writes to packets. Each keeps bytes, checksums and columns in step. Internet checksums are updated
 * incrementally (RFC 1624), so that a wrong checksum stays wrong, as in the kernel's NAT; SCTP's CRC32c is made anew
 * if it held before.
 */
import { assert } from "../base/index.ts";
import {
  crc32c,
  IpProtocol,
  readCrc32c,
  readU16,
  readU32,
  sctpChecksumAt,
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
  if (side === "src") batch.sport[row] = port;
  else batch.dport[row] = port;
}

/** Sets identifier of an ICMP echo (the "port" that NAT rewrites). */
export function setIcmpIdentifier(batch: PacketBatch, row: number, identifier: number): void {
  const at = batch.offset[row]! + batch.transport[row]!;
  const before = readU16(batch.bytes, at + 4);
  writeU16(batch.bytes, at + 4, identifier);
  writeU16(batch.bytes, at + 2, updateChecksum(readU16(batch.bytes, at + 2), before, identifier));
}

/**
 * Rewrites one side of the packet that an ICMP error carries: its address and its port (of an echo: the identifier).
 * The carried checksums are kept right where they were not cut off, SCTP's CRC32c excepted, and the error's own too.
 */
export function setEmbedded(
  batch: PacketBatch,
  row: number,
  side: Side,
  words: readonly number[],
  port: number,
): void {
  assert(batch.status[row] === DecodeStatus.ok, "an embedded packet is edited in an undecoded row");
  const { bytes } = batch;
  const outerSumAt = batch.offset[row]! + batch.transport[row]! + 2;
  const at = outerSumAt + 6;
  const end = packetEnd(batch, row);
  const isV4 = batch.family[row] === 4;
  const transportAt = at + (isV4 ? (bytes[at]! & 15) * 4 : 40);
  const protocol = bytes[at + (isV4 ? 9 : 6)]!;
  const put = (position: number, value: number): void => {
    const before = readU16(bytes, position);
    writeU16(bytes, position, value);
    writeU16(bytes, outerSumAt, updateChecksum(readU16(bytes, outerSumAt), before, value));
  };
  const sumAt = embeddedSumAt(bytes, transportAt, protocol, end);
  const replace = (position: number, value: number, isInSum: boolean): void => {
    const before = readU16(bytes, position);
    if (before === value) return;
    put(position, value);
    if (sumAt >= 0 && isInSum) put(sumAt, updateChecksum(readU16(bytes, sumAt), before, value));
  };
  const addressAt = at + (isV4 ? (side === "src" ? 12 : 16) : side === "src" ? 8 : 24);
  words.forEach((word, i) => {
    for (const [half, value] of [word >>> 16, word & 0xffff].entries()) {
      const position = addressAt + 4 * i + 2 * half;
      if (isV4 && readU16(bytes, position) !== value)
        put(at + 10, updateChecksum(readU16(bytes, at + 10), readU16(bytes, position), value));
      replace(position, value, protocol !== IpProtocol.icmp);
    }
  });
  const isEcho = protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
  const portAt = transportAt + (isEcho ? 4 : side === "src" ? 0 : 2);
  if (isEcho || protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.sctp)
    if (portAt + 2 <= end) replace(portAt, port, true);
}

/** Offset of the carried packet's transport checksum; -1 when it has none or it was cut off. */
function embeddedSumAt(bytes: Uint8Array, transportAt: number, protocol: number, end: number): number {
  const offset = { [IpProtocol.tcp]: 16, [IpProtocol.udp]: 6, [IpProtocol.icmp]: 2, [IpProtocol.icmpv6]: 2 }[
    protocol
  ];
  if (offset === undefined || transportAt + offset + 2 > end) return -1;
  const isUnused = protocol === IpProtocol.udp && readU16(bytes, transportAt + offset) === 0;
  return isUnused ? -1 : transportAt + offset;
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
  const isUdp = batch.protocol[row] === IpProtocol.udp;
  writeU16(batch.bytes, at, isUdp && sum === 0 ? 0xffff : sum);
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
