/**
 * Tuples of connections in packed words and the hash table over them. A tuple is ten words: source (4), destination
 * (4), ports (source in the upper half), and zone, family and protocol. An ICMP query uses its identifier as source
 * port and type and code as destination port, as the kernel does (net/netfilter/nf_conntrack_proto_icmp.c).
 */
import type { PacketBatch } from "../../packet/index.ts";
import { IpProtocol, readU16, readU32 } from "../../wire/index.ts";

export const tupleWords = 10;

export type Tuple = Uint32Array;

export const udpLite = 136;

export function newTuple(): Tuple {
  return new Uint32Array(tupleWords);
}

export function tuplesEqual(a: Tuple, b: Tuple): boolean {
  for (let i = 0; i < tupleWords; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function tupleProtocol(tuple: Tuple): number {
  return tuple[9]! & 0xff;
}

export function tupleFamily(tuple: Tuple): number {
  return (tuple[9]! >>> 8) & 0xff;
}

export function tupleZone(tuple: Tuple): number {
  return tuple[9]! >>> 16;
}

export function setTupleZone(tuple: Tuple, zone: number): void {
  tuple[9] = ((zone << 16) | (tuple[9]! & 0xffff)) >>> 0;
}

/** Writes the reverse direction of `from` into `to`; an ICMP request becomes its reply. */
export function invertTuple(from: Tuple, to: Tuple): void {
  for (let i = 0; i < 4; i++) {
    to[i] = from[4 + i]!;
    to[4 + i] = from[i]!;
  }
  const ports = from[8]!;
  to[9] = from[9]!;
  const protocol = from[9]! & 0xff;
  if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6) {
    const type = (ports >>> 8) & 0xff;
    const code = ports & 0xff;
    to[8] = ((ports & 0xffff0000) | (invertIcmpType(protocol, type) << 8) | code) >>> 0;
  } else {
    to[8] = ((ports << 16) | (ports >>> 16)) >>> 0;
  }
}

const pairsV4: Readonly<Record<number, number>> = {
  8: 0,
  0: 8,
  13: 14,
  14: 13,
  15: 16,
  16: 15,
  17: 18,
  18: 17,
};
const pairsV6: Readonly<Record<number, number>> = { 128: 129, 129: 128, 139: 140, 140: 139 };

/** The type that answers `type`; 255 for types that are no query. */
export function invertIcmpType(protocol: number, type: number): number {
  return (protocol === IpProtocol.icmp ? pairsV4[type] : pairsV6[type]) ?? 255;
}

/** Writes the tuple of a decoded row, in the zone given. False: the transport header is too short to have one. */
export function tupleOfRow(batch: PacketBatch, row: number, zone: number, tuple: Tuple): boolean {
  const lane = row * 4;
  for (let i = 0; i < 4; i++) {
    tuple[i] = batch.src[lane + i]!;
    tuple[4 + i] = batch.dst[lane + i]!;
  }
  const protocol = batch.protocol[row]!;
  tuple[9] = ((zone << 16) | (batch.family[row]! << 8) | protocol) >>> 0;
  if (protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.sctp) {
    tuple[8] = ((batch.sport[row]! << 16) | batch.dport[row]!) >>> 0;
    return true;
  }
  const start = batch.offset[row]!;
  const length = readU16(batch.bytes, start + (batch.family[row] === 6 ? 4 : 2));
  const end = start + length + (batch.family[row] === 6 ? 40 : 0);
  return setTuplePorts(tuple, protocol, batch.bytes, start + batch.transport[row]!, end);
}

/** Fills in what the transport header says; `tuple[9]` is set already. False: too short, or of no kind that is tracked. */
export function setTuplePorts(
  tuple: Tuple,
  protocol: number,
  bytes: Uint8Array,
  at: number,
  end: number,
): boolean {
  tuple[8] = 0;
  switch (protocol) {
    case IpProtocol.tcp:
    case IpProtocol.udp:
    case IpProtocol.sctp:
    case udpLite:
      if (at + 4 > end) return false;
      tuple[8] = readU32(bytes, at);
      return true;
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      if (at + 8 > end) return false;
      tuple[8] = ((readU16(bytes, at + 4) << 16) | readU16(bytes, at)) >>> 0;
      return true;
    case IpProtocol.gre:
      return setGreKey(tuple, bytes, at, end);
    default:
      return true;
  }
}

const grePpp = 0x880b;

/** Only PPTP's version of GRE has a key: the call identifier (RFC 2637 section 4.1). */
function setGreKey(tuple: Tuple, bytes: Uint8Array, at: number, end: number): boolean {
  if (at + 8 > end || (bytes[at + 1]! & 7) !== 1) return true;
  if (readU16(bytes, at + 2) !== grePpp) return false;
  tuple[8] = readU16(bytes, at + 6);
  return true;
}

/** Open addressing, in order of the hash, from tuple to an entry's number. Takes the tuple's hash, made once by `hash`. */
export class TupleTable {
  count = 0;
  readonly #seed: number;
  #keys = new Uint32Array(256 * tupleWords);
  #hashes = new Uint32Array(256);
  #refs = new Int32Array(256).fill(empty);
  #used = 0;
  #shift = 24;

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** -1 when the tuple is not there. */
  get(tuple: Tuple, hash: number): number {
    const slot = this.#find(tuple, hash);
    return slot < 0 ? -1 : this.#refs[slot]!;
  }

  set(tuple: Tuple, ref: number): void {
    this.#put(tuple, this.hash(tuple), ref);
  }

  delete(tuple: Tuple): void {
    const slot = this.#find(tuple, this.hash(tuple));
    if (slot < 0) return;
    this.#refs[slot] = deleted;
    this.count--;
  }

  clear(): void {
    this.#refs.fill(empty);
    this.#used = 0;
    this.count = 0;
  }

  /**
   * References of tuples whose hash falls into one bucket of a table of `buckets` chains, newest place unknown: what a
   * kernel with such a table would find in that chain.
   */
  inBucket(bucket: number, buckets: number): readonly number[] {
    const refs = this.#refs;
    const mask = refs.length - 1;
    const found: number[] = [];
    const first = Math.ceil((bucket * 2 ** 32) / buckets);
    const last = Math.ceil(((bucket + 1) * 2 ** 32) / buckets) - 1;
    const lastHome = last >>> this.#shift;
    for (let slot = first >>> this.#shift, seen = 0; seen <= mask; slot = (slot + 1) & mask, seen++) {
      const ref = refs[slot]!;
      if (ref === empty && (slot > lastHome || slot === lastHome)) break;
      const hash = this.#hashes[slot]!;
      if (ref >= 0 && hash >= first && hash <= last) found.push(ref);
    }
    return found;
  }

  hash(tuple: Tuple): number {
    let h = mix(mix(this.#seed, tuple[8]!), tuple[9]!);
    h = mix(mix(h, tuple[0]!), tuple[4]!);
    if (tupleFamily(tuple) === 6) {
      h = mix(mix(mix(h, tuple[1]!), tuple[2]!), tuple[3]!);
      h = mix(mix(mix(h, tuple[5]!), tuple[6]!), tuple[7]!);
    }
    h = Math.imul(h, 0xc2b2ae35);
    return (h ^ (h >>> 13)) >>> 0;
  }

  #put(tuple: Tuple, hash: number, ref: number): void {
    const found = this.#find(tuple, hash);
    if (found >= 0) {
      this.#refs[found] = ref;
      return;
    }
    if ((this.#used + 1) * 2 > this.#refs.length) this.#rebuild();
    const mask = this.#refs.length - 1;
    let slot = hash >>> this.#shift;
    while (this.#refs[slot]! >= 0) slot = (slot + 1) & mask;
    if (this.#refs[slot] === empty) this.#used++;
    this.#keys.set(tuple, slot * tupleWords);
    this.#hashes[slot] = hash;
    this.#refs[slot] = ref;
    this.count++;
  }

  #find(tuple: Tuple, hash: number): number {
    const keys = this.#keys;
    const refs = this.#refs;
    const hashes = this.#hashes;
    const mask = refs.length - 1;
    let slot = hash >>> this.#shift;
    for (;;) {
      const ref = refs[slot]!;
      if (ref === empty) return -1;
      if (ref >= 0 && hashes[slot] === hash) {
        const at = slot * tupleWords;
        if (keys[at] === tuple[0] && keys[at + 4] === tuple[4] && keys[at + 8] === tuple[8]) {
          let i = 1;
          while (i < tupleWords && keys[at + i] === tuple[i]) i++;
          if (i === tupleWords) return slot;
        }
      }
      slot = (slot + 1) & mask;
    }
  }

  #rebuild(): void {
    const [keys, hashes, refs] = [this.#keys, this.#hashes, this.#refs];
    const capacity = this.count * 4 > refs.length ? refs.length * 2 : refs.length;
    this.#keys = new Uint32Array(capacity * tupleWords);
    this.#hashes = new Uint32Array(capacity);
    this.#refs = new Int32Array(capacity).fill(empty);
    this.#shift = Math.clz32(capacity) + 1;
    this.#used = 0;
    this.count = 0;
    for (let slot = 0; slot < refs.length; slot++)
      if (refs[slot]! >= 0)
        this.#put(
          keys.subarray(slot * tupleWords, slot * tupleWords + tupleWords),
          hashes[slot]!,
          refs[slot]!,
        );
  }
}

function mix(hash: number, word: number): number {
  const h = Math.imul(hash ^ word, 0x85ebca6b);
  return h ^ (h >>> 15);
}

const empty = -1;
const deleted = -2;
