/**
 * Open addressing over packed 32-bit words: the storage of hash sets. A key is `stride` words; each slot has a state
 * byte, and a reference where the set keeps more of a member than its key. Nothing is ever moved by a lookup, and lookups
 * allocate nothing.
 */
import { assert } from "../../base/index.ts";

export const SlotState = { empty: 0, match: 1, nomatch: 2, deleted: 3 } as const;

const initialCapacity = 8;
/** Two IPv6 addresses and two more parts. */
export const strideMax = 10;

export class WordTable {
  readonly stride: number;
  count = 0;
  #used = 0; // live and deleted slots
  #keys: Uint32Array;
  #states: Uint8Array;
  /** By slot; made when the first reference is stored. */
  #refs: Uint32Array | undefined;
  #mask: number;

  /** `stride` is 1..`strideMax`; `expected` entries are held without growing. */
  constructor(stride: number, expected = 0) {
    assert(stride >= 1 && stride <= strideMax, `stride out of range: ${stride}`);
    this.stride = stride;
    let capacity = initialCapacity;
    while (capacity < expected * 2) capacity *= 2;
    this.#keys = new Uint32Array(capacity * stride);
    this.#states = new Uint8Array(capacity);
    this.#mask = capacity - 1;
  }

  /** `SlotState` of a one-word key. */
  get1(a: number): number {
    const states = this.#states;
    const keys = this.#keys;
    const mask = this.#mask;
    let slot = hash1(a) & mask;
    for (;;) {
      const state = states[slot]!;
      if (state === SlotState.empty) return SlotState.empty;
      if (keys[slot] === a && state !== SlotState.deleted) return state;
      slot = (slot + 1) & mask;
    }
  }

  /** `SlotState` of the key in the first `stride` words of `key`. */
  get(key: Uint32Array): number {
    const slot = this.#find(key);
    return slot < 0 ? SlotState.empty : this.#states[slot]!;
  }

  /** Reference stored with a key; 0 when there is none. */
  ref(key: Uint32Array): number {
    const slot = this.#find(key);
    return slot < 0 ? 0 : (this.#refs?.[slot] ?? 0);
  }

  /** Sets the state (and reference) of a key; returns the state it had. */
  set(key: Uint32Array, state: number, ref = 0): number {
    if (ref !== 0) this.#refs ??= new Uint32Array(this.#mask + 1);
    const found = this.#find(key);
    if (found >= 0) {
      const before = this.#states[found]!;
      this.#states[found] = state;
      if (this.#refs !== undefined) this.#refs[found] = ref;
      return before;
    }
    if ((this.#used + 1) * 2 > this.#mask + 1) this.#grow();
    let slot = hashKey(key, this.stride) & this.#mask;
    while (this.#states[slot] === SlotState.match || this.#states[slot] === SlotState.nomatch)
      slot = (slot + 1) & this.#mask;
    if (this.#states[slot] === SlotState.empty) this.#used++;
    for (let i = 0; i < this.stride; i++) this.#keys[slot * this.stride + i] = key[i]!;
    this.#states[slot] = state;
    if (this.#refs !== undefined) this.#refs[slot] = ref;
    this.count++;
    return SlotState.empty;
  }

  /** Returns false when the key was not there. */
  delete(key: Uint32Array): boolean {
    const slot = this.#find(key);
    if (slot < 0) return false;
    this.#states[slot] = SlotState.deleted;
    this.count--;
    return true;
  }

  clone(): WordTable {
    const copy = new WordTable(this.stride, this.count);
    this.forEach((key, state, ref) => {
      copy.set(key, state, ref);
    });
    return copy;
  }

  /** Calls back for every key in storage order; the array is reused between calls. */
  forEach(visit: (key: Uint32Array, state: number, ref: number) => void): void {
    const key = new Uint32Array(strideMax);
    for (let slot = 0; slot <= this.#mask; slot++) {
      const state = this.#states[slot]!;
      if (state !== SlotState.match && state !== SlotState.nomatch) continue;
      for (let i = 0; i < this.stride; i++) key[i] = this.#keys[slot * this.stride + i]!;
      visit(key, state, this.#refs?.[slot] ?? 0);
    }
  }

  get bytes(): number {
    return this.#keys.byteLength + this.#states.byteLength + (this.#refs?.byteLength ?? 0);
  }

  #find(key: Uint32Array): number {
    const { stride } = this;
    let slot = hashKey(key, stride) & this.#mask;
    for (;;) {
      const state = this.#states[slot]!;
      if (state === SlotState.empty) return -1;
      if (state !== SlotState.deleted) {
        let i = 0;
        while (i < stride && this.#keys[slot * stride + i] === key[i]) i++;
        if (i === stride) return slot;
      }
      slot = (slot + 1) & this.#mask;
    }
  }

  #grow(): void {
    const bigger = new WordTable(this.stride, Math.max(initialCapacity, this.count * 2));
    this.forEach((key, state, ref) => {
      bigger.set(key, state, ref);
    });
    this.#keys = bigger.#keys;
    this.#states = bigger.#states;
    this.#refs = bigger.#refs;
    this.#mask = bigger.#mask;
    this.#used = bigger.#used;
  }
}

function hash1(a: number): number {
  let h = Math.imul(a ^ (a >>> 16), 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hashKey(key: Uint32Array, stride: number): number {
  if (stride === 1) return hash1(key[0]!);
  let h = 0;
  for (let i = 0; i < stride; i++) h = hash1((key[i]! ^ Math.imul(h, 0x9e3779b1)) >>> 0);
  return h;
}
