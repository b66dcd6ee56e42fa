/**
 * Classic pcap, read and written: both byte orders, microseconds and nanoseconds, and the "modified" form with longer
 * record headers. Governing sources: draft-ietf-opsawg-pcap; libpcap's sf-pcap.c for the magic numbers and the bits
 * around the link type. Variants that cannot be told apart from the magic number are not guessed at.
 */
import type { InputError } from "../base/index.ts";
import { captureError, emptyPacket, type FormatReader, recordBytesMax } from "./format.ts";
import type { CaptureInterface, CaptureRecord, CaptureSink } from "./record.ts";

/** First four bytes, read big endian or little endian. */
export const PcapMagic = {
  microseconds: 0xa1b2c3d4,
  nanoseconds: 0xa1b23c4d,
  /** Alexey Kuznetzov's libpcap patch: eight more bytes in every record header. */
  modified: 0xa1b2cd34,
} as const;

/** Relatives that are told by name instead of read: their records have another layout. */
const otherMagics: ReadonlyMap<number, string> = new Map([
  [0xa1b234cd, "pcap of a modified libpcap (Fmesquid)"],
  [0xa12b3c4d, "pcap of Navtel"],
  [0x1c0001ab, "pcap of Ixia (software)"],
  [0x1c0001ac, "pcap of Ixia (hardware)"],
]);

export const pcapHeaderSize = 24;
const recordHeaderSize = 16;
const modifiedRecordHeaderSize = 24;
/** MAXIMUM_SNAPLEN of libpcap: what a record may hold whatever the header's snapshot length says. */
const snapLengthFloor = 262_144;

export interface PcapHeader extends CaptureInterface {
  readonly isLittleEndian: boolean;
  readonly magic: number;
  readonly recordHeaderSize: number;
  /** Of one unit of the records' fraction. */
  readonly fractionNs: 1 | 1000;
  /** Largest captured length that is believed. */
  readonly capturedMax: number;
}

/** The magic number in the file's own byte order; `undefined` when it is none of a pcap file. */
function magicOf(view: DataView, at: number): { magic: number; isLittleEndian: boolean } | undefined {
  for (const isLittleEndian of [true, false]) {
    const magic = view.getUint32(at, isLittleEndian);
    const known = magic === PcapMagic.microseconds || magic === PcapMagic.nanoseconds;
    if (known || magic === PcapMagic.modified || otherMagics.has(magic)) return { magic, isLittleEndian };
  }
  return undefined;
}

export function isPcap(bytes: Uint8Array, start: number): boolean {
  return magicOf(new DataView(bytes.buffer, bytes.byteOffset), start) !== undefined;
}

/** Reads the file header at `start`, 24 bytes. @throws InputError for variants that cannot be read. */
export function readPcapHeader(bytes: Uint8Array, start: number, file: string): PcapHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const found = magicOf(view, start);
  if (found === undefined) throw captureError(file, 0, "not a pcap file");
  const { magic, isLittleEndian } = found;
  const other = otherMagics.get(magic);
  if (other !== undefined) throw captureError(file, 0, `${other} is not supported`, "not-supported");
  const [major, minor] = [
    view.getUint16(start + 4, isLittleEndian),
    view.getUint16(start + 6, isLittleEndian),
  ];
  if (major !== 2 || minor !== 4)
    throw captureError(
      file,
      4,
      `version ${major}.${minor} of pcap is not supported, 2.4 is`,
      "not-supported",
    );
  const snapLength = view.getUint32(start + 16, isLittleEndian);
  return {
    magic,
    isLittleEndian,
    // the upper six bits say how long a frame check sequence stands at the end of frames
    linkType: view.getUint32(start + 20, isLittleEndian) & 0x03ff_ffff,
    snapLength,
    recordHeaderSize: magic === PcapMagic.modified ? modifiedRecordHeaderSize : recordHeaderSize,
    fractionNs: magic === PcapMagic.nanoseconds ? 1 : 1000,
    capturedMax: Math.min(Math.max(snapLength, snapLengthFloor), recordBytesMax),
  };
}

