/**
 * Seeded pseudo-random numbers: the only source of randomness outside `cli`.
 * Generator: sfc32 (Chris Doty-Humphrey, PractRand), seeded through splitmix32. Same seed, same sequence, on
 * every platform, because only 32-bit integer operations are used.
 */
import { assert } from "./assert.ts";

/** A seeded generator; `fork` gives independent ones by purpose. */
export interface Prng {
  /** Uniform in 0 .. 2^32-1. */
  nextU32(): number;
  /** Uniform integer in `0 .. below-1`; `below` in 1 .. 2^32. */
  below(below: number): number;
  /** True with probability `wins / of`: a decision that an explorer of outcomes branches on (choices.ts). */
  chance(wins: number, of: number): boolean;
  /** Uniform in [0, 1). */
  unit(): number;
  pick<T>(items: readonly T[]): T;
  /** Independent stream for a named purpose: adding one consumer never shifts another's numbers. */
  fork(label: string): Prng;
}

/** A generator for this seed; equal seeds give equal numbers on every machine. */
export function createPrng(seed: number): Prng {
  assert(Number.isSafeInteger(seed), `seed must be an integer, got ${seed}`);
  let mix = (seed ^ Math.floor(seed / 0x1_0000_0000)) | 0;
  const splitmix = (): number => {
    mix = (mix + 0x9e3779b9) | 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) | 0;
  };
  let a = splitmix();
  let b = splitmix();
  let c = splitmix();
  let counter = 1;
  const nextU32 = (): number => {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    c |= 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) nextU32();
  const prng: Prng = {
    nextU32,
    below(below) {
      assert(below >= 1 && below <= 0x1_0000_0000, `below out of range: ${below}`);
      const limit = 0x1_0000_0000 - (0x1_0000_0000 % below); // rejection keeps it exactly uniform
      for (;;) {
        const value = nextU32();
        if (value < limit) return value % below;
      }
    },
    chance: (wins, of) => prng.below(of) < wins,
    unit: () => nextU32() / 0x1_0000_0000,
    pick(items) {
      assert(items.length > 0, "pick from an empty list");
      return items[prng.below(items.length)] as never;
    },
    fork: (label) => createPrng((seed ^ hashText(label)) >>> 0),
  };
  return prng;
}

/** FNV-1a, 32 bits, over UTF-8: also the old naming hash of Azure NPM. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    hash ^= byte;
    hash = Math.imul(hash, 0x01000193);
  }
  return hash >>> 0;
}
