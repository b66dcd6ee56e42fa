/**
 * Entries that maps of many nodes start with. They are indexed once for each array, whoever links it; a map keeps only
 * which of them are no longer the shared ones: an entry is copied into the map's own memory when it is first looked up
 * or changed, because its value's address must stay valid and writable for that node alone.
 */
import { assert } from "../../../base/index.ts";
import { readIndex } from "./array.ts";
import { KeyIndex } from "./key-index.ts";
import { PrefixIndex } from "./prefix-index.ts";
import type { MapEntry, MapShape } from "./shape.ts";

/** What of the shared entries is still as shared. Elements of the index are places in the array. */
export class BaseEntries<Index> {
  readonly index: Index;
  readonly #entries: readonly MapEntry[];
  readonly #taken = new Set<number>();

  constructor(entries: readonly MapEntry[], index: Index) {
    this.#entries = entries;
    this.index = index;
  }

  get count(): number {
    return this.#entries.length - this.#taken.size;
  }

  /** A shared element as found by the index, -1 when there is none or the map has taken it. */
  left(element: number): number {
    return element >= 0 && !this.#taken.has(element) ? element : -1;
  }

  /** From now on the map has its own, or none. */
  take(element: number): MapEntry {
    this.#taken.add(element);
    return this.#entries[element] as MapEntry;
  }

  /** Copies of what is left. */
  remaining(): readonly MapEntry[] {
    return this.#entries.flatMap(({ key, value }, i) =>
      this.#taken.has(i) ? [] : [{ key: key.slice(), value: value.slice() }],
    );
  }
}

/** `undefined`: a hash of this shape cannot stand on these entries as if it had been filled with them one by one. */
export function hashBase(shape: MapShape, entries: readonly MapEntry[]): BaseEntries<KeyIndex> | undefined {
  return baseOf(shape, entries, hashIndexes, indexHash);
}

/** The same for a trie. */
export function prefixBase(
  shape: MapShape,
  entries: readonly MapEntry[],
): BaseEntries<PrefixIndex> | undefined {
  return baseOf(shape, entries, prefixIndexes, indexPrefixes);
}

type Indexes<Index> = WeakMap<readonly MapEntry[], Index>;

const hashIndexes: Indexes<KeyIndex> = new WeakMap();
const prefixIndexes: Indexes<PrefixIndex> = new WeakMap();

function baseOf<Index extends { readonly count: number }>(
  shape: MapShape,
  entries: readonly MapEntry[],
  indexes: Indexes<Index>,
  index: (entries: readonly MapEntry[], keySize: number) => Index,
): BaseEntries<Index> | undefined {
  if (entries.length === 0 || entries.length > shape.maxEntries) return undefined;
  assert(Object.isFrozen(entries), `the shared entries of map ${shape.name} are not frozen`);
  let made = indexes.get(entries);
  if (made === undefined) {
    made = index(entries, shape.keySize);
    indexes.set(entries, made);
  }
  return made.count === entries.length ? new BaseEntries(entries, made) : undefined;
}

/** Of keys that occur twice it has the first alone: its count then tells that the entries cannot be shared. */
function indexHash(entries: readonly MapEntry[], keySize: number): KeyIndex {
  const index = new KeyIndex(keySize);
  for (const [i, { key }] of entries.entries()) if (index.find(key, 0) < 0) index.add(i, key, 0);
  return index;
}

/** Nor has it keys that a trie refuses. */
function indexPrefixes(entries: readonly MapEntry[], keySize: number): PrefixIndex {
  const index = new PrefixIndex(keySize - 4);
  for (const [i, { key }] of entries.entries()) {
    const length = readIndex(key, 0);
    if (length <= (keySize - 4) * 8 && index.find(length, key, 0) < 0) index.add(i, length, key, 0);
  }
  return index;
}
