/**
 * Longest-prefix-match tries (kernel/bpf/lpm_trie.c): a key is a prefix length (a word) and data bytes, most
 * significant bit first. One index for each prefix length in use, asked from the longest down. A lookup honours its own
 * key's length: longer prefixes do not match it. Bits behind a prefix are stored and ignored.
 */
import type { BpfMemory } from "../memory.ts";
import { readIndex } from "./array.ts";
import { KeyIndex } from "./key-index.ts";
import { type BpfMap, compareBytes, Errno, type MapEntry, type MapShape, UpdateFlag } from "./shape.ts";
import { ValueStore } from "./value-store.ts";

export interface LpmOptions {
  /** Kernels before 6.13 look at fullness first: on a full map they refuse even to replace a value. */
  readonly refusesReplaceWhenFull: boolean;
}

export class LpmTrie implements BpfMap {
  readonly shape: MapShape;
  readonly #options: LpmOptions;
  readonly #dataSize: number;
  readonly #prefixMax: number;
  /** By prefix length: masked data to element. */
  readonly #indexes = new Map<number, KeyIndex>();
  /** Lengths in use, longest first. */
  #lengths: readonly number[] = [];
  readonly #values: ValueStore;
  readonly #keys: Uint8Array[] = [];
  readonly #masked: Uint8Array;
  #count = 0;

  constructor(memory: BpfMemory, shape: MapShape, options: LpmOptions) {
    this.shape = shape;
    this.#options = options;
    this.#dataSize = shape.keySize - 4;
    this.#prefixMax = this.#dataSize * 8;
    this.#masked = new Uint8Array(this.#dataSize);
    this.#values = new ValueStore(memory, shape);
  }

  get count(): number {
    return this.#count;
  }

  lookup(bytes: Uint8Array, keyAt: number): number {
    const asked = readIndex(bytes, keyAt);
    if (asked > this.#prefixMax) return 0;
    for (const length of this.#lengths) {
      if (length > asked) continue;
      const element = this.#find(length, bytes, keyAt);
      if (element >= 0) return this.#values.address(element);
    }
    return 0;
  }

  update(bytes: Uint8Array, keyAt: number, values: Uint8Array, valueAt: number, flags: number): number {
    if (flags > UpdateFlag.exist) return -Errno.EINVAL;
    const length = readIndex(bytes, keyAt);
    if (length > this.#prefixMax) return -Errno.EINVAL;
    const isFull = this.#count >= this.shape.maxEntries;
    if (isFull && this.#options.refusesReplaceWhenFull) return -Errno.ENOSPC;
    const old = this.#find(length, bytes, keyAt);
    if (old >= 0 && flags === UpdateFlag.noexist) return -Errno.EEXIST;
    if (old < 0 && flags === UpdateFlag.exist) return -Errno.ENOENT;
    if (old < 0 && isFull) return -Errno.ENOSPC;
    const element = old >= 0 ? old : this.#values.take();
    if (element < 0) return -Errno.ENOMEM;
    this.#values.write(element, values, valueAt);
    this.#keys[element] = bytes.slice(keyAt, keyAt + this.shape.keySize);
    if (old < 0) {
      this.#indexOf(length).add(element, this.#mask(length, bytes, keyAt), 0);
      this.#count++;
    }
    return 0;
  }

  remove(bytes: Uint8Array, keyAt: number): number {
    const length = readIndex(bytes, keyAt);
    if (length > this.#prefixMax) return -Errno.EINVAL;
    const index = this.#indexes.get(length);
    const element = index?.remove(this.#mask(length, bytes, keyAt), 0) ?? -1;
    if (index === undefined || element < 0) return -Errno.ENOENT;
    if (index.count === 0) {
      this.#indexes.delete(length);
      this.#sortLengths();
    }
    this.#values.give(element);
    this.#count--;
    return 0;
  }

  entries(): readonly MapEntry[] {
    const all: MapEntry[] = [];
    for (const index of this.#indexes.values())
      for (const element of index.elements())
        all.push({ key: (this.#keys[element] as Uint8Array).slice(), value: this.#values.read(element) });
    return all.sort((a, b) => compareBytes(a.key, b.key));
  }

  #find(length: number, bytes: Uint8Array, keyAt: number): number {
    return this.#indexes.get(length)?.find(this.#mask(length, bytes, keyAt), 0) ?? -1;
  }

  #indexOf(length: number): KeyIndex {
    let index = this.#indexes.get(length);
    if (index === undefined) {
      index = new KeyIndex(this.#dataSize);
      this.#indexes.set(length, index);
      this.#sortLengths();
    }
    return index;
  }

  #sortLengths(): void {
    this.#lengths = [...this.#indexes.keys()].sort((a, b) => b - a);
  }

  /** The key's data with the bits behind the prefix cleared; one buffer, overwritten by the next call. */
  #mask(length: number, bytes: Uint8Array, keyAt: number): Uint8Array {
    const masked = this.#masked;
    for (let i = 0; i < masked.length; i++) {
      const kept = Math.max(0, Math.min(8, length - i * 8));
      masked[i] = bytes[keyAt + 4 + i]! & (0xff00 >> kept);
    }
    return masked;
  }
}
