/** Sizes of maps against `bpftool map show` (memlock) of a 64-bit kernel (6.18) with two processors. */
import { describe, expect, it } from "vitest";
import { bpfUsage, MapFlag, MapType, mapBytes, noBpfTables } from "../../../src/filter/bpf/index.ts";

describe("a map's size", () => {
  const { noPrealloc } = MapFlag;
  it.each([
    ["hash", 4, 48, 1000, 0, 0, 121_504],
    ["hash", 4, 48, 65_535, 0, 0, 7_865_336],
    ["hash", 12, 20, 1024, noPrealloc, 0, 17_280],
    ["hash", 12, 20, 1024, noPrealloc, 3, 17_568],
    ["lruHash", 14, 56, 1000, 0, 0, 137_280],
    ["lruHash", 16, 56, 65_536, 0, 0, 8_913_792],
    ["percpuHash", 4, 16, 1000, 0, 0, 113_280],
    ["lruPercpuHash", 12, 16, 1000, 0, 0, 121_280],
    ["array", 4, 8, 100, 0, 0, 1112],
    ["array", 4, 60, 1, 0, 0, 376],
    ["percpuArray", 4, 16, 512, 0, 0, 20_792],
    ["progArray", 4, 4, 65_535, 0, 0, 524_592],
    ["perfEventArray", 4, 4, 2, 0, 0, 328],
    ["lpmTrie", 8, 4, 100, noPrealloc, 0, 0],
    ["lpmTrie", 8, 4, 100, noPrealloc, 3, 96],
    ["lpmTrie", 24, 16, 512_000, noPrealloc, 1, 60],
    ["ringbuf", 0, 0, 65_536, 0, 0, 78_408],
  ] as const)(
    "%s %d -> %d x %d (flags %d) with %d entries is %d bytes",
    (type, keySize, valueSize, maxEntries, flags, entries, bytes) => {
      const shape = { name: "m", type: MapType[type], keySize, valueSize, maxEntries, flags };
      expect(mapBytes(shape, entries, 2)).toBe(bytes);
    },
  );

  it("counts a key that stands in the base and among the entries once, and groups maps of endpoints", () => {
    const entry = (byte: number): { key: Uint8Array; value: Uint8Array } => ({
      key: Uint8Array.of(byte, 0, 0, 0),
      value: new Uint8Array(4),
    });
    const shape = { type: MapType.hash, keySize: 4, valueSize: 4, maxEntries: 10, flags: 0 };
    const map = {
      ...shape,
      name: "cilium_policy_v2_00042",
      base: [entry(1), entry(2)],
      entries: [entry(2), entry(3)],
    };
    const [usage] = bpfUsage({ ...noBpfTables, maps: [map] }, 1);
    expect(usage).toMatchObject({ group: "cilium_policy_v2", entries: 3, entriesMax: 10 });
  });

  it("a map that drops old entries is never full", () => {
    const map = {
      name: "ct",
      type: MapType.lruHash,
      keySize: 4,
      valueSize: 4,
      maxEntries: 10,
      flags: 0,
      entries: [],
    };
    expect(bpfUsage({ ...noBpfTables, maps: [map] }, 1)[0]).not.toHaveProperty("entriesMax");
  });
});
