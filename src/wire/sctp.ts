/**
 * SCTP packets and chunks (RFC 9260). The checksum is CRC32c over the whole packet with the field as zero. Chunks are
 * padded to four bytes; padding of the last chunk belongs to the packet. Parameters of INIT and causes of ERROR and
 * ABORT are kept as raw type-length-value lists.
 */
import { unreachable } from "../base/index.ts";
import { fault, type Parsed, pad4, parsed, readU16, readU32, writeU16, writeU32 } from "./bytes.ts";
import { crc32c, writeCrc32c } from "./crc32c.ts";

/** RFC 9260 section 3.2. */
export const SctpChunkType = {
  data: 0,
  init: 1,
  initAck: 2,
  sack: 3,
  heartbeat: 4,
  heartbeatAck: 5,
  abort: 6,
  shutdown: 7,
  shutdownAck: 8,
  error: 9,
  cookieEcho: 10,
  cookieAck: 11,
  shutdownComplete: 14,
} as const;

export const sctpHeaderSize = 12;
export const sctpChecksumAt = 8;

/** Type-length-value: a parameter or an error cause. */
export interface SctpTlv {
  readonly type: number;
  readonly value: Uint8Array;
}

interface InitFields {
  readonly initiateTag: number;
  readonly advertisedWindow: number;
  readonly outboundStreams: number;
  readonly inboundStreams: number;
  readonly initialTsn: number;
  readonly parameters: readonly SctpTlv[];
}

/** One chunk of an SCTP packet. */
export type SctpChunk =
  | {
      readonly kind: "data";
      /** Bits: 1 ending, 2 beginning, 4 unordered, 8 immediate. */
      readonly flags: number;
      readonly tsn: number;
      readonly stream: number;
      readonly sequence: number;
      readonly payloadProtocol: number;
      readonly data: Uint8Array;
    }
  | ({ readonly kind: "init" } & InitFields)
  | ({ readonly kind: "init-ack" } & InitFields)
  | {
      readonly kind: "sack";
      readonly cumulativeTsn: number;
      readonly advertisedWindow: number;
      readonly gaps: readonly (readonly [start: number, end: number])[];
      readonly duplicates: readonly number[];
    }
  | { readonly kind: "heartbeat" | "heartbeat-ack"; readonly info: readonly SctpTlv[] }
  /** Flag 1 (T): the verification tag is reflected, not the peer's. */
  | { readonly kind: "abort"; readonly reflected: boolean; readonly causes: readonly SctpTlv[] }
  | { readonly kind: "error"; readonly causes: readonly SctpTlv[] }
  | { readonly kind: "shutdown"; readonly cumulativeTsn: number }
  | { readonly kind: "shutdown-ack" }
  | { readonly kind: "shutdown-complete"; readonly reflected: boolean }
  | { readonly kind: "cookie-echo"; readonly cookie: Uint8Array }
  | { readonly kind: "cookie-ack" }
  | { readonly kind: "unknown"; readonly type: number; readonly flags: number; readonly value: Uint8Array };

export interface SctpRepr {
  readonly sport: number;
  readonly dport: number;
  readonly verificationTag: number;
  readonly chunks: readonly SctpChunk[];
}

export interface SctpOverrides {
  readonly checksum?: number;
}

export function parseSctp(bytes: Uint8Array, start = 0, end: number = bytes.length): Parsed<SctpRepr> {
  if (end - start < sctpHeaderSize) return fault("truncated");
  const chunks: SctpChunk[] = [];
  for (let at = start + sctpHeaderSize; at < end; ) {
    if (at + 4 > end) return fault("truncated");
    const size = readU16(bytes, at + 2);
    if (size < 4) return fault("bad-length");
    if (at + size > end) return fault("truncated");
    const chunk = parseChunk(bytes[at]!, bytes[at + 1]!, bytes, at + 4, at + size);
    if (chunk === undefined) return fault("bad-length");
    chunks.push(chunk);
    at += pad4(size);
  }
  return parsed({
    sport: readU16(bytes, start),
    dport: readU16(bytes, start + 2),
    verificationTag: readU32(bytes, start + 4),
    chunks,
  });
}

