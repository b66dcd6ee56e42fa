/** Asks the rest of rules that one known end leaves, of all classes of the other end at once. */
import { type Bits, isNoBit, join, type MarkTest, unreachable } from "../base/index.ts";
import type { Partition } from "./partition.ts";
import type { Mask, Residual, ResidualRule } from "./residual.ts";
import type { BitsPool } from "./rows.ts";
import { holdsService } from "./services.ts";
import type { Frame, Returns, Start } from "./way.ts";

/** What is left for one group: of the frames (innermost last) and of the hook chains that follow. */
export interface GroupRules {
  readonly family: 4 | 6;
  readonly frames: readonly Residual[];
  /** By hook number; `undefined` before the start, and where rules of the other end begin. */
  readonly hooks: readonly (Residual | undefined)[];
}

export interface StageOutcome {
  accepted: Bits | undefined;
  masqueraded: Bits | undefined;
  asked: Bits | undefined;
  /** Who goes on to rules of the other end, by where these begin. */
  readonly handed: Map<string, { readonly start: Start; bits: Bits }>;
}

type ByMark = Map<number, Bits>;

/** Where those go on who are not decided: to the next rule, back to the caller; and what the caller is. */
interface Flow {
  readonly next: Frame;
  readonly onward: ByMark;
  readonly back: ByMark;
  readonly below: readonly Frame[];
}

