import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createExplorer, createPrng, type Prng } from "../../src/base/index.ts";

/** A program of draws: each outcome of a draw goes on with a program of its own. */
type Program =
  | { readonly kind: "end"; readonly label: string }
  | { readonly kind: "below"; readonly next: readonly Program[] }
  | {
      readonly kind: "chance";
      readonly wins: number;
      readonly of: number;
      readonly next: readonly Program[];
    };

const program: fc.Arbitrary<Program> = fc.letrec<{ program: Program }>((tie) => ({
  program: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.record({ kind: fc.constant("end" as const), label: fc.string() }),
    fc.record({
      kind: fc.constant("below" as const),
      next: fc.array(tie("program"), { minLength: 1, maxLength: 4 }),
    }),
    fc.record({
      kind: fc.constant("chance" as const),
      wins: fc.integer({ min: 0, max: 5 }),
      of: fc.constant(5),
      next: fc.tuple(tie("program"), tie("program")),
    }),
  ),
})).program;

function run(start: Program, random: Prng): string {
  let at = start;
  let path = "";
  while (at.kind !== "end") {
    const branch = at.kind === "below" ? random.below(at.next.length) : random.chance(at.wins, at.of) ? 0 : 1;
    path += branch;
    at = at.next[branch] as Program;
  }
  return `${path} ${at.label}`;
}

/** Every path by direct recursion, with its probability. */
function paths(at: Program, path = "", probability = 1): readonly (readonly [string, number])[] {
  switch (at.kind) {
    case "end":
      return [[`${path} ${at.label}`, probability]];
    case "below":
      return at.next.flatMap((next, i) => paths(next, path + i, probability / at.next.length));
    case "chance":
      return at.next.flatMap((next, i) => {
        const share = i === 0 ? at.wins / at.of : 1 - at.wins / at.of;
        return share === 0 ? [] : paths(next, path + i, probability * share);
      });
  }
}

describe("an explorer of choices", () => {
  it("law: takes every path of draws exactly once, with its probability, in the order of the draws", () => {
    fc.assert(
      fc.property(program, (start) => {
        const explorer = createExplorer(1, { runsMax: 1_000_000 });
        const { outcomes, isComplete } = explorer.explore(() => run(start, explorer.random));
        const expected = paths(start);
        expect(isComplete).toBe(true);
        expect(outcomes.map(({ value }) => value)).toEqual(expected.map(([path]) => path));
        outcomes.forEach(({ probability }, i) => {
          expect(probability).toBeCloseTo(expected[i]?.[1] ?? -1, 12);
        });
      }),
    );
  });

  it("stops at its bound and says that it did not finish", () => {
    const explorer = createExplorer(1, { runsMax: 3 });
    const { outcomes, isComplete } = explorer.explore(() => explorer.random.below(10));
    expect(outcomes.map(({ value }) => value)).toEqual([0, 1, 2]);
    expect(isComplete).toBe(false);
  });

  it("stops as soon as the outcomes settle the question", () => {
    const explorer = createExplorer(1);
    const { outcomes } = explorer.explore(
      () => explorer.random.chance(1, 2) && explorer.random.below(4) > 0,
      { isEnough: (seen) => new Set(seen.map(({ value }) => value)).size === 2 },
    );
    expect(outcomes.map(({ value }) => value)).toEqual([false, true]);
  });

  it("samples draws too wide to try one by one", () => {
    const explorer = createExplorer(1, { branchesMax: 8 });
    const { outcomes } = explorer.explore(() => explorer.random.below(64_512));
    expect(outcomes).toHaveLength(1);
  });

  it("law: meets every remainder of a word by no more than it was told, and the words of a path once", () => {
    const sizes = fc.tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 }), fc.integer());
    fc.assert(
      fc.property(sizes, ([a, b, seed]) => {
        const explorer = createExplorer(seed);
        const draw = (below: number): number => explorer.random.nextU32() % below;
        const { outcomes, isComplete } = explorer.explore(() => `${draw(a)} ${draw(b)}`, {
          remainders: () => Math.max(a, b),
        });
        expect(isComplete).toBe(true);
        expect(outcomes).toHaveLength(Math.max(a, b) ** 2);
        expect(new Set(outcomes.map(({ value }) => value)).size).toBe(a * b);
      }),
    );
  });

  it("samples whole words of which no remainder is taken", () => {
    const explorer = createExplorer(1);
    expect(explorer.explore(() => explorer.random.nextU32()).outcomes).toHaveLength(1);
    const remainders = () => 10_000; // more than it tries
    expect(explorer.explore(() => explorer.random.nextU32(), { remainders }).outcomes).toHaveLength(1);
  });

  it("asks for the remainders once, and never where no word is drawn", () => {
    const explorer = createExplorer(1);
    let asked = 0;
    const remainders = () => {
      asked++;
      return 3;
    };
    explorer.explore(() => explorer.random.below(2), { remainders });
    expect(asked).toBe(0);
    explorer.explore(() => explorer.random.nextU32(), { remainders });
    expect(asked).toBe(1);
  });

  it("draws like the seeded generator outside an exploration", () => {
    const explorer = createExplorer(7);
    const plain = createPrng(7);
    const draws = (random: Prng): readonly number[] => [random.below(6), random.nextU32(), random.unit()];
    expect(draws(explorer.random)).toEqual(draws(plain));
  });

  it("refuses a run that is not a function of its draws", () => {
    const explorer = createExplorer(1);
    let runs = 0;
    expect(() => explorer.explore(() => explorer.random.below(2 + runs++))).toThrow(/drew before/);
    expect(explorer.explore(() => explorer.random.below(2)).outcomes).toHaveLength(2);
  });

  it("refuses an exploration within an exploration", () => {
    const explorer = createExplorer(1);
    expect(() => explorer.explore(() => explorer.explore(() => 0))).toThrow(/one exploration/);
  });
});
