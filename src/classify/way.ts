/**
 * One way through a node as a chain of stages, each about the rules of one end. A connection passes if it passes them all.
 * A stage begins where the stage before meets rules of the other end; what follows those rules belongs to it too.
 */
import type { Chain, End } from "./chains.ts";

/** A chain that is being asked, and the rule that comes next. */
export interface Frame {
  readonly chain: Chain;
  readonly from: number;
}

/** Where a stage begins: in `frames` (the innermost last), then hook chains from number `hook` on, with this mark. */
export interface Start {
  readonly frames: readonly Frame[];
  readonly hook: number;
  readonly mark: number;
}

export const beginning: Start = { frames: [], hook: 0, mark: 0 };

/** Equal for starts in equal chains, but for what these choose between. */
export function startText({ hook, frames, mark }: Start, chains: readonly Chain[]): string {
  const rest = chains.slice(hook).map(({ shape }) => shape);
  return [mark, frames.map(({ chain, from }) => `${chain.id}@${from}`).join(" "), ...rest].join("\n");
}

/** Whose rules come first; of rules that are nobody's, the source's. */
export function endOf({ hook, frames }: Start, chains: readonly Chain[]): End {
  for (let i = frames.length - 1; i >= 0; i--) {
    const of = firstOf(frames[i]!.chain, new Set());
    if (of !== undefined) return of;
  }
  for (const chain of chains.slice(hook)) {
    const of = firstOf(chain, new Set());
    if (of !== undefined) return of;
  }
  return "source";
}

function firstOf(chain: Chain, seen: Set<Chain>): End | undefined {
  if (chain.of !== undefined) return chain.of;
  if (seen.has(chain)) return undefined;
  seen.add(chain);
  for (const { action } of chain.rules) {
    if (action.kind !== "jump" && action.kind !== "goto") continue;
    const of = firstOf(action.chain, seen);
    if (of !== undefined) return of;
  }
  return undefined;
}

/** More marks than these are not followed. */
const marksMax = 64;

/** With which marks connections may come back from a chain. */
export class Returns {
  readonly #known = new Map<string, boolean>();

  /** False only if no connection that enters the chain with this mark comes back from it. */
  mayReturn(chain: Chain, mark: number): boolean {
    const key = `${chain.id} ${mark}`;
    let answer = this.#known.get(key);
    if (answer === undefined) {
      const back = this.#back(chain, mark);
      answer = back === undefined || back.size > 0;
      this.#known.set(key, answer);
    }
    return answer;
  }

  /** `undefined`: with any. */
  #back(chain: Chain, mark: number): ReadonlySet<number> | undefined {
    let inside = new Set([mark]);
    const back = new Set<number>();
    for (const { family, tests, services, marks, action } of chain.rules) {
      const isSure =
        family === undefined &&
        tests.source.length === 0 &&
        tests.destination.length === 0 &&
        services === undefined;
      const after = new Set<number>();
      for (const one of inside) {
        if (!marks.every(({ mask, value, not }) => ((one & mask) >>> 0 === value >>> 0) !== (not === true))) {
          after.add(one);
          continue;
        }
        if (!isSure) after.add(one);
        switch (action.kind) {
          case "return":
            back.add(one);
            break;
          case "mark":
            after.add(((one & action.keep) ^ action.flip) >>> 0);
            break;
          case "jump":
          case "goto": {
            const returned = this.#back(action.chain, one);
            if (returned === undefined) return undefined;
            for (const mark of returned) (action.kind === "jump" ? after : back).add(mark);
            break;
          }
          case "choose": {
            for (const chosen of action.chains.values()) {
              const returned = this.#back(chosen, one);
              if (returned === undefined) return undefined;
              for (const mark of returned) back.add(mark);
            }
            after.add(one);
            break;
          }
          default:
            break;
        }
      }
      if (after.size + back.size > marksMax) return undefined;
      inside = after;
    }
    if (chain.atEnd === "return") for (const one of inside) back.add(one);
    return back;
  }
}
