/**
 * TCP tracking: the state table of the kernel's net/netfilter/nf_conntrack_proto_tcp.c and its rules about packets that
 * the table ignores, resets and reopened connections. Windows are checked in tcp-window.ts. Time-outs are the kernel's
 * defaults in seconds.
 */
import type { PacketBatch } from "../../packet/index.ts";
import { TcpFlag } from "../../wire/index.ts";
import {
  before,
  newSide,
  readSegment,
  type Segment,
  startSide,
  type TcpSide,
  TcpState,
  tcpInWindow,
} from "./tcp-window.ts";

export const tcpTimeoutSeconds: readonly number[] = [0, 120, 60, 432000, 120, 60, 30, 120, 10, 120];
/** Longest life of an entry with unacknowledged data, repeated retransmission, or no reply seen. */
const unackedTimeoutSeconds = 300;
const retransmissionMax = 3;

/** Kinds of segment, in the order of the table. */
const Kind = { syn: 0, synAck: 1, fin: 2, ack: 3, rst: 4, none: 5 } as const;

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

export interface TcpTrack {
  state: number;
  readonly sides: readonly [TcpSide, TcpSide];
  /** Life of the entry after the last packet that counted. */
  timeoutSeconds: number;
  /** A three-way handshake was completed, or data went both ways. */
  isAssured: boolean;
  /** Of the last segment, ignored ones included. */
  lastKind: number;
  lastDirection: number;
  lastSeq: number;
  lastAck: number;
  lastEnd: number;
  lastWindow: number;
  lastScale: number;
  lastHasScale: boolean;
  retransmissions: number;
}

export function newTcpTrack(): TcpTrack {
  return {
    state: TcpState.none,
    sides: [newSide(), newSide()],
    timeoutSeconds: 0,
    isAssured: false,
    lastKind: Kind.none,
    lastDirection: 0,
    lastSeq: 0,
    lastAck: 0,
    lastEnd: 0,
    lastWindow: 0,
    lastScale: 0,
    lastHasScale: false,
    retransmissions: 0,
  };
}

