/** From an address to its class and node: pods and nodes by one lookup, all others by the stretch that they lie in. */
import { AddressTable } from "../addr/index.ts";
import { assert } from "../base/index.ts";
import type { ClassifiedEnd } from "./cluster.ts";

interface OutsideStart {
  readonly family: 4 | 6;
  readonly words: readonly number[];
  readonly index: number;
}

const noEntry = 0xffff_ffff;

export class EndTable {
  /** A place is `node << classBits | class`. */
  readonly classBits: number;
  readonly classMask: number;
  /** The node of places outside the cluster. */
  readonly outsideNode: number;
  /** IPv4: two words a slot, the address and its place. */
  readonly #slots: Uint32Array;
  readonly #mask: number;
  /** IPv4 addresses where stretches begin, and the place of each. */
  readonly #starts: Uint32Array;
  readonly #startPlaces: Uint32Array;
  readonly #v6 = new AddressTable();
  readonly #starts6: readonly { readonly words: readonly number[]; readonly place: number }[];

  constructor(
    ends: readonly ClassifiedEnd[],
    outside: readonly OutsideStart[],
    classOf: Uint32Array,
    classes: number,
  ) {
    this.classBits = Math.max(1, 32 - Math.clz32(classes - 1));
    this.classMask = 2 ** this.classBits - 1;
    this.outsideNode = ends.reduce((max, { node }) => Math.max(max, node), -1) + 1;
    // places of IPv6 lie in a table of signed numbers
    assert((this.outsideNode + 1) * 2 ** this.classBits < 2 ** 31, "class and node of an end fit one word");
    const v4 = ends.filter(({ family }) => family === 4).length;
    let size = 16;
    while (size < v4 * 2) size *= 2;
    this.#mask = size - 1;
    this.#slots = new Uint32Array(size * 2).fill(noEntry);
    for (const [index, { family, words, node }] of ends.entries()) {
      const place = (node << this.classBits) | classOf[index]!;
      if (family === 4) this.#put(words[0]!, place);
      else this.#v6.set({ family, words }, place);
    }
    const placeOutside = (index: number): number => (this.outsideNode << this.classBits) | classOf[index]!;
    const starts4 = outside.filter(({ family }) => family === 4);
    this.#starts = Uint32Array.from(starts4, ({ words }) => words[0]!);
    this.#startPlaces = Uint32Array.from(starts4, ({ index }) => placeOutside(index));
    this.#starts6 = outside
      .filter(({ family }) => family === 6)
      .map(({ words, index }) => ({ words, place: placeOutside(index) }));
  }

  get bytes(): number {
    return this.#slots.byteLength + this.#starts.byteLength + this.#startPlaces.byteLength;
  }

  #put(address: number, place: number): void {
    let slot = slotOf(address, this.#mask);
    while (this.#slots[slot * 2 + 1] !== noEntry && this.#slots[slot * 2] !== address)
      slot = (slot + 1) & this.#mask;
    this.#slots[slot * 2] = address;
    this.#slots[slot * 2 + 1] = place;
  }

  locate4(address: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    let slot = slotOf(address, mask);
    for (;;) {
      const place = slots[slot * 2 + 1]!;
      if (place === noEntry) return this.#outside4(address);
      if (slots[slot * 2] === address) return place;
      slot = (slot + 1) & mask;
    }
  }

  /** Place of the address whose words are `words[at..]`. */
  locateAt(family: 4 | 6, words: ArrayLike<number>, at: number): number {
    if (family === 4) return this.locate4(words[at]!);
    const known = this.#v6.get(6, words, at);
    return known >= 0 ? known : this.#outside6(words, at);
  }

  #outside4(address: number): number {
    const starts = this.#starts;
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (starts[middle]! <= address) low = middle;
      else high = middle - 1;
    }
    return this.#startPlaces[low]!;
  }

  #outside6(words: ArrayLike<number>, at: number): number {
    const starts = this.#starts6;
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (isAtMost(starts[middle]!.words, words, at)) low = middle;
      else high = middle - 1;
    }
    return starts[low]!.place;
  }
}

function isAtMost(start: readonly number[], words: ArrayLike<number>, at: number): boolean {
  for (let i = 0; i < 4; i++) if (start[i] !== words[at + i]) return start[i]! < words[at + i]!;
  return true;
}

function slotOf(address: number, mask: number): number {
  const mixed = Math.imul(address ^ (address >>> 15), 0x2c1b_3c6d);
  return (mixed ^ (mixed >>> 13)) & mask;
}
