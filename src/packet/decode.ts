/**
 * Header columns from bytes. Never throws and allocates nothing: what cannot be read is a `DecodeStatus`.
 * Reads just what filters ask for; checksums are not verified here (conntrack does, as the kernel does).
 * Governing sources: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 9260, RFC 792, RFC 4443.
 */
import {
  extensionSize,
  IpProtocol,
  ipv4HeaderSize,
  ipv6HeaderSize,
  NextHeader,
  readU16,
  readU32,
  sctpHeaderSize,
  tcpHeaderSize,
  udpHeaderSize,
} from "../wire/index.ts";
import { DecodeStatus, type PacketBatch } from "./batch.ts";

/** Decodes rows `first <= row < last`. */
export function decode(batch: PacketBatch, first = 0, last: number = batch.length): void {
  for (let row = first; row < last; row++) decodeRow(batch, row);
}

export function decodeRow(batch: PacketBatch, row: number): void {
  const { bytes } = batch;
  const start = batch.offset[row]!;
  const end = start + batch.size[row]!;
  clearColumns(batch, row);
  const version = end > start ? bytes[start]! >>> 4 : 0;
  if (version === 4) decodeIpv4(batch, row, start, end);
  else if (version === 6) decodeIpv6(batch, row, start, end);
  else batch.status[row] = DecodeStatus.malformedNetwork;
}

function clearColumns(batch: PacketBatch, row: number): void {
  batch.family[row] = 0;
  batch.protocol[row] = 0;
  batch.sport[row] = 0;
  batch.dport[row] = 0;
  batch.tcpFlags[row] = 0;
  batch.transport[row] = 0;
  const lane = row * 4;
  batch.src.fill(0, lane, lane + 4);
  batch.dst.fill(0, lane, lane + 4);
}

function decodeIpv4(batch: PacketBatch, row: number, start: number, end: number): void {
  const { bytes } = batch;
  const headerSize = (bytes[start]! & 15) * 4;
  const totalLength = end - start >= ipv4HeaderSize ? readU16(bytes, start + 2) : 0;
  if (headerSize < ipv4HeaderSize || totalLength < headerSize || start + totalLength > end) {
    batch.status[row] = DecodeStatus.malformedNetwork;
    return;
  }
  batch.family[row] = 4;
  batch.src[row * 4] = readU32(bytes, start + 12);
  batch.dst[row * 4] = readU32(bytes, start + 16);
  const protocol = bytes[start + 9]!;
  batch.protocol[row] = protocol;
  if ((readU16(bytes, start + 6) & 0x1fff) !== 0) {
    batch.status[row] = DecodeStatus.laterFragment;
    return;
  }
  decodeTransport(batch, row, protocol, start + headerSize, start + totalLength);
}

function decodeIpv6(batch: PacketBatch, row: number, start: number, end: number): void {
  const { bytes } = batch;
  const payloadEnd = end - start >= ipv6HeaderSize ? start + ipv6HeaderSize + readU16(bytes, start + 4) : 0;
  if (payloadEnd === 0 || payloadEnd > end) {
    batch.status[row] = DecodeStatus.malformedNetwork;
    return;
  }
  batch.family[row] = 6;
  for (let i = 0; i < 4; i++) {
    batch.src[row * 4 + i] = readU32(bytes, start + 8 + 4 * i);
    batch.dst[row * 4 + i] = readU32(bytes, start + 24 + 4 * i);
  }
  let protocol = bytes[start + 6]!;
  let at = start + ipv6HeaderSize;
  while (protocol === NextHeader.fragment || extensionSize(protocol, bytes, start) > 0) {
    const size = at + 8 <= payloadEnd ? extensionSize(protocol, bytes, at) : 0;
    if (size === 0 || at + size > payloadEnd) {
      batch.protocol[row] = protocol;
      batch.status[row] = DecodeStatus.malformedTransport;
      return;
    }
    const isLaterFragment = protocol === NextHeader.fragment && (readU16(bytes, at + 2) & 0xfff8) !== 0;
    protocol = bytes[at]!;
    at += size;
    if (isLaterFragment) {
      batch.protocol[row] = protocol;
      batch.status[row] = DecodeStatus.laterFragment;
      return;
    }
  }
  batch.protocol[row] = protocol;
  decodeTransport(batch, row, protocol, at, payloadEnd);
}

function decodeTransport(batch: PacketBatch, row: number, protocol: number, at: number, end: number): void {
  const { bytes } = batch;
  const room = end - at;
  let isWhole = true;
  switch (protocol) {
    case IpProtocol.tcp:
      isWhole = room >= tcpHeaderSize && (bytes[at + 12]! >>> 4) * 4 >= tcpHeaderSize;
      isWhole = isWhole && (bytes[at + 12]! >>> 4) * 4 <= room;
      if (isWhole) batch.tcpFlags[row] = bytes[at + 13]!;
      break;
    case IpProtocol.udp:
      isWhole = room >= udpHeaderSize;
      break;
    case IpProtocol.sctp:
      isWhole = room >= sctpHeaderSize;
      break;
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      isWhole = room >= 4;
      if (isWhole) batch.dport[row] = readU16(bytes, at);
      break;
  }
  if (!isWhole) {
    batch.status[row] = DecodeStatus.malformedTransport;
    return;
  }
  batch.transport[row] = at - batch.offset[row]!;
  if (protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.sctp) {
    batch.sport[row] = readU16(bytes, at);
    batch.dport[row] = readU16(bytes, at + 2);
  }
  batch.status[row] = DecodeStatus.ok;
}
