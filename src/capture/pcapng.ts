/**
 * pcapng, written and read: bytes <-> records, no file access. Written: one section, an interface block for each
 * interface (nanosecond time stamps), enhanced packet blocks with comments. Read: sections of either byte order,
 * interface, enhanced and simple packet blocks; other blocks are passed over. Governing source: the IETF draft
 * draft-ietf-opsawg-pcapng.
 */
import { InputError, type Issue } from "../base/index.ts";
import type { CaptureInterface, CaptureRecord } from "./record.ts";

const Block = {
  section: 0x0a0d0d0a,
  interface: 1,
  packetObsolete: 2,
  simplePacket: 3,
  enhancedPacket: 6,
} as const;
const byteOrderMagic = 0x1a2b3c4d;
const Option = { end: 0, comment: 1, interfaceName: 2, timeResolution: 9, timeOffset: 14 } as const;

function padded(length: number): number {
  return (length + 3) & ~3;
}

function option(code: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + padded(value.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, code, true);
  view.setUint16(2, value.length, true);
  bytes.set(value, 4);
  return bytes;
}

function block(type: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = 12 + parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  view.setUint32(length - 4, length, true);
  return bytes;
}

const text = new TextEncoder();

/** Header of a capture: the section and its interfaces, little endian. */
export function pcapngHeader(interfaces: readonly CaptureInterface[]): Uint8Array {
  const section = new Uint8Array(16);
  const view = new DataView(section.buffer);
  view.setUint32(0, byteOrderMagic, true);
  view.setUint16(4, 1, true);
  view.setBigInt64(8, -1n, true); // the section's length is not said
  const blocks = [block(Block.section, [section])];
  for (const { name, linkType } of interfaces) {
    const fixed = new Uint8Array(8);
    new DataView(fixed.buffer).setUint16(0, linkType, true);
    blocks.push(
      block(Block.interface, [
        fixed,
        option(Option.interfaceName, text.encode(name)),
        option(Option.timeResolution, Uint8Array.of(9)),
        option(Option.end, new Uint8Array(0)),
      ]),
    );
  }
  return concatenate(blocks);
}

/** One packet. `interfaceIndex` counts the header's interfaces from 0. */
export function pcapngPacket(record: CaptureRecord): Uint8Array {
  const fixed = new Uint8Array(20);
  const view = new DataView(fixed.buffer);
  const time = BigInt(record.timestampNs);
  view.setUint32(0, record.interfaceIndex, true);
  view.setUint32(4, Number(time >> 32n), true);
  view.setUint32(8, Number(time & 0xffffffffn), true);
  view.setUint32(12, record.bytes.length, true);
  view.setUint32(16, record.originalLength ?? record.bytes.length, true);
  const data = new Uint8Array(padded(record.bytes.length));
  data.set(record.bytes);
  const comments = (record.comments ?? []).map((comment) => option(Option.comment, text.encode(comment)));
  const options = comments.length > 0 ? [...comments, option(Option.end, new Uint8Array(0))] : [];
  return block(Block.enhancedPacket, [fixed, data, ...options]);
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export interface ReadCapture {
  readonly interfaces: readonly CaptureInterface[];
  readonly records: readonly CaptureRecord[];
}

interface OpenInterface extends CaptureInterface {
  /** Ticks a second. */
  readonly resolution: number;
  readonly offsetSeconds: number;
}

/** @throws InputError with the byte offset of the first fault. */
export function readPcapng(bytes: Uint8Array, file: string): ReadCapture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fail = (offset: number, message: string): never => {
    const issue: Issue = { code: "syntax", path: "", file, offset, message };
    throw new InputError([issue]);
  };
  const interfaces: OpenInterface[] = [];
  const records: CaptureRecord[] = [];
  let little = true;
  let firstInterface = 0;
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < 12) fail(at, "the last block is cut");
    const isSection = view.getUint32(at, true) === Block.section;
    if (isSection) {
      if (bytes.length - at < 28) fail(at, "the section header is cut");
      const magic = view.getUint32(at + 8, true);
      if (magic !== byteOrderMagic && magic !== 0x4d3c2b1a) fail(at + 8, "bad byte-order magic");
      little = magic === byteOrderMagic;
      firstInterface = interfaces.length;
    } else if (at === 0) fail(0, "not a pcapng file");
    const type = view.getUint32(at, little);
    const length = view.getUint32(at + 4, little);
    if (length < 12 || length % 4 !== 0 || at + length > bytes.length)
      fail(at + 4, `block length ${length} does not fit`);
    if (view.getUint32(at + length - 4, little) !== length)
      fail(at + length - 4, "the two lengths of the block differ");
    const body = { start: at + 8, end: at + length - 4 };
    if (type === Block.interface) {
      if (body.end - body.start < 8) fail(at, "the interface block is cut");
      interfaces.push(readInterface(view, bytes, body.start, body.end, little, interfaces.length));
    } else if (type === Block.enhancedPacket) {
      if (body.end - body.start < 20) fail(at, "the packet block is cut");
      const index = firstInterface + view.getUint32(body.start, little);
      const from = interfaces[index] ?? fail(body.start, `no interface ${index - firstInterface}`);
      const captured = view.getUint32(body.start + 12, little);
      if (body.start + 20 + captured > body.end)
        fail(body.start + 12, `captured length ${captured} is longer than the block`);
      const ticks = view.getUint32(body.start + 4, little) * 2 ** 32 + view.getUint32(body.start + 8, little);
      records.push({
        interfaceIndex: index,
        timestampNs: ticksToNs(
          ticks,
          view.getUint32(body.start + 4, little),
          view.getUint32(body.start + 8, little),
          from,
        ),
        originalLength: view.getUint32(body.start + 16, little),
        bytes: bytes.slice(body.start + 20, body.start + 20 + captured),
        comments: readComments(view, bytes, body.start + 20 + padded(captured), body.end, little),
      });
    } else if (type === Block.simplePacket) {
      if (body.end - body.start < 4) fail(at, "the packet block is cut");
      if (interfaces[firstInterface] === undefined) fail(at, "a packet before any interface");
      const original = view.getUint32(body.start, little);
      const captured = Math.min(original, body.end - body.start - 4);
      records.push({
        interfaceIndex: firstInterface,
        timestampNs: 0,
        originalLength: original,
        bytes: bytes.slice(body.start + 4, body.start + 4 + captured),
      });
    }
    at += length;
  }
  return { interfaces: interfaces.map(({ name, linkType }) => ({ name, linkType })), records };
}

