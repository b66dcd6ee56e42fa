/**
 * The addresses that a verdict table knows, numbered: those of pods and nodes, each node's once more as the node itself sees
 * it (`own`), and one for each stretch between the blocks that questions name, which stands for all others in it.
 */
import type { AddressBlock, AddressMap } from "../base/index.ts";

export interface SpaceAddress {
  readonly family: 4 | 6;
  /** One word (IPv4) or four. */
  readonly words: readonly number[];
  /** As seen from the node whose address it is. */
  readonly isOwn: boolean;
}

/** Addresses to which a map gives a value other than 0, in rising order. */
export interface Members {
  readonly indices: Uint32Array;
  readonly values: Int32Array;
}

export class AddressSpace {
  readonly addresses: readonly SpaceAddress[];
  readonly #own: readonly number[];
  readonly #sorted: { readonly 4: Uint32Array; readonly 6: Uint32Array };
  readonly #v4: Uint32Array;
  readonly #members = new Map<AddressMap, Members>();
  readonly #value: Int32Array;
  readonly #isTouched: Uint8Array;

  constructor(addresses: readonly SpaceAddress[]) {
    this.addresses = addresses;
    this.#own = addresses.flatMap(({ isOwn }, i) => (isOwn ? [i] : []));
    const ofFamily = (family: 4 | 6): number[] =>
      addresses.flatMap((one, i) => (one.family === family ? [i] : []));
    this.#sorted = { 4: this.#sort(ofFamily(4)), 6: this.#sort(ofFamily(6)) };
    this.#v4 = this.#sorted[4].map((index) => addresses[index]!.words[0]!);
    this.#value = new Int32Array(addresses.length);
    this.#isTouched = new Uint8Array(addresses.length);
  }

  get size(): number {
    return this.addresses.length;
  }

  #sort(indices: number[]): Uint32Array {
    const { addresses } = this;
    return Uint32Array.from(
      indices.sort((a, b) => compareWords(addresses[a]!.words, addresses[b]!.words) || a - b),
    );
  }

  members(map: AddressMap): Members {
    let members = this.#members.get(map);
    if (members === undefined) {
      members = this.#find(map);
      this.#members.set(map, members);
    }
    return members;
  }

  /** What the map gives one address. */
  valueAt(map: AddressMap, index: number): number {
    const { indices, values } = this.members(map);
    let [low, high] = [0, indices.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (indices[middle]! < index) low = middle + 1;
      else high = middle;
    }
    return indices[low] === index ? values[low]! : 0;
  }

  #find(map: AddressMap): Members {
    const [value, isTouched] = [this.#value, this.#isTouched];
    const touched: number[] = [];
    const put = (index: number, to: number): void => {
      value[index] = to;
      if (isTouched[index] === 1) return;
      isTouched[index] = 1;
      touched.push(index);
    };
    if (map.base !== undefined) {
      const { indices, values } = this.members(map.base);
      for (let i = 0; i < indices.length; i++) put(indices[i]!, values[i]!);
    }
    const byLength = isByLength(map.entries)
      ? map.entries
      : [...map.entries].sort(([a], [b]) => a.prefix - b.prefix);
    for (const [block, to] of byLength) {
      const sorted = this.#sorted[block.family];
      for (let place = this.#lowerBound(block); place < sorted.length; place++) {
        const index = sorted[place]!;
        if (!isInBlock(this.addresses[index]!.words, block)) break;
        put(index, to);
      }
    }
    if (map.own !== undefined) for (const index of this.#own) put(index, map.own);
    const kept = Uint32Array.from(touched.filter((index) => value[index] !== 0)).sort();
    const values = new Int32Array(kept.length);
    for (let i = 0; i < kept.length; i++) values[i] = value[kept[i]!]!;
    for (const index of touched) {
      value[index] = 0;
      isTouched[index] = 0;
    }
    return { indices: kept, values };
  }

  /** Place of the first sorted address that is not below the block's first. */
  #lowerBound({ family, words }: AddressBlock): number {
    const sorted = this.#sorted[family];
    let [low, high] = [0, sorted.length];
    const v4 = this.#v4;
    const first = words[0]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const isBelow =
        family === 4 ? v4[middle]! < first : compareWords(this.addresses[sorted[middle]!]!.words, words) < 0;
      if (isBelow) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isByLength(entries: AddressMap["entries"]): boolean {
  for (let i = 1; i < entries.length; i++)
    if (entries[i - 1]![0].prefix > entries[i]![0].prefix) return false;
  return true;
}

export function compareWords(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! < b[i]! ? -1 : 1;
  return 0;
}

export function isInBlock(words: readonly number[], { words: block, prefix }: AddressBlock): boolean {
  for (let i = 0, left = prefix; left > 0; i++, left -= 32) {
    const mask = left >= 32 ? 0xffff_ffff : ~(0xffff_ffff >>> left);
    if (((words[i]! ^ block[i]!) & mask) !== 0) return false;
  }
  return true;
}

/** The address after the block's last; `undefined` behind the last address there is. */
export function afterBlock({ words, prefix }: AddressBlock): number[] | undefined {
  const after = [...words];
  if (prefix === 0) return undefined;
  let word = (prefix - 1) >>> 5;
  let step = 2 ** (31 - ((prefix - 1) & 31));
  for (; word >= 0; word--, step = 1) {
    const sum = after[word]! + step;
    after[word] = sum % 0x1_0000_0000;
    if (sum < 0x1_0000_0000) return after;
  }
  return undefined;
}
