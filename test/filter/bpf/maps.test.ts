/** Maps against the plainest reading of what the kernel documents: sequences of operations, answer by answer. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BpfSpace,
  Errno,
  MapFlag,
  type MapShape,
  MapType,
  UpdateFlag,
} from "../../../src/filter/bpf/index.ts";

const shape = (type: MapShape["type"], fields: Partial<MapShape> = {}): MapShape => ({
  name: "m",
  type,
  keySize: 4,
  valueSize: 8,
  maxEntries: 4,
  flags: 0,
  ...fields,
});

type Operation =
  | { readonly op: "update"; readonly key: Uint8Array; readonly value: Uint8Array; readonly flags: number }
  | { readonly op: "remove" | "lookup"; readonly key: Uint8Array };

const bytes = (length: number, max: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length, max });

function operations(key: fc.Arbitrary<Uint8Array>, valueSize: number): fc.Arbitrary<readonly Operation[]> {
  const flags = fc.constantFrom(0, 0, 0, 1, 2, 3);
  return fc.array(
    fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          op: fc.constant("update" as const),
          key,
          value: bytes(valueSize, 255),
          flags,
        }),
      },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("remove" as const), key }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("lookup" as const), key }) },
    ),
    { maxLength: 40 },
  );
}

const keyText = (key: Uint8Array): string => [...key].join();

/** A map of text keys: what each kind refuses is given by `refuse`. */
class NaiveMap {
  readonly values = new Map<string, Uint8Array>();
  update(key: string, value: Uint8Array, flags: number, maxEntries: number): number {
    if (flags > UpdateFlag.exist) return -Errno.EINVAL;
    if (this.values.has(key) && flags === UpdateFlag.noexist) return -Errno.EEXIST;
    if (!this.values.has(key) && flags === UpdateFlag.exist) return -Errno.ENOENT;
    if (!this.values.has(key) && this.values.size >= maxEntries) return -Errno.E2BIG;
    this.values.set(key, value);
    return 0;
  }
  remove(key: string): number {
    return this.values.delete(key) ? 0 : -Errno.ENOENT;
  }
}

describe("hash maps", () => {
  it("answer as a map of keys with a limit", () => {
    fc.assert(
      fc.property(operations(bytes(4, 1), 8), (list) => {
        const space = new BpfSpace();
        const map = space.map(space.createMap(shape(MapType.hash)));
        const naive = new NaiveMap();
        for (const one of list) {
          const key = keyText(one.key);
          if (one.op === "update")
            expect(map?.update(one.key, 0, one.value, 0, one.flags)).toBe(
              naive.update(key, one.value, one.flags, 4),
            );
          else if (one.op === "remove") expect(map?.remove(one.key, 0)).toBe(naive.remove(key));
          else {
            const address = map?.lookup(one.key, 0) ?? 0;
            const value = address === 0 ? undefined : space.memory.bytes.slice(address, address + 8);
            expect(value).toEqual(naive.values.get(key));
          }
        }
        expect(new Map(map?.entries().map(({ key, value }) => [keyText(key), value]))).toEqual(naive.values);
      }),
      { numRuns: 400, seed: 1 },
    );
  });

  it("grow to their limit, keep addresses, and reuse what was removed", () => {
    const space = new BpfSpace();
    const map = space.map(space.createMap(shape(MapType.hash, { maxEntries: 5000 })));
    if (map === undefined) throw new Error("no map");
    const key = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
    const value = (n: number): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(n)).buffer);
    const addresses: number[] = [];
    for (let n = 0; n < 5000; n++) {
      expect(map.update(key(n), 0, value(n), 0, 0)).toBe(0);
      addresses.push(map.lookup(key(n), 0));
    }
    expect(map.update(key(5000), 0, value(0), 0, 0)).toBe(-Errno.E2BIG);
    expect(new Set(addresses).size).toBe(5000);
    for (let n = 0; n < 5000; n++) expect(map.lookup(key(n), 0)).toBe(addresses[n]);
    expect(map.remove(key(77), 0)).toBe(0);
    expect(map.update(key(5000), 0, value(1), 0, 0)).toBe(0);
    expect(map.lookup(key(5000), 0)).toBe(addresses[77]);
    expect(map.count).toBe(5000);
  });

  it("of the least-recently-used kind evict what was used longest ago", () => {
    const space = new BpfSpace();
    const map = space.map(space.createMap(shape(MapType.lruHash, { maxEntries: 3 })));
    const key = (n: number): Uint8Array => Uint8Array.of(n, 0, 0, 0);
    const value = new Uint8Array(8);
    for (const n of [1, 2, 3]) expect(map?.update(key(n), 0, value, 0, 0)).toBe(0);
    map?.lookup(key(1), 0);
    expect(map?.update(key(4), 0, value, 0, 0)).toBe(0);
    expect(map?.entries().map((entry) => entry.key[0])).toEqual([1, 3, 4]);
    expect(map?.update(key(5), 0, value, 0, UpdateFlag.exist)).toBe(-Errno.ENOENT);
    expect(map?.count).toBe(3);
  });
});

