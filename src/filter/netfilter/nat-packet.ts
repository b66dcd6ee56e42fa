/**
 * Translation of packets as their connection was translated, in both directions, and of the packet inside an ICMP error
 * (kernel net/netfilter/nf_nat_proto.c).
 */
import {
  CtState,
  isTranslatableGre,
  type PacketBatch,
  packetEnd,
  setAddress,
  setEmbedded,
  setIcmpIdentifier,
  setPort,
} from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import { transportChecksumHolds } from "./checksum.ts";
import { rowDirection } from "./conntrack.ts";
import { type CtEntry, CtStatus } from "./entry.ts";
import type { Manip } from "./nat.ts";
import { invertTuple, newTuple, type Tuple, udpLite } from "./tuples.ts";

const target: Tuple = newTuple();
const redirectV4 = 5;
const redirectV6 = 137;

/** True if the row is an ICMP error of a tracked connection: no rule judges it, only its contents are translated. */
export function isRelatedError(batch: PacketBatch, row: number): boolean {
  return batch.state.ctState[row] === CtState.related && isIcmp(batch.protocol[row]!);
}

/** Rewrites a row's source or destination as its connection was translated. False: the packet is dropped. */
export function applyNat(entry: CtEntry, batch: PacketBatch, row: number, manip: Manip): boolean {
  const direction = rowDirection(batch, row);
  const touchesSrc = (manip === "src") === (direction === 0);
  const isTranslated = (entry.status & (touchesSrc ? CtStatus.srcNat : CtStatus.dstNat)) !== 0;
  if (isRelatedError(batch, row)) return translateError(entry, batch, row, manip, isTranslated);
  if (!isTranslated) return true;
  const transportAt = batch.offset[row]! + batch.transport[row]!;
  if (
    entry.protocol === IpProtocol.gre &&
    !isTranslatableGre(batch.bytes, transportAt, packetEnd(batch, row), manip)
  )
    return false;
  invertTuple(entry.tuples[direction === 0 ? 1 : 0], target);
  setAddress(batch, row, manip, sideWords(entry, target, manip));
  const key = keyOf(target, manip, entry.protocol);
  switch (entry.protocol) {
    case IpProtocol.icmp:
      setIcmpIdentifier(batch, row, key);
      break;
    case IpProtocol.icmpv6:
      if (isEchoV6(batch.dport[row]! >>> 8)) setIcmpIdentifier(batch, row, key);
      break;
    case IpProtocol.tcp:
    case IpProtocol.udp:
    case IpProtocol.sctp:
    case udpLite:
      setPort(batch, row, manip, key);
      break;
  }
  return true;
}

/** The packet inside an ICMP error travels the other way: its opposite side is the one to translate. */
function translateError(
  entry: CtEntry,
  batch: PacketBatch,
  row: number,
  manip: Manip,
  isTranslated: boolean,
): boolean {
  if (!transportChecksumHolds(batch, row)) return false;
  const type = batch.dport[row]! >>> 8;
  if (type === (batch.family[row] === 6 ? redirectV6 : redirectV4)) {
    const done = CtStatus.srcNatDone | CtStatus.dstNatDone;
    if ((entry.status & done) !== done || entry.status & (CtStatus.srcNat | CtStatus.dstNat)) return false;
  }
  if (!isTranslated) return true;
  const answering = entry.tuples[rowDirection(batch, row) === 0 ? 1 : 0];
  const inner: Manip = manip === "src" ? "dst" : "src";
  const words = sideWords(entry, answering, inner);
  if (!setEmbedded(batch, row, inner, words, keyOf(answering, inner, entry.protocol))) return false;
  invertTuple(answering, target);
  setAddress(batch, row, manip, sideWords(entry, target, manip));
  return true;
}

function isIcmp(protocol: number): boolean {
  return protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
}

function isEchoV6(type: number): boolean {
  return type === 128 || type === 129;
}

/** Port of a side of a tuple; of a query, its identifier on either side. */
function keyOf(tuple: Tuple, side: Manip, protocol: number): number {
  return side === "src" || isIcmp(protocol) ? tuple[8]! >>> 16 : tuple[8]! & 0xffff;
}

function sideWords(entry: CtEntry, tuple: Tuple, side: Manip): readonly number[] {
  const start = side === "src" ? 0 : 4;
  return [...tuple.subarray(start, start + (entry.family === 6 ? 4 : 1))];
}
