/** Whole numbers by the ends of packets: open addressing over typed arrays, with removal. */
import { endsWords, type PacketEnds } from "./packet-ends.ts";

const free = 0;
const removed = -1;

export class EndsTable {
  #keys = new Uint32Array(64 * endsWords);
  /** Value + 1, `free` or `removed`. */
  #values = new Int32Array(64);
  #live = 0;
  /** Slots that are not free. */
  #used = 0;

  get size(): number {
    return this.#live;
  }

  /** The number of these ends, -1 for none. */
  get(ends: PacketEnds): number {
    const value = this.#values[this.#slot(ends, 0)] ?? free;
    return value === free ? -1 : value - 1;
  }

  /** Puts a number, from 0, in the place of the one before. */
  set(ends: PacketEnds, value: number): void {
    const slot = this.#slot(ends, 0);
    if (this.#values[slot] === free) {
      this.#keys.set(ends, slot * endsWords);
      this.#live++;
      this.#used++;
    }
    this.#values[slot] = value + 1;
    if (this.#used * 2 > this.#values.length) this.#rebuild();
  }

  delete(ends: PacketEnds): void {
    const slot = this.#slot(ends, 0);
    if (this.#values[slot] === free) return;
    this.#values[slot] = removed;
    this.#live--;
  }

  /** Where the ends at `keys[at..]` are, or the free slot where they would be put. */
  #slot(keys: Uint32Array, at: number): number {
    const mask = this.#values.length - 1;
    for (let slot = hash(keys, at) & mask; ; slot = (slot + 1) & mask) {
      const value = this.#values[slot];
      if (value === free || (value !== removed && this.#isAt(slot, keys, at))) return slot;
    }
  }

  #isAt(slot: number, keys: Uint32Array, at: number): boolean {
    const base = slot * endsWords;
    for (let i = endsWords - 1; i >= 0; i--) if (this.#keys[base + i] !== keys[at + i]) return false;
    return true;
  }

  #rebuild(): void {
    const [keys, values] = [this.#keys, this.#values];
    const slots = this.#live * 4 > values.length ? values.length * 2 : values.length;
    this.#keys = new Uint32Array(slots * endsWords);
    this.#values = new Int32Array(slots);
    this.#used = this.#live;
    for (let old = 0; old < values.length; old++) {
      const value = values[old] ?? free;
      if (value <= free) continue;
      const slot = this.#slot(keys, old * endsWords);
      this.#keys.set(keys.subarray(old * endsWords, (old + 1) * endsWords), slot * endsWords);
      this.#values[slot] = value;
    }
  }
}

function hash(keys: Uint32Array, at: number): number {
  let sum = 0;
  for (let i = 0; i < endsWords; i++) sum = Math.imul((sum ^ (sum >>> 15)) + (keys[at + i] ?? 0), 0x9e3779b1);
  return sum ^ (sum >>> 16);
}
