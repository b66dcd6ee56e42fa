/** Arrays: every index below the limit has a value, zero until written (kernel/bpf/arraymap.c). */
import type { BpfMemory } from "../memory.ts";
import { type BpfMap, Errno, type MapEntry, type MapShape, strideOf, UpdateFlag } from "./shape.ts";

export class ArrayMap implements BpfMap {
  readonly shape: MapShape;
  readonly #memory: BpfMemory;
  readonly #start: number;
  readonly #stride: number;

  private constructor(memory: BpfMemory, shape: MapShape, start: number) {
    this.shape = shape;
    this.#memory = memory;
    this.#start = start;
    this.#stride = strideOf(shape.valueSize);
  }

  /** `undefined`: the memory is too small for it. */
  static create(memory: BpfMemory, shape: MapShape): ArrayMap | undefined {
    const stride = strideOf(shape.valueSize);
    const region = memory.allocate(shape.maxEntries * stride, {
      name: `map ${shape.name}`,
      writable: (shape.flags & 0x80) === 0,
      elements: { stride, size: shape.valueSize },
    });
    return region === undefined ? undefined : new ArrayMap(memory, shape, memory.start(region));
  }

  get count(): number {
    return this.shape.maxEntries;
  }

  /** Address of the first value: what a load of a map's value names. */
  get start(): number {
    return this.#start;
  }

  lookup(bytes: Uint8Array, keyAt: number): number {
    const index = readIndex(bytes, keyAt);
    return index < this.shape.maxEntries ? this.#start + index * this.#stride : 0;
  }

  update(bytes: Uint8Array, keyAt: number, values: Uint8Array, valueAt: number, flags: number): number {
    if ((flags & ~UpdateFlag.lock) > UpdateFlag.exist) return -Errno.EINVAL;
    const index = readIndex(bytes, keyAt);
    if (index >= this.shape.maxEntries) return -Errno.E2BIG;
    if ((flags & UpdateFlag.noexist) !== 0) return -Errno.EEXIST;
    const { valueSize } = this.shape;
    this.#memory.bytes.set(values.subarray(valueAt, valueAt + valueSize), this.#start + index * this.#stride);
    return 0;
  }

  remove(): number {
    return -Errno.EINVAL;
  }

  entries(): readonly MapEntry[] {
    return Array.from({ length: this.shape.maxEntries }, (_, index) => {
      const key = new Uint8Array(4);
      new DataView(key.buffer).setUint32(0, index, true);
      const at = this.#start + index * this.#stride;
      return { key, value: this.#memory.bytes.slice(at, at + this.shape.valueSize) };
    });
  }
}

/** Index keys are words in the machine's order. */
export function readIndex(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