export class StageRun {
  readonly #partition: Partition;
  readonly #returns: Returns;
  /** How many hook chains there are. */
  readonly #hooks: number;
  #outcome: StageOutcome = {
    accepted: undefined,
    masqueraded: undefined,
    asked: undefined,
    handed: new Map(),
  };
  /** Who goes on to the next hook. */
  #accepted: ByMark = new Map();
  readonly #pool: BitsPool;
  #nextHook = 0;
  #protocol = 0;
  #port = 0;

  /** Sets of outcomes are the pool's, to be given back. */
  constructor(partition: Partition, returns: Returns, hooks: number, pool: BitsPool) {
    this.#pool = pool;
    this.#partition = partition;
    this.#returns = returns;
    this.#hooks = hooks;
  }

  run(start: Start, rules: GroupRules, protocol: number, port: number): StageOutcome {
    this.#outcome = { accepted: undefined, masqueraded: undefined, asked: undefined, handed: new Map() };
    [this.#protocol, this.#port, this.#nextHook] = [protocol, port, start.hook];
    let active: ByMark = new Map();
    this.#at(active, start.mark).set(this.#partition.ofFamily(rules.family));
    this.#accepted = start.frames.length === 0 ? active : new Map();
    for (let i = start.frames.length - 1; i >= 0; i--)
      active = this.#ask(rules.frames[i]!, active, start.frames.slice(0, i));
    for (let hook = start.hook; hook < this.#hooks; hook++) {
      const entering = this.#accepted;
      this.#accepted = new Map();
      this.#nextHook = hook + 1;
      const residual = rules.hooks[hook];
      if (residual === undefined) {
        for (const [mark, bits] of entering) this.#hand({ frames: [], hook, mark }, bits, everyone);
        return this.#outcome;
      }
      this.#ask(residual, entering, []);
    }
    for (const bits of this.#accepted.values()) {
      move(this.#of("accepted"), bits, everyone);
      this.#pool.give(bits);
    }
    return this.#outcome;
  }

  /** The set of a mark; an empty one where there is none. */
  #at(map: ByMark, mark: number): Bits {
    let bits = map.get(mark);
    if (bits === undefined) {
      bits = this.#pool.take();
      map.set(mark, bits);
    }
    return bits;
  }

  /** Adds a set that nobody else uses any more. */
  #give(map: ByMark, mark: number, bits: Bits): void {
    const known = map.get(mark);
    if (known === undefined) map.set(mark, bits);
    else {
      move(known, bits, everyone);
      this.#pool.give(bits);
    }
  }

  /** Who comes back to `below`. What enters is used up. */
  #ask(residual: Residual, active: ByMark, below: readonly Frame[]): ByMark {
    const back: ByMark = new Map();
    for (const rule of residual.rules) {
      if (!holdsService(rule.services, this.#protocol, this.#port)) continue;
      const peers = this.#peersOf(rule);
      const onward: ByMark = new Map();
      for (const [mark, bits] of active)
        if (holdsMarks(rule.marks, mark) && meets(bits, peers))
          this.#act(rule, peers, bits, mark, {
            next: { chain: residual.chain, from: rule.at + 1 },
            onward,
            back,
            below,
          });
      for (const [mark, bits] of onward) this.#give(active, mark, bits);
    }
    const { atEnd } = residual.chain;
    // who returns from a hook's own chain meets its policy
    if (below.length === 0) {
      for (const [mark, bits] of back) this.#give(active, mark, bits);
      back.clear();
    }
    const ending = atEnd === "accept" ? this.#accepted : back;
    for (const [mark, bits] of active)
      if (atEnd !== "drop") this.#give(ending, mark, bits);
      else this.#pool.give(bits);
    return back;
  }

  #act(
    { action }: ResidualRule,
    peers: Mask,
    bits: Bits,
    mark: number,
    { next, onward, back, below }: Flow,
  ): void {
    switch (action.kind) {
      case "accept":
        move(this.#at(this.#accepted, mark), bits, peers);
        return;
      case "masquerade":
        // what is asked after it sees another source
        move(this.#of(this.#nextHook < this.#hooks ? "asked" : "masqueraded"), bits, peers);
        return;
      case "drop":
        move(undefined, bits, peers);
        return;
      case "ask":
        move(this.#of("asked"), bits, peers);
        return;
      case "return":
        move(this.#at(back, mark), bits, peers);
        return;
      case "mark":
        move(this.#at(onward, ((mark & action.keep) ^ action.flip) >>> 0), bits, peers);
        return;
      case "jump":
      case "goto": {
        const entering: ByMark = new Map();
        move(this.#at(entering, mark), bits, peers);
        const returned = this.#ask(
          action.residual,
          entering,
          framesUnder(action.kind === "goto", below, next),
        );
        for (const [one, some] of returned) this.#give(action.kind === "jump" ? onward : back, one, some);
        return;
      }
      case "handOver": {
        const own: Frame = { chain: action.chain, from: 0 };
        const under = framesUnder(action.isGoto, below, next);
        const frames = this.#returns.mayReturn(action.chain, mark) ? [...under, own] : [own];
        this.#hand({ frames, hook: this.#nextHook, mark }, bits, peers);
        return;
      }
      default:
        unreachable(action);
    }
  }

  #of(what: "accepted" | "masqueraded" | "asked"): Bits {
    this.#outcome[what] ??= this.#pool.take();
    return this.#outcome[what];
  }

  #hand(start: Start, bits: Bits, peers: Mask): void {
    if (start.frames.some(({ chain }) => chain.chooses)) {
      move(this.#of("asked"), bits, peers);
      return;
    }
    const stack = start.frames.map(({ chain, from }) => `${chain.id}@${from}`).join(" ");
    const key = `${start.hook} ${start.mark} ${stack}`;
    let handed = this.#outcome.handed.get(key);
    if (handed === undefined) {
      handed = { start, bits: this.#pool.take() };
      this.#outcome.handed.set(key, handed);
    }
    move(handed.bits, bits, peers);
  }

  #peersOf(rule: ResidualRule): Mask {
    rule.mask ??= this.#maskOf(rule);
    return rule.mask;
  }

  #maskOf({ peers }: ResidualRule): Mask {
    const [first, ...others] = peers;
    if (first === undefined) return everyone;
    const bits = this.#partition.holds(first).slice();
    for (const test of others) {
      const more = this.#partition.holds(test);
      for (let i = 0; i < bits.length; i++) bits[i]! &= more[i]!;
    }
    let [begin, end] = [0, bits.length];
    while (begin < end && bits[begin] === 0) begin++;
    while (end > begin && bits[end - 1] === 0) end--;
    return { bits, begin, end };
  }
}

const everyone: Mask = { bits: undefined, begin: 0, end: 0 };

function meets(from: Bits, { bits, begin, end }: Mask): boolean {
  if (bits === undefined) return !isNoBit(from);
  for (let i = begin; i < end; i++) if ((from[i]! & bits[i]!) !== 0) return true;
  return false;
}

/** Takes those of the mask out of `from`, and into `to`. */
function move(to: Bits | undefined, from: Bits, { bits, begin, end }: Mask): void {
  if (bits === undefined) {
    if (to !== undefined) join(to, from);
    from.fill(0);
    return;
  }
  for (let i = begin; i < end; i++) {
    const both = from[i]! & bits[i]!;
    if (to !== undefined) to[i]! |= both;
    from[i]! ^= both;
  }
}

/** A chain that is gone to returns to the caller of the one that it was called from; to a hook's own only for its policy. */
function framesUnder(isGoto: boolean, below: readonly Frame[], next: Frame): readonly Frame[] {
  if (!isGoto) return [...below, next];
  return below.length > 0 ? below : [{ chain: next.chain, from: next.chain.rules.length }];
}

function holdsMarks(marks: readonly MarkTest[], mark: number): boolean {
  for (const { mask, value, not } of marks)
    if (((mark & mask) >>> 0 === value >>> 0) === (not === true)) return false;
  return true;
}
