/** From an address to its class and node: pods and nodes by one lookup, all others by the stretch that they lie in. */
import { AddressTable, type Ip } from "../addr/index.ts";
import { assert } from "../base/index.ts";
import { compareWords } from "./address-space.ts";
import type { ClassifiedEnd } from "./cluster.ts";

interface OutsideStart {
  readonly family: 4 | 6;
  readonly words: readonly number[];
  readonly index: number;
}

const noEntry = 0xffff_ffff;

export class EndTable {
  /** IPv4: two words a slot, the address and `node << classBits | class`. */
  readonly slots: Uint32Array;
  readonly mask: number;
  readonly classBits: number;
  /** IPv4 addresses where stretches begin, and the class of each. */
  readonly starts: Uint32Array;
  readonly startClasses: Uint32Array;
  readonly #v6 = new AddressTable();
  readonly #starts6: readonly { readonly words: readonly number[]; readonly one: number }[];

  constructor(
    ends: readonly ClassifiedEnd[],
    outside: readonly OutsideStart[],
    classOf: Uint32Array,
    classes: number,
  ) {
    this.classBits = Math.max(1, 32 - Math.clz32(classes - 1));
    const nodes = ends.reduce((max, { node }) => Math.max(max, node), 0) + 1;
    assert((nodes + 1) * 2 ** this.classBits < noEntry, "class and node of an end fit one word");
    const v4 = ends.filter(({ family }) => family === 4).length;
    let size = 16;
    while (size < v4 * 2) size *= 2;
    this.mask = size - 1;
    this.slots = new Uint32Array(size * 2).fill(noEntry);
    for (const [index, { family, words, node }] of ends.entries()) {
      const value = (node << this.classBits) | classOf[index]!;
      if (family === 4) this.#put(words[0]!, value >>> 0);
      else this.#v6.set({ family, words }, value);
    }
    const starts4 = outside.filter(({ family }) => family === 4);
    this.starts = Uint32Array.from(starts4, ({ words }) => words[0]!);
    this.startClasses = Uint32Array.from(starts4, ({ index }) => classOf[index]!);
    this.#starts6 = outside
      .filter(({ family }) => family === 6)
      .map(({ words, index }) => ({ words, one: classOf[index]! }));
  }

  get bytes(): number {
    return this.slots.byteLength + this.starts.byteLength + this.startClasses.byteLength;
  }

  #put(address: number, value: number): void {
    let slot = slotOf(address, this.mask);
    while (this.slots[slot * 2 + 1] !== noEntry && this.slots[slot * 2] !== address)
      slot = (slot + 1) & this.mask;
    this.slots[slot * 2] = address;
    this.slots[slot * 2 + 1] = value;
  }

  /** `node << classBits | class`, or `noEntry`. */
  find4(address: number): number {
    const { slots, mask } = this;
    let slot = slotOf(address, mask);
    for (;;) {
      const value = slots[slot * 2 + 1]!;
      if (value === noEntry || slots[slot * 2] === address) return value;
      slot = (slot + 1) & mask;
    }
  }

  /** Class of an IPv4 address that is no end's. */
  outside4(address: number): number {
    const { starts } = this;
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (starts[middle]! <= address) low = middle;
      else high = middle - 1;
    }
    return this.startClasses[low]!;
  }

  /** `node` is -1 outside. */
  locate({ family, words }: Ip): { readonly one: number; readonly node: number } {
    const known = family === 4 ? this.find4(words[0]!) : this.#v6.get(6, words, 0);
    if (family === 4 ? known !== noEntry : known >= 0)
      return { one: known & (2 ** this.classBits - 1), node: known >>> this.classBits };
    return { one: family === 4 ? this.outside4(words[0]!) : this.#outside6(words), node: -1 };
  }

  #outside6(words: readonly number[]): number {
    let found = 0;
    for (const { words: start, one } of this.#starts6) {
      if (compareWords(start, words) > 0) break;
      found = one;
    }
    return found;
  }
}

function slotOf(address: number, mask: number): number {
  const mixed = Math.imul(address ^ (address >>> 15), 0x2c1b_3c6d);
  return (mixed ^ (mixed >>> 13)) & mask;
}
