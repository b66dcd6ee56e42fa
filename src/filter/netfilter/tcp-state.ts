/**
 * TCP tracking: the state table of the kernel's net/netfilter/nf_conntrack_proto_tcp.c and its rules about segments that
 * the table ignores, resets, challenge acknowledgements (RFC 5961) and reopened connections. Windows are checked in
 * tcp-window.ts. Left out: SYN proxies and sequence adjustment by helpers.
 */
import type { PacketBatch } from "../../packet/index.ts";
import { TcpFlag } from "../../wire/index.ts";
import {
  before,
  clearSide,
  readSegment,
  readSynOptions,
  type Segment,
  SegmentKind,
  segmentKind,
  TcpSideFlag,
  TcpState,
  type TcpTrack,
  tcpInWindow,
} from "./tcp-window.ts";
import type { CtTimeouts } from "./timeouts.ts";

/** The options that TCP tracking depends on. */
export interface TcpOptions {
  /** net.netfilter.nf_conntrack_tcp_loose: an ACK of an unknown connection is picked up as NEW. */
  readonly tcpLoose: boolean;
  /** net.netfilter.nf_conntrack_tcp_be_liberal: only resets out of the window are INVALID. */
  readonly tcpBeLiberal: boolean;
  /** net.netfilter.nf_conntrack_tcp_ignore_invalid_rst: a reset out of order has no effect instead of being INVALID. */
  readonly tcpIgnoreInvalidRst: boolean;
  /** net.netfilter.nf_conntrack_tcp_max_retrans. */
  readonly tcpRetransmissionsMax: number;
  readonly timeouts: CtTimeouts;
}

const [, SS, SR, ES, FW, CW, LA, TW, CL, S2, IV, IG] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/** `[direction][segment kind][state]`; kinds: syn, syn-ack, fin, ack, rst, none. */
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

const flat: Uint8Array = Uint8Array.from(transitions.flat(2), (state) => state ?? 0);
const statesMax = 10;
const kindsMax = 6;

/** The state after a segment, or `invalid` / `ignore`. */
export function nextTcpState(state: number, direction: 0 | 1, kind: number): number {
  return flat[(direction * kindsMax + kind) * statesMax + state]!;
}

const coreFlags = TcpFlag.fin | TcpFlag.syn | TcpFlag.rst | TcpFlag.ack | TcpFlag.urg;
const validFlags: Uint8Array = new Uint8Array(coreFlags + 1);
{
  const { fin, syn, rst, ack, urg } = TcpFlag;
  for (const valid of [syn, syn | urg, syn | ack, rst, rst | ack, fin | ack, fin | ack | urg, ack, ack | urg])
    validFlags[valid] = 1;
}

/** Combinations of flags that tracking accepts (PSH, ECE and CWR aside). */
export function tcpFlagsAreValid(flags: number): boolean {
  return validFlags[flags & coreFlags] === 1;
}

/**
 * What a segment is: counted; let through without effect (`ignore`); counted without a longer life (`keep`); INVALID;
 * the first of a new connection on the same ports (`reopen`); or a reset that ends an unanswered connection (`kill`).
 */
export type TcpAnswer = "track" | "keep" | "ignore" | "invalid" | "reopen" | "kill";

/** What a segment did to its connection, beside the track itself. Reused by the next call. */
export interface TcpEffect {
  answer: TcpAnswer;
  /** Life of the entry from now, in seconds, if the answer is `track`. */
  timeoutSeconds: number;
  /** The connection is ASSURED from now on. */
  becomesAssured: boolean;
  /** An INVALID end of an assured connection cuts its life down to this; 0 = no. */
  timeoutSecondsMax: number;
}

const effect: TcpEffect = {
  answer: "track",
  timeoutSeconds: 0,
  becomesAssured: false,
  timeoutSecondsMax: 0,
};

/** Begins tracking with a connection's first segment; it must then be followed too. False: INVALID. */
export function openTcp(
  track: TcpTrack,
  batch: PacketBatch,
  row: number,
  packetEnd: number,
  options: TcpOptions,
): boolean {
  const flags = batch.tcpFlags[row]!;
  const next = nextTcpState(TcpState.none, 0, segmentKind(flags));
  if (!tcpFlagsAreValid(flags) || next >= TcpState.invalid) return false;
  const isPickedUp = next !== TcpState.synSent;
  if (isPickedUp && !options.tcpLoose) return false;
  const segment = readSegment(batch, row, packetEnd);
  const [sender, receiver] = track.sides;
  sender.end = segment.end;
  sender.maxWindow = Math.max(1, segment.window);
  sender.maxEnd = segment.end;
  if (isPickedUp) {
    sender.maxEnd = (segment.end + sender.maxWindow) >>> 0;
    sender.flags = TcpSideFlag.sackPermitted | TcpSideFlag.beLiberal;
    receiver.flags = sender.flags;
  } else {
    readSynOptions(segment, sender);
  }
  return true;
}

