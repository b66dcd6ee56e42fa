/** SCTP tracking: chunk-driven states and verification tags of the kernel's nf_conntrack_proto_sctp.c. */
import type { PacketBatch } from "../../packet/index.ts";
import { pad4, readU16, readU32, SctpChunkType, sctpHeaderSize } from "../../wire/index.ts";

export const SctpState = {
  none: 0,
  closed: 1,
  cookieWait: 2,
  cookieEchoed: 3,
  established: 4,
  shutdownSent: 5,
  shutdownReceived: 6,
  shutdownAckSent: 7,
  heartbeatSent: 8,
  invalid: 9,
} as const;

const [CL, CW, CE, ES, SS, SR, SA, HS, IV] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

type Row = readonly (number | undefined)[];

/** `[direction]`, then by chunk type, the state that follows each state (none .. heartbeat sent). */
const transitions: readonly Readonly<Record<number, Row>>[] = [
  {
    [SctpChunkType.init]: [CL, CL, CW, CE, ES, CL, CL, SA, CW],
    [SctpChunkType.initAck]: [CL, CL, CW, CE, ES, SS, SR, SA, CL],
    [SctpChunkType.abort]: [CL, CL, CL, CL, CL, CL, CL, CL, CL],
    [SctpChunkType.shutdown]: [CL, CL, CW, CE, SS, SS, SR, SA, CL],
    [SctpChunkType.shutdownAck]: [SA, CL, CW, CE, ES, SA, SA, SA, SA],
    [SctpChunkType.error]: [CL, CL, CW, CE, ES, SS, SR, SA, CL],
    [SctpChunkType.cookieEcho]: [CL, CL, CE, CE, ES, SS, SR, SA, CL],
    [SctpChunkType.cookieAck]: [CL, CL, CW, ES, ES, SS, SR, SA, CL],
    [SctpChunkType.shutdownComplete]: [CL, CL, CW, CE, ES, SS, SR, CL, CL],
    [SctpChunkType.heartbeat]: [HS, CL, CW, CE, ES, SS, SR, SA, HS],
    [SctpChunkType.heartbeatAck]: [CL, CL, CW, CE, ES, SS, SR, SA, HS],
  },
  {
    [SctpChunkType.init]: [IV, CL, CW, CE, ES, SS, SR, SA, IV],
    [SctpChunkType.initAck]: [IV, CW, CW, CE, ES, SS, SR, SA, IV],
    [SctpChunkType.abort]: [IV, CL, CL, CL, CL, CL, CL, CL, IV],
    [SctpChunkType.shutdown]: [IV, CL, CW, CE, SR, SS, SR, SA, IV],
    [SctpChunkType.shutdownAck]: [IV, CL, CW, CE, ES, SA, SA, SA, IV],
    [SctpChunkType.error]: [IV, CL, CW, CL, ES, SS, SR, SA, IV],
    [SctpChunkType.cookieEcho]: [IV, CL, CE, CE, ES, SS, SR, SA, IV],
    [SctpChunkType.cookieAck]: [IV, CL, CW, ES, ES, SS, SR, SA, IV],
    [SctpChunkType.shutdownComplete]: [IV, CL, CW, CE, ES, SS, SR, CL, IV],
    [SctpChunkType.heartbeat]: [IV, CL, CW, CE, ES, SS, SR, SA, HS],
    [SctpChunkType.heartbeatAck]: [IV, CL, CW, CE, ES, SS, SR, SA, ES],
  },
];

export interface SctpTrack {
  state: number;
  /** Tag that packets of a direction must carry; 0 = not known yet. */
  readonly tags: [number, number];
  /** An INIT went in that direction and its association is not established yet. */
  readonly inits: [boolean, boolean];
  /** Direction of a HEARTBEAT with an unknown tag whose HEARTBEAT ACK would bring a new tag; -1 = none. */
  probing: number;
  /** The association was established once. */
  isAssured: boolean;
}

export function newSctpTrack(): SctpTrack {
  return { state: SctpState.none, tags: [0, 0], inits: [false, false], probing: -1, isAssured: false };
}

