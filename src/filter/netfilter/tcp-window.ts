/**
 * TCP window tracking (kernel net/netfilter/nf_conntrack_proto_tcp.c, tcp_in_window; the algorithm is Guido van Rooij's
 * "Real Stateful TCP Packet Filtering in IP Filter"). As kernels from 6.1 on do, a segment that comes too late is let
 * through without effect, and only one that is ahead of the window is INVALID. SACK blocks are not read: the
 * acknowledgement number stands for them.
 */
import type { PacketBatch } from "../../packet/index.ts";
import { readU16, readU32, TcpFlag } from "../../wire/index.ts";

/** States of a connection; the last two are answers of the state table, never a state. */
export const TcpState = {
  none: 0,
  synSent: 1,
  synRecv: 2,
  established: 3,
  finWait: 4,
  closeWait: 5,
  lastAck: 6,
  timeWait: 7,
  close: 8,
  synSent2: 9,
  invalid: 10,
  ignore: 11,
} as const;

/** What one direction has sent and may send. All sequence numbers are unsigned 32-bit. */
export interface TcpSide {
  /** Highest sequence number sent, plus one. */
  end: number;
  /** Highest sequence number that the peer allows. */
  maxEnd: number;
  /** Largest window announced, in bytes; 0 while nothing was seen from this side. */
  maxWindow: number;
  scale: number;
  hasScale: boolean;
  /** Windows are not judged: the connection was picked up in the middle. */
  isLiberal: boolean;
  maxAck: number;
  hasMaxAck: boolean;
  hasUnacked: boolean;
  /** Sent the first FIN. */
  beganClose: boolean;
}

export function newSide(): TcpSide {
  return {
    end: 0,
    maxEnd: 0,
    maxWindow: 0,
    scale: 0,
    hasScale: false,
    isLiberal: false,
    maxAck: 0,
    hasMaxAck: false,
    hasUnacked: false,
    beganClose: false,
  };
}

/** The fields of a segment that tracking reads. */
export interface Segment {
  seq: number;
  ack: number;
  /** Sequence number after the segment: SYN and FIN count as one byte each. */
  end: number;
  /** As in the header, not scaled. */
  window: number;
  flags: number;
  scale: number;
  hasScale: boolean;
}

const scaleMax = 14; // RFC 7323 section 2.3
const ackWindowMin = 66000;

const segment: Segment = { seq: 0, ack: 0, end: 0, window: 0, flags: 0, scale: 0, hasScale: false };

/** Reads a whole TCP row. The result is reused by the next call. */
export function readSegment(batch: PacketBatch, row: number, packetEnd: number): Segment {
  const { bytes } = batch;
  const at = batch.offset[row]! + batch.transport[row]!;
  const headerSize = (bytes[at + 12]! >>> 4) * 4;
  const flags = bytes[at + 13]!;
  const span = packetEnd - at - headerSize + (flags & TcpFlag.syn ? 1 : 0) + (flags & TcpFlag.fin ? 1 : 0);
  segment.seq = readU32(bytes, at + 4);
  segment.ack = readU32(bytes, at + 8);
  segment.end = (segment.seq + span) >>> 0;
  segment.window = readU16(bytes, at + 14);
  segment.flags = flags;
  segment.scale = 0;
  segment.hasScale = false;
  if (flags & TcpFlag.syn) readScale(bytes, at + 20, at + headerSize);
  return segment;
}

const TcpOptionKind = { end: 0, nop: 1, windowScale: 3 } as const;

function readScale(bytes: Uint8Array, start: number, end: number): void {
  for (let at = start; at < end; ) {
    const kind = bytes[at]!;
    if (kind === TcpOptionKind.end) return;
    const size = kind === TcpOptionKind.nop ? 1 : bytes[at + 1]!;
    if (size === 0 || at + size > end || (size === 1 && kind !== TcpOptionKind.nop)) return;
    if (kind === TcpOptionKind.windowScale && size === 3) {
      segment.scale = Math.min(bytes[at + 2]!, scaleMax);
      segment.hasScale = true;
    }
    at += size;
  }
}