/** Follows a segment. `hasReply`, `isAssured`: of the entry, before this segment. */
export function followTcp(
  track: TcpTrack,
  direction: 0 | 1,
  batch: PacketBatch,
  row: number,
  packetEnd: number,
  hasReply: boolean,
  isAssured: boolean,
  options: TcpOptions,
): TcpEffect {
  effect.becomesAssured = false;
  effect.timeoutSecondsMax = 0;
  effect.answer = followSegment(track, direction, batch, row, packetEnd, hasReply, isAssured, options);
  return effect;
}

function followSegment(
  track: TcpTrack,
  direction: 0 | 1,
  batch: PacketBatch,
  row: number,
  packetEnd: number,
  hasReply: boolean,
  isAssured: boolean,
  options: TcpOptions,
): TcpAnswer {
  const flags = batch.tcpFlags[row]!;
  if (!tcpFlagsAreValid(flags)) return "invalid";
  const segment = readSegment(batch, row, packetEnd);
  const { kind } = segment;
  let from = track.state;
  let next = nextTcpState(from, direction, kind);
  let isUnchecked = false;
  if (next === TcpState.invalid) return "invalid";
  if (next === TcpState.ignore || (next === TcpState.synSent && from >= TcpState.timeWait)) {
    if (next === TcpState.synSent && wasClosed(track, direction)) return "reopen";
    if (!answersIgnoredSyn(track, segment, direction)) {
      noteIgnored(track, segment, direction, from);
      return "ignore";
    }
    adoptIgnoredSyn(track, direction);
    from = TcpState.synSent;
    next = TcpState.synRecv;
  } else if (next === TcpState.timeWait) {
    if (isChallenge(track, kind, direction, from)) {
      track.lastFlags &= ~TcpSideFlag.expectsChallenge;
      return "ignore";
    }
  } else if (next === TcpState.synSent2) {
    track.lastFlags |= TcpSideFlag.simultaneousOpen;
  } else if (next === TcpState.synRecv) {
    if (direction === 1 && kind === SegmentKind.ack && track.lastFlags & TcpSideFlag.simultaneousOpen)
      next = TcpState.established;
  } else if (next === TcpState.close && kind === SegmentKind.rst) {
    const judged = judgeReset(track, segment, direction, hasReply, isAssured, options);
    if (judged === "invalid") return "invalid";
    if (judged === "challenge" || judged === "unchecked challenge") next = from;
    isUnchecked = judged === "unchecked" || judged === "unchecked challenge";
  }
  if (!isUnchecked) {
    const fit = tcpInWindow(track, direction, segment, options.tcpBeLiberal);
    if (fit === "ignore") return "ignore";
    if (fit === "invalid") {
      if (isAssured) noteInvalidEnd(track, kind, direction, options);
      return "invalid";
    }
  }
  return settle(track, from, next, segment, direction, hasReply, isAssured, options);
}

/** True when a SYN may begin a new connection in the place of this one. */
function wasClosed(track: TcpTrack, direction: 0 | 1): boolean {
  if ((track.sides[0].flags | track.sides[1].flags) & TcpSideFlag.closeInit) return true;
  return track.lastKind === SegmentKind.rst && track.lastDirection === direction;
}

/** A SYN was ignored because it fitted no state, yet the peer answers it: tracking was out of step, not the peers. */
function answersIgnoredSyn(track: TcpTrack, segment: Segment, direction: 0 | 1): boolean {
  return (
    segment.kind === SegmentKind.synAck &&
    track.lastKind === SegmentKind.syn &&
    track.lastDirection !== direction &&
    segment.ack === track.lastEnd
  );
}

function adoptIgnoredSyn(track: TcpTrack, direction: 0 | 1): void {
  const asker = track.sides[direction === 0 ? 1 : 0];
  asker.end = track.lastEnd;
  asker.maxEnd = track.lastEnd;
  asker.maxWindow = Math.max(1, track.lastWindow);
  asker.scale = track.lastScale;
  track.lastFlags &= ~TcpSideFlag.expectsChallenge;
  asker.flags = track.lastFlags;
  clearSide(track.sides[direction]);
}

const ignoredSyn = { end: 0, maxEnd: 0, maxWindow: 0, maxAck: 0, scale: 0, flags: 0 };

function noteIgnored(track: TcpTrack, segment: Segment, direction: 0 | 1, from: number): void {
  track.lastKind = segment.kind;
  track.lastDirection = direction;
  track.lastSeq = segment.seq;
  track.lastEnd = segment.end;
  track.lastWindow = segment.window;
  if (segment.kind === SegmentKind.syn && direction === 0) {
    clearSide(ignoredSyn);
    readSynOptions(segment, ignoredSyn);
    track.lastFlags = ignoredSyn.flags;
    track.lastScale = ignoredSyn.scale;
    if (from === TcpState.lastAck) track.lastFlags |= TcpSideFlag.expectsChallenge;
  }
  if (from === TcpState.synSent && segment.kind === SegmentKind.ack && direction === 1)
    track.lastAck = segment.ack; // perhaps a challenge that answers the SYN
}

