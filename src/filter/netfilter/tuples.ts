/**
 * Tuples of connections in packed words and the hash table over them. A tuple is ten words: source (4), destination
 * (4), ports (source in the upper half), protocol and family. ICMP echo uses its identifier as source port and type and
 * code as destination port, as the kernel does (net/netfilter/nf_conntrack_proto_icmp.c).
 */
import type { PacketBatch } from "../../packet/index.ts";

export const tupleWords = 10;

export type Tuple = Uint32Array;

/** Writes the reverse direction of `from` into `to`. `replyType` maps ICMP echo request to reply. */
export function invertTuple(from: Tuple, to: Tuple): void {
  for (let i = 0; i < 4; i++) {
    to[i] = from[4 + i]!;
    to[4 + i] = from[i]!;
  }
  const ports = from[8]!;
  to[9] = from[9]!;
  const protocol = from[9]! & 0xff;
  if (protocol === 1 || protocol === 58) {
    const type = (ports >>> 8) & 0xff;
    const code = ports & 0xff;
    to[8] = (ports & 0xffff0000) | (invertIcmpType(protocol, type) << 8) | code;
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
const pairsV6: Readonly<Record<number, number>> = { 128: 129, 129: 128 };

/** The type that answers `type`; 255 for types that conntrack does not track. */
export function invertIcmpType(protocol: number, type: number): number {
  return (protocol === 1 ? pairsV4[type] : pairsV6[type]) ?? 255;
}

/** Writes the tuple of a decoded row. */
export function tupleOfRow(batch: PacketBatch, row: number, tuple: Tuple): void {
  const lane = row * 4;
  for (let i = 0; i < 4; i++) {
    tuple[i] = batch.src[lane + i]!;
    tuple[4 + i] = batch.dst[lane + i]!;
  }
  const protocol = batch.protocol[row]!;
  tuple[9] = ((batch.family[row]! << 8) | protocol) >>> 0;
  if (protocol === 1 || protocol === 58) {
    const at = batch.offset[row]! + batch.transport[row]!;
    const identifier = (batch.bytes[at + 4]! << 8) | batch.bytes[at + 5]!;
    tuple[8] = ((identifier << 16) | batch.dport[row]!) >>> 0;
  } else {
    tuple[8] = ((batch.sport[row]! << 16) | batch.dport[row]!) >>> 0;
  }
}

/** Open addressing from tuple to a reference (entry number * 2 + direction). */
export class TupleTable {
  count = 0;
  #keys = new Uint32Array(256 * tupleWords);
  #refs = new Int32Array(256).fill(-1); // -1 empty, -2 deleted
  #used = 0;
  #mask = 255;

  /** -1 when the tuple is not there. */
  get(tuple: Tuple): number {
    const slot = this.#find(tuple);
    return slot < 0 ? -1 : this.#refs[slot]!;
  }

  set(tuple: Tuple, ref: number): void {
    const found = this.#find(tuple);
    if (found >= 0) {
      this.#refs[found] = ref;
      return;
    }
    if ((this.#used + 1) * 2 > this.#mask + 1) this.#rebuild();
    let slot = hashTuple(tuple) & this.#mask;
    while (this.#refs[slot]! >= 0) slot = (slot + 1) & this.#mask;
    if (this.#refs[slot] === -1) this.#used++;
    this.#keys.set(tuple, slot * tupleWords);
    this.#refs[slot] = ref;
    this.count++;
  }

  delete(tuple: Tuple): void {
    const slot = this.#find(tuple);
    if (slot < 0) return;
    this.#refs[slot] = -2;
    this.count--;
  }

  clear(): void {
    this.#refs.fill(-1);
    this.#used = 0;
    this.count = 0;
  }

  #find(tuple: Tuple): number {
    const keys = this.#keys;
    const refs = this.#refs;
    let slot = hashTuple(tuple) & this.#mask;
    for (;;) {
      const ref = refs[slot]!;
      if (ref === -1) return -1;
      if (ref >= 0) {
        const at = slot * tupleWords;
        let i = 0;
        while (i < tupleWords && keys[at + i] === tuple[i]) i++;
        if (i === tupleWords) return slot;
      }
      slot = (slot + 1) & this.#mask;
    }
  }

  #rebuild(): void {
    const [keys, refs, oldMask] = [this.#keys, this.#refs, this.#mask];
    const capacity = this.count * 4 > oldMask + 1 ? (oldMask + 1) * 2 : oldMask + 1;
    this.#keys = new Uint32Array(capacity * tupleWords);
    this.#refs = new Int32Array(capacity).fill(-1);
    this.#mask = capacity - 1;
    this.#used = 0;
    this.count = 0;
    for (let slot = 0; slot <= oldMask; slot++)
      if (refs[slot]! >= 0)
        this.set(keys.subarray(slot * tupleWords, slot * tupleWords + tupleWords), refs[slot]!);
  }
}

function hashTuple(tuple: Tuple): number {
  let h = 0x9e3779b9;
  for (let i = 0; i < tupleWords; i++) {
    h = Math.imul(h ^ tuple[i]!, 0x85ebca6b);
    h ^= h >>> 15;
  }
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 13)) >>> 0;
}
