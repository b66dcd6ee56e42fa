/**
 * pcapng, written: one section, little endian; an interface block for each interface (nanoseconds); enhanced packet
 * blocks with comments and direction. Equal input gives equal bytes. Governing source: draft-ietf-opsawg-pcapng.
 */
import { Block, byteOrderMagic, Option, padded } from "./pcapng-blocks.ts";
import type { CaptureInterface, CaptureRecord } from "./record.ts";

const text = new TextEncoder();
const nanosecondResolution = 9;
/** Longest value of an option: its length is a 16-bit number. */
const optionBytesMax = 0xffff;

/** The section and its interfaces: the beginning of a file. */
export function pcapngHeader(interfaces: readonly CaptureInterface[]): Uint8Array {
  const section = new Uint8Array(16);
  const view = new DataView(section.buffer);
  view.setUint32(0, byteOrderMagic, true);
  view.setUint16(4, 1, true);
  view.setBigInt64(8, -1n, true); // the section's length is not said
  return concatenate([block(Block.section, [section]), ...interfaces.map(pcapngInterface)]);
}

/** One more interface; may stand between packets, before the first of its own. */
export function pcapngInterface({ name, linkType, snapLength, options = [] }: CaptureInterface): Uint8Array {
  const fixed = new Uint8Array(8);
  const view = new DataView(fixed.buffer);
  view.setUint16(0, linkType, true);
  view.setUint32(4, snapLength ?? 0, true);
  return block(Block.interface, [
    fixed,
    ...(name === undefined ? [] : [option(Option.interfaceName, text.encode(name))]),
    ...options.map(({ code, value }) => option(code, value)),
    option(Option.timeResolution, Uint8Array.of(nanosecondResolution)),
    option(Option.end, new Uint8Array(0)),
  ]);
}

/** One packet. `interfaceIndex` counts the file's interfaces from 0. */
export function pcapngPacket(record: CaptureRecord): Uint8Array {
  const fixed = new Uint8Array(20);
  const view = new DataView(fixed.buffer);
  const ticks = BigInt.asUintN(64, BigInt(record.seconds) * 1_000_000_000n + BigInt(record.nanoseconds));
  view.setUint32(0, record.interfaceIndex, true);
  view.setUint32(4, Number(ticks >> 32n), true);
  view.setUint32(8, Number(ticks & 0xffffffffn), true);
  view.setUint32(12, record.bytes.length, true);
  view.setUint32(16, record.originalLength ?? record.bytes.length, true);
  const data = new Uint8Array(padded(record.bytes.length));
  data.set(record.bytes);
  return block(Block.enhancedPacket, [fixed, data, ...packetOptions(record)]);
}

function packetOptions({ comments = [], direction, options = [] }: CaptureRecord): readonly Uint8Array[] {
  const written = comments.map((comment) => option(Option.comment, commentBytes(comment)));
  for (const { code, value } of options) written.push(option(code, value));
  // bits 0-1 of epb_flags: 1 inbound, 2 outbound
  const hasFlags = options.some(({ code }) => code === Option.packetFlags);
  if (direction !== undefined && !hasFlags)
    written.push(option(Option.packetFlags, Uint8Array.of(direction === "in" ? 1 : 2, 0, 0, 0)));
  return written.length === 0 ? [] : [...written, option(Option.end, new Uint8Array(0))];
}

/** As much as an option holds, never half a character. */
function commentBytes(comment: string): Uint8Array {
  const bytes = text.encode(comment);
  let end = Math.min(bytes.length, optionBytesMax);
  if (end < bytes.length) while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
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
  const frame = new Uint8Array(8);
  const view = new DataView(frame.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  return concatenate([frame, ...parts, frame.subarray(4)]);
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