describe("arrays", () => {
  it("hold zeroes until written, and have no other indexes than their own", () => {
    const space = new BpfSpace();
    const map = space.map(space.createMap(shape(MapType.array, { maxEntries: 3 })));
    const index = (n: number): Uint8Array => Uint8Array.of(n, 0, 0, 0);
    const value = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    expect(map?.update(index(1), 0, value, 0, 0)).toBe(0);
    expect(map?.update(index(1), 0, value, 0, UpdateFlag.noexist)).toBe(-Errno.EEXIST);
    expect(map?.update(index(3), 0, value, 0, 0)).toBe(-Errno.E2BIG);
    expect(map?.remove(index(1), 0)).toBe(-Errno.EINVAL);
    expect(map?.lookup(index(3), 0)).toBe(0);
    expect(map?.entries().map((entry) => entry.value[0])).toEqual([0, 1, 0]);
  });
});

describe("longest-prefix tries", () => {
  /** Keys of one byte: prefix length 0 to 8 (and one too long). */
  const key = fc
    .tuple(fc.integer({ min: 0, max: 9 }), fc.constantFrom(0, 0x80, 0xc0, 0xff, 0x7f, 0xa5))
    .map(([length, byte]) => Uint8Array.of(length, 0, 0, 0, byte));
  const covers = (prefix: Uint8Array, asked: Uint8Array): boolean => {
    const length = prefix[0] ?? 0;
    return length <= (asked[0] ?? 0) && ((prefix[4] ?? 0) ^ (asked[4] ?? 0)) >> (8 - length) === 0;
  };
  const network = (one: Uint8Array): string => `${one[0]}/${(one[4] ?? 0) >> (8 - (one[0] ?? 0))}`;

  it.each([true, false])("find the longest prefix among all (replacing refused when full: %s)", (refuses) => {
    fc.assert(
      fc.property(operations(key, 4), (list) => {
        const space = new BpfSpace({ refusesReplaceWhenFull: refuses });
        const trie = shape(MapType.lpmTrie, { keySize: 5, valueSize: 4, flags: MapFlag.noPrealloc });
        const map = space.map(space.createMap(trie));
        const naive = new Map<string, { key: Uint8Array; value: Uint8Array }>();
        for (const one of list) {
          const isTooLong = (one.key[0] ?? 0) > 8;
          if (one.op === "update") {
            const { flags } = one;
            const has = naive.has(network(one.key));
            let expected = 0;
            if (flags > 2 || isTooLong) expected = -Errno.EINVAL;
            else if (refuses && naive.size >= 4) expected = -Errno.ENOSPC;
            else if (has && flags === UpdateFlag.noexist) expected = -Errno.EEXIST;
            else if (!has && flags === UpdateFlag.exist) expected = -Errno.ENOENT;
            else if (!has && naive.size >= 4) expected = -Errno.ENOSPC;
            else naive.set(network(one.key), one);
            expect(map?.update(one.key, 0, one.value, 0, flags)).toBe(expected);
          } else if (one.op === "remove") {
            const expected = isTooLong ? -Errno.EINVAL : naive.delete(network(one.key)) ? 0 : -Errno.ENOENT;
            expect(map?.remove(one.key, 0)).toBe(expected);
          } else {
            const found = [...naive.values()]
              .filter((entry) => !isTooLong && covers(entry.key, one.key))
              .sort((a, b) => (b.key[0] ?? 0) - (a.key[0] ?? 0))[0];
            const address = map?.lookup(one.key, 0) ?? 0;
            expect(address === 0 ? undefined : space.memory.bytes.slice(address, address + 4)).toEqual(
              found?.value,
            );
          }
        }
        expect(map?.count).toBe(naive.size);
      }),
      { numRuns: 600, seed: 2 },
    );
  });
});

describe("maps of maps, program arrays and rings", () => {
  it("an inner map must look like the template", () => {
    const space = new BpfSpace();
    const inner = shape(MapType.hash);
    const number = space.createMap(inner);
    const other = space.createMap(shape(MapType.hash, { valueSize: 4 }));
    const outer = space.map(space.createMap(shape(MapType.arrayOfMaps, { valueSize: 4, inner })));
    const word = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
    expect(outer?.update(word(0), 0, word(other), 0, 0)).toBe(-Errno.EINVAL);
    expect(outer?.update(word(0), 0, word(99), 0, 0)).toBe(-Errno.EINVAL);
    expect(outer?.update(word(0), 0, word(number), 0, 0)).toBe(0);
    const handle = outer?.lookup(word(0), 0) ?? 0;
    expect(space.mapOfHandle(handle | 0, 0)).toBe(space.map(number));
    expect(outer?.lookup(word(1), 0)).toBe(0);
  });

  it("refuse shapes that the kernel refuses", () => {
    const space = new BpfSpace();
    const bad: readonly (readonly [MapShape, string])[] = [
      [shape(MapType.array, { keySize: 8 }), "keys of 4 bytes"],
      [shape(MapType.hash, { maxEntries: 0 }), "at least one entry"],
      [shape(MapType.lpmTrie, { keySize: 8 }), "BPF_F_NO_PREALLOC"],
      [shape(MapType.lpmTrie, { keySize: 4, flags: 1 }), "5 to 260 bytes"],
      [shape(MapType.ringbuf, { keySize: 0, valueSize: 0, maxEntries: 5000 }), "power of two"],
      [shape(MapType.hash, { keySize: 4, valueSize: 0 }), "and a value"],
    ];
    for (const [one, message] of bad) expect(() => space.createMap(one)).toThrow(message);
    const small = new BpfSpace({ refusesReplaceWhenFull: true, memoryBytesMax: 1 << 20 });
    expect(() => small.createMap(shape(MapType.array, { maxEntries: 1 << 20 }))).toThrow("does not fit");
  });
});
