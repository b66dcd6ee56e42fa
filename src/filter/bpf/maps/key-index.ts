/** Byte keys to element numbers: chained hashing over keys kept in one buffer. Elements are numbered by the caller. */

/** Room at the start; it doubles. Many maps of a node hold a handful of keys. */
const elementsMin = 8;

export class KeyIndex {
  readonly #keySize: number;
  #keys: Uint8Array;
  #keysView: DataView;
  #heads: Int32Array;
  #next: Int32Array;
  #count = 0;
  /** Of the bytes that were asked last: they are nearly always the same. */
  #askedBytes: Uint8Array;
  #askedView: DataView;

  constructor(keySize: number) {
    this.#keySize = keySize;
    this.#keys = new Uint8Array(elementsMin * keySize);
    this.#keysView = viewOf(this.#keys);
    this.#askedBytes = this.#keys;
    this.#askedView = this.#keysView;
    this.#heads = new Int32Array(elementsMin).fill(-1);
    this.#next = new Int32Array(elementsMin);
  }

  get count(): number {
    return this.#count;
  }

  /** Element of a key, -1 if there is none. */
  find(bytes: Uint8Array, at: number): number {
    const view = this.#viewOf(bytes);
    let element = this.#heads[this.#bucket(view, at)]!;
    while (element >= 0 && !this.#holds(element, view, at)) element = this.#next[element]!;
    return element;
  }

  /** The key must not be in the index, the element must not have one. */
  add(element: number, bytes: Uint8Array, at: number): void {
    this.#reserve(element);
    this.#keys.set(bytes.subarray(at, at + this.#keySize), element * this.#keySize);
    this.#count++;
    if (this.#count > this.#heads.length) this.#rehash();
    this.#link(element);
  }

  /** Takes a key out; its element's number, or -1. */
  remove(bytes: Uint8Array, at: number): number {
    const view = this.#viewOf(bytes);
    const bucket = this.#bucket(view, at);
    let before = -1;
    let element = this.#heads[bucket]!;
    while (element >= 0 && !this.#holds(element, view, at)) {
      before = element;
      element = this.#next[element]!;
    }
    if (element < 0) return -1;
    if (before < 0) this.#heads[bucket] = this.#next[element]!;
    else this.#next[before] = this.#next[element]!;
    this.#count--;
    return element;
  }

  /** A copy of an element's key. */
  key(element: number): Uint8Array {
    return this.#keys.slice(element * this.#keySize, (element + 1) * this.#keySize);
  }

  *elements(): Iterable<number> {
    for (const head of this.#heads)
      for (let element = head; element >= 0; element = this.#next[element]!) yield element;
  }

  #viewOf(bytes: Uint8Array): DataView {
    if (bytes !== this.#askedBytes) {
      this.#askedBytes = bytes;
      this.#askedView = viewOf(bytes);
    }
    return this.#askedView;
  }

  #holds(element: number, view: DataView, at: number): boolean {
    const keys = this.#keysView;
    const size = this.#keySize;
    const start = element * size;
    let i = 0;
    for (; i + 4 <= size; i += 4) if (keys.getInt32(start + i) !== view.getInt32(at + i)) return false;
    for (; i < size; i++) if (keys.getUint8(start + i) !== view.getUint8(at + i)) return false;
    return true;
  }

  /** Four bytes a step: the steps wait for each other. */
  #bucket(view: DataView, at: number): number {
    let hash = this.#keySize;
    const end = at + this.#keySize;
    let i = at;
    for (; i + 4 <= end; i += 4) {
      hash = Math.imul(hash ^ view.getInt32(i), 0x9e37_79b1);
      hash ^= hash >>> 15;
    }
    for (; i < end; i++) hash = Math.imul(hash ^ view.getUint8(i), 0x0100_0193);
    hash ^= hash >>> 15;
    return (Math.imul(hash, 0x2c1b_3c6d) >>> 7) & (this.#heads.length - 1);
  }

  #link(element: number): void {
    const bucket = this.#bucket(this.#keysView, element * this.#keySize);
    this.#next[element] = this.#heads[bucket]!;
    this.#heads[bucket] = element;
  }

  #reserve(element: number): void {
    if (element < this.#next.length) return;
    const size = Math.max(element + 1, this.#next.length * 2);
    const next = new Int32Array(size);
    next.set(this.#next);
    this.#next = next;
    const keys = new Uint8Array(size * this.#keySize);
    keys.set(this.#keys);
    this.#keys = keys;
    this.#keysView = viewOf(keys);
  }

  #rehash(): void {
    const linked = [...this.elements()];
    this.#heads = new Int32Array(this.#heads.length * 2).fill(-1);
    for (const element of linked) this.#link(element);
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
