/** Asks the rest of rules that one known end leaves, of all classes of the other end at once. */
import { type Bits, join, type MarkTest, meet, unreachable, without } from "../base/index.ts";
import type { Partition } from "./partition.ts";
import type { Residual, ResidualRule } from "./residual.ts";
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
  readonly after: ByMark;
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
  #nextHook = 0;
  #protocol = 0;
  #port = 0;

  constructor(partition: Partition, returns: Returns, hooks: number) {
    this.#partition = partition;
    this.#returns = returns;
    this.#hooks = hooks;
  }

  run(start: Start, rules: GroupRules, protocol: number, port: number): StageOutcome {
    this.#outcome = { accepted: undefined, masqueraded: undefined, asked: undefined, handed: new Map() };
    [this.#protocol, this.#port, this.#nextHook] = [protocol, port, start.hook];
    let active: ByMark = new Map([[start.mark, this.#partition.ofFamily(rules.family)]]);
    this.#accepted = start.frames.length === 0 ? active : new Map();
    for (let i = start.frames.length - 1; i >= 0; i--)
      active = this.#ask(rules.frames[i]!, active, start.frames.slice(0, i));
    for (let hook = start.hook; hook < this.#hooks; hook++) {
      const entering = this.#accepted;
      this.#accepted = new Map();
      this.#nextHook = hook + 1;
      const residual = rules.hooks[hook];
      if (residual === undefined) {
        for (const [mark, bits] of entering) this.#hand({ frames: [], hook, mark }, bits);
        return this.#outcome;
      }
      this.#ask(residual, entering, []);
    }
    for (const bits of this.#accepted.values()) this.#outcome.accepted = joined(this.#outcome.accepted, bits);
    return this.#outcome;
  }

  /** Who comes back to `below`. */
  #ask(residual: Residual, entering: ByMark, below: readonly Frame[]): ByMark {
    let active = entering;
    const back: ByMark = new Map();
    for (const rule of residual.rules) {
      if (active.size === 0) break;
      if (!holdsService(rule.services, this.#protocol, this.#port)) continue;
      const after: ByMark = new Map();
      for (const [mark, bits] of active) {
        const met = holdsMarks(rule.marks, mark) ? this.#met(rule, bits) : undefined;
        if (met === undefined) {
          add(after, mark, bits);
          continue;
        }
        const rest = met === bits ? undefined : without(bits, met);
        if (rest !== undefined) add(after, mark, rest);
        this.#act(rule, { chain: residual.chain, from: rule.at + 1 }, mark, met, { after, back, below });
      }
      active = after;
    }
    const { atEnd } = residual.chain;
    // who returns from a hook's own chain meets its policy
    const ending = below.length === 0 ? new Map(active) : active;
    if (below.length === 0) {
      for (const [mark, bits] of back) add(ending, mark, bits);
      back.clear();
    }
    for (const [mark, bits] of ending) {
      if (atEnd === "accept") add(this.#accepted, mark, bits);
      else if (atEnd === "return") add(back, mark, bits);
    }
    return back;
  }

  #act({ action }: ResidualRule, next: Frame, mark: number, bits: Bits, { after, back, below }: Flow): void {
    switch (action.kind) {
      case "accept":
        add(this.#accepted, mark, bits);
        return;
      case "masquerade":
        // what is asked after it sees another source
        if (this.#nextHook < this.#hooks) this.#outcome.asked = joined(this.#outcome.asked, bits);
        else this.#outcome.masqueraded = joined(this.#outcome.masqueraded, bits);
        return;
      case "drop":
        return;
      case "ask":
        this.#outcome.asked = joined(this.#outcome.asked, bits);
        return;
      case "return":
        add(back, mark, bits);
        return;
      case "mark":
        add(after, ((mark & action.keep) ^ action.flip) >>> 0, bits);
        return;
      case "jump":
      case "goto": {
        const frames = framesUnder(action.kind === "goto", below, next);
        const returned = this.#ask(action.residual, new Map([[mark, bits]]), frames);
        for (const [one, some] of returned) add(action.kind === "jump" ? after : back, one, some);
        return;
      }
      case "handOver": {
        const own: Frame = { chain: action.chain, from: 0 };
        const under = framesUnder(action.isGoto, below, next);
        const frames = this.#returns.mayReturn(action.chain, mark) ? [...under, own] : [own];
        this.#hand({ frames, hook: this.#nextHook, mark }, bits);
        return;
      }
      default:
        unreachable(action);
    }
  }

  #hand(start: Start, bits: Bits): void {
    if (start.frames.some(({ chain }) => chain.chooses)) {
      this.#outcome.asked = joined(this.#outcome.asked, bits);
      return;
    }
    const stack = start.frames.map(({ chain, from }) => `${chain.id}@${from}`).join(" ");
    const key = `${start.hook} ${start.mark} ${stack}`;
    const known = this.#outcome.handed.get(key);
    if (known === undefined) this.#outcome.handed.set(key, { start, bits: bits.slice() });
    else join(known.bits, bits);
  }

  /** Of `bits` those that the rule's tests of the other end hold for. */
  #met(rule: ResidualRule, bits: Bits): Bits | undefined {
    if (rule.bits === undefined) rule.bits = this.#bitsOf(rule);
    return rule.bits === null ? bits : meet(bits, rule.bits);
  }

  #bitsOf({ peers }: ResidualRule): Bits | null {
    if (peers.length === 0) return null;
    const [first, ...others] = peers;
    const bits = this.#partition.holds(first!).slice();
    for (const test of others) {
      const more = this.#partition.holds(test);
      for (let i = 0; i < bits.length; i++) bits[i]! &= more[i]!;
    }
    return bits;
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

function add(to: ByMark, mark: number, bits: Bits): void {
  const known = to.get(mark);
  if (known === undefined) to.set(mark, bits);
  else to.set(mark, joined(known, bits));
}

function joined(a: Bits | undefined, b: Bits): Bits {
  if (a === undefined) return b;
  const out = a.slice();
  join(out, b);
  return out;
}