function flagKind(flags: number): number {
  if (flags & TcpFlag.rst) return Kind.rst;
  if (flags & TcpFlag.syn) return flags & TcpFlag.ack ? Kind.synAck : Kind.syn;
  if (flags & TcpFlag.fin) return Kind.fin;
  if (flags & TcpFlag.ack) return Kind.ack;
  return Kind.none;
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

/** Begins tracking with a connection's first packet. False: INVALID. `isLoose`: nf_conntrack_tcp_loose. */
export function openTcp(
  track: TcpTrack,
  batch: PacketBatch,
  row: number,
  packetEnd: number,
  isLoose: boolean,
): boolean {
  const flags = batch.tcpFlags[row]!;
  const next = nextTcpState(TcpState.none, 0, flags);
  if (!tcpFlagsAreValid(flags) || (next !== TcpState.synSent && next !== TcpState.established)) return false;
  const isPickedUp = next === TcpState.established;
  if (isPickedUp && !isLoose) return false;
  const segment = readSegment(batch, row, packetEnd);
  const [sender, receiver] = track.sides;
  startSide(sender, segment);
  if (isPickedUp) {
    sender.maxEnd = (segment.end + sender.maxWindow) >>> 0;
    sender.isLiberal = true; // nothing is known of what went before: windows are not judged
    receiver.isLiberal = true;
  }
  track.state = next;
  note(track, segment, flagKind(flags), 0);
  track.timeoutSeconds = isPickedUp ? unackedTimeoutSeconds : (tcpTimeoutSeconds[next] ?? 0);
  return true;
}

/**
 * What a packet of a known connection is: counted; let through without effect (`ignore`); INVALID; the first of a new
 * connection on the same ports (`reopen`); or a reset that ends an unanswered connection at once (`kill`).
 */
export type TcpAnswer = "track" | "ignore" | "invalid" | "reopen" | "kill";

/** `hasReply`: a reply was seen before this packet. */
export function followTcp(
  track: TcpTrack,
  direction: 0 | 1,
  batch: PacketBatch,
  row: number,
  packetEnd: number,
  hasReply: boolean,
  isLiberal: boolean,
): TcpAnswer {
  const flags = batch.tcpFlags[row]!;
  if (!tcpFlagsAreValid(flags)) return "invalid";
  const kind = flagKind(flags);
  let before = track.state;
  let next = nextTcpState(before, direction, flags);
  if (next === TcpState.invalid) return "invalid";
  const segment = readSegment(batch, row, packetEnd);
  const isReopening = next === TcpState.synSent && before >= TcpState.timeWait;
  if (isReopening && wasClosed(track, direction)) return "reopen";
  let skipsWindow = false;
  if (isReopening || next === TcpState.ignore) {
    if (!answersIgnoredSyn(track, segment, kind, direction)) {
      note(track, segment, kind, direction);
      return "ignore";
    }
    adoptIgnoredSyn(track, direction);
    before = TcpState.synSent;
    next = TcpState.synRecv;
  } else if (kind === Kind.rst) {
    const answer = judgeReset(track, segment, direction, hasReply);
    if (answer === "invalid") return "invalid";
    if (answer === "challenge") next = before;
    skipsWindow = answer === "unchecked";
  }
  if (!skipsWindow) {
    const fit = tcpInWindow(track.sides, track.state, direction, segment);
    if (fit !== "in" && !(fit === "out" && (isLiberal || track.sides[direction].isLiberal)))
      return fit === "late" ? "ignore" : "invalid";
    if (kind === Kind.ack) countRetransmission(track, segment, direction);
  }
  settle(track, before, next, direction, hasReply);
  note(track, segment, kind, direction);
  return kind === Kind.rst && !hasReply ? "kill" : "track";
}

/** True when a SYN may begin a new connection in the place of this one. */
function wasClosed(track: TcpTrack, direction: 0 | 1): boolean {
  if (track.sides[0].beganClose || track.sides[1].beganClose) return true;
  return track.lastKind === Kind.rst && track.lastDirection === direction;
}

/** A SYN was ignored because it fitted no state, yet the peer answers it: tracking was out of step, not the peers. */
function answersIgnoredSyn(track: TcpTrack, segment: Segment, kind: number, direction: 0 | 1): boolean {
  return (
    kind === Kind.synAck &&
    track.lastKind === Kind.syn &&
    track.lastDirection !== direction &&
    segment.ack === track.lastEnd
  );
}

function adoptIgnoredSyn(track: TcpTrack, direction: 0 | 1): void {
  const asker = track.sides[direction === 0 ? 1 : 0];
  Object.assign(asker, newSide());
  asker.end = track.lastEnd;
  asker.maxEnd = track.lastEnd;
  asker.maxWindow = Math.max(1, track.lastWindow);
  asker.scale = track.lastScale;
  asker.hasScale = track.lastHasScale;
  Object.assign(track.sides[direction], newSide());
}

/**
 * A reset closes only where its sequence number is what the peer expects; near misses keep an established connection
 * open, because a host answers them with a challenge ACK (RFC 5961).
 */
function judgeReset(
  track: TcpTrack,
  segment: Segment,
  direction: 0 | 1,
  hasReply: boolean,
): "checked" | "unchecked" | "challenge" | "invalid" {
  if (track.state >= TcpState.finWait && track.state <= TcpState.close) return "unchecked";
  const peer = track.sides[direction === 0 ? 1 : 0];
  const isEstablished = track.state === TcpState.established && track.isAssured;
  let answer: "checked" | "challenge" = "checked";
  if (peer.hasMaxAck) {
    if (segment.seq === 0 && !isEstablished) return "checked";
    if (before(segment.seq, peer.maxAck)) return "invalid";
    if (!isEstablished || segment.seq === peer.maxAck) return "checked";
    const endsTrain =
      track.lastKind === Kind.ack && track.lastDirection === direction && segment.seq === track.lastEnd;
    if (endsTrain) return "checked";
    answer = "challenge";
  }
  const answersIgnored =
    (hasReply && track.lastKind === Kind.syn) || (!track.isAssured && track.lastKind === Kind.ack);
  return answersIgnored && answer === "checked" && segment.ack === track.lastEnd ? "unchecked" : answer;
}

function countRetransmission(track: TcpTrack, segment: Segment, direction: 0 | 1): void {
  const isSame =
    track.lastDirection === direction &&
    track.lastSeq === segment.seq &&
    track.lastAck === segment.ack &&
    track.lastEnd === segment.end &&
    track.lastWindow === segment.window;
  track.retransmissions = isSame ? track.retransmissions + 1 : 0;
}

function settle(track: TcpTrack, from: number, to: number, direction: 0 | 1, hasReply: boolean): void {
  const wasOpen = from === TcpState.synRecv || from === TcpState.established;
  if (hasReply && wasOpen && to === TcpState.established) track.isAssured = true;
  track.state = to;
  if (from !== to && to === TcpState.finWait) track.sides[direction].beganClose = true;
  const seconds = tcpTimeoutSeconds[to] ?? 0;
  const isDoubtful =
    track.retransmissions >= retransmissionMax ||
    track.sides[0].hasUnacked ||
    track.sides[1].hasUnacked ||
    (to === TcpState.established && !hasReply);
  track.timeoutSeconds = isDoubtful ? Math.min(seconds, unackedTimeoutSeconds) : seconds;
}

function note(track: TcpTrack, segment: Segment, kind: number, direction: 0 | 1): void {
  track.lastKind = kind;
  track.lastDirection = direction;
  track.lastSeq = segment.seq;
  track.lastAck = segment.ack;
  track.lastEnd = segment.end;
  track.lastWindow = segment.window;
  track.lastScale = segment.scale;
  track.lastHasScale = segment.hasScale;
}
