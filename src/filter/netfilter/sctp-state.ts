/**
 * SCTP tracking: chunk-driven states and verification tags of the kernel's nf_conntrack_proto_sctp.c. Time-outs are its
 * defaults in seconds.
 */
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

export const sctpTimeoutSeconds: readonly number[] = [0, 10, 3, 3, 210, 3, 3, 3, 30];

const [CL, CW, CE, ES, SS, SR, SA, HS, IV] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

type Row = readonly (number | undefined)[];

/** `[direction]`, then by chunk type, the state that follows each state (none .. heartbeat sent). */
const transitions: readonly Readonly<Record<number, Row>>[] = [
  {
    [SctpChunkType.init]: [CW, CW, CW, CE, ES, CL, CL, SA, CW],
    [SctpChunkType.initAck]: [CL, CL, CW, CE, ES, CL, CL, SA, CL],
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
}

export function newSctpTrack(): SctpTrack {
  return { state: SctpState.none, tags: [0, 0] };
}

/** Follows the packet's chunks. False: INVALID (bad tag, malformed chunks, or a chunk that fits no state). */
export function trackSctp(
  track: SctpTrack,
  direction: 0 | 1,
  batch: PacketBatch,
  row: number,
  packetEnd: number,
): boolean {
  const { bytes } = batch;
  const start = batch.offset[row]! + batch.transport[row]!;
  const tag = readU32(bytes, start + 4);
  const isNew = track.state === SctpState.none;
  let state = track.state;
  const tags: [number, number] = [track.tags[0], track.tags[1]];
  const other = direction === 0 ? 1 : 0;
  let sawChunk = false;
  for (let at = start + sctpHeaderSize; at + 4 <= packetEnd; ) {
    const type = bytes[at]!;
    const size = readU16(bytes, at + 2);
    if (size < 4) return false;
    sawChunk = true;
    const isData = type === SctpChunkType.data || type === SctpChunkType.sack;
    if (isData && isNew) return false; // data cannot open an association
    const next = isData ? state : (transitions[direction]?.[type]?.[state] ?? state);
    if (next === SctpState.invalid) return false;
    if (!tagHolds(type, bytes[at + 1]!, tag, tags, direction)) return false;
    if (type === SctpChunkType.init || type === SctpChunkType.initAck) {
      if (at + 8 > packetEnd) return false;
      tags[other] = readU32(bytes, at + 4);
    } else if (isNew && (type === SctpChunkType.shutdownAck || type === SctpChunkType.heartbeat)) {
      tags[direction] = tag;
    }
    state = next;
    at += pad4(size);
  }
  if (!sawChunk || state === SctpState.none || (isNew && state === SctpState.closed)) return false;
  track.state = state;
  track.tags[0] = tags[0];
  track.tags[1] = tags[1];
  return true;
}

function tagHolds(
  type: number,
  flags: number,
  tag: number,
  tags: readonly [number, number],
  direction: 0 | 1,
): boolean {
  const [own, reflected] = [tags[direction], tags[direction === 0 ? 1 : 0]];
  if (type === SctpChunkType.init) return tag === 0;
  if (type === SctpChunkType.abort || type === SctpChunkType.shutdownComplete)
    return own === 0 || tag === own || ((flags & 1) !== 0 && tag === reflected);
  return own === 0 || tag === own;
}
