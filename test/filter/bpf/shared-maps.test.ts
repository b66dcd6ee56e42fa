/** Maps and programs that nodes share: what one node does, no other sees, and none behaves otherwise than alone. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type BpfMap,
  BpfSpace,
  contentOf,
  linkBpf,
  type MapEntry,
  MapFlag,
  type MapShape,
  MapType,
  ProgramBuilder,
  ProgramType,
  r0,
} from "../../../src/filter/bpf/index.ts";
import { linkContext } from "../node.ts";

const hash: MapShape = { name: "m", type: MapType.hash, keySize: 4, valueSize: 8, maxEntries: 6, flags: 0 };
const lru: MapShape = { ...hash, type: MapType.lruHash };
const trie: MapShape = {
  ...hash,
  type: MapType.lpmTrie,
  keySize: 5,
  flags: MapFlag.noPrealloc,
};

interface Operation {
  readonly op: "update" | "remove" | "lookup" | "write";
  readonly node: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly flags: number;
}

function keyOf({ type }: MapShape): fc.Arbitrary<Uint8Array> {
  if (type !== MapType.lpmTrie) return fc.uint8Array({ minLength: 4, maxLength: 4, max: 1 });
  return fc
    .tuple(fc.integer({ min: 0, max: 9 }), fc.constantFrom(0, 0x80, 0xc0, 0xff, 0x7f, 0xa5))
    .map(([length, byte]) => Uint8Array.of(length, 0, 0, 0, byte));
}

const anyValue = fc.uint8Array({ minLength: 8, maxLength: 8 });

const operationsOn = (shape: MapShape): fc.Arbitrary<readonly Operation[]> =>
  fc.array(
    fc.record({
      op: fc.constantFrom("update", "update", "remove", "lookup", "lookup", "write"),
      node: fc.nat(1),
      key: keyOf(shape),
      value: anyValue,
      flags: fc.constantFrom(0, 0, 0, 1, 2, 3),
    }),
    { maxLength: 40 },
  );

const baseOf = (shape: MapShape): fc.Arbitrary<readonly MapEntry[]> =>
  fc
    .array(fc.record({ key: keyOf(shape), value: anyValue }), { maxLength: 8 })
    .map((entries) => Object.freeze(entries));

/** What an operation answers; a lookup's value, and through its pointer a store, as a program makes it. */
function answer(space: BpfSpace, map: BpfMap, { op, key, value, flags }: Operation): unknown {
  if (op === "update") return map.update(key, 0, value, 0, flags);
  if (op === "remove") return map.remove(key, 0);
  const address = map.lookup(key, 0);
  if (address === 0) return undefined;
  const found = space.memory.bytes.slice(address, address + 8);
  if (op === "write") space.memory.bytes.set(value, space.memory.locate(address, 0, 8, true));
  return found;
}

const only = (space: BpfSpace): BpfMap => space.map(0) as BpfMap;

describe("maps that start with shared entries", () => {
  it.each([
    ["hash", hash, true],
    ["LRU hash", lru, true],
    ["trie", trie, true],
    ["trie that replaces when full", trie, false],
  ] as const)("answer as a %s of their own", (_, shape, refusesReplaceWhenFull) => {
    fc.assert(
      fc.property(baseOf(shape), operationsOn(shape), (base, operations) => {
        const spaces = [0, 1].map(() => {
          const shared = new BpfSpace({ refusesReplaceWhenFull });
          shared.createMap(shape, base);
          const plain = new BpfSpace({ refusesReplaceWhenFull });
          plain.createMap(shape);
          for (const { key, value } of base) only(plain).update(key, 0, value, 0, 0);
          return { shared, plain };
        });
        for (const operation of operations) {
          const { shared, plain } = spaces[operation.node] as (typeof spaces)[number];
          expect(answer(shared, only(shared), operation)).toEqual(answer(plain, only(plain), operation));
          expect(only(shared).count).toBe(only(plain).count);
        }
        for (const { shared, plain } of spaces) expect(only(shared).entries()).toEqual(only(plain).entries());
      }),
      { numRuns: 400, seed: 3 },
    );
  });

  it("keep a value's address, whatever is looked up after it", () => {
    const key = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
    const base = Object.freeze(
      Array.from({ length: 5000 }, (_, n) => ({ key: key(n), value: new Uint8Array(8).fill(n & 0xff) })),
    );
    const space = new BpfSpace();
    space.createMap({ ...hash, maxEntries: 5000 }, base);
    const map = only(space);
    const addresses = base.map((entry) => map.lookup(entry.key, 0));
    expect(new Set(addresses).size).toBe(5000);
    for (const [n, address] of addresses.entries()) {
      expect(map.lookup(key(n), 0)).toBe(address);
      expect(space.memory.bytes[address]).toBe(n & 0xff);
    }
  });

  it("must have frozen ones, because every node trusts the first one's index", () => {
    const space = new BpfSpace();
    const entries = [{ key: new Uint8Array(4), value: new Uint8Array(8) }];
    space.createMap(hash, entries);
    expect(() => space.map(0)).toThrow("not frozen");
  });
});

describe("nodes with the same tables", () => {
  const word = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
  const entry = (n: number, value: number): MapEntry => ({
    key: word(n),
    value: new Uint8Array(8).fill(value),
  });
  const base = Object.freeze([entry(1, 1), entry(2, 2)]);
  const map = { ...hash, base, entries: [entry(2, 7), entry(3, 3)] };
  const instructions = new ProgramBuilder().alu("mov", r0, 0).exit().build();
  const tables = {
    maps: [map, { ...hash, name: "inner", base, entries: [] }],
    programs: [{ name: "p", type: ProgramType.schedCls, instructions }],
    attachments: [],
  };

  it("lay their own entries over the shared ones", () => {
    const linked = linkBpf(tables, linkContext());
    expect(only(linked.space).entries()).toEqual([entry(1, 1), entry(2, 7), entry(3, 3)]);
    expect(contentOf(map)).toEqual([entry(1, 1), entry(2, 7), entry(3, 3)]);
    expect(linked.tables().maps.map((one) => contentOf(one))).toEqual(
      tables.maps.map((one) => contentOf(one)),
    );
  });

  it("share a program's columns and leave maps that nobody names unmade", () => {
    const [a, b] = [linkBpf(tables, linkContext()), linkBpf(tables, linkContext())];
    expect(a.space.program(0)).toBe(b.space.program(0));
    expect(a.space.isTouched(1)).toBe(false);
    expect(a.apply({ kind: "bpf-map", op: "delete", map: "inner", key: word(1) } as never)).toEqual({
      ok: true,
    });
    expect(a.tables().maps[1]).toMatchObject({ entries: [entry(2, 2)] });
    expect(contentOf(b.tables().maps[1] as never)).toEqual(base);
  });
});