function parseChunk(
  type: number,
  flags: number,
  bytes: Uint8Array,
  at: number,
  end: number,
): SctpChunk | undefined {
  const size = end - at;
  switch (type) {
    case SctpChunkType.data:
      if (size < 12) return undefined;
      return {
        kind: "data",
        flags,
        tsn: readU32(bytes, at),
        stream: readU16(bytes, at + 4),
        sequence: readU16(bytes, at + 6),
        payloadProtocol: readU32(bytes, at + 8),
        data: bytes.slice(at + 12, end),
      };
    case SctpChunkType.init:
    case SctpChunkType.initAck: {
      const parameters = size < 16 ? undefined : parseTlvs(bytes, at + 16, end);
      if (parameters === undefined) return undefined;
      return {
        kind: type === SctpChunkType.init ? "init" : "init-ack",
        initiateTag: readU32(bytes, at),
        advertisedWindow: readU32(bytes, at + 4),
        outboundStreams: readU16(bytes, at + 8),
        inboundStreams: readU16(bytes, at + 10),
        initialTsn: readU32(bytes, at + 12),
        parameters,
      };
    }
    case SctpChunkType.sack:
      return parseSack(bytes, at, size);
    case SctpChunkType.heartbeat:
    case SctpChunkType.heartbeatAck: {
      const info = parseTlvs(bytes, at, end);
      return info && { kind: type === SctpChunkType.heartbeat ? "heartbeat" : "heartbeat-ack", info };
    }
    case SctpChunkType.abort: {
      const causes = parseTlvs(bytes, at, end);
      return causes && { kind: "abort", reflected: (flags & 1) !== 0, causes };
    }
    case SctpChunkType.error: {
      const causes = parseTlvs(bytes, at, end);
      return causes && { kind: "error", causes };
    }
    case SctpChunkType.shutdown:
      return size === 4 ? { kind: "shutdown", cumulativeTsn: readU32(bytes, at) } : undefined;
    case SctpChunkType.shutdownAck:
      return size === 0 ? { kind: "shutdown-ack" } : undefined;
    case SctpChunkType.shutdownComplete:
      return size === 0 ? { kind: "shutdown-complete", reflected: (flags & 1) !== 0 } : undefined;
    case SctpChunkType.cookieEcho:
      return { kind: "cookie-echo", cookie: bytes.slice(at, end) };
    case SctpChunkType.cookieAck:
      return size === 0 ? { kind: "cookie-ack" } : undefined;
    default:
      return { kind: "unknown", type, flags, value: bytes.slice(at, end) };
  }
}

function parseSack(bytes: Uint8Array, at: number, size: number): SctpChunk | undefined {
  if (size < 12) return undefined;
  const gapCount = readU16(bytes, at + 8);
  const duplicateCount = readU16(bytes, at + 10);
  if (size !== 12 + 4 * (gapCount + duplicateCount)) return undefined;
  const gaps: [number, number][] = [];
  for (let i = 0; i < gapCount; i++)
    gaps.push([readU16(bytes, at + 12 + 4 * i), readU16(bytes, at + 14 + 4 * i)]);
  const duplicates: number[] = [];
  for (let i = 0; i < duplicateCount; i++) duplicates.push(readU32(bytes, at + 12 + 4 * (gapCount + i)));
  return {
    kind: "sack",
    cumulativeTsn: readU32(bytes, at),
    advertisedWindow: readU32(bytes, at + 4),
    gaps,
    duplicates,
  };
}

function parseTlvs(bytes: Uint8Array, start: number, end: number): readonly SctpTlv[] | undefined {
  const tlvs: SctpTlv[] = [];
  for (let at = start; at < end; ) {
    const size = at + 4 <= end ? readU16(bytes, at + 2) : 0;
    if (size < 4 || at + size > end) return undefined;
    tlvs.push({ type: readU16(bytes, at), value: bytes.slice(at + 4, at + size) });
    at += pad4(size);
  }
  return tlvs;
}

/** Bytes of a list of TLVs; only the last one's padding is left to the enclosing chunk. */
function sizeTlvs(tlvs: readonly SctpTlv[]): number {
  return tlvs.reduce((size, tlv) => pad4(size) + 4 + tlv.value.length, 0);
}

