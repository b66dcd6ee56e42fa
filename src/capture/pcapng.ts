/**
 * pcapng, read: sections of either byte order, interfaces with their time resolution and offset, enhanced, simple and
 * obsolete packet blocks; other blocks are passed over. Governing source: draft-ietf-opsawg-pcapng (and its appendix
 * for the obsolete Packet Block). Options that do not fit their block are left unread: the packet before them is good.
 */
import type { InputError } from "../base/index.ts";
import { captureError, emptyPacket, type FormatReader, recordBytesMax } from "./format.ts";
import { Block, byteOrderMagic, Option, padded } from "./pcapng-blocks.ts";
import type { CapturedPacket, CaptureOption, CaptureSink } from "./record.ts";
import { type TickScale, tickScale, timeOfTicks } from "./ticks.ts";

const blockHeaderSize = 12; // with the length that is repeated at the end
const sectionSize = 28;
const swappedMagic = 0x4d3c2b1a;

interface OpenInterface {
  readonly linkType: number;
  readonly snapLength: number;
  readonly scale: TickScale;
}

export function isPcapng(bytes: Uint8Array, start: number): boolean {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(start, true) === Block.section;
}

export class PcapngReader implements FormatReader {
  readonly #file: string;
  readonly #sink: CaptureSink;
  readonly #packet = emptyPacket();
  #isLittle = true;
  /** Of the present section. */
  #interfaces: OpenInterface[] = [];
  /** Interfaces of the sections before. */
  #interfacesBefore = 0;

  constructor(file: string, sink: CaptureSink) {
    this.#file = file;
    this.#sink = sink;
  }

