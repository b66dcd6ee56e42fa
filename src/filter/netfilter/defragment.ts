/**
 * Reassembly before connection tracking (kernel net/ipv4/netfilter/nf_defrag_ipv4.c with net/ipv4/ip_fragment.c,
 * net/ipv6/netfilter/nf_conntrack_reasm.c): fragments are held until their datagram is whole, and the row of the last one
 * goes on as the datagram. Time is virtual; a datagram whose time is over is forgotten in silence (the kernel tells the
 * sender only of datagrams to the node itself). Left out: the exact accounting of memory.
 */
import { DecodeStatus, decodeRow, type PacketBatch, packetEnd, replaceRow } from "../../packet/index.ts";
import {
  IpProtocol,
  internetChecksum,
  ipv6HeaderSize,
  NextHeader,
  readU16,
  readU32,
  writeU16,
} from "../../wire/index.ts";
import { FragmentQueue } from "./fragment-queue.ts";
import type { CtTimeouts } from "./timeouts.ts";

/** What became of a row: it goes on (whole, or made whole), it is held, or it is dropped. */
export type DefragmentEnd = "whole" | "held" | "dropped";

const secondNs = 1_000_000_000;
/** net.ipv4.ipfrag_max_dist: so many fragments of one source may come between two of a datagram. */
const distanceMax = 64;
/** net.ipv4.ipfrag_high_thresh and nf_conntrack_frag6_high_thresh: no new datagram is begun above. */
const storedBytesMax = 4 * 1024 * 1024;
const datagramMax = 0xffff;

interface FragmentV6 {
  /** Offsets in `bytes`: the byte that names the fragment header, and the header itself. */
  readonly nameAt: number;
  readonly headerAt: number;
}

export class Defragmenter {
  readonly #nowNs: () => number;
  readonly #timeouts: CtTimeouts;
  readonly #queues = { 4: new Map<string, FragmentQueue>(), 6: new Map<string, FragmentQueue>() };
  readonly #sourceCounts = new Map<number, number>();
  #storedBytes = 0;

  constructor(nowNs: () => number, timeouts: CtTimeouts) {
    this.#nowNs = nowNs;
    this.#timeouts = timeouts;
  }

  /** `user` keeps apart the fragments that arrive and those that the node sends. */
  take(batch: PacketBatch, row: number, user: number): DefragmentEnd {
    if (batch.family[row] === 4) {
      const field = readU16(batch.bytes, batch.offset[row]! + 6);
      return (field & 0x3fff) === 0 ? "whole" : this.#takeV4(batch, row, user, field);
    }
    const found = fragmentHeaderOf(batch, row);
    return found === undefined ? "whole" : this.#takeV6(batch, row, user, found);
  }

