/** Random numbers that are a function of their seed, and spread as random numbers must. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPrng, hashText } from "../../src/base/index.ts";

describe("a seeded generator", () => {
  it("gives the sequence that it always gave: results of old seeds stay what they were", () => {
    const prng = createPrng(42);
    expect([prng.nextU32(), prng.nextU32(), prng.nextU32()]).toEqual(frozen);
  });

  it("law: same seed, same numbers; another seed, others", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const draw = (from: number): number[] => {
          const prng = createPrng(from);
          return Array.from({ length: 8 }, () => prng.nextU32());
        };
        expect(draw(seed)).toEqual(draw(seed));
        expect(draw(seed)).not.toEqual(draw(seed === 0 ? 1 : seed - 1));
      }),
    );
  });

  it("law: numbers stay below their bound", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 2 ** 32 }), (seed, bound) => {
        const prng = createPrng(seed);
        for (let i = 0; i < 20; i++) {
          const value = prng.below(bound);
          expect(Number.isInteger(value) && value >= 0 && value < bound).toBe(true);
          const unit = prng.unit();
          expect(unit >= 0 && unit < 1).toBe(true);
        }
      }),
    );
  });

  it("is uniform: every cell of ten gets its tenth within six sigma", () => {
    const prng = createPrng(7);
    const counts = new Array<number>(10).fill(0);
    const draws = 100_000;
    for (let i = 0; i < draws; i++) counts[prng.below(10)]! += 1;
    const sigma = Math.sqrt(draws * 0.1 * 0.9);
    for (const count of counts) expect(Math.abs(count - draws / 10)).toBeLessThan(6 * sigma);
  });

  it("picks every item sooner or later, and from an empty list nothing", () => {
    const prng = createPrng(1);
    expect(new Set(Array.from({ length: 100 }, () => prng.pick(["a", "b", "c"]))).size).toBe(3);
    expect(() => prng.pick([])).toThrow(/empty/);
  });

  it("forks by purpose: what one stream draws never shifts another", () => {
    const [a, b] = [createPrng(5), createPrng(5)];
    a.nextU32();
    a.fork("other").nextU32();
    expect(a.fork("ports").nextU32()).toBe(b.fork("ports").nextU32());
    expect(a.fork("ports").nextU32()).not.toBe(a.fork("marks").nextU32());
  });

  it("refuses what is no seed or no bound", () => {
    for (const seed of [0.5, Number.NaN, 2 ** 53]) expect(() => createPrng(seed)).toThrow(/integer/);
    for (const bound of [0, -1, 2 ** 32 + 1])
      expect(() => createPrng(1).below(bound)).toThrow(/out of range/);
  });
});

/** The first three numbers of seed 42. */
const frozen = [1959603763, 2423114712, 2466933512];

describe("hashText", () => {
  it("is FNV-1a of 32 bits, by its published values", () => {
    expect([hashText(""), hashText("a"), hashText("foobar")]).toEqual([0x811c9dc5, 0xe40c292c, 0xbf9cf968]);
  });

  it("hashes UTF-8", () => {
    expect(hashText("é")).toBe(hashOfBytes([0xc3, 0xa9]));
  });
});

function hashOfBytes(bytes: readonly number[]): number {
  return bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5) >>> 0;
}