  consume(bytes: Uint8Array, start: number, end: number, offset: number): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const base = offset - start;
    this.#packet.bytes = bytes;
    let at = start;
    while (end - at >= blockHeaderSize) {
      // a section's type reads the same in both byte orders; its order must be known before its length can be read
      if (view.getUint32(at, true) === Block.section) this.#readByteOrder(view, at, base);
      const length = view.getUint32(at + 4, this.#isLittle);
      if (length < blockHeaderSize || length % 4 !== 0 || length > recordBytesMax)
        throw this.#fault(base + at + 4, `a block of ${length} bytes cannot be`);
      if (length > end - at) break;
      if (view.getUint32(at + length - 4, this.#isLittle) !== length)
        throw this.#fault(base + at + length - 4, "the two lengths of the block differ");
      this.#block(view, view.getUint32(at, this.#isLittle), at, at + length, base);
      at += length;
    }
    return at;
  }

  cut(offset: number, size: number): InputError {
    return captureError(this.#file, offset, `the file ends ${size} bytes into this block`);
  }

  #fault(offset: number, message: string): InputError {
    return captureError(this.#file, offset, message);
  }

  #readByteOrder(view: DataView, at: number, base: number): void {
    const magic = view.getUint32(at + 8, true);
    if (magic !== byteOrderMagic && magic !== swappedMagic)
      throw this.#fault(base + at + 8, "the section's byte-order magic is neither order");
    this.#isLittle = magic === byteOrderMagic;
  }

  /** `end` is that of the whole block. */
  #block(view: DataView, type: number, start: number, end: number, base: number): void {
    switch (type) {
      case Block.section:
        this.#section(view, start, end, base);
        break;
      case Block.interface:
        this.#interface(view, start, end, base);
        break;
      case Block.enhancedPacket:
        this.#enhancedPacket(view, start, end, base);
        break;
      case Block.simplePacket:
        this.#simplePacket(view, start, end, base);
        break;
      case Block.packetObsolete:
        this.#obsoletePacket(view, start, end, base);
        break;
    }
  }

  #section(view: DataView, start: number, end: number, base: number): void {
    if (end - start < sectionSize) throw this.#fault(base + start, "the section header is cut");
    const [major, minor] = [
      view.getUint16(start + 12, this.#isLittle),
      view.getUint16(start + 14, this.#isLittle),
    ];
    if (major !== 1 || (minor !== 0 && minor !== 2)) {
      const message = `version ${major}.${minor} of pcapng is not supported, 1.0 is`;
      throw captureError(this.#file, base + start + 12, message, "not-supported");
    }
    this.#interfacesBefore += this.#interfaces.length;
    this.#interfaces = [];
  }

  #interface(view: DataView, start: number, end: number, base: number): void {
    if (end - start < blockHeaderSize + 8) throw this.#fault(base + start, "the interface block is cut");
    const linkType = view.getUint16(start + 8, this.#isLittle);
    const snapLength = view.getUint32(start + 12, this.#isLittle);
    let name: string | undefined;
    let resolution = 6; // microseconds where nothing is said
    let offsetSeconds = 0;
    const bytes = this.#packet.bytes;
    const options: CaptureOption[] = [];
    forEachOption(bytes, start + 16, end - 4, this.#isLittle, (code, from, to) => {
      if (code === Option.interfaceName) name = text(bytes, from, to);
      else if (code === Option.timeResolution && to - from === 1) resolution = bytes[from]!;
      else if (code === Option.timeOffset && to - from === 8)
        offsetSeconds = Number(view.getBigInt64(from, this.#isLittle));
      else if (code !== Option.timeResolution && code !== Option.timeOffset)
        options.push({
          code,
          value: optionValue(bytes, from, to, !this.#isLittle && code === Option.interfaceSpeed),
        });
    });
    const index = this.#interfacesBefore + this.#interfaces.length;
    this.#interfaces.push({ linkType, snapLength, scale: tickScale(resolution, offsetSeconds) });
    this.#sink.interface?.(index, {
      linkType,
      snapLength,
      ...(name === undefined ? {} : { name }),
      ...(options.length === 0 ? {} : { options }),
    });
  }

  #enhancedPacket(view: DataView, start: number, end: number, base: number): void {
    if (end - start < blockHeaderSize + 20) throw this.#fault(base + start, "the packet block is cut");
    this.#timedPacket(view, start, end, base, view.getUint32(start + 8, this.#isLittle));
  }

  /** As the enhanced packet block, but for a count of drops beside a shorter interface number. */
  #obsoletePacket(view: DataView, start: number, end: number, base: number): void {
    if (end - start < blockHeaderSize + 20) throw this.#fault(base + start, "the packet block is cut");
    this.#timedPacket(view, start, end, base, view.getUint16(start + 8, this.#isLittle));
  }

  #timedPacket(view: DataView, start: number, end: number, base: number, number: number): void {
    const packet = this.#packet;
    const from = this.#interfaces[number];
    if (from === undefined) throw this.#fault(base + start + 8, `the section has no interface ${number}`);
    const captured = view.getUint32(start + 20, this.#isLittle);
    if (captured > end - start - blockHeaderSize - 20)
      throw this.#fault(base + start + 20, `captured length ${captured} is longer than the block`);
    packet.interfaceIndex = this.#interfacesBefore + number;
    packet.linkType = from.linkType;
    packet.isLittleEndian = this.#isLittle;
    packet.offset = base + start;
    packet.originalLength = view.getUint32(start + 24, this.#isLittle);
    packet.start = start + 28;
    packet.end = packet.start + captured;
    packet.optionsStart = packet.start + padded(captured);
    packet.optionsEnd = end - 4;
    timeOfTicks(
      from.scale,
      view.getUint32(start + 12, this.#isLittle),
      view.getUint32(start + 16, this.#isLittle),
      packet,
    );
    this.#sink.packet(packet);
  }

  /** No time, no length of what was captured: that is what fits the block and the interface's snapshot length. */
  #simplePacket(view: DataView, start: number, end: number, base: number): void {
    if (end - start < blockHeaderSize + 4) throw this.#fault(base + start, "the packet block is cut");
    const from = this.#interfaces[0];
    if (from === undefined) throw this.#fault(base + start, "a packet stands before any interface");
    const packet = this.#packet;
    const original = view.getUint32(start + 8, this.#isLittle);
    const snapLength = from.snapLength === 0 ? original : from.snapLength;
    packet.interfaceIndex = this.#interfacesBefore;
    packet.linkType = from.linkType;
    packet.isLittleEndian = this.#isLittle;
    packet.offset = base + start;
    packet.seconds = 0;
    packet.nanoseconds = 0;
    packet.originalLength = original;
    packet.start = start + 12;
    packet.end = packet.start + Math.min(original, snapLength, end - start - blockHeaderSize - 4);
    packet.optionsStart = packet.end;
    packet.optionsEnd = packet.end;
    this.#sink.packet(packet);
  }
}

/** The comments of a packet that a reader is handing over. */
export function readComments(packet: CapturedPacket): readonly string[] {
  const comments: string[] = [];
  const { bytes, optionsStart, optionsEnd, isLittleEndian } = packet;
  forEachOption(bytes, optionsStart, optionsEnd, isLittleEndian, (code, from, to) => {
    if (code === Option.comment) comments.push(text(bytes, from, to));
  });
  return comments;
}

/** What else the file says of a packet that a reader is handing over: flags, hashes, drop counts. */
export function readOptions(packet: CapturedPacket): readonly CaptureOption[] {
  const options: CaptureOption[] = [];
  const { bytes, optionsStart, optionsEnd, isLittleEndian } = packet;
  forEachOption(bytes, optionsStart, optionsEnd, isLittleEndian, (code, from, to) => {
    if (code === Option.comment) return;
    options.push({
      code,
      value: optionValue(bytes, from, to, !isLittleEndian && numberOptions.includes(code)),
    });
  });
  return options;
}

/** Options of packets that are one number. */
const numberOptions: readonly number[] = [
  Option.packetFlags,
  Option.dropCount,
  Option.packetId,
  Option.packetQueue,
];

function optionValue(bytes: Uint8Array, from: number, to: number, isSwapped: boolean): Uint8Array {
  const value = bytes.slice(from, to);
  return isSwapped ? value.reverse() : value;
}

function forEachOption(
  bytes: Uint8Array,
  start: number,
  end: number,
  isLittle: boolean,
  visit: (code: number, from: number, to: number) => void,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = start; at + 4 <= end; ) {
    const code = view.getUint16(at, isLittle);
    const to = at + 4 + view.getUint16(at + 2, isLittle);
    if (code === Option.end || to > end) return;
    visit(code, at + 4, to);
    at = at + 4 + padded(to - at - 4);
  }
}

const decoder = new TextDecoder();

function text(bytes: Uint8Array, from: number, to: number): string {
  return decoder.decode(bytes.subarray(from, to));
}