/** Length of a chunk as its length field states it: header included, padding not. */
function chunkLength(chunk: SctpChunk): number {
  switch (chunk.kind) {
    case "data":
      return 16 + chunk.data.length;
    case "init":
    case "init-ack":
      return 20 + sizeTlvs(chunk.parameters);
    case "sack":
      return 16 + 4 * (chunk.gaps.length + chunk.duplicates.length);
    case "heartbeat":
    case "heartbeat-ack":
      return 4 + sizeTlvs(chunk.info);
    case "abort":
    case "error":
      return 4 + sizeTlvs(chunk.causes);
    case "shutdown":
      return 8;
    case "shutdown-ack":
    case "shutdown-complete":
    case "cookie-ack":
      return 4;
    case "cookie-echo":
      return 4 + chunk.cookie.length;
    case "unknown":
      return 4 + chunk.value.length;
    default:
      return unreachable(chunk);
  }
}

export function sizeSctp(repr: SctpRepr): number {
  return repr.chunks.reduce((size, chunk) => size + pad4(chunkLength(chunk)), sctpHeaderSize);
}

export function emitSctp(
  repr: SctpRepr,
  bytes: Uint8Array,
  start = 0,
  overrides: SctpOverrides = {},
): number {
  writeU16(bytes, start, repr.sport);
  writeU16(bytes, start + 2, repr.dport);
  writeU32(bytes, start + 4, repr.verificationTag);
  writeU32(bytes, start + sctpChecksumAt, 0);
  let at = start + sctpHeaderSize;
  for (const chunk of repr.chunks) at = emitChunk(chunk, bytes, at);
  writeCrc32c(bytes, start + sctpChecksumAt, overrides.checksum ?? crc32c(bytes, start, at));
  return at - start;
}

function chunkHead(chunk: SctpChunk): readonly [type: number, flags: number] {
  switch (chunk.kind) {
    case "data":
      return [SctpChunkType.data, chunk.flags];
    case "init":
      return [SctpChunkType.init, 0];
    case "init-ack":
      return [SctpChunkType.initAck, 0];
    case "sack":
      return [SctpChunkType.sack, 0];
    case "heartbeat":
      return [SctpChunkType.heartbeat, 0];
    case "heartbeat-ack":
      return [SctpChunkType.heartbeatAck, 0];
    case "abort":
      return [SctpChunkType.abort, chunk.reflected ? 1 : 0];
    case "error":
      return [SctpChunkType.error, 0];
    case "shutdown":
      return [SctpChunkType.shutdown, 0];
    case "shutdown-ack":
      return [SctpChunkType.shutdownAck, 0];
    case "shutdown-complete":
      return [SctpChunkType.shutdownComplete, chunk.reflected ? 1 : 0];
    case "cookie-echo":
      return [SctpChunkType.cookieEcho, 0];
    case "cookie-ack":
      return [SctpChunkType.cookieAck, 0];
    case "unknown":
      return [chunk.type, chunk.flags];
    default:
      return unreachable(chunk);
  }
}

function emitChunk(chunk: SctpChunk, bytes: Uint8Array, start: number): number {
  const [type, flags] = chunkHead(chunk);
  const length = chunkLength(chunk);
  bytes[start] = type;
  bytes[start + 1] = flags;
  writeU16(bytes, start + 2, length);
  const end = start + pad4(length);
  bytes.fill(0, start + 4, end);
  emitChunkBody(chunk, bytes, start + 4);
  return end;
}