/** `ignore`: let through, but the entry lives no longer for it. */
export type SctpAnswer = "track" | "ignore" | "invalid";

/** A packet's chunks at a glance: one bit per known type (`1 << type`). */
interface ChunkList {
  readonly types: number;
  readonly isSound: boolean;
}

const bit = (type: number): number => (type < 31 ? 1 << type : 0);

/** Chunks that may not open an association (RFC 9260 section 8.4). */
const neverFirst =
  bit(SctpChunkType.abort) | bit(SctpChunkType.shutdownComplete) | bit(SctpChunkType.cookieAck);
/** Chunks with rules of their own about the verification tag. */
const ownTagRule =
  bit(SctpChunkType.init) |
  bit(SctpChunkType.shutdownComplete) |
  bit(SctpChunkType.cookieEcho) |
  bit(SctpChunkType.abort) |
  bit(SctpChunkType.shutdownAck) |
  bit(SctpChunkType.heartbeat) |
  bit(SctpChunkType.heartbeatAck);
const alone: readonly number[] = [SctpChunkType.init, SctpChunkType.initAck, SctpChunkType.shutdownComplete];
const first: readonly number[] = [SctpChunkType.cookieEcho, SctpChunkType.cookieAck];

function listChunks(bytes: Uint8Array, start: number, packetEnd: number): ChunkList {
  let types = 0;
  let count = 0;
  let hasLoner = false;
  for (let at = start; at + 4 <= packetEnd; count++) {
    const type = bytes[at]!;
    const size = readU16(bytes, at + 2);
    hasLoner ||= alone.includes(type);
    if (size === 0 || (count > 0 && (hasLoner || first.includes(type)))) return { types, isSound: false };
    types |= bit(type);
    at += pad4(size);
  }
  return { types, isSound: count > 0 };
}

/** Follows the packet's chunks. INVALID: bad tag, malformed chunks, or a chunk that fits no state. */
export function trackSctp(
  track: SctpTrack,
  direction: 0 | 1,
  batch: PacketBatch,
  row: number,
  packetEnd: number,
): SctpAnswer {
  const { bytes } = batch;
  const at = batch.offset[row]! + batch.transport[row]!;
  const tag = readU32(bytes, at + 4);
  const chunks = listChunks(bytes, at + sctpHeaderSize, packetEnd);
  if (!chunks.isSound) return "invalid";
  if (track.state === SctpState.none) {
    if (chunks.types & neverFirst || !openSctp(track, bytes, at + sctpHeaderSize, packetEnd, tag))
      return "invalid";
  }
  if (!(chunks.types & ownTagRule) && tag !== track.tags[direction]) return "invalid";
  let isIgnored = false;
  for (let chunk = at + sctpHeaderSize; chunk + 4 <= packetEnd; chunk += pad4(readU16(bytes, chunk + 2))) {
    const answer = followChunk(track, direction, bytes, chunk, packetEnd, tag, chunks, isIgnored);
    if (answer === "invalid") return "invalid";
    isIgnored ||= answer === "ignore";
  }
  return isIgnored ? "ignore" : "track";
}

function stateAfter(direction: 0 | 1, type: number, state: number): number {
  const row = transitions[direction]?.[type];
  return row === undefined ? state : (row[state] ?? SctpState.invalid);
}

/** Tags of a first packet: every chunk must be one that can begin something. */
function openSctp(
  track: SctpTrack,
  bytes: Uint8Array,
  start: number,
  packetEnd: number,
  tag: number,
): boolean {
  for (let at = start; at + 4 <= packetEnd; at += pad4(readU16(bytes, at + 2))) {
    const type = bytes[at]!;
    const next = stateAfter(0, type, SctpState.none);
    if (next === SctpState.none || next === SctpState.invalid) return false; // DATA and its like
    if (type === SctpChunkType.init) {
      if (tag !== 0 || at + 8 > packetEnd) return false; // its tag is noted where the chunk is followed
      track.inits[0] = true; // even if that tag is 0
    } else if (type === SctpChunkType.heartbeat) {
      track.tags[0] = tag;
    } else if (type === SctpChunkType.shutdownAck) {
      track.tags[1] = tag; // a SHUTDOWN COMPLETE will answer with it (RFC 9260 section 8.4, rule 5)
    }
  }
  return true;
}

