/**
 * TCP tracking: the state table and window check of the kernel's net/netfilter/nf_conntrack_proto_tcp.c (the window
 * algorithm is Guido van Rooij's "Real Stateful TCP Packet Filtering in IP Filter"). Time-outs are the kernel's
 * defaults in seconds.
 */
import type { PacketBatch } from "../../packet/index.ts";
import { readU16, readU32, TcpFlag } from "../../wire/index.ts";

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

export const tcpTimeoutSeconds: readonly number[] = [0, 120, 60, 432000, 120, 60, 30, 120, 10, 120];
/** Data that nobody has acknowledged, and retransmission, shorten an entry's life. */
export const tcpUnackedTimeoutSeconds = 300;

const [, SS, SR, ES, FW, CW, LA, TW, CL, S2, IV, IG] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/** `[direction][flag kind][state]`; flag kinds: syn, syn-ack, fin, ack, rst, none. */
const transitions: readonly (readonly (readonly (number | undefined)[])[])[] = [
  [
    [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
    [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
    [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
    [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
    [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
    [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
  ],
  [
    [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
    [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
    [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
    [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
    [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
    [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
  ],
];

/** What one direction has sent and may send. All sequence numbers are unsigned 32-bit. */
export interface TcpSide {
  end: number;
  maxEnd: number;
  maxWindow: number;
  scale: number;
  hasScale: boolean;
  seen: boolean;
  liberal: boolean;
}

export interface TcpTrack {
  state: number;
  readonly sides: readonly [TcpSide, TcpSide];
  lastFlags: number;
  lastDirection: number;
}

export function newTcpTrack(): TcpTrack {
  const side = (): TcpSide => ({
    end: 0,
    maxEnd: 0,
    maxWindow: 0,
    scale: 0,
    hasScale: false,
    seen: false,
    liberal: false,
  });
  return { state: TcpState.none, sides: [side(), side()], lastFlags: 0, lastDirection: 0 };
}

function flagKind(flags: number): number {
  if (flags & TcpFlag.rst) return 4;
  if (flags & TcpFlag.syn) return flags & TcpFlag.ack ? 1 : 0;
  if (flags & TcpFlag.fin) return 2;
  if (flags & TcpFlag.ack) return 3;
  return 5;
}

/** Combinations of flags that the kernel's `tcp_valid_flags` accepts (PSH, URG, ECE, CWR aside). */
export function tcpFlagsAreValid(flags: number): boolean {
  const core = flags & (TcpFlag.fin | TcpFlag.syn | TcpFlag.rst | TcpFlag.ack);
  const { fin, syn, rst, ack } = TcpFlag;
  return [syn, syn | ack, rst, rst | ack, fin | ack, ack].includes(core as never);
}

/** The state after a packet, or `invalid` / `ignore`. */
export function nextTcpState(state: number, direction: 0 | 1, flags: number): number {
  return transitions[direction]?.[flagKind(flags)]?.[state] ?? TcpState.invalid;
}

/** Signed distance a - b of sequence numbers. */
function distance(a: number, b: number): number {
  return (a - b) | 0;
}

interface Segment {
  readonly seq: number;
  readonly ack: number;
  readonly end: number;
  readonly window: number;
  readonly flags: number;
  readonly scale: number;
  readonly hasScale: boolean;
}

function readSegment(batch: PacketBatch, row: number, packetEnd: number): Segment {
  const { bytes } = batch;
  const at = batch.offset[row]! + batch.transport[row]!;
  const headerSize = (bytes[at + 12]! >>> 4) * 4;
  const flags = bytes[at + 13]!;
  const seq = readU32(bytes, at + 4);
  const span = packetEnd - at - headerSize + (flags & TcpFlag.syn ? 1 : 0) + (flags & TcpFlag.fin ? 1 : 0);
  let scale = 0;
  let hasScale = false;
  if (flags & TcpFlag.syn) {
    for (let option = at + 20; option < at + headerSize; ) {
      const kind = bytes[option]!;
      if (kind === 0) break;
      const size = kind === 1 ? 1 : bytes[option + 1]!;
      if (size === 0) break;
      if (kind === 3 && size === 3) {
        scale = Math.min(bytes[option + 2]!, 14);
        hasScale = true;
      }
      option += size;
    }
  }
  return {
    seq,
    ack: readU32(bytes, at + 8),
    end: (seq + span) >>> 0,
    window: readU16(bytes, at + 14),
    flags,
    scale,
    hasScale,
  };
}

/**
 * Checks a segment against both windows and records what it shows. False: out of window, so INVALID.
 * `direction` 0 is the connection's original one.
 */
export function tcpInWindow(
  track: TcpTrack,
  direction: 0 | 1,
  batch: PacketBatch,
  row: number,
  packetEnd: number,
): boolean {
  const segment = readSegment(batch, row, packetEnd);
  const sender = track.sides[direction];
  const receiver = track.sides[direction === 0 ? 1 : 0];
  let { ack } = segment;
  const { flags, end, seq } = segment;
  if (!sender.seen) startSide(sender, receiver, segment);
  else if (flags & TcpFlag.syn && (track.state === TcpState.synSent || track.state === TcpState.synRecv))
    startSide(sender, receiver, segment); // a retransmitted or simultaneous SYN starts afresh
  if (!(flags & TcpFlag.ack) || (flags & (TcpFlag.rst | TcpFlag.ack) && ack === 0 && flags & TcpFlag.rst))
    ack = receiver.end; // no acknowledgement: as if it acknowledged everything
  const seqNow = flags & TcpFlag.rst && seq === 0 && track.state === TcpState.synSent ? sender.end : seq;
  const window = segment.flags & TcpFlag.syn ? segment.window : segment.window * 2 ** sender.scale;
  const inUpper = distance(seqNow, sender.maxEnd) <= 0;
  const inLower = distance(end, (sender.end - receiver.maxWindow - 1) >>> 0) > 0 || receiver.maxWindow === 0;
  const ackUpper = distance(ack, receiver.end) <= 0 || !receiver.seen;
  const ackSlack = Math.max(sender.maxWindow, 66000);
  const ackLower = distance(ack, (receiver.end - ackSlack - 1) >>> 0) > 0 || !receiver.seen;
  if (!(inUpper && inLower && ackUpper && ackLower)) return sender.liberal || receiver.liberal;
  const reach = window === 0 ? 1 : window;
  if (sender.maxWindow < reach + distance(ack, receiver.end) + 0 || sender.maxWindow < reach)
    sender.maxWindow = Math.max(sender.maxWindow, reach);
  if (distance(end, sender.end) > 0) sender.end = end;
  if (receiver.maxWindow !== 0 && distance(end, sender.maxEnd) > 0)
    receiver.maxWindow += distance(end, sender.maxEnd);
  const allowed = (ack + reach) >>> 0;
  if (!receiver.seen || distance(allowed, receiver.maxEnd) > 0) receiver.maxEnd = allowed;
  track.lastFlags = flags;
  track.lastDirection = direction;
  return true;
}

function startSide(sender: TcpSide, receiver: TcpSide, segment: Segment): void {
  sender.seen = true;
  sender.end = segment.end;
  sender.maxEnd = segment.end;
  sender.maxWindow = Math.max(1, segment.window);
  if (segment.flags & TcpFlag.syn) {
    sender.scale = segment.scale;
    sender.hasScale = segment.hasScale;
    const bothScale = sender.hasScale && receiver.hasScale;
    if (receiver.seen && !bothScale) {
      sender.scale = 0;
      receiver.scale = 0;
    }
    if (receiver.seen && segment.flags & TcpFlag.ack) sender.maxEnd = Math.max(segment.end, sender.maxEnd);
    if (receiver.seen) sender.maxEnd = (segment.end + Math.max(1, receiver.maxWindow)) >>> 0;
    return;
  }
  // Picked up in the middle: nothing is known of the other side yet.
  sender.maxEnd = (segment.end + sender.maxWindow) >>> 0;
  sender.liberal = true;
  receiver.liberal = true;
}
