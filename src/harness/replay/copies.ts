/**
 * Copies of one packet in a capture that was taken at several interfaces: the packet as it came in, as it went on with a
 * lower TTL, and behind NAT. A copy carries the same payload and identification as a packet that was judged a moment
 * ago, was seen at another interface or with a lower TTL, and runs between the same ends, or between ends that NAT may
 * have changed: an address of a node or a Service stands on one side of every translation. The same packet at the same
 * interface with the same TTL is no copy: the sender has sent it again. Programs translate and send on without lowering
 * the TTL, even by the interface that a packet came in: it then has new ends on both sides.
 *
 * The last packets that were judged lie in a ring, chained by the hash of their content; nothing is allocated for one.
 */
import { DecodeStatus, type PacketBatch } from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import {
  type Side as EndSide,
  endsFamily,
  endsProtocol,
  endsWords,
  isSameSide,
  lanesAt,
  type PacketEnds,
} from "./packet-ends.ts";

/** Copies follow within this time; captures of several hosts may disagree about the order within it. */
const windowNs = 1e9;
/** Packets that are remembered. */
const ringSize = 1 << 16;
const ringMask = ringSize - 1;
const buckets = 1 << 17;
/** Packets of one content that are looked at, newest first. */
const candidatesMax = 32;
/** Bytes of the transport header and payload that tell packets apart. */
const hashedBytes = 128;

interface Sighting {
  readonly place: number;
  readonly ttl: number;
  readonly isTranslated: boolean;
}

export class CopyFinder {
  /** Judged packets so far: a packet's number, from 0, and `ringMask` give its place in the ring. */
  #count = 0;
  readonly #newest = new Int32Array(buckets).fill(-1);
  /** Number of the packet before it in its chain. */
  readonly #before = new Int32Array(ringSize);
  readonly #hashA = new Uint32Array(ringSize);
  readonly #hashB = new Uint32Array(ringSize);
  readonly #atNs = new Float64Array(ringSize);
  readonly #place = new Float64Array(ringSize);
  readonly #ttl = new Uint8Array(ringSize);
  readonly #ends = new Uint32Array(ringSize * endsWords);
  /** By place in the ring: where else it was seen. */
  readonly #sightings = new Map<number, Sighting[]>();
  /** May NAT put this address into a packet, or take it out of one? */
  readonly #isTranslated: (family: number, words: Uint32Array, at: number) => boolean;
  readonly #content = { a: 0, b: 0 };

  constructor(isTranslated: (family: number, words: Uint32Array, at: number) => boolean) {
    this.#isTranslated = isTranslated;
  }