/** True if sequence number `a` comes before `b` (RFC 9293 section 3.4: modulo 2^32). */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** First knowledge of a side, from a segment with SYN or of a connection picked up. */
export function startSide(side: TcpSide, { end, window, scale, hasScale }: Segment): void {
  side.end = end;
  side.maxEnd = end;
  side.maxWindow = Math.max(1, window);
  side.scale = scale;
  side.hasScale = hasScale;
}

/** `out`: ahead of the window or acknowledging what was never sent. `late`: behind it. */
export type WindowFit = "in" | "out" | "late";

/** Checks a segment against both windows and, where it fits, records what it shows. */
export function tcpInWindow(
  sides: readonly [TcpSide, TcpSide],
  state: number,
  direction: 0 | 1,
  { seq: seqSent, ack: ackSent, end: endSent, window, flags, scale, hasScale }: Segment,
): WindowFit {
  const sender = sides[direction];
  const receiver = sides[direction === 0 ? 1 : 0];
  const isRestart =
    sender.maxWindow !== 0 &&
    state === (direction === 0 ? TcpState.synSent : TcpState.synRecv) &&
    before(sender.end, endSent) &&
    (flags & TcpFlag.syn) !== 0;
  if (sender.maxWindow === 0 && !(flags & TcpFlag.syn)) {
    sender.end = endSent;
    sender.maxWindow = Math.max(1, window * 2 ** sender.scale);
    sender.maxEnd = (endSent + sender.maxWindow) >>> 0;
  } else if (sender.maxWindow === 0 || isRestart) {
    startSide(sender, { seq: seqSent, ack: ackSent, end: endSent, window, flags, scale, hasScale });
    if (!isRestart && !(sender.hasScale && receiver.hasScale)) {
      sender.scale = 0; // both sides must offer it (RFC 7323 section 2.2)
      receiver.scale = 0;
    }
    if (!isRestart && !(flags & TcpFlag.ack)) return "in"; // simultaneous open
  }
  const hasAck = (flags & TcpFlag.ack) !== 0 && !(flags & TcpFlag.rst && ackSent === 0);
  const ack = hasAck ? ackSent : receiver.end;
  // An empty segment is judged by its acknowledgement alone; a reset by its number, save the one that answers a SYN.
  const isEmpty =
    seqSent === endSent && (!(flags & TcpFlag.rst) || (seqSent === 0 && state === TcpState.synSent));
  const seq = isEmpty ? sender.end : seqSent;
  const end = isEmpty ? sender.end : endSent;
  const ackFloor = (receiver.end - Math.max(sender.maxWindow, ackWindowMin) - 1) >>> 0;
  const isAckSane = !before(receiver.end, ack);
  const isAckRecent = before(ackFloor, ack);
  if (before(sender.maxEnd, seq)) {
    if (isAckSane && isAckRecent) sender.end = end; // so that an acknowledgement of it is not INVALID too
    return "out";
  }
  if (!isAckSane) return "out";
  if (receiver.maxWindow !== 0 && !before((sender.end - receiver.maxWindow - 1) >>> 0, end)) return "late";
  if (!isAckRecent) return "late";
  record(sender, receiver, ack, end, flags & TcpFlag.syn ? window : window * 2 ** sender.scale, hasAck);
  return "in";
}

function record(
  sender: TcpSide,
  receiver: TcpSide,
  ack: number,
  end: number,
  window: number,
  hasAck: boolean,
): void {
  sender.maxWindow = Math.max(sender.maxWindow, window);
  if (before(sender.end, end)) {
    sender.end = end;
    sender.hasUnacked = true;
  }
  if (hasAck && (!sender.hasMaxAck || before(sender.maxAck, ack))) {
    sender.maxAck = ack;
    sender.hasMaxAck = true;
  }
  if (receiver.maxWindow !== 0 && before(sender.maxEnd, end))
    receiver.maxWindow += (end - sender.maxEnd) >>> 0;
  const allowed = (ack + window) >>> 0;
  if (!before(allowed, receiver.maxEnd)) receiver.maxEnd = window === 0 ? (allowed + 1) >>> 0 : allowed;
  if (ack === receiver.end) receiver.hasUnacked = false;
}
