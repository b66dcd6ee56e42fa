/** How many members of a set of nets with interfaces share each net. */
import type { IpsetEntry } from "./repr.ts";

export class NetCounts {
  readonly #words: number;
  readonly #counts: Map<string, number>;

  constructor(family: 4 | 6, counts: ReadonlyMap<string, number> = new Map()) {
    this.#words = family === 4 ? 1 : 4;
    this.#counts = new Map(counts);
  }

  change({ net }: IpsetEntry, by: 1 | -1): void {
    const key = (net?.words ?? []).join(",");
    const count = (this.#counts.get(key) ?? 0) + by;
    if (count === 0) this.#counts.delete(key);
    else this.#counts.set(key, count);
  }

  /** `key`: one of a set whose first part is the net. */
  has(key: Uint32Array): boolean {
    return this.#counts.has(key.subarray(0, this.#words).join(","));
  }

  clone(): NetCounts {
    return new NetCounts(this.#words === 1 ? 4 : 6, this.#counts);
  }
}
