/**
 * TCP window tracking (kernel net/netfilter/nf_conntrack_proto_tcp.c, tcp_in_window; the algorithm is Guido van Rooij's
 * "Real Stateful TCP Packet Filtering in IP Filter"), as kernels from 6.1 on do it: a segment that comes too late, or
 * overruns the window by less than one window, passes without effect; only what is further off is INVALID.
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

/** Kinds of segment, in the order of the state table. */
export const SegmentKind = { syn: 0, synAck: 1, fin: 2, ack: 3, rst: 4, none: 5 } as const;

/** Bits of `TcpSide.flags`, and of `TcpTrack.lastFlags` for the last two. */
export const TcpSideFlag = {
  windowScale: 1,
  sackPermitted: 2,
  /** Sent the first FIN. */
  closeInit: 4,
  /** Windows are not judged: the connection was picked up in the middle. */
  beLiberal: 8,
  hasUnacked: 16,
  hasMaxAck: 32,
  /** A SYN was let through in LAST_ACK: the next ACK may be a challenge (RFC 5961). */
  expectsChallenge: 64,
  simultaneousOpen: 128,
} as const;

/** What one direction has sent and may send. All sequence numbers are unsigned 32-bit. */
export interface TcpSide {
  /** Highest sequence number sent, plus one. */
  end: number;
  /** Highest sequence number that the peer allows. */
  maxEnd: number;
  /** Largest window announced, in bytes; 0 while nothing was seen from this side. */
  maxWindow: number;
  maxAck: number;
  /** Window scale of RFC 7323. */
  scale: number;
  /** Bits of `TcpSideFlag`. */
  flags: number;
}

/** What is remembered of the last segment. Not every segment writes every field: see tcp-state.ts. */
export interface TcpTrack {
  state: number;
  readonly sides: readonly [TcpSide, TcpSide];
  lastKind: number;
  lastDirection: number;
  lastSeq: number;
  lastAck: number;
  lastEnd: number;
  lastWindow: number;
  lastScale: number;
  lastFlags: number;
  retransmissions: number;
}

export function newTcpTrack(): TcpTrack {
  return {
    state: TcpState.none,
    sides: [newSide(), newSide()],
    lastKind: SegmentKind.none,
    lastDirection: 0,
    lastSeq: 0,
    lastAck: 0,
    lastEnd: 0,
    lastWindow: 0,
    lastScale: 0,
    lastFlags: 0,
    retransmissions: 0,
  };
}

function newSide(): TcpSide {
  return { end: 0, maxEnd: 0, maxWindow: 0, maxAck: 0, scale: 0, flags: 0 };
}

/** Forgets all but that windows are not judged. */
export function clearSide(side: TcpSide): void {
  side.end = 0;
  side.maxEnd = 0;
  side.maxWindow = 0;
  side.maxAck = 0;
  side.scale = 0;
  side.flags &= TcpSideFlag.beLiberal;
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
  kind: number;
  /** Range of the options in `bytes`. */
  bytes: Uint8Array;
  optionsAt: number;
  optionsEnd: number;
}

const segment: Segment = {
  seq: 0,
  ack: 0,
  end: 0,
  window: 0,
  flags: 0,
  kind: SegmentKind.none,
  bytes: new Uint8Array(0),
  optionsAt: 0,
  optionsEnd: 0,
};

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
  segment.kind = segmentKind(flags);
  segment.bytes = bytes;
  segment.optionsAt = at + 20;
  segment.optionsEnd = at + headerSize;
  return segment;
}

export function segmentKind(flags: number): number {
  if (flags & TcpFlag.rst) return SegmentKind.rst;
  if (flags & TcpFlag.syn) return flags & TcpFlag.ack ? SegmentKind.synAck : SegmentKind.syn;
  if (flags & TcpFlag.fin) return SegmentKind.fin;
  if (flags & TcpFlag.ack) return SegmentKind.ack;
  return SegmentKind.none;
}

const TcpOptionKind = { end: 0, nop: 1, windowScale: 3, sackPermitted: 4, sack: 5 } as const;
const scaleMax = 14; // RFC 7323 section 2.3