function emitChunkBody(chunk: SctpChunk, bytes: Uint8Array, at: number): void {
  switch (chunk.kind) {
    case "data":
      writeU32(bytes, at, chunk.tsn);
      writeU16(bytes, at + 4, chunk.stream);
      writeU16(bytes, at + 6, chunk.sequence);
      writeU32(bytes, at + 8, chunk.payloadProtocol);
      bytes.set(chunk.data, at + 12);
      break;
    case "init":
    case "init-ack":
      writeU32(bytes, at, chunk.initiateTag);
      writeU32(bytes, at + 4, chunk.advertisedWindow);
      writeU16(bytes, at + 8, chunk.outboundStreams);
      writeU16(bytes, at + 10, chunk.inboundStreams);
      writeU32(bytes, at + 12, chunk.initialTsn);
      emitTlvs(chunk.parameters, bytes, at + 16);
      break;
    case "sack":
      writeU32(bytes, at, chunk.cumulativeTsn);
      writeU32(bytes, at + 4, chunk.advertisedWindow);
      writeU16(bytes, at + 8, chunk.gaps.length);
      writeU16(bytes, at + 10, chunk.duplicates.length);
      chunk.gaps.forEach(([first, last], i) => {
        writeU16(bytes, at + 12 + 4 * i, first);
        writeU16(bytes, at + 14 + 4 * i, last);
      });
      chunk.duplicates.forEach((tsn, i) => {
        writeU32(bytes, at + 12 + 4 * (chunk.gaps.length + i), tsn);
      });
      break;
    case "heartbeat":
    case "heartbeat-ack":
      emitTlvs(chunk.info, bytes, at);
      break;
    case "abort":
    case "error":
      emitTlvs(chunk.causes, bytes, at);
      break;
    case "shutdown":
      writeU32(bytes, at, chunk.cumulativeTsn);
      break;
    case "cookie-echo":
      bytes.set(chunk.cookie, at);
      break;
    case "unknown":
      bytes.set(chunk.value, at);
      break;
    case "shutdown-ack":
    case "shutdown-complete":
    case "cookie-ack":
      break;
    default:
      unreachable(chunk);
  }
}

function emitTlvs(tlvs: readonly SctpTlv[], bytes: Uint8Array, start: number): void {
  let at = start;
  for (const tlv of tlvs) {
    at = start + pad4(at - start);
    writeU16(bytes, at, tlv.type);
    writeU16(bytes, at + 2, 4 + tlv.value.length);
    bytes.set(tlv.value, at + 4);
    at += 4 + tlv.value.length;
  }
}

/** Chunk names as tcpdump has them. */
const chunkNames: Readonly<Record<Exclude<SctpChunk["kind"], "unknown">, string>> = {
  data: "DATA",
  init: "INIT",
  "init-ack": "INIT ACK",
  sack: "SACK",
  heartbeat: "HB REQ",
  "heartbeat-ack": "HB ACK",
  abort: "ABORT",
  shutdown: "SHUTDOWN",
  "shutdown-ack": "SHUTDOWN ACK",
  "shutdown-complete": "SHUTDOWN COMPLETE",
  error: "OP ERR",
  "cookie-echo": "COOKIE ECHO",
  "cookie-ack": "COOKIE ACK",
};

export function printSctp(repr: SctpRepr): string {
  const chunks = repr.chunks.map((chunk, i) => `(${i + 1}) ${printChunk(chunk)}`).join(", ");
  return `sctp ${chunks}`.trimEnd();
}

function printChunk(chunk: SctpChunk): string {
  if (chunk.kind === "unknown") return `[Unknown chunk type: 0x${chunk.type.toString(16)}]`;
  const name = `[${chunkNames[chunk.kind]}]`;
  switch (chunk.kind) {
    case "data": {
      const [ends, begins, isUnordered] = [1, 2, 4].map((bit) => (chunk.flags & bit) !== 0);
      const marks = `${isUnordered ? "(U)" : ""}${begins ? "(B)" : ""}${ends ? "(E)" : ""}`;
      return `${name}${marks === "" ? "" : ` ${marks}`} [TSN: ${chunk.tsn}] [SID: ${chunk.stream}] [SSEQ ${chunk.sequence}] [PPID 0x${chunk.payloadProtocol.toString(16)}]`;
    }
    case "init":
    case "init-ack":
      return `${name} [init tag: ${chunk.initiateTag}] [rwnd: ${chunk.advertisedWindow}] [OS: ${chunk.outboundStreams}] [MIS: ${chunk.inboundStreams}] [init TSN: ${chunk.initialTsn}]`;
    case "sack":
      return `${name} [cum ack ${chunk.cumulativeTsn}] [a_rwnd ${chunk.advertisedWindow}] [#gap acks ${chunk.gaps.length}] [#dup tsns ${chunk.duplicates.length}]`;
    default:
      return name;
  }
}
