/**
 * What is left of chains once one end of the connection is known: rules whose tests of that end fail are gone, the tests that
 * hold with them. Ends of which the same is left are one group. Rules of the other end stay closed (`handOver`).
 */
import type { AddressMap, AddressTest, Bits, MarkTest, ServiceRange } from "../base/index.ts";
import type { Action, Chain, End, Rule } from "./chains.ts";

export type ResidualAction =
  | Exclude<Action, { readonly kind: "jump" | "goto" | "choose" }>
  | { readonly kind: "jump" | "goto"; readonly residual: Residual }
  | { readonly kind: "handOver"; readonly chain: Chain; readonly isGoto: boolean };

/** Bits that are not 0 in words `begin` to before `end` alone; `undefined`: all. */
export interface Mask {
  readonly bits: Bits | undefined;
  readonly begin: number;
  readonly end: number;
}

export interface ResidualRule {
  /** Place in the chain that it is of. */
  readonly at: number;
  readonly peers: readonly AddressTest[];
  readonly services: readonly ServiceRange[] | undefined;
  readonly marks: readonly MarkTest[];
  readonly action: ResidualAction;
  /** Classes of the other end that `peers` hold for; found when first needed. */
  mask: Mask | undefined;
}

export interface Residual {
  readonly id: number;
  readonly chain: Chain;
  readonly rules: readonly ResidualRule[];
}

/** What maps give the known end. */
export interface KnownEnd {
  readonly family: 4 | 6;
  /** Other than 0. */
  readonly values: ReadonlyMap<AddressMap, number>;
  /** Of a map that chains are chosen by. */
  chosen(map: AddressMap): number;
}

/** Rules by the first thing that they want of an end; the others are always looked at. */
interface RuleIndex {
  readonly always: readonly number[];
  readonly byTest: ReadonlyMap<AddressMap, ReadonlyMap<number, readonly number[]>>;
}

export class Residuals {
  readonly #end: End;
  readonly #other: End;
  readonly #indices = new Map<Chain, RuleIndex>();
  readonly #known = new Map<string, Residual>();
  readonly #bySelf = new Map<string, Residual>();
  readonly #isFree = new Map<Chain, boolean>();
  readonly #ofEnd = new WeakMap<KnownEnd, Map<Chain, Residual>>();

  /** `end`: the known one. */
  constructor(end: End) {
    this.#end = end;
    this.#other = end === "source" ? "destination" : "source";
  }

  /** Of the chain's rules from number `from` on. One object stands for an end as long as what is known of it. */
  of(chain: Chain, from: number, known: KnownEnd): Residual {
    if (from !== 0) return this.#make(chain, from, known);
    let ofEnd = this.#ofEnd.get(known);
    if (ofEnd === undefined) {
      ofEnd = new Map();
      this.#ofEnd.set(known, ofEnd);
    }
    let residual = ofEnd.get(chain);
    if (residual === undefined) {
      residual = this.#make(chain, 0, known);
      ofEnd.set(chain, residual);
    }
    return residual;
  }

  #make(chain: Chain, from: number, known: KnownEnd): Residual {
    const isFree = this.#asksNothing(chain);
    const selfKey = `${chain.id} ${from} ${known.family}`;
    if (isFree) {
      const self = this.#bySelf.get(selfKey);
      if (self !== undefined) return self;
    }
    const rules: ResidualRule[] = [];
    for (const at of this.#candidates(chain, known)) {
      if (at < from) continue;
      const rule = chain.rules[at]!;
      if (!this.#holds(rule, known)) continue;
      const action = this.#action(rule.action, known);
      if (action === undefined) continue;
      const { services, marks, tests } = rule;
      rules.push({ at, peers: tests[this.#other], services, marks, action, mask: undefined });
    }
    // chains of one shape differ in what they choose alone, and that is in the text
    const key = `${chain.shape} ${known.family} ${rules.map(textOf).join(" ")}`;
    let residual = this.#known.get(key);
    if (residual === undefined) {
      residual = { id: this.#known.size, chain, rules };
      this.#known.set(key, residual);
    }
    if (isFree) this.#bySelf.set(selfKey, residual);
    return residual;
  }

  #holds({ family, tests }: Rule, known: KnownEnd): boolean {
    if (family !== undefined && family !== known.family) return false;
    for (const { map, value, not } of tests[this.#end])
      if (((known.values.get(map) ?? 0) === value) === (not === true)) return false;
    return true;
  }

  #action(action: Action, known: KnownEnd): ResidualAction | undefined {
    switch (action.kind) {
      case "jump":
      case "goto": {
        const { kind, chain } = action;
        if (chain.of === this.#other) return { kind: "handOver", chain, isGoto: kind === "goto" };
        return { kind, residual: this.of(chain, 0, known) };
      }
      case "choose": {
        if (action.end !== this.#end) return { kind: "ask" };
        const chain = action.chains.get(known.chosen(action.map));
        return chain === undefined ? undefined : { kind: "goto", residual: this.of(chain, 0, known) };
      }
      default:
        return action;
    }
  }

  #candidates(chain: Chain, { values }: KnownEnd): readonly number[] {
    const { always, byTest } = this.#indexOf(chain);
    if (byTest.size === 0) return always;
    const found: number[] = [...always];
    for (const [map, value] of values) {
      const rules = byTest.get(map)?.get(value);
      if (rules !== undefined) found.push(...rules);
    }
    return found.sort((a, b) => a - b);
  }

  #indexOf(chain: Chain): RuleIndex {
    let index = this.#indices.get(chain);
    if (index !== undefined) return index;
    const always: number[] = [];
    const byTest = new Map<AddressMap, Map<number, number[]>>();
    for (const [at, { tests }] of chain.rules.entries()) {
      const wanted = tests[this.#end].find(({ value, not }) => not !== true && value !== 0);
      if (wanted === undefined) {
        always.push(at);
        continue;
      }
      const byValue = byTest.get(wanted.map) ?? new Map<number, number[]>();
      byTest.set(wanted.map, byValue);
      const list = byValue.get(wanted.value);
      if (list === undefined) byValue.set(wanted.value, [at]);
      else list.push(at);
    }
    index = { always, byTest };
    this.#indices.set(chain, index);
    return index;
  }

  /** Whether the chain, and what it leads to, asks nothing of the known end. */
  #asksNothing(chain: Chain): boolean {
    const known = this.#isFree.get(chain);
    if (known !== undefined) return known;
    const isFree = chain.rules.every(({ tests, action }) => {
      if (tests[this.#end].length > 0 || action.kind === "choose") return false;
      if (action.kind !== "jump" && action.kind !== "goto") return true;
      return action.chain.of === this.#other || this.#asksNothing(action.chain);
    });
    this.#isFree.set(chain, isFree);
    return isFree;
  }
}

function textOf({ at, action }: ResidualRule): string {
  if (action.kind === "jump" || action.kind === "goto") return `${at}>${action.residual.id}`;
  return action.kind === "ask" ? `${at}?` : `${at}`;
}