/** Nanoseconds; exact where a number can be (captures past 2^53 ns lose the last digits). */
function ticksToNs(
  ticks: number,
  high: number,
  low: number,
  { resolution, offsetSeconds }: OpenInterface,
): number {
  const exact = (BigInt(high) << 32n) | BigInt(low);
  const ns = Number.isInteger(1e9 / resolution)
    ? Number(exact * BigInt(1e9 / resolution))
    : Math.round((ticks / resolution) * 1e9);
  return ns + offsetSeconds * 1e9;
}

function readInterface(
  view: DataView,
  bytes: Uint8Array,
  start: number,
  end: number,
  little: boolean,
  index: number,
): OpenInterface {
  let name = `if${index}`;
  let resolution = 1e6;
  let offsetSeconds = 0;
  for (const [code, value] of readOptions(view, bytes, start + 8, end, little)) {
    if (code === Option.interfaceName) name = new TextDecoder().decode(value);
    else if (code === Option.timeResolution && value.length === 1)
      resolution = (value[0]! & 0x80) === 0 ? 10 ** value[0]! : 2 ** (value[0]! & 0x7f);
    else if (code === Option.timeOffset && value.length === 8)
      offsetSeconds = Number(new DataView(value.buffer, value.byteOffset).getBigInt64(0, little));
  }
  return { name, linkType: view.getUint16(start, little), resolution, offsetSeconds };
}

function readComments(
  view: DataView,
  bytes: Uint8Array,
  start: number,
  end: number,
  little: boolean,
): readonly string[] {
  return [...readOptions(view, bytes, start, end, little)]
    .filter(([code]) => code === Option.comment)
    .map(([, value]) => new TextDecoder().decode(value));
}

function* readOptions(
  view: DataView,
  bytes: Uint8Array,
  start: number,
  end: number,
  little: boolean,
): Iterable<readonly [number, Uint8Array]> {
  for (let at = start; at + 4 <= end; ) {
    const code = view.getUint16(at, little);
    const length = view.getUint16(at + 2, little);
    if (code === Option.end || at + 4 + length > end) return;
    yield [code, bytes.slice(at + 4, at + 4 + length)];
    at += 4 + padded(length);
  }
}
