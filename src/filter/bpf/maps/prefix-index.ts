/**
 * Prefixes to element numbers: one index for each prefix length in use, over the data bits that the length covers. Keys
 * are those of a trie: a prefix length (a word in the machine's order), then data bytes, most significant bit first.
 */
import { KeyIndex } from "./key-index.ts";

export class PrefixIndex {
  readonly #dataSize: number;
  /** By prefix length: masked data to element. */
  readonly #indexes = new Map<number, KeyIndex>();
  readonly #masked: Uint8Array;
  #lengths: readonly number[] = [];
  #count = 0;

  constructor(dataSize: number) {
    this.#dataSize = dataSize;
    this.#masked = new Uint8Array(dataSize);
  }

  get count(): number {
    return this.#count;
  }

  /** Lengths in use, longest first; another array whenever they change. */
  get lengths(): readonly number[] {
    return this.#lengths;
  }

  /** Element of exactly this prefix of the key's data, -1 if there is none. */
  find(length: number, bytes: Uint8Array, keyAt: number): number {
    const index = this.#indexes.get(length);
    if (index === undefined) return -1;
    if (length === this.#dataSize * 8) return index.find(bytes, keyAt + 4);
    return index.find(this.#mask(length, bytes, keyAt), 0);
  }

  /** The prefix must not be in the index, the element must not have one. */
  add(element: number, length: number, bytes: Uint8Array, keyAt: number): void {
    let index = this.#indexes.get(length);
    if (index === undefined) {
      index = new KeyIndex(this.#dataSize);
      this.#indexes.set(length, index);
      this.#sortLengths();
    }
    index.add(element, this.#mask(length, bytes, keyAt), 0);
    this.#count++;
  }

  /** Takes a prefix out; its element's number, or -1. */
  remove(length: number, bytes: Uint8Array, keyAt: number): number {
    const index = this.#indexes.get(length);
    const element = index?.remove(this.#mask(length, bytes, keyAt), 0) ?? -1;
    if (index === undefined || element < 0) return -1;
    if (index.count === 0) {
      this.#indexes.delete(length);
      this.#sortLengths();
    }
    this.#count--;
    return element;
  }

  *elements(): Iterable<number> {
    for (const index of this.#indexes.values()) yield* index.elements();
  }

  #sortLengths(): void {
    this.#lengths = [...this.#indexes.keys()].sort((a, b) => b - a);
  }

  /** The key's data with the bits behind the prefix cleared; one buffer, overwritten by the next call. */
  #mask(length: number, bytes: Uint8Array, keyAt: number): Uint8Array {
    const masked = this.#masked;
    const whole = length >>> 3;
    for (let i = 0; i < whole; i++) masked[i] = bytes[keyAt + 4 + i]!;
    if (whole === masked.length) return masked;
    masked[whole] = bytes[keyAt + 4 + whole]! & (0xff00 >> (length & 7));
    for (let i = whole + 1; i < masked.length; i++) masked[i] = 0;
    return masked;
  }
}
