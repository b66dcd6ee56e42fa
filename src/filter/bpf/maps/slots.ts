/** Program arrays and perf event arrays: numbered slots that programs name but never read. */
import { readIndex } from "./array.ts";
import { wordBytes } from "./nested.ts";
import { type BpfMap, Errno, type MapEntry, type MapShape, UpdateFlag } from "./shape.ts";

export class SlotMap implements BpfMap {
  readonly shape: MapShape;
  readonly #slots = new Map<number, number>();

  constructor(shape: MapShape) {
    this.shape = shape;
  }

  get count(): number {
    return this.#slots.size;
  }

  /** What a slot holds: the number that its program or event is known by. */
  at(index: number): number | undefined {
    return this.#slots.get(index >>> 0);
  }

  /** Programs cannot look into these maps. */
  lookup(): number {
    return 0;
  }

  update(bytes: Uint8Array, keyAt: number, values: Uint8Array, valueAt: number, flags: number): number {
    const index = readIndex(bytes, keyAt);
    if (flags !== UpdateFlag.any) return -Errno.EINVAL;
    if (index >= this.shape.maxEntries) return -Errno.E2BIG;
    this.#slots.set(index, readIndex(values, valueAt));
    return 0;
  }

  remove(bytes: Uint8Array, keyAt: number): number {
    const index = readIndex(bytes, keyAt);
    if (index >= this.shape.maxEntries) return -Errno.E2BIG;
    return this.#slots.delete(index) ? 0 : -Errno.ENOENT;
  }

  entries(): readonly MapEntry[] {
    return [...this.#slots]
      .sort(([a], [b]) => a - b)
      .map(([index, value]) => ({ key: wordBytes(index), value: wordBytes(value) }));
  }
}
