/**
 * Hash maps, plain and least-recently-used (kernel/bpf/hashtab.c). The kernel's LRU evicts from per-CPU lists and only
 * nearly in order of use; ours evicts exactly the element used longest ago. A plain one may start with shared entries.
 */
import { type BpfMemory, MemoryFault } from "../memory.ts";
import type { BaseEntries } from "./base-entries.ts";
import { KeyIndex } from "./key-index.ts";
import {
  type BpfMap,
  compareBytes,
  Errno,
  type MapEntry,
  type MapShape,
  MapType,
  UpdateFlag,
} from "./shape.ts";
import { UseOrder } from "./use-order.ts";
import { ValueStore } from "./value-store.ts";

export class HashMap implements BpfMap {
  readonly shape: MapShape;
  readonly #memory: BpfMemory;
  readonly #index: KeyIndex;
  readonly #values: ValueStore;
  /** Only of plain maps. */
  readonly #base: BaseEntries<KeyIndex> | undefined;
  /** Only of LRU maps. */
  readonly #order: UseOrder | undefined;

  constructor(memory: BpfMemory, shape: MapShape, base?: BaseEntries<KeyIndex>) {
    this.shape = shape;
    this.#memory = memory;
    this.#index = new KeyIndex(shape.keySize);
    this.#values = new ValueStore(memory, shape);
    this.#base = base;
    const isLru = shape.type === MapType.lruHash || shape.type === MapType.lruPercpuHash;
    this.#order = isLru ? new UseOrder() : undefined;
  }

  get count(): number {
    return this.#index.count + (this.#base?.count ?? 0);
  }

  lookup(bytes: Uint8Array, keyAt: number): number {
    const element = this.#find(bytes, keyAt);
    if (element < 0) return 0;
    this.#order?.use(element);
    return this.#values.address(element);
  }

  update(bytes: Uint8Array, keyAt: number, values: Uint8Array, valueAt: number, flags: number): number {
    if ((flags & ~UpdateFlag.lock) > UpdateFlag.exist) return -Errno.EINVAL;
    const old = this.#find(bytes, keyAt);
    if (old >= 0 && (flags & UpdateFlag.noexist) !== 0) return -Errno.EEXIST;
    if (old < 0 && (flags & UpdateFlag.exist) !== 0) return -Errno.ENOENT;
    if (old >= 0) {
      this.#values.write(old, values, valueAt);
      this.#order?.use(old);
      return 0;
    }
    if (this.count >= this.shape.maxEntries && !this.#evict()) return -Errno.E2BIG;
    const element = this.#values.take(); // the memory may have grown
    if (element < 0) return -Errno.ENOMEM;
    this.#values.write(element, this.#memory.live(values), valueAt);
    this.#index.add(element, this.#memory.live(bytes), keyAt);
    this.#order?.use(element);
    return 0;
  }

  remove(bytes: Uint8Array, keyAt: number): number {
    const shared = this.#shared(bytes, keyAt);
    if (shared >= 0) {
      this.#base?.take(shared);
      return 0;
    }
    const element = this.#index.remove(bytes, keyAt);
    if (element < 0) return -Errno.ENOENT;
    this.#order?.forget(element);
    this.#values.give(element);
    return 0;
  }

  entries(): readonly MapEntry[] {
    const own = [...this.#index.elements()].map((element) => ({
      key: this.#index.key(element),
      value: this.#values.read(element),
    }));
    return [...own, ...(this.#base?.remaining() ?? [])].sort((a, b) => compareBytes(a.key, b.key));
  }

  /** The map's own element of a key, copied from the shared one where need be; -1 if there is none. */
  #find(bytes: Uint8Array, keyAt: number): number {
    const own = this.#index.find(bytes, keyAt);
    const shared = own >= 0 ? -1 : this.#shared(bytes, keyAt);
    if (shared < 0 || this.#base === undefined) return own;
    const element = this.#values.take();
    if (element < 0) throw new MemoryFault(`map ${this.shape.name} does not fit into the memory`);
    const { key, value } = this.#base.take(shared);
    this.#values.write(element, value, 0);
    this.#index.add(element, key, 0);
    return element;
  }

  #shared(bytes: Uint8Array, keyAt: number): number {
    return this.#base?.left(this.#base.index.find(bytes, keyAt)) ?? -1;
  }

  #evict(): boolean {
    const oldest = this.#order?.oldest() ?? -1;
    return oldest >= 0 && this.remove(this.#index.key(oldest), 0) === 0;
  }
}
