/**
 * Classes of addresses that every test answers alike: refinement of one class by each map in turn, which costs what the
 * maps hold, not what they could.
 */
import { type AddressMap, type AddressTest, type Bits, emptyBits, setBit } from "../base/index.ts";
import type { AddressSpace } from "./address-space.ts";

export class Partition {
  readonly space: AddressSpace;
  /** By address. */
  readonly classOf: Uint32Array;
  readonly count: number;
  /** An address of each class. */
  readonly representative: Uint32Array;
  readonly #bits = new Map<AddressMap, Map<number, Bits>>();
  readonly #familyBits: { readonly 4: Bits; readonly 6: Bits };
  #values: readonly ReadonlyMap<AddressMap, number>[] | undefined;
  readonly #maps: readonly AddressMap[];

  /** `labels`: what sets addresses apart beside the maps. */
  constructor(space: AddressSpace, maps: readonly AddressMap[], labels: readonly ArrayLike<number>[] = []) {
    this.space = space;
    this.#maps = maps;
    const { classOf, count } = refine(space, maps, labels);
    this.classOf = classOf;
    this.count = count;
    this.representative = new Uint32Array(count);
    for (let index = space.size - 1; index >= 0; index--) this.representative[classOf[index]!] = index;
    this.#familyBits = { 4: emptyBits(count), 6: emptyBits(count) };
    for (let one = 0; one < count; one++)
      setBit(this.#familyBits[space.addresses[this.representative[one]!]!.family], one);
  }

  familyOf(one: number): 4 | 6 {
    return this.space.addresses[this.representative[one]!]!.family;
  }

  ofFamily(family: 4 | 6): Bits {
    return this.#familyBits[family];
  }

  /** Classes for which the test holds. */
  holds({ map, value, not }: AddressTest): Bits {
    const bits = this.#with(map, value);
    return not === true ? bits.map((word) => ~word) : bits;
  }

  /** What each map gives the addresses of a class, zeros left out. */
  valuesOf(one: number): ReadonlyMap<AddressMap, number> {
    this.#values ??= this.#gatherValues();
    return this.#values[one]!;
  }

  #with(map: AddressMap, value: number): Bits {
    let byValue = this.#bits.get(map);
    if (byValue === undefined) {
      byValue = new Map();
      const { indices, values } = this.space.members(map);
      const zero = emptyBits(this.count).fill(0xffff_ffff);
      for (let i = 0; i < indices.length; i++) {
        const one = this.classOf[indices[i]!]!;
        let bits = byValue.get(values[i]!);
        if (bits === undefined) {
          bits = emptyBits(this.count);
          byValue.set(values[i]!, bits);
        }
        setBit(bits, one);
        zero[one >>> 5]! &= ~(1 << (one & 31));
      }
      byValue.set(0, zero);
      this.#bits.set(map, byValue);
    }
    const known = byValue.get(value);
    if (known !== undefined) return known;
    const none = emptyBits(this.count);
    byValue.set(value, none);
    return none;
  }

  #gatherValues(): readonly ReadonlyMap<AddressMap, number>[] {
    const values = Array.from({ length: this.count }, () => new Map<AddressMap, number>());
    for (const map of this.#maps) {
      const members = this.space.members(map);
      for (let i = 0; i < members.indices.length; i++) {
        const index = members.indices[i]!;
        const one = this.classOf[index]!;
        if (this.representative[one] === index) values[one]!.set(map, members.values[i]!);
      }
    }
    return values;
  }
}

function refine(
  space: AddressSpace,
  maps: readonly AddressMap[],
  labels: readonly ArrayLike<number>[],
): { readonly classOf: Uint32Array; readonly count: number } {
  const classOf = new Uint32Array(space.size);
  let count = 0;
  const split = (indices: Iterable<number>, valueAt: (index: number, i: number) => number): void => {
    const fresh = new Map<number, Map<number, number>>();
    let i = 0;
    for (const index of indices) {
      const value = valueAt(index, i++);
      const old = classOf[index]!;
      let byValue = fresh.get(value);
      if (byValue === undefined) {
        byValue = new Map();
        fresh.set(value, byValue);
      }
      let to = byValue.get(old);
      if (to === undefined) {
        to = count++;
        byValue.set(old, to);
      }
      classOf[index] = to;
    }
  };
  const all = Uint32Array.from({ length: space.size }, (_, index) => index);
  split(all, (index) => space.addresses[index]!.family);
  for (const map of maps) {
    const { indices, values } = space.members(map);
    split(indices, (_, i) => values[i]!);
  }
  for (const label of labels) split(all, (index) => label[index]!);
  return compact(classOf);
}

/** Numbers that are in use, in the order of their first address. */
function compact(classOf: Uint32Array): { readonly classOf: Uint32Array; readonly count: number } {
  const numbers = new Map<number, number>();
  for (let index = 0; index < classOf.length; index++) {
    const old = classOf[index]!;
    let to = numbers.get(old);
    if (to === undefined) {
      to = numbers.size;
      numbers.set(old, to);
    }
    classOf[index] = to;
  }
  return { classOf, count: numbers.size };
}