/** Notes window scale and SACK permission of a SYN. A header without options leaves the side as it was. */
export function readSynOptions({ bytes, optionsAt, optionsEnd }: Segment, side: TcpSide): void {
  if (optionsAt === optionsEnd) return;
  side.scale = 0;
  side.flags &= TcpSideFlag.beLiberal;
  for (let at = optionsAt; at < optionsEnd; ) {
    const kind = bytes[at]!;
    if (kind === TcpOptionKind.end) return;
    if (kind === TcpOptionKind.nop) {
      at++;
      continue;
    }
    const size = at + 1 < optionsEnd ? bytes[at + 1]! : 0;
    if (size < 2 || at + size > optionsEnd) return;
    if (kind === TcpOptionKind.sackPermitted && size === 2) side.flags |= TcpSideFlag.sackPermitted;
    if (kind === TcpOptionKind.windowScale && size === 3) {
      side.scale = Math.min(bytes[at + 2]!, scaleMax);
      side.flags |= TcpSideFlag.windowScale;
    }
    at += size;
  }
}

/** Highest right edge of the first SACK option, or the acknowledgement number where that is higher (RFC 2018). */
function highestSack({ bytes, optionsAt, optionsEnd, ack }: Segment): number {
  for (let at = optionsAt; at < optionsEnd; ) {
    const kind = bytes[at]!;
    if (kind === TcpOptionKind.end) return ack;
    if (kind === TcpOptionKind.nop) {
      at++;
      continue;
    }
    const size = at + 1 < optionsEnd ? bytes[at + 1]! : 0;
    if (size < 2 || at + size > optionsEnd) return ack;
    if (kind === TcpOptionKind.sack && size >= 10 && (size - 2) % 8 === 0) {
      let sack = ack;
      for (let block = at + 2; block < at + size; block += 8) {
        const edge = readU32(bytes, block + 4);
        if (before(sack, edge)) sack = edge;
      }
      return sack;
    }
    at += size;
  }
  return ack;
}

/** True if sequence number `a` comes before `b` (RFC 9293 section 3.4: modulo 2^32). */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** Knowledge of a side from its SYN. */
function startSide(sender: TcpSide, receiver: TcpSide, seen: Segment, direction: 0 | 1): void {
  sender.end = seen.end;
  sender.maxEnd = seen.end;
  sender.maxWindow = Math.max(1, seen.window);
  readSynOptions(seen, sender);
  if (direction === 1 && !(sender.flags & receiver.flags & TcpSideFlag.windowScale)) {
    sender.scale = 0; // both sides must offer it (RFC 7323 section 2.2)
    receiver.scale = 0;
  }
}

export type WindowFit = "accept" | "ignore" | "invalid";

/** The least distance, in bytes, that an acknowledgement may lie behind what was sent. */
const ackWindowMin = 66000;

/** Checks a segment against both windows and, where it fits, records what it shows. */
export function tcpInWindow(
  track: TcpTrack,
  direction: 0 | 1,
  seen: Segment,
  isLiberalHere: boolean,
): WindowFit {
  const sender = track.sides[direction];
  const receiver = track.sides[direction === 0 ? 1 : 0];
  const { flags } = seen;
  let { seq, ack, end } = seen;
  let sack = receiver.flags & TcpSideFlag.sackPermitted ? highestSack(seen) : ack;
  if (sender.maxWindow === 0) {
    if (flags & TcpFlag.syn) {
      startSide(sender, receiver, seen, direction);
      if (!(flags & TcpFlag.ack)) return "accept"; // simultaneous open
    } else {
      meetInTheMiddle(sender, receiver, seen, sack);
    }
  } else if (
    flags & TcpFlag.syn &&
    before(sender.end, end) &&
    (track.state === TcpState.synSent || track.state === TcpState.synRecv)
  ) {
    startSide(sender, receiver, seen, direction); // begun again with higher numbers (RFC 9293 section 3.4)
    if (direction === 1 && !(flags & TcpFlag.ack)) return "accept";
  }
  if (!(flags & TcpFlag.ack) || (flags & TcpFlag.rst && ack === 0)) {
    ack = receiver.end;
    sack = receiver.end;
  }
  if (flags & TcpFlag.rst && seq === 0 && track.state === TcpState.synSent) {
    seq = sender.end; // the reset that answers a SYN
    end = sender.end;
  }
  const fit = judge(sender, receiver, seq, end, sack);
  if (fit !== "accept") return isLiberalHere || sender.flags & TcpSideFlag.beLiberal ? "accept" : fit;
  record(sender, receiver, seen, ack, sack, end);
  if (seen.kind === SegmentKind.ack) countRetransmission(track, direction, seq, ack, end, seen.window);
  return "accept";
}

