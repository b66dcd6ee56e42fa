/** What a watched program asked of maps, in words: fields by the map's layout, the entry that answered, and why it exists. */
import { describe, expect, it } from "vitest";
import type { Origin } from "../../../src/base/index.ts";
import { fieldText } from "../../../src/filter/bpf/field-text.ts";
import { type MapEntry, type MapShape, MapType } from "../../../src/filter/bpf/index.ts";
import { LookupLog } from "../../../src/filter/bpf/lookup-log.ts";

const origin = (name: string): Origin => ({ kind: "NetworkPolicy", name, path: "", role: "allow" });
const trie: MapShape = {
  name: "prefixes",
  type: MapType.lpmTrie,
  keySize: 8,
  valueSize: 2,
  maxEntries: 8,
  flags: 1,
  layout: {
    key: [{ name: "ip", offset: 4, size: 4, format: "ip4" }],
    value: [{ name: "port", offset: 0, size: 2, format: "be" }],
  },
};
const prefix = (length: number, ip: readonly number[], name: string): MapEntry => ({
  key: Uint8Array.of(length, 0, 0, 0, ...ip),
  value: Uint8Array.of(0, 80),
  origin: origin(name),
});
const entries = [
  prefix(8, [10, 0, 0, 0], "wide"),
  prefix(24, [10, 1, 2, 0], "narrow"),
  prefix(0, [0, 0, 0, 0], "any"),
];
const finder = {
  entriesOf: () => entries,
  missesOf: () => [{ offset: 4, byte: 12, origin: origin("none") }],
};

describe("a lookup", () => {
  const ask = (ip: readonly number[], value: Uint8Array | undefined): string => {
    const log = new LookupLog();
    const { text, origin: why } = log.describe(
      log.lookup(trie, Uint8Array.of(32, 0, 0, 0, ...ip), value),
      finder,
    );
    return `${text} (${why?.name})`;
  };
  it("names the longest prefix that holds the key, and what made it", () => {
    expect(ask([10, 1, 2, 3], Uint8Array.of(0, 80))).toBe("ip=10.1.2.3: by /24 port=80 (narrow)");
    expect(ask([10, 1, 3, 3], Uint8Array.of(0, 80))).toBe("ip=10.1.3.3: by /8 port=80 (wide)");
    expect(ask([11, 1, 3, 3], Uint8Array.of(0, 80))).toBe("ip=11.1.3.3: by /0 port=80 (any)");
  });
  it("that finds nothing says so, and why that matters", () => {
    expect(ask([12, 0, 0, 1], undefined)).toBe("ip=12.0.0.1: none (none)");
    expect(ask([13, 0, 0, 1], undefined)).toBe("ip=13.0.0.1: none (undefined)");
  });
  it("says why only as the last of several that found nothing", () => {
    const [log, reasons] = [new LookupLog(), [origin("first"), origin("second")]];
    const several = {
      ...finder,
      missesOf: () => reasons.map((one) => ({ offset: 4, byte: 12, origin: one })),
    };
    const refs = [1, 2].map((last) =>
      log.lookup(trie, Uint8Array.of(32, 0, 0, 0, 12, 0, 0, last), undefined),
    );
    const said = (): readonly unknown[] =>
      refs.map((ref) => {
        const { origin: why, furtherOrigins } = log.describe(ref, several);
        return [why?.name, furtherOrigins?.map(({ name }) => name)];
      });
    expect(said()).toEqual([
      [undefined, undefined],
      ["first", ["second"]],
    ]);
    log.lookup(trie, Uint8Array.of(32, 0, 0, 0, 12, 0, 0, 3), Uint8Array.of(0, 80));
    expect(said()).toEqual([
      [undefined, undefined],
      [undefined, undefined],
    ]);
  });
});

describe("a field", () => {
  const bytes = Uint8Array.of(0x12, 0x34, 0x05, 0);
  it.each([
    ["dec", undefined, String(0x3412)],
    ["be", undefined, String(0x1234)],
    ["hex", undefined, "0x3412"],
    ["enum", { 13330: "thirteen" }, "thirteen"],
    ["flags", { 2: "two", 16: "sixteen" }, "two|sixteen|0x3400"],
  ] as const)("as %s", (format, names, wanted) => {
    expect(fieldText({ name: "x", offset: 0, size: 2, format, ...(names && { names }) }, bytes)).toBe(wanted);
  });
  it("may be some bits of a number", () => {
    expect(
      fieldText({ name: "x", offset: 0, size: 1, format: "dec", bits: { shift: 1, count: 4 } }, bytes),
    ).toBe("9");
  });
  it("with an address of either family", () => {
    const ip = { name: "x", offset: 0, size: 16, format: "ip" } as const;
    expect(fieldText(ip, Uint8Array.of(10, 0, 0, 5, ...new Array<number>(12).fill(0)))).toBe("10.0.0.5");
    expect(fieldText(ip, Uint8Array.of(0xfd, ...new Array<number>(14).fill(0), 5))).toBe("fd00::5");
  });
});