function followChunk(
  track: SctpTrack,
  direction: 0 | 1,
  bytes: Uint8Array,
  at: number,
  packetEnd: number,
  tag: number,
  chunks: ChunkList,
  isIgnored: boolean,
): SctpAnswer {
  const type = bytes[at]!;
  const isHeartbeat = type === SctpChunkType.heartbeat || type === SctpChunkType.heartbeatAck;
  if (isHeartbeat) {
    const answer = followHeartbeat(track, direction, type, tag, chunks, isIgnored);
    if (answer !== "track") return answer;
  } else if (!tagHolds(track, direction, type, bytes[at + 1]!, tag)) {
    return "invalid";
  }
  const next = stateAfter(direction, type, track.state);
  if (next === SctpState.invalid) return "invalid";
  const isRepeatedInit =
    type === SctpChunkType.init && track.state === SctpState.closed && next === SctpState.closed;
  if (type === SctpChunkType.cookieAck) track.inits.fill(false);
  if (
    (type === SctpChunkType.init || type === SctpChunkType.initAck) &&
    !noteTag(track, direction, bytes, at, packetEnd)
  )
    return "invalid";
  if (track.state !== next && next === SctpState.established) track.isAssured = true;
  track.state = next;
  return isRepeatedInit ? "ignore" : "track"; // port reuse must not keep an entry alive for ever
}

/** Tag rules of RFC 9260 section 8.5.1. */
function tagHolds(track: SctpTrack, direction: 0 | 1, type: number, flags: number, tag: number): boolean {
  const [own, peer] = [track.tags[direction], track.tags[direction === 0 ? 1 : 0]];
  switch (type) {
    case SctpChunkType.init:
      return tag === 0;
    case SctpChunkType.abort:
    case SctpChunkType.shutdownComplete:
      return tag === (flags & 1 ? peer : own);
    case SctpChunkType.cookieEcho:
      return tag === own;
    default:
      return true; // checked for the packet as a whole
  }
}

function noteTag(
  track: SctpTrack,
  direction: 0 | 1,
  bytes: Uint8Array,
  at: number,
  packetEnd: number,
): boolean {
  if (at + 20 > packetEnd) return false;
  const other = direction === 0 ? 1 : 0;
  const initiateTag = readU32(bytes, at + 4);
  const known = track.tags[other];
  if (bytes[at] === SctpChunkType.init) {
    // One whose tag is known is stale or sent again, and tells nothing new.
    if (known !== initiateTag) {
      if (track.inits[direction]) track.inits[other] = false;
      track.inits[direction] = true;
    }
  } else {
    if (!track.inits[other] && known !== 0 && known !== initiateTag) return false;
    if (track.inits[direction] && track.inits[other] && known !== initiateTag) return false; // INITs that crossed
  }
  track.tags[other] = initiateTag;
  return true;
}

/** On a further path of a multi-homed association the tag is learnt from HEARTBEAT and HEARTBEAT ACK. */
function followHeartbeat(
  track: SctpTrack,
  direction: 0 | 1,
  type: number,
  tag: number,
  chunks: ChunkList,
  isIgnored: boolean,
): SctpAnswer {
  const known = track.tags[direction];
  if (known === 0) {
    track.tags[direction] = tag;
    return "track";
  }
  if (tag === known) {
    track.probing = -1;
    return "track";
  }
  if (chunks.types & bit(SctpChunkType.data) || isIgnored) return "invalid";
  if (type === SctpChunkType.heartbeat) {
    track.probing = direction;
    return "ignore";
  }
  if (track.probing === -1 || track.probing === direction) return "invalid";
  track.probing = -1;
  track.tags[direction] = tag;
  track.tags[direction === 0 ? 1 : 0] = 0;
  return "track";
}