/** Complaint about a captured length that would swallow the rest of the file. */
export function capturedTooLong(
  file: string,
  offset: number,
  captured: number,
  header: PcapHeader,
): InputError {
  return captureError(
    file,
    offset + 8,
    `captured length ${captured} is more than ${header.capturedMax} bytes: the file is damaged here`,
    "too-large",
  );
}

export function cutRecord(file: string, offset: number, size: number): InputError {
  return captureError(file, offset, `the file ends ${size} bytes into this packet's record`);
}

export class PcapReader implements FormatReader {
  readonly #file: string;
  readonly #sink: CaptureSink;
  readonly #packet = emptyPacket();
  #header: PcapHeader | undefined;

  constructor(file: string, sink: CaptureSink) {
    this.#file = file;
    this.#sink = sink;
  }

  consume(bytes: Uint8Array, start: number, end: number, offset: number): number {
    let at = start;
    if (this.#header === undefined) {
      if (end - at < pcapHeaderSize) return at;
      const header = readPcapHeader(bytes, at, this.#file);
      this.#header = header;
      this.#packet.linkType = header.linkType;
      this.#packet.isLittleEndian = header.isLittleEndian;
      this.#sink.interface?.(0, { linkType: header.linkType, snapLength: header.snapLength ?? 0 });
      at += pcapHeaderSize;
    }
    return this.#records(this.#header, bytes, at, end, offset - start);
  }

  #records(header: PcapHeader, bytes: Uint8Array, start: number, end: number, base: number): number {
    const { isLittleEndian, recordHeaderSize: headerSize, fractionNs, capturedMax } = header;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const packet = this.#packet;
    packet.bytes = bytes;
    let at = start;
    while (end - at >= headerSize) {
      const captured = view.getUint32(at + 8, isLittleEndian);
      if (captured > capturedMax) throw capturedTooLong(this.#file, base + at, captured, header);
      const next = at + headerSize + captured;
      if (next > end) break;
      packet.offset = base + at;
      packet.seconds = view.getUint32(at, isLittleEndian);
      packet.nanoseconds = view.getUint32(at + 4, isLittleEndian) * fractionNs;
      if (packet.nanoseconds >= 1e9) normalizeTime(packet);
      packet.originalLength = view.getUint32(at + 12, isLittleEndian);
      packet.start = at + headerSize;
      packet.end = next;
      this.#sink.packet(packet);
      at = next;
    }
    return at;
  }

  cut(offset: number, size: number): InputError {
    if (this.#header === undefined)
      return captureError(this.#file, offset, `the file header is cut: ${size} of ${pcapHeaderSize} bytes`);
    return cutRecord(this.#file, offset, size);
  }
}

/** A fraction of a second or more, as damaged files have it, is carried over. */
export function normalizeTime(time: { seconds: number; nanoseconds: number }): void {
  const carry = Math.floor(time.nanoseconds / 1e9);
  time.seconds += carry;
  time.nanoseconds -= carry * 1e9;
}

/** File header of a classic capture: little endian, nanoseconds. */
export function pcapHeader(linkType: number, snapLength: number = snapLengthFloor): Uint8Array {
  const bytes = new Uint8Array(pcapHeaderSize);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, PcapMagic.nanoseconds, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, snapLength, true);
  view.setUint32(20, linkType, true);
  return bytes;
}

/** One packet of a classic capture; interface, comments and direction have no place there. */
export function pcapPacket({ seconds, nanoseconds, bytes: data, originalLength }: CaptureRecord): Uint8Array {
  const bytes = new Uint8Array(recordHeaderSize + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, seconds, true);
  view.setUint32(4, nanoseconds, true);
  view.setUint32(8, data.length, true);
  view.setUint32(12, originalLength ?? data.length, true);
  bytes.set(data, recordHeaderSize);
  return bytes;
}
