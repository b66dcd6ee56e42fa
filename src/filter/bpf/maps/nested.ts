/** Arrays and hashes of maps (kernel/bpf/map_in_map.c): what a lookup gives is the inner map itself. */
import { readIndex } from "./array.ts";
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

/** How a nested map finds the maps that its values name; values are words that the space knows maps by. */
export interface MapsByNumber {
  /** A map's pointer as programs see it; `undefined` when there is no such map. */
  handle(number: number): number | undefined;
  shapeOf(number: number): MapShape | undefined;
}

export class MapOfMaps implements BpfMap {
  readonly shape: MapShape;
  readonly #maps: MapsByNumber;
  readonly #index: KeyIndex;
  /** Number of the inner map by element. */
  readonly #inner: number[] = [];
  readonly #free: number[] = [];

  constructor(shape: MapShape, maps: MapsByNumber) {
    this.shape = shape;
    this.#maps = maps;
    this.#index = new KeyIndex(shape.keySize);
  }

  get count(): number {
    return this.#index.count;
  }

  lookup(bytes: Uint8Array, keyAt: number): number {
    const element = this.#index.find(bytes, keyAt);
    return element < 0 ? 0 : (this.#maps.handle(this.#inner[element] ?? -1) ?? 0);
  }

  update(bytes: Uint8Array, keyAt: number, values: Uint8Array, valueAt: number, flags: number): number {
    const isArray = this.shape.type === MapType.arrayOfMaps;
    if (flags > UpdateFlag.exist) return -Errno.EINVAL;
    if (isArray && readIndex(bytes, keyAt) >= this.shape.maxEntries) return -Errno.E2BIG;
    if (isArray && flags !== UpdateFlag.any) return -Errno.EINVAL;
    const number = readIndex(values, valueAt);
    const inner = this.#maps.shapeOf(number);
    if (inner === undefined || !fits(inner, this.shape.inner)) return -Errno.EINVAL;
    const old = this.#index.find(bytes, keyAt);
    if (old >= 0 && flags === UpdateFlag.noexist) return -Errno.EEXIST;
    if (old < 0 && flags === UpdateFlag.exist) return -Errno.ENOENT;
    if (old >= 0) {
      this.#inner[old] = number;
      return 0;
    }
    if (this.count >= this.shape.maxEntries) return -Errno.E2BIG;
    const element = this.#free.pop() ?? this.#inner.length;
    this.#inner[element] = number;
    this.#index.add(element, bytes, keyAt);
    return 0;
  }

  remove(bytes: Uint8Array, keyAt: number): number {
    const element = this.#index.remove(bytes, keyAt);
    if (element < 0) return -Errno.ENOENT;
    this.#free.push(element);
    return 0;
  }

  entries(): readonly MapEntry[] {
    return [...this.#index.elements()]
      .map((element) => ({ key: this.#index.key(element), value: wordBytes(this.#inner[element] ?? 0) }))
      .sort((a, b) => compareBytes(a.key, b.key));
  }
}

/** Inner maps must look like the template (bpf_map_meta_equal); arrays may be of any length only when it says so. */
function fits(inner: MapShape, template: MapShape | undefined): boolean {
  if (template === undefined) return true;
  return (
    inner.type === template.type &&
    inner.keySize === template.keySize &&
    inner.valueSize === template.valueSize &&
    inner.flags === template.flags &&
    (inner.type !== MapType.array || inner.maxEntries === template.maxEntries)
  );
}

export function wordBytes(word: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, word, true);
  return bytes;
}
