/**
 * Longest-prefix-match tries (kernel/bpf/lpm_trie.c): a key is a prefix length (a word) and data bytes, most
 * significant bit first. Prefix lengths in use are asked from the longest down. A lookup honours its own key's length:
 * longer prefixes do not match it. Bits behind a prefix are stored and ignored. A trie may start with shared entries.
 */
import { type BpfMemory, MemoryFault } from "../memory.ts";
import { readIndex } from "./array.ts";
import type { BaseEntries } from "./base-entries.ts";
import { PrefixIndex } from "./prefix-index.ts";
import { type BpfMap, compareBytes, Errno, type MapEntry, type MapShape, UpdateFlag } from "./shape.ts";
import { ValueStore } from "./value-store.ts";

export interface LpmOptions {
  /** Kernels before 6.13 look at fullness first: on a full map they refuse even to replace a value. */
  readonly refusesReplaceWhenFull: boolean;
}

export class LpmTrie implements BpfMap {
  readonly shape: MapShape;
  readonly #memory: BpfMemory;
  readonly #options: LpmOptions;
  readonly #prefixMax: number;
  readonly #index: PrefixIndex;
  readonly #base: BaseEntries<PrefixIndex> | undefined;
  readonly #values: ValueStore;
  readonly #keys: Uint8Array[] = [];
  /** Lengths to ask, own and shared, longest first; made anew when the own ones change. */
  #lengths: readonly number[] = [];
  #ownLengths: readonly number[] | undefined;

  constructor(memory: BpfMemory, shape: MapShape, options: LpmOptions, base?: BaseEntries<PrefixIndex>) {
    this.shape = shape;
    this.#memory = memory;
    this.#options = options;
    this.#prefixMax = (shape.keySize - 4) * 8;
    this.#index = new PrefixIndex(shape.keySize - 4);
    this.#base = base;
    this.#values = new ValueStore(memory, shape);
  }

  get count(): number {
    return this.#index.count + (this.#base?.count ?? 0);
  }

  lookup(bytes: Uint8Array, keyAt: number): number {
    const asked = readIndex(bytes, keyAt);
    if (asked > this.#prefixMax) return 0;
    for (const length of this.#allLengths()) {
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
    const isFull = this.count >= this.shape.maxEntries;
    if (isFull && this.#options.refusesReplaceWhenFull) return -Errno.ENOSPC;
    const old = this.#find(length, bytes, keyAt);
    if (old >= 0 && flags === UpdateFlag.noexist) return -Errno.EEXIST;
    if (old < 0 && flags === UpdateFlag.exist) return -Errno.ENOENT;
    if (old < 0 && isFull) return -Errno.ENOSPC;
    const element = old >= 0 ? old : this.#values.take(); // the memory may have grown
    if (element < 0) return -Errno.ENOMEM;
    const key = this.#memory.live(bytes);
    this.#values.write(element, this.#memory.live(values), valueAt);
    this.#keys[element] = key.slice(keyAt, keyAt + this.shape.keySize);
    if (old < 0) this.#index.add(element, length, key, keyAt);
    return 0;
  }

  remove(bytes: Uint8Array, keyAt: number): number {
    const length = readIndex(bytes, keyAt);
    if (length > this.#prefixMax) return -Errno.EINVAL;
    const shared = this.#shared(length, bytes, keyAt);
    if (shared >= 0) {
      this.#base?.take(shared);
      return 0;
    }
    const element = this.#index.remove(length, bytes, keyAt);
    if (element < 0) return -Errno.ENOENT;
    this.#values.give(element);
    return 0;
  }

  entries(): readonly MapEntry[] {
    const own = [...this.#index.elements()].map((element) => ({
      key: (this.#keys[element] as Uint8Array).slice(),
      value: this.#values.read(element),
    }));
    return [...own, ...(this.#base?.remaining() ?? [])].sort((a, b) => compareBytes(a.key, b.key));
  }

  #allLengths(): readonly number[] {
    const own = this.#index.lengths;
    if (own !== this.#ownLengths) {
      this.#ownLengths = own;
      this.#lengths = [...new Set([...own, ...(this.#base?.index.lengths ?? [])])].sort((a, b) => b - a);
    }
    return this.#lengths;
  }

  /** The trie's own element of a prefix, copied from the shared one where need be; -1 if there is none. */
  #find(length: number, bytes: Uint8Array, keyAt: number): number {
    const own = this.#index.find(length, bytes, keyAt);
    const shared = own >= 0 ? -1 : this.#shared(length, bytes, keyAt);
    if (shared < 0 || this.#base === undefined) return own;
    const element = this.#values.take();
    if (element < 0) throw new MemoryFault(`map ${this.shape.name} does not fit into the memory`);
    const { key, value } = this.#base.take(shared);
    this.#values.write(element, value, 0);
    this.#keys[element] = key.slice();
    this.#index.add(element, length, key, 0);
    return element;
  }

  #shared(length: number, bytes: Uint8Array, keyAt: number): number {
    return this.#base?.left(this.#base.index.find(length, bytes, keyAt)) ?? -1;
  }
}