  #queueOf(family: 4 | 6, key: string): FragmentQueue | undefined {
    const queues = this.#queues[family];
    const nowNs = this.#nowNs();
    for (const [oldKey, old] of queues) {
      if (old.expiresNs > nowNs) break; // the oldest come first
      this.#forget(family, oldKey, old);
    }
    const known = queues.get(key);
    if (known !== undefined && known.expiresNs > nowNs) return known;
    if (this.#storedBytes > storedBytesMax) return undefined;
    const queue = new FragmentQueue(nowNs + this.#lifeNs(family));
    queues.set(key, queue);
    return queue;
  }

  #lifeNs(family: 4 | 6): number {
    return (family === 4 ? this.#timeouts.fragmentsV4 : this.#timeouts.fragmentsV6) * secondNs;
  }

  #forget(family: 4 | 6, key: string, queue: FragmentQueue): void {
    this.#queues[family].delete(key);
    this.#storedBytes -= queue.storedBytes;
    if (family === 4 && this.#queues[4].size === 0) this.#sourceCounts.clear();
  }

  /** True if a datagram lost touch: it is begun anew with this fragment. */
  #isTooFar(queue: FragmentQueue, source: number): boolean {
    const before = queue.sourceCount;
    const count = (this.#sourceCounts.get(source) ?? 0) + 1;
    this.#sourceCounts.set(source, count);
    queue.sourceCount = count;
    return !queue.isEmpty && count - before > distanceMax;
  }

  #takeV4(batch: PacketBatch, row: number, user: number, field: number): DefragmentEnd {
    const { bytes } = batch;
    const at = batch.offset[row]!;
    const protocol = bytes[at + 9]!;
    const source = batch.src[row * 4]!;
    const key = `${source} ${batch.dst[row * 4]} ${readU16(bytes, at + 4)} ${protocol} ${user}`;
    const queue = this.#queueOf(4, key);
    if (queue === undefined) return "dropped";
    if (this.#isTooFar(queue, source)) {
      this.#storedBytes -= queue.storedBytes;
      queue.restart(this.#nowNs() + this.#lifeNs(4));
    }
    const headerSize = (bytes[at]! & 15) * 4;
    const offset = (field & 0x1fff) * 8;
    const isMore = (field & 0x2000) !== 0;
    let end = offset + packetEnd(batch, row) - at - headerSize;
    if (isMore) end &= ~7;
    const end4 = this.#extend(queue, offset, end, isMore);
    if (!end4) {
      this.#forget(4, key, queue);
      return "dropped";
    }
    const data = bytes.subarray(at + headerSize, at + headerSize + end - offset);
    const inserted = this.#store(queue, offset, end, data);
    if (inserted === "duplicate") return "dropped";
    if (inserted === "overlap") {
      this.#forget(4, key, queue);
      return "dropped";
    }
    const size = end - offset + headerSize;
    queue.ecns |= 1 << (bytes[at + 1]! & 3);
    queue.largest = Math.max(queue.largest, size);
    if (field & 0x4000) queue.largestUnsplittable = Math.max(queue.largestUnsplittable, size);
    if (offset === 0) queue.head = bytes.slice(at, at + headerSize);
    if (!queue.isWhole) return "held";
    this.#forget(4, key, queue);
    return finishV4(batch, row, queue);
  }

  /** Notes where the datagram ends. False: it contradicts what came before. */
  #extend(queue: FragmentQueue, offset: number, end: number, isMore: boolean): boolean {
    if (!isMore) {
      if (end < queue.length || (queue.hasLast && end !== queue.length)) return false;
      queue.hasLast = true;
      queue.length = end;
    } else if (end > queue.length) {
      if (queue.hasLast) return false;
      queue.length = end;
    }
    return end !== offset;
  }

  #store(
    queue: FragmentQueue,
    start: number,
    end: number,
    data: Uint8Array,
  ): "added" | "duplicate" | "overlap" {
    const inserted = queue.insert(start, end, data);
    if (inserted === "added") this.#storedBytes += end - start;
    return inserted;
  }

  #takeV6(batch: PacketBatch, row: number, user: number, { nameAt, headerAt }: FragmentV6): DefragmentEnd {
    const { bytes } = batch;
    const at = batch.offset[row]!;
    const packetStop = packetEnd(batch, row);
    if (headerAt + 8 > packetStop) return "dropped";
    if (isHeaderChainCut(bytes, headerAt, packetStop)) return "whole"; // RFC 8200 section 4.5; it goes on as it is
    const lane = row * 4;
    const ends = `${batch.src.subarray(lane, lane + 4).join(".")} ${batch.dst.subarray(lane, lane + 4).join(".")}`;
    const isScoped =
      bytes[at + 24] === 0xff || (bytes[at + 24] === 0xfe && (bytes[at + 25]! & 0xc0) === 0x80);
    const key = `${ends} ${readU32(bytes, headerAt + 4)} ${user} ${isScoped ? batch.state.iif[row] : 0}`;
    const queue = this.#queueOf(6, key);
    if (queue === undefined) return "dropped";
    const field = readU16(bytes, headerAt + 2);
    const offset = field & 0xfff8;
    const isMore = (field & 1) !== 0;
    const payloadSize = readU16(bytes, at + 4);
    const end = offset + payloadSize - (headerAt + 8 - at - ipv6HeaderSize);
    if (end > datagramMax) return "dropped";
    if (isMore && end & 7) {
      this.#forget(6, key, queue);
      return "whole";
    }
    if (!this.#extend(queue, offset, end, isMore)) return "dropped";
    const inserted = this.#store(
      queue,
      offset,
      end,
      bytes.subarray(headerAt + 8, headerAt + 8 + end - offset),
    );
    if (inserted === "duplicate") return "held";
    if (inserted === "overlap") {
      this.#forget(6, key, queue);
      return "dropped";
    }
    queue.ecns |= 1 << ((bytes[at + 1]! >>> 4) & 3);
    queue.largest = Math.max(queue.largest, payloadSize);
    if (offset === 0) {
      queue.head = bytes.slice(at, headerAt);
      queue.head[nameAt - at] = bytes[headerAt]!;
    }
    if (!queue.isWhole) return "held";
    this.#forget(6, key, queue);
    return finishV6(batch, row, queue);
  }
}

