/**
 * Numbers by address: open addressing over typed arrays, so that a look-up by the words of a packet's header makes no
 * object and no text. Both families live in one table.
 */
import type { Family, Ip } from "./ip.ts";

/** Words of a slot: the family, then four lanes (IPv4 uses the first). */
const stride = 5;
const free = 0;
const removed = 1;

/** Whole numbers from 0 by address. */
export class AddressTable {
  #keys = new Uint32Array(16 * stride);
  #values = new Int32Array(16);
  /** Slots that are not free, those of removed addresses included. */
  #used = 0;

  /** The address's number, -1 for none; its lanes are `words[at..]`. */
  get(family: number, words: ArrayLike<number>, at = 0): number {
    const slot = this.#slot(family, words, at);
    return this.#keys[slot * stride] === free ? -1 : this.#values[slot]!;
  }

  set(ip: Ip, value: number): void {
    const slot = this.#slot(ip.family, ip.words, 0);
    if (this.#keys[slot * stride] !== ip.family) {
      this.#keys[slot * stride] = ip.family;
      for (let i = 0; i < lanesOf(ip.family); i++) this.#keys[slot * stride + 1 + i] = ip.words[i]!;
      this.#used++;
    }
    this.#values[slot] = value;
    if (this.#used * 2 > this.#values.length) this.#rebuild();
  }

  delete(ip: Ip): void {
    const slot = this.#slot(ip.family, ip.words, 0);
    if (this.#keys[slot * stride] === ip.family) this.#keys[slot * stride] = removed;
  }

  /** Where the address is, or the free slot where it would be put. */
  #slot(family: number, words: ArrayLike<number>, at: number): number {
    const keys = this.#keys;
    const mask = this.#values.length - 1;
    for (let slot = hash(family, words, at) & mask; ; slot = (slot + 1) & mask) {
      const base = slot * stride;
      const kind = keys[base]!;
      if (kind === free) return slot;
      if (kind !== family || keys[base + 1] !== words[at]!) continue;
      if (family === 4) return slot;
      const isSame =
        keys[base + 2] === words[at + 1] &&
        keys[base + 3] === words[at + 2] &&
        keys[base + 4] === words[at + 3];
      if (isSame) return slot;
    }
  }

  #rebuild(): void {
    const [keys, values] = [this.#keys, this.#values];
    const live = values.reduce((count, _, slot) => (keys[slot * stride]! > removed ? count + 1 : count), 0);
    const size = live * 4 > values.length ? values.length * 2 : values.length;
    this.#keys = new Uint32Array(size * stride);
    this.#values = new Int32Array(size);
    this.#used = live;
    for (let old = 0; old < values.length; old++) {
      const family = keys[old * stride]!;
      if (family <= removed) continue;
      const slot = this.#slot(family, keys, old * stride + 1);
      this.#keys.set(keys.subarray(old * stride, (old + 1) * stride), slot * stride);
      this.#values[slot] = values[old]!;
    }
  }
}

function lanesOf(family: Family): number {
  return family === 4 ? 1 : 4;
}

function hash(family: number, words: ArrayLike<number>, at: number): number {
  let sum = Math.imul(words[at]!, 0x9e3779b1);
  if (family !== 4)
    for (let i = 1; i < 4; i++) sum = Math.imul((sum ^ (sum >>> 15)) + words[at + i]!, 0x85ebca6b);
  return (sum ^ (sum >>> 16)) >>> 0;
}