/** Nothing is known of this side's past: its first segment says where it stands. */
function meetInTheMiddle(sender: TcpSide, receiver: TcpSide, { end, window }: Segment, sack: number): void {
  sender.end = end;
  sender.maxWindow = Math.max(1, window * 2 ** sender.scale);
  sender.maxEnd = (end + sender.maxWindow) >>> 0;
  if (receiver.maxWindow === 0) {
    receiver.end = sack;
    receiver.maxEnd = sack;
  } else if (sack === (receiver.end + 1) >>> 0) {
    receiver.end = sack; // the answer to a keep-alive
  }
}

function judge(sender: TcpSide, receiver: TcpSide, seq: number, end: number, sack: number): WindowFit {
  const isRecentAck = before(receiver.end - Math.max(sender.maxWindow, ackWindowMin) - 1, sack);
  const isInReceiveWindow = before(sender.end - receiver.maxWindow - 1, end);
  const isKnownAck = before(sack, receiver.end + 1);
  if (!before(seq, sender.maxEnd + 1)) {
    const overshot = (end - sender.maxEnd + 1) >>> 0;
    const isWithin = receiver.maxWindow !== 0 && isInReceiveWindow && overshot <= receiver.maxWindow;
    if (!isWithin || !isRecentAck || !isKnownAck) return "invalid";
    sender.end = end; // so that an acknowledgement of it is not INVALID too
    sender.flags |= TcpSideFlag.hasUnacked;
    return "ignore";
  }
  if (!isKnownAck) return "invalid";
  if (receiver.maxWindow !== 0 && !isInReceiveWindow) return "ignore";
  return isRecentAck ? "accept" : "ignore";
}

function record(
  sender: TcpSide,
  receiver: TcpSide,
  { flags, window: raw }: Segment,
  ack: number,
  sack: number,
  end: number,
): void {
  const window = flags & TcpFlag.syn ? raw : raw * 2 ** sender.scale;
  sender.maxWindow = Math.max(sender.maxWindow, (window + sack - ack) >>> 0);
  if (before(sender.end, end)) {
    sender.end = end;
    sender.flags |= TcpSideFlag.hasUnacked;
  }
  if (flags & TcpFlag.ack && (!(sender.flags & TcpSideFlag.hasMaxAck) || before(sender.maxAck, ack))) {
    sender.maxAck = ack;
    sender.flags |= TcpSideFlag.hasMaxAck;
  }
  if (receiver.maxWindow !== 0 && before(sender.maxEnd, end))
    receiver.maxWindow = (receiver.maxWindow + end - sender.maxEnd) >>> 0;
  const allowed = (sack + window) >>> 0;
  if (before(receiver.maxEnd - 1, allowed)) receiver.maxEnd = window === 0 ? (allowed + 1) >>> 0 : allowed;
  if (ack === receiver.end) receiver.flags &= ~TcpSideFlag.hasUnacked;
}

function countRetransmission(
  track: TcpTrack,
  direction: 0 | 1,
  seq: number,
  ack: number,
  end: number,
  window: number,
): void {
  if (
    track.lastDirection === direction &&
    track.lastSeq === seq &&
    track.lastAck === ack &&
    track.lastEnd === end &&
    track.lastWindow === window
  ) {
    track.retransmissions++;
    return;
  }
  track.lastDirection = direction;
  track.lastSeq = seq;
  track.lastAck = ack;
  track.lastEnd = end;
  track.lastWindow = window;
  track.retransmissions = 0;
}