/** The mark of congestion that the whole bears; `undefined`: the fragments' marks contradict each other (RFC 3168, 5.3). */
function ecnOf(ecns: number): number | undefined {
  if (ecns & 1 && ecns !== 1) return undefined;
  return ecns & 8 && ecns !== 8 ? 3 : 0;
}

function finishV4(batch: PacketBatch, row: number, queue: FragmentQueue): DefragmentEnd {
  const head = queue.head as Uint8Array;
  const size = head.length + queue.length;
  const ecn = ecnOf(queue.ecns);
  if (size > datagramMax || ecn === undefined) return "dropped";
  const packet = new Uint8Array(size);
  packet.set(head);
  queue.fill(packet, head.length);
  const keepsDf = queue.largestUnsplittable === queue.largest;
  packet[1] = head[1]! | ecn;
  writeU16(packet, 2, size);
  writeU16(packet, 6, keepsDf ? 0x4000 : 0);
  writeU16(packet, 10, 0);
  writeU16(packet, 10, internetChecksum(packet, 0, head.length));
  return replace(batch, row, packet, {
    sizes: queue.sizes(),
    largest: Math.max(queue.largest, queue.largestUnsplittable),
    keepsDf,
  });
}

function finishV6(batch: PacketBatch, row: number, queue: FragmentQueue): DefragmentEnd {
  const head = queue.head as Uint8Array;
  const ecn = ecnOf(queue.ecns);
  const payloadSize = head.length - ipv6HeaderSize + queue.length;
  if (payloadSize > datagramMax || ecn === undefined) return "dropped";
  const packet = new Uint8Array(head.length + queue.length);
  packet.set(head);
  queue.fill(packet, head.length);
  writeU16(packet, 4, payloadSize);
  packet[1] = head[1]! | (ecn << 4);
  return replace(batch, row, packet, {
    sizes: queue.sizes(),
    largest: ipv6HeaderSize + queue.largest,
    keepsDf: false,
  });
}

function replace(
  batch: PacketBatch,
  row: number,
  packet: Uint8Array,
  fragments: { readonly sizes: readonly number[]; readonly largest: number; readonly keepsDf: boolean },
): DefragmentEnd {
  if (!replaceRow(batch, row, packet)) return "dropped"; // no room: as a kernel without memory
  decodeRow(batch, row);
  batch.state.fragments[row] = fragments;
  return "whole";
}

/** Where a row's fragment header is; `undefined`: it has none, or what stands before it cannot be read. */
function fragmentHeaderOf(batch: PacketBatch, row: number): FragmentV6 | undefined {
  const { bytes } = batch;
  const at = batch.offset[row]!;
  const end = packetEnd(batch, row);
  let nameAt = at + 6;
  if (batch.status[row] === DecodeStatus.ok && bytes[nameAt] === batch.protocol[row]) return undefined;
  if (readU16(bytes, at + 4) === 0) return undefined;
  let next = at + ipv6HeaderSize;
  for (;;) {
    const type = bytes[nameAt]!;
    if (type === NextHeader.fragment) return { nameAt, headerAt: next };
    const isOptions =
      type === NextHeader.hopByHop || type === NextHeader.routing || type === NextHeader.destinationOptions;
    if (!isOptions && type !== NextHeader.authentication) return undefined;
    if (next + 2 > end) return undefined;
    nameAt = next;
    next += isOptions ? (bytes[next + 1]! + 1) * 8 : (bytes[next + 1]! + 2) * 4;
    if (next > end) return undefined;
  }
}

/** A first fragment must bring all headers of the datagram. */
function isHeaderChainCut(bytes: Uint8Array, headerAt: number, end: number): boolean {
  if (readU16(bytes, headerAt + 2) & 0xfff8) return false;
  let type = bytes[headerAt]!;
  let at = headerAt + 8;
  for (;;) {
    const isOptions =
      type === NextHeader.hopByHop || type === NextHeader.routing || type === NextHeader.destinationOptions;
    if (!isOptions && type !== NextHeader.authentication && type !== NextHeader.fragment) break;
    if (at + 2 > end) return false;
    const size = isOptions
      ? (bytes[at + 1]! + 1) * 8
      : type === NextHeader.fragment
        ? 8
        : (bytes[at + 1]! + 2) * 4;
    type = bytes[at]!;
    at += size;
  }
  const sizes: Readonly<Record<number, number>> = {
    [IpProtocol.tcp]: 20,
    [IpProtocol.udp]: 8,
    [IpProtocol.icmpv6]: 8,
  };
  return at + (sizes[type] ?? 1) > end;
}
