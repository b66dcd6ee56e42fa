/**
 * The packet inside an ICMP error, as far as its tuple (kernel net/netfilter/nf_conntrack_proto_icmp.c and _icmpv6.c,
 * nf_conntrack_inet_error, and nf_ct_get_tuplepr). It is cut, so nothing but addresses and ports is read from it.
 */
import { type PacketBatch, packetEnd } from "../../packet/index.ts";
import {
  extensionSize,
  IpProtocol,
  ipv4HeaderSize,
  ipv6HeaderSize,
  NextHeader,
  readU16,
  readU32,
} from "../../wire/index.ts";
import { invertIcmpType, setTuplePorts, type Tuple } from "./tuples.ts";

const icmpHeaderSize = 8;
const redirectType = 137;
/** Header, target and destination of a redirect (RFC 4861 section 4.5). */
const redirectSize = 40;
const redirectedHeader = 4;

/** Offset in `bytes` of the packet that an ICMP error row carries; -1 where it carries none, -2 where it is none at all. */
export function carriedPacketAt(batch: PacketBatch, row: number): number {
  const at = batch.offset[row]! + batch.transport[row]!;
  if (batch.protocol[row] === IpProtocol.icmpv6 && batch.bytes[at] === redirectType)
    return redirectedPacketAt(batch, row, at);
  return at + icmpHeaderSize;
}

function redirectedPacketAt(batch: PacketBatch, row: number, at: number): number {
  const { bytes } = batch;
  const end = packetEnd(batch, row);
  if (at + redirectSize > end) return -1;
  if (bytes[at + 1] !== 0) return -2;
  const isLinkLocal = batch.src[row * 4]! >>> 22 === 0xfe80 >>> 6;
  if (bytes[batch.offset[row]! + 7] !== 255 || !isLinkLocal) return -1;
  const option = at + redirectSize;
  if (option + 2 > end || bytes[option + 1] === 0) return -1;
  return bytes[option] === redirectedHeader ? option + 8 : -2;
}

/** Writes the tuple of the packet at `at`. False: it is cut too early, a later fragment, or of no kind with replies. */
export function tupleOfCarried(
  bytes: Uint8Array,
  at: number,
  end: number,
  family: number,
  zone: number,
  tuple: Tuple,
): boolean {
  return family === 6 ? carriedV6(bytes, at, end, zone, tuple) : carriedV4(bytes, at, end, zone, tuple);
}

function carriedV4(bytes: Uint8Array, at: number, end: number, zone: number, tuple: Tuple): boolean {
  if (at + ipv4HeaderSize > end) return false;
  if ((readU16(bytes, at + 6) & 0x1fff) !== 0) return false;
  const transportAt = at + (bytes[at]! & 15) * 4;
  if (transportAt > end) return false;
  tuple.fill(0);
  tuple[0] = readU32(bytes, at + 12);
  tuple[4] = readU32(bytes, at + 16);
  return setTransport(bytes, transportAt, end, 4, bytes[at + 9]!, zone, tuple);
}

function carriedV6(bytes: Uint8Array, at: number, end: number, zone: number, tuple: Tuple): boolean {
  if (at + ipv6HeaderSize > end) return false;
  let protocol = bytes[at + 6]!;
  let next = at + ipv6HeaderSize;
  while (protocol === NextHeader.fragment || extensionSize(protocol, bytes, at) > 0) {
    if (next + 8 > end) return false;
    if (protocol === NextHeader.fragment && (readU16(bytes, next + 2) & 0xfff8) !== 0) return false;
    const size = extensionSize(protocol, bytes, next);
    protocol = bytes[next]!;
    next += size;
  }
  if (protocol === NextHeader.none || next > end) return false;
  for (let i = 0; i < 4; i++) {
    tuple[i] = readU32(bytes, at + 8 + 4 * i);
    tuple[4 + i] = readU32(bytes, at + 24 + 4 * i);
  }
  return setTransport(bytes, next, end, 6, protocol, zone, tuple);
}

function setTransport(
  bytes: Uint8Array,
  at: number,
  end: number,
  family: number,
  protocol: number,
  zone: number,
  tuple: Tuple,
): boolean {
  tuple[9] = ((zone << 16) | (family << 8) | protocol) >>> 0;
  if (!setTuplePorts(tuple, protocol, bytes, at, end)) return false;
  if (protocol !== IpProtocol.icmp && protocol !== IpProtocol.icmpv6) return true;
  return invertIcmpType(protocol, (tuple[8]! >>> 8) & 0xff) !== 255;
}