  /**
   * The place in the ring, below `ringSize`, of the judged packet that row 0 is a copy of; -1 for none. Its ends are
   * `ends` here.
   */
  find(batch: PacketBatch, ends: PacketEnds, place: number, atNs: number): number {
    hashContent(batch, this.#content);
    const { a, b } = this.#content;
    const ttl = ttlOf(batch);
    let left = candidatesMax;
    let number = this.#newest[a % buckets] ?? -1;
    while (number >= 0 && number > this.#count - 1 - ringSize && left > 0) {
      const slot = number & ringMask;
      if (atNs - (this.#atNs[slot] ?? 0) > windowNs) break;
      if (this.#hashA[slot] === a && this.#hashB[slot] === b) {
        left--;
        if (this.#fits(slot, ends, place, ttl)) return slot;
      }
      number = this.#before[slot] ?? -1;
    }
    return -1;
  }

  /** Row 0, which `find` has just been asked about, is judged: what looks like it from now on is a copy. */
  remember(batch: PacketBatch, ends: PacketEnds, place: number, atNs: number): number {
    const { a, b } = this.#content;
    const number = this.#count++;
    const slot = number & ringMask;
    if (this.#sightings.size > 0) this.#sightings.delete(slot);
    this.#before[slot] = this.#newest[a % buckets] ?? -1;
    this.#newest[a % buckets] = number;
    this.#hashA[slot] = a;
    this.#hashB[slot] = b;
    this.#atNs[slot] = atNs;
    this.#place[slot] = place;
    this.#ttl[slot] = ttlOf(batch);
    this.#ends.set(ends, slot * endsWords);
    return slot;
  }

  /** Whether these ends, there, are a copy of the packet at `slot`; remembered if so. */
  #fits(slot: number, ends: PacketEnds, place: number, ttl: number): boolean {
    const [src, dst] = [this.#side(slot, ends, "src"), this.#side(slot, ends, "dst")];
    if (src === "other" || dst === "other") return false;
    const [firstPlace, firstTtl] = [this.#place[slot] ?? 0, this.#ttl[slot] ?? 0];
    const isTranslated = src === "translated" || dst === "translated";
    const isAway = firstPlace !== place;
    const others = this.#sightings.get(slot) ?? [];
    const isSeen = others.some(
      (one) => one.place === place && one.ttl === ttl && one.isTranslated === isTranslated,
    );
    if (isSeen) return false;
    const isCopy = isTranslated
      ? ttl < firstTtl || (ttl === firstTtl && (isAway || src === dst) && !this.#isVague(slot, ends))
      : ttl < firstTtl || isAway || (ttl !== firstTtl && others.some((one) => one.place !== place));
    if (isCopy) this.#sightings.set(slot, [...others, { place, ttl, isTranslated }]);
    return isCopy;
  }

  /** Ends that NAT may have made of those at `slot` without a hop, but that have a likelier origin. */
  #isVague(slot: number, ends: PacketEnds): boolean {
    const protocol = endsProtocol(ends);
    // errors about different packets look alike
    if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6) return true;
    return isSameSide(this.#ends, slot * endsWords, "src", ends, "dst"); // an echo
  }

  #side(slot: number, ends: PacketEnds, side: EndSide): "same" | "translated" | "other" {
    const base = slot * endsWords;
    if (isSameSide(this.#ends, base, side, ends, side)) return "same";
    // a hash has found both: their families are one
    const [family, at] = [endsFamily(ends), lanesAt(side)];
    const mayChange =
      this.#isTranslated(family, this.#ends, base + at) || this.#isTranslated(family, ends, at);
    return mayChange ? "translated" : "other";
  }
}

function ttlOf(batch: PacketBatch): number {
  return batch.bytes[(batch.offset[0] ?? 0) + (batch.family[0] === 6 ? 7 : 8)] ?? 0;
}

/** What neither forwarding nor NAT changes: identification, lengths, sequence numbers, payload. */
function hashContent(batch: PacketBatch, content: { a: number; b: number }): void {
  const start = batch.offset[0] ?? 0;
  const size = batch.size[0] ?? 0;
  const protocol = batch.protocol[0] ?? 0;
  const isV6 = batch.family[0] === 6;
  content.a = 0x811c9dc5 ^ size;
  content.b = (protocol << 16) ^ size;
  hashRange(batch.bytes, start + (isV6 ? 4 : 2), start + (isV6 ? 7 : 8), content);
  const isWhole = batch.status[0] === DecodeStatus.ok;
  const transport = start + (isWhole ? (batch.transport[0] ?? 0) : isV6 ? 40 : 20);
  let at = transport;
  for (const [from, to] of isWhole ? (changedBytes[protocol] ?? []) : []) {
    hashRange(batch.bytes, at, transport + from, content);
    at = transport + to;
  }
  // an ICMP error embeds a packet, which NAT translates too
  const isError =
    isWhole && protocol === IpProtocol.icmp && [3, 4, 5, 11, 12].includes((batch.dport[0] ?? 0) >> 8);
  hashRange(batch.bytes, at, isError ? transport + 8 : Math.min(start + size, at + hashedBytes), content);
}

function hashRange(bytes: Uint8Array, from: number, to: number, content: { a: number; b: number }): void {
  let { a, b } = content;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    const word =
      ((bytes[at] ?? 0) << 24) |
      ((bytes[at + 1] ?? 0) << 16) |
      ((bytes[at + 2] ?? 0) << 8) |
      (bytes[at + 3] ?? 0);
    a = Math.imul(a ^ word, 0x9e3779b1);
    a ^= a >>> 15;
    b = Math.imul(b ^ word, 0x85ebca6b);
    b ^= b >>> 13;
  }
  for (; at < to; at++) {
    a = Math.imul(a ^ (bytes[at] ?? 0), 0x01000193);
    b = Math.imul(b ^ (bytes[at] ?? 0), 0x85ebca6b) ^ (b >>> 13);
  }
  content.a = a >>> 0;
  content.b = b >>> 0;
}

type Ranges = readonly (readonly [from: number, to: number])[];

/** Ports, identifiers and checksums, from the start of the transport header; by protocol number. */
const changedBytes: readonly (Ranges | undefined)[] = (() => {
  const ranges = new Array<Ranges | undefined>(256);
  ranges[IpProtocol.tcp] = [
    [0, 4],
    [16, 18],
  ];
  ranges[IpProtocol.udp] = [
    [0, 4],
    [6, 8],
  ];
  ranges[IpProtocol.sctp] = [
    [0, 4],
    [8, 12],
  ];
  ranges[IpProtocol.icmp] = [[2, 6]];
  ranges[IpProtocol.icmpv6] = [[2, 6]];
  return ranges;
})();
