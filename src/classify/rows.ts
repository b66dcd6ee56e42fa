/** Rows of bits and lists of numbers, equal ones kept once. */
import { type Bits, hashBits, sameBits } from "../base/index.ts";

/** Numbered sets of classes; number 0 is the empty one. */
export class RowPool {
  readonly rows: Bits[] = [];
  readonly #byHash = new Map<number, number[]>();

  constructor(words: number) {
    this.intern(new Uint32Array(words));
  }

  intern(bits: Bits): number {
    const hash = hashBits(bits);
    const bucket = this.#byHash.get(hash);
    if (bucket !== undefined) for (const id of bucket) if (sameBits(this.rows[id]!, bits)) return id;
    const id = this.rows.push(bits) - 1;
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
