/** Values of map elements in the program's memory: regions of equal elements, added as elements are needed. */
import type { BpfMemory } from "../memory.ts";
import { type MapShape, strideOf } from "./shape.ts";

const elementsPerRegionMin = 64;
/** Values up to this many bytes are copied by a loop, which leaves nothing on the heap. */
const loopMax = 256;

export class ValueStore {
  readonly #memory: BpfMemory;
  readonly #shape: MapShape;
  readonly #stride: number;
  readonly #addresses: number[] = [];
  readonly #free: number[] = [];

  constructor(memory: BpfMemory, shape: MapShape) {
    this.#memory = memory;
    this.#shape = shape;
    this.#stride = strideOf(shape.valueSize);
  }

  /** Element numbers ever handed out are below this. */
  get capacity(): number {
    return this.#addresses.length;
  }

  address(element: number): number {
    return this.#addresses[element]!;
  }

  /** A free element, its value as it was left; -1 when the memory is full. */
  take(): number {
    if (this.#free.length === 0 && !this.#extend()) return -1;
    return this.#free.pop()!;
  }

  give(element: number): void {
    this.#free.push(element);
  }

  write(element: number, values: Uint8Array, at: number): void {
    const address = this.#addresses[element]!;
    const { bytes } = this.#memory;
    const { valueSize } = this.#shape;
    if (valueSize > loopMax) bytes.set(values.subarray(at, at + valueSize), address);
    else for (let i = 0; i < valueSize; i++) bytes[address + i] = values[at + i]!;
  }

  read(element: number): Uint8Array {
    const address = this.#addresses[element]!;
    return this.#memory.bytes.slice(address, address + this.#shape.valueSize);
  }

  /** Doubles the elements, up to the map's limit. */
  #extend(): boolean {
    const { maxEntries, valueSize, name, flags } = this.#shape;
    const wanted = Math.max(elementsPerRegionMin, this.capacity);
    const count = Math.min(wanted, maxEntries - this.capacity);
    if (count <= 0) return false;
    const region = this.#memory.allocate(count * this.#stride, {
      name: `map ${name}`,
      writable: (flags & 0x80) === 0,
      elements: { stride: this.#stride, size: valueSize },
    });
    if (region === undefined) return false;
    const start = this.#memory.start(region);
    const first = this.capacity;
    for (let i = 0; i < count; i++) this.#addresses.push(start + i * this.#stride);
    for (let i = count - 1; i >= 0; i--) this.#free.push(first + i);
    return true;
  }
}
