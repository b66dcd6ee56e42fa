/**
 * Every outcome of what is decided by chance. An explorer hands out a generator of random numbers and runs a function
 * once for each way its draws can fall, depth first, most of the script replayed and the last open draw changed. What
 * runs must differ between runs by its draws alone.
 *
 * Only draws with few outcomes branch (`chance`, and `below` up to `branchesMax`): which backend, which node. Wide
 * draws (a port among 64,512) are taken from a seeded generator, because no verdict hangs on them; who has to know
 * their range asks the thing that draws.
 */
import { assert } from "./assert.ts";
import { createPrng, type Prng } from "./prng.ts";

export interface ExplorerOptions {
  /** Draws with more outcomes than this are sampled once instead of tried one by one. Default 64. */
  readonly branchesMax?: number;
  /** Runs of one exploration. Default 4096. */
  readonly runsMax?: number;
}

export interface Outcome<T> {
  readonly value: T;
  /** Product of the probabilities of the draws that led here, in (0, 1]. */
  readonly probability: number;
}

export interface Exploration<T> {
  /** In the order of the draws: `chance` true before false, `below` upwards. At least one. */
  readonly outcomes: readonly Outcome<T>[];
  /** False when `runsMax` or `isEnough` ended it before every branch was tried. */
  readonly isComplete: boolean;
}

export interface Explorer {
  /** To be handed to whatever draws. Outside `explore` it is an ordinary seeded generator. */
  readonly random: Prng;
  /** `isEnough` is asked after each run whether the outcomes so far settle the question. Not re-entrant. */
  explore<T>(run: () => T, isEnough?: (outcomes: readonly Outcome<T>[]) => boolean): Exploration<T>;
}

/** One draw of the run in progress: `taken` of `weights.length` branches. */
interface Draw {
  readonly weights: readonly number[];
  taken: number;
}

export function createExplorer(seed: number, options: ExplorerOptions = {}): Explorer {
  const { branchesMax = 64, runsMax = 4096 } = options;
  assert(branchesMax >= 2 && runsMax >= 1, "an explorer has at least two branches and one run");
  const script = new Script(branchesMax);
  return {
    random: new ScriptedPrng(script, createPrng(seed)),
    explore(run, isEnough) {
      const outcomes: Outcome<ReturnType<typeof run>>[] = [];
      script.open();
      try {
        do {
          script.rewind();
          const value = run();
          outcomes.push({ value, probability: script.probability() });
          if (isEnough?.(outcomes) || outcomes.length >= runsMax) break;
        } while (script.advance());
        return { outcomes, isComplete: !script.hasMore() };
      } finally {
        script.close();
      }
    },
  };
}

/** The draws of a path, replayed; wherever the path ends, the first branch is taken. */
class Script {
  readonly branchesMax: number;
  isOpen = false;
  #path: Draw[] = [];
  #position = 0;

  constructor(branchesMax: number) {
    this.branchesMax = branchesMax;
  }

  open(): void {
    assert(!this.isOpen, "one exploration at a time");
    this.isOpen = true;
    this.#path = [];
  }

  close(): void {
    this.isOpen = false;
  }

  rewind(): void {
    this.#position = 0;
  }

  /** Moves on to the next path; false when all have been taken. */
  advance(): boolean {
    assert(this.#position === this.#path.length, "a run replayed must draw what it drew before");
    for (let last = this.#path.at(-1); last !== undefined; last = this.#path.at(-1)) {
      if (++last.taken < last.weights.length) return true;
      this.#path.pop();
    }
    return false;
  }

  hasMore(): boolean {
    return this.#path.some(({ taken, weights }) => taken + 1 < weights.length);
  }

  probability(): number {
    return this.#path.reduce((product, { taken, weights }) => product * (weights[taken] ?? 0), 1);
  }

  draw(weights: readonly number[]): number {
    const known = this.#path[this.#position++];
    if (known !== undefined) {
      assert(known.weights.length === weights.length, "a run replayed must draw what it drew before");
      return known.taken;
    }
    this.#path.push({ weights, taken: 0 });
    return 0;
  }
}

/** During an exploration the script draws, in one order for all forks; outside, each has a stream of its own. */
class ScriptedPrng implements Prng {
  readonly #script: Script;
  readonly #wide: Prng;

  constructor(script: Script, wide: Prng) {
    this.#script = script;
    this.#wide = wide;
  }

  chance(wins: number, of: number): boolean {
    if (!this.#script.isOpen) return this.#wide.chance(wins, of);
    if (wins <= 0) return false;
    return wins >= of || this.#script.draw([wins / of, 1 - wins / of]) === 0;
  }

  below(below: number): number {
    const { isOpen, branchesMax } = this.#script;
    if (!isOpen || below > branchesMax) return this.#wide.below(below);
    return below === 1 ? 0 : this.#script.draw(new Array<number>(below).fill(1 / below));
  }

  nextU32(): number {
    return this.#wide.nextU32();
  }

  unit(): number {
    return this.#wide.unit();
  }

  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, "pick from an empty list");
    return items[this.below(items.length)] as T;
  }

  fork(label: string): Prng {
    return new ScriptedPrng(this.#script, this.#wide.fork(label));
  }
}
