/**
 * Lowers the maximum segment size that a TCP header announces, or adds the option where there is none, as target TCPMSS
 * does. Source: kernel net/netfilter/xt_TCPMSS.c.
 */
import { assert } from "../base/index.ts";
import {
  readU16,
  tcpHeaderSize,
  updateChecksum,
  updateChecksum32,
  writeU16,
  writeU32,
} from "../wire/index.ts";
import { DecodeStatus, type PacketBatch } from "./batch.ts";
import { packetEnd } from "./edit.ts";

const optionNop = 1;
const optionMss = 2;
const optionMssSize = 4;
const headerSizeMax = 60;
const checksumAt = 16;

/** What is added is no more than hosts take that are told nothing (RFC 9293 section 3.7.1). */
const addedMax = { 4: 536, 6: 1220 } as const;

/** Answers false where the header is cut: such a packet is dropped. A larger segment size than the given is lowered to it. */
export function lowerMss(batch: PacketBatch, row: number, mss: number): boolean {
  assert(batch.status[row] !== DecodeStatus.dirty, "edit of an undecoded row");
  if (batch.status[row] === DecodeStatus.laterFragment) return true;
  if (batch.status[row] !== DecodeStatus.ok) return false;
  const { bytes } = batch;
  const at = batch.offset[row]! + batch.transport[row]!;
  const length = packetEnd(batch, row) - at;
  const size = (bytes[at + 12]! >>> 4) * 4;
  if (size < tcpHeaderSize || length < size) return false;
  recut(batch, row);
  for (let i = at + tcpHeaderSize; i <= at + size - optionMssSize; i += optionSize(bytes, i)) {
    if (bytes[i] !== optionMss || bytes[i + 1] !== optionMssSize) continue;
    const before = readU16(bytes, i + 2);
    if (before <= mss) return true;
    writeU16(bytes, i + 2, mss);
    // at an odd offset the sum comes out wrong, as it does in the kernel (6.18)
    writeU16(bytes, at + checksumAt, updateChecksum(readU16(bytes, at + checksumAt), before, mss));
    return true;
  }
  if (length === size && size < headerSizeMax) addMss(batch, row, mss);
  return true;
}

const optionSize = (bytes: Uint8Array, at: number): number =>
  bytes[at]! <= optionNop || bytes[at + 1] === 0 ? 1 : bytes[at + 1]!;

/** The kernel puts the fragments of a datagram that it writes to into one piece, which leaves cut anew. */
function recut({ state, size, transport }: PacketBatch, row: number): void {
  const came = state.fragments[row];
  if (came !== undefined) state.fragments[row] = { ...came, sizes: [size[row]! - transport[row]!] };
}

/** In front of the other options; what stands before it moves into the head-room. */
function addMss(batch: PacketBatch, row: number, mss: number): void {
  const { bytes } = batch;
  const start = batch.offset[row]! - optionMssSize;
  const tcpAt = start + batch.transport[row]!;
  assert(start >= 0, "an option needs head-room");
  bytes.copyWithin(start, start + optionMssSize, tcpAt + optionMssSize + tcpHeaderSize);
  batch.offset[row] = start;
  batch.size[row] = batch.size[row]! + optionMssSize;
  const isV6 = batch.family[row] === 6;
  const lengthAt = start + (isV6 ? 4 : 2);
  const length = readU16(bytes, lengthAt);
  writeU16(bytes, lengthAt, length + optionMssSize);
  if (!isV6)
    writeU16(bytes, start + 10, updateChecksum(readU16(bytes, start + 10), length, length + optionMssSize));
  const option = ((optionMss << 24) | (optionMssSize << 16) | Math.min(mss, addedMax[isV6 ? 6 : 4])) >>> 0;
  const flags = readU16(bytes, tcpAt + 12);
  const segment = packetEnd(batch, row) - tcpAt;
  writeU32(bytes, tcpAt + tcpHeaderSize, option);
  writeU16(bytes, tcpAt + 12, flags + 0x1000);
  let sum = updateChecksum(readU16(bytes, tcpAt + checksumAt), segment - optionMssSize, segment);
  sum = updateChecksum32(sum, 0, option);
  writeU16(bytes, tcpAt + checksumAt, updateChecksum(sum, flags, flags + 0x1000));
}
