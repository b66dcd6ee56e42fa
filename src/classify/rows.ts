/** Rows of bits and lists of numbers, equal ones kept once. */
import { type Bits, hashBits, sameBits } from "../base/index.ts";

/** Sets of bits to work with, cut from slabs and used again: thousands come and go while a table is made. */
export class BitsPool {
  readonly words: number;
  readonly #spare: Bits[] = [];

  constructor(words: number) {
    this.words = words;
  }

  /** An empty one. */
  take(): Bits {
    const spare = this.#spare.pop();
    if (spare !== undefined) return spare;
    const slab = new Uint32Array(this.words * slabSets);
    for (let i = 1; i < slabSets; i++) this.#spare.push(slab.subarray(i * this.words, (i + 1) * this.words));
    return slab.subarray(0, this.words);
  }

  /** Nobody else uses it any more. */
  give(bits: Bits): void {
    this.#spare.push(bits.fill(0));
  }
}

const slabSets = 64;

/** Numbered sets of classes; number 0 is the empty one. */
export class RowPool {
  readonly rows: Bits[] = [];
  readonly #byHash = new Map<number, number[]>();

  constructor(words: number) {
    this.intern(new Uint32Array(words));
  }

  /** Keeps a copy of a set that is new. */
  intern(bits: Bits): number {
    const hash = hashBits(bits);
    const bucket = this.#byHash.get(hash);
    if (bucket !== undefined) for (const id of bucket) if (sameBits(this.rows[id]!, bits)) return id;
    const id = this.rows.push(bits.slice()) - 1;
    if (bucket === undefined) this.#byHash.set(hash, [id]);
    else bucket.push(id);
    return id;
  }
}

/** Numbered lists of row numbers, one an atom. */
export class VectorPool {
  readonly vectors: Int32Array[] = [];
  readonly #byHash = new Map<number, number[]>();

  intern(vector: Int32Array): number {
    const asBits = new Uint32Array(vector.buffer, vector.byteOffset, vector.length);
    const hash = hashBits(asBits);
    const bucket = this.#byHash.get(hash);
    if (bucket !== undefined)
      for (const id of bucket) if (this.vectors[id]!.every((row, atom) => row === vector[atom])) return id;
    const id = this.vectors.push(vector) - 1;
    if (bucket === undefined) this.#byHash.set(hash, [id]);
    else bucket.push(id);
    return id;
  }
}