/** An ACK that answers a stray SYN must not be taken for the acknowledgement of the last FIN. */
function isChallenge(track: TcpTrack, kind: number, direction: 0 | 1, from: number): boolean {
  return (
    from === TcpState.lastAck &&
    kind === SegmentKind.ack &&
    track.lastDirection !== direction &&
    track.lastKind === SegmentKind.syn &&
    (track.lastFlags & TcpSideFlag.expectsChallenge) !== 0
  );
}

type ResetJudgement = "checked" | "unchecked" | "challenge" | "unchecked challenge" | "invalid";

/**
 * A reset closes only where its sequence number is what the peer expects; a near miss leaves an established connection
 * open, because a host answers it with a challenge ACK.
 */
function judgeReset(
  track: TcpTrack,
  { seq, ack }: Segment,
  direction: 0 | 1,
  hasReply: boolean,
  isAssured: boolean,
  options: TcpOptions,
): ResetJudgement {
  // While a connection closes, its ports may be in use again and what is known of its numbers stale.
  if (track.state >= TcpState.finWait && track.state <= TcpState.close) return "unchecked";
  const peer = track.sides[direction === 0 ? 1 : 0];
  const isEstablished = track.state === TcpState.established && isAssured;
  let isChallenged = false;
  if (peer.flags & TcpSideFlag.hasMaxAck && track.lastKind !== SegmentKind.syn) {
    if (seq === 0 && !isEstablished) return "checked"; // answers a SYN that was let through
    if (before(seq, peer.maxAck) && !options.tcpIgnoreInvalidRst) return "invalid";
    if (!isEstablished || seq === peer.maxAck) return "checked";
    if (track.lastKind === SegmentKind.ack && track.lastDirection === direction && seq === track.lastEnd)
      return "checked"; // follows the data just sent
    isChallenged = true;
  }
  const isToIgnored =
    (hasReply && track.lastKind === SegmentKind.syn && track.lastDirection !== direction) ||
    (!isAssured && track.lastKind === SegmentKind.ack);
  const answersChallenge =
    track.state === TcpState.synSent &&
    track.lastKind === SegmentKind.ack &&
    track.lastDirection === 1 &&
    seq === track.lastAck;
  if ((isToIgnored && ack === track.lastEnd) || answersChallenge)
    return isChallenged ? "unchecked challenge" : "unchecked";
  return isChallenged ? "challenge" : "checked";
}

/** Two ends in a row that tracking cannot follow, one from each side: the entry must not stay for days. */
function noteInvalidEnd(track: TcpTrack, kind: number, direction: 0 | 1, options: TcpOptions): void {
  if (kind !== SegmentKind.rst && kind !== SegmentKind.fin) return;
  const isSecond =
    track.lastDirection !== direction &&
    (track.lastKind === SegmentKind.fin || track.lastKind === SegmentKind.rst);
  if (isSecond) {
    effect.timeoutSecondsMax = options.timeouts.tcpUnacknowledged;
  } else {
    track.lastKind = kind;
    track.lastDirection = direction;
  }
}

function settle(
  track: TcpTrack,
  from: number,
  to: number,
  { kind }: Segment,
  direction: 0 | 1,
  hasReply: boolean,
  isAssured: boolean,
  options: TcpOptions,
): TcpAnswer {
  track.lastKind = kind;
  track.lastDirection = direction;
  track.state = to;
  if (from !== to && to === TcpState.finWait) track.sides[direction].flags |= TcpSideFlag.closeInit;
  effect.timeoutSeconds = timeoutFor(track, to, kind, options);
  if (!hasReply) {
    if (kind === SegmentKind.rst) return "kill";
    if (kind === SegmentKind.syn && from === TcpState.synSent) return "keep";
    if (to === TcpState.established)
      effect.timeoutSeconds = Math.min(effect.timeoutSeconds, options.timeouts.tcpUnacknowledged);
  } else if (!isAssured && to === TcpState.established) {
    effect.becomesAssured = from === TcpState.synRecv || from === TcpState.established;
  }
  return "track";
}

function timeoutFor(track: TcpTrack, state: number, kind: number, options: TcpOptions): number {
  const { timeouts } = options;
  const seconds = timeouts.tcp[state] ?? 0;
  if (track.retransmissions >= options.tcpRetransmissionsMax && seconds > timeouts.tcpRetransmission)
    return timeouts.tcpRetransmission;
  if (kind === SegmentKind.rst) return timeouts.tcp[TcpState.close] ?? 0;
  const isUnacked = ((track.sides[0].flags | track.sides[1].flags) & TcpSideFlag.hasUnacked) !== 0;
  if (isUnacked && seconds > timeouts.tcpUnacknowledged) return timeouts.tcpUnacknowledged;
  if (track.lastWindow === 0 && seconds > timeouts.tcpRetransmission) return timeouts.tcpRetransmission;
  return seconds;
}
