/**
 * Every outcome of what is decided by chance. An explorer hands out a generator of random numbers and runs a function
 * once for each way its draws can fall, depth first, most of the script replayed and the last open draw changed. What
 * runs must differ between runs by its draws alone.
 *
 * Draws with few outcomes branch (`chance`, and `below` up to `branchesMax`): which backend, which node. Wide draws (a
 * port among 64,512) are taken from a seeded generator, because no verdict hangs on them. A whole word is wide too, but
 * a BPF program takes the remainder of one where others draw below a number: an exploration that says how many outcomes
 * the remainder can have tries that many words in a row, so that each remainder is met.
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
  /** Not re-entrant. */
  explore<T>(run: () => T, options?: ExploreOptions<T>): Exploration<T>;
}

export interface ExploreOptions<T> {
  /** Asked after each run whether the outcomes so far settle the question. */
  readonly isEnough?: (outcomes: readonly Outcome<T>[]) => boolean;
  /**
   * How many remainders `nextU32` is reduced to, at most; up to `branchesMax` of them branch. Default 1: a sample. Asked
   * once, and only if a word is drawn.
   */
  readonly remainders?: () => number;
}

/** One draw of the run in progress: `taken` of `weights.length` branches. */
interface Draw {
  readonly weights: readonly number[];
  /** The first of the words that a draw of a whole word branches over. */
  readonly firstWord: number;
  taken: number;
}

export function createExplorer(seed: number, options: ExplorerOptions = {}): Explorer {
  const { branchesMax = 64, runsMax = 4096 } = options;
  assert(branchesMax >= 2 && runsMax >= 1, "an explorer has at least two branches and one run");
  const script = new Script(branchesMax);
  return {
    random: new ScriptedPrng(script, createPrng(seed)),
    explore(run, { isEnough, remainders = () => 1 } = {}) {
      const outcomes: Outcome<ReturnType<typeof run>>[] = [];
      script.open(remainders);
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
  #askRemainders: () => number = () => 1;
  #remainders: number | undefined;
  #path: Draw[] = [];
  #position = 0;

  constructor(branchesMax: number) {
    this.branchesMax = branchesMax;
  }

  open(remainders: () => number): void {
    assert(!this.isOpen, "one exploration at a time");
    this.isOpen = true;
    this.#askRemainders = remainders;
    this.#remainders = undefined;
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
    return this.#next(weights, () => 0).taken;
  }

  /** Of the exploration in progress. */
  get remainders(): number {
    this.#remainders ??= this.#askRemainders();
    return this.#remainders;
  }

  /** One of `branches` words in a row, the first of them sampled once. */
  drawWord(branches: number, sample: () => number): number {
    const { firstWord, taken } = this.#next(evenly(branches), () => Math.min(sample(), 2 ** 32 - branches));
    return firstWord + taken;
  }

  #next(weights: readonly number[], firstWord: () => number): Draw {
    const known = this.#path[this.#position++];
    if (known !== undefined) {
      assert(known.weights.length === weights.length, "a run replayed must draw what it drew before");
      return known;
    }
    const draw = { weights, firstWord: firstWord(), taken: 0 };
    this.#path.push(draw);
    return draw;
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
    return below === 1 ? 0 : this.#script.draw(evenly(below));
  }

  nextU32(): number {
    if (!this.#script.isOpen) return this.#wide.nextU32();
    const { branchesMax, remainders } = this.#script;
    if (remainders <= 1 || remainders > branchesMax) return this.#wide.nextU32();
    return this.#script.drawWord(remainders, () => this.#wide.nextU32());
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

function evenly(branches: number): readonly number[] {
  return new Array<number>(branches).fill(1 / branches);
}
