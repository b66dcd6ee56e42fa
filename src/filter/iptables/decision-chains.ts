/**
 * Chains of rules as decision chains, for packets of which everything but ends, protocol and port is known. What cannot match is
 * gone, and so is what changes nothing; a rule that nothing of a chain can express says `ask`. Chains whose rules, sets and
 * callees are the same objects become the same object: nodes share what their tables share.
 */
import {
  type AddressMap,
  type DecisionAction,
  type DecisionChain,
  type DecisionRule,
  unreachable,
} from "../../base/index.ts";
import type { Membership } from "../ipset/index.ts";
import { areSameServices } from "../service-ranges.ts";
import { type Condition, conditionsOf, isInState, isNot, type KnownPacket } from "./conditions.ts";
import { mergeRuns } from "./merged-rules.ts";
import type { Chain, Rule, Table } from "./ruleset.ts";
import type { Target } from "./target.ts";

/** What a chain can do to a packet. */
export const Outcome = { accept: 1, drop: 2, ask: 4, pass: 8, mark: 16, masquerade: 32 } as const;

export interface DecidedChain {
  readonly chain: DecisionChain;
  /** Bits of `Outcome`. */
  readonly outcomes: number;
}

/** What rules of one table are asked with. */
export interface Scene {
  readonly packet: KnownPacket;
  /** Says all of `packet` but interfaces, sets and address types. */
  readonly name: string;
  /** MASQUERADE finds an address. */
  readonly canMasquerade: boolean;
}

/** The table's chain and those that it calls. */
export function decideChain(table: Table, root: string, scene: Scene): DecidedChain {
  const chains = new Map(table.chains.map((chain) => [chain.name, chain]));
  const decided = new Map<string, DecidedChain>();
  const open = [root];
  for (let name = open.at(-1); name !== undefined; name = open.at(-1)) {
    const chain = chains.get(name);
    const calls = chain === undefined ? [] : needsOf(chain, scene.packet.states).calls;
    const missing = calls.filter((call) => !decided.has(call));
    if (missing.length > 0) {
      open.push(...missing);
      continue;
    }
    open.pop();
    if (chain !== undefined) decided.set(name, decideOne(table, chain, decided, scene));
  }
  return decided.get(root) ?? nothing;
}

const nothing: DecidedChain = { chain: { name: "", rules: [], atEnd: "return" }, outcomes: Outcome.pass };

/** What a chain's own rules name of their surroundings. */
interface Needs {
  readonly calls: readonly string[];
  readonly sets: readonly string[];
  readonly inPatterns: readonly string[];
  readonly outPatterns: readonly string[];
  readonly asksTypes: boolean;
}

type States = KnownPacket["states"];

const needs = new WeakMap<Chain, Map<States, Needs>>();

/** Without the rules that are for packets in other states. */
function needsOf(chain: Chain, states: States): Needs {
  const byStates = needs.get(chain) ?? new Map<States, Needs>();
  needs.set(chain, byStates);
  let own = byStates.get(states);
  if (own === undefined) {
    own = gatherNeeds(chain, states);
    byStates.set(states, own);
  }
  return own;
}

function gatherNeeds({ rules }: Chain, states: States): Needs {
  const [calls, sets, ins, outs] = [
    new Set<string>(),
    new Set<string>(),
    new Set<string>(),
    new Set<string>(),
  ];
  let asksTypes = false;
  for (const { matches, target } of rules) {
    if (matches.some((match) => match.kind === "ctstate" && isNot(match, isInState(match, states)) === false))
      continue;
    const call = callOf(target);
    if (call !== undefined) calls.add(call);
    for (const match of matches) {
      if (match.kind === "set") sets.add(match.set);
      else if (match.kind === "in-interface") ins.add(match.name);
      else if (match.kind === "out-interface") outs.add(match.name);
      else if (match.kind === "addrtype") asksTypes = true;
    }
  }
  return { calls: [...calls], sets: [...sets], inPatterns: [...ins], outPatterns: [...outs], asksTypes };
}

function callOf(target: Target | undefined): string | undefined {
  return target?.kind === "jump" || target?.kind === "goto" ? target.chain : undefined;
}

/** A chain in one scene among callees, sets and address types. */
interface Variant {
  readonly key: string;
  readonly parts: readonly unknown[];
  readonly decided: DecidedChain;
}

const variants = new WeakMap<Chain, Variant[]>();
/** Older ones are of sets that have changed since. */
const variantsMax = 16;

function decideOne(
  table: Table,
  chain: Chain,
  callees: ReadonlyMap<string, DecidedChain>,
  scene: Scene,
): DecidedChain {
  const { packet, name, canMasquerade } = scene;
  const { calls, sets, inPatterns, outPatterns, asksTypes } = needsOf(chain, packet.states);
  const fits = [
    ...inPatterns.map((pattern) => packet.fits("in", pattern)),
    ...outPatterns.map((pattern) => packet.fits("out", pattern)),
  ];
  const key = `${table.name} ${name} ${canMasquerade} ${fits.join()}`;
  const parts: readonly (AddressMap | DecidedChain | Membership | undefined)[] = [
    asksTypes ? packet.addressTypes : undefined,
    ...calls.map((call) => callees.get(call)),
    ...sets.map((set) => packet.membership(set)),
  ];
  const known = variants.get(chain) ?? [];
  const same = known.find((one) => one.key === key && parts.every((part, i) => part === one.parts[i]));
  if (same !== undefined) return same.decided;
  const decided = new ChainDraft(callees, scene).decide(chain);
  variants.set(chain, [...known.slice(1 - variantsMax), { key, parts, decided }]);
  return decided;
}

/** What a rule does, before it is known when. */
type Effect = DecisionAction | { readonly kind: "none" };

/** Whether packets come past a rule: `closed`: none does, not even to the chain's end. */
type Next = "go on" | "at end" | "closed";

const none: Effect = { kind: "none" };
const ask: DecisionAction = { kind: "ask" };

class ChainDraft {
  readonly #callees: ReadonlyMap<string, DecidedChain>;
  readonly #scene: Scene;
  readonly #rules: DecisionRule[] = [];

  constructor(callees: ReadonlyMap<string, DecidedChain>, scene: Scene) {
    this.#callees = callees;
    this.#scene = scene;
  }

  decide({ name, rules, policy }: Chain): DecidedChain {
    const isBuiltin = policy !== undefined;
    let next: Next = "go on";
    for (let i = 0; i < rules.length && next === "go on"; i++) next = this.#add(rules[i] as Rule);
    const isOpen = next !== "closed";
    const atEnd = !isBuiltin ? "return" : policy === "DROP" ? "drop" : "accept";
    while (isOpen && this.#isIdle(this.#rules.at(-1), atEnd)) this.#rules.pop();
    const isLost = !isOpen && this.#rules.every(({ action }) => this.#leadsToAsk(action));
    const kept = isLost ? [{ action: ask }] : mergeRuns(this.#rules);
    let outcomes = kept.reduce(
      (bits, { action }) => bits | this.#outcomesOf(action),
      isOpen ? Outcome.pass : 0,
    );
    if (outcomes & Outcome.pass) outcomes = (outcomes & ~Outcome.pass) | ends[atEnd];
    const of = this.#owner(kept);
    return { chain: { name, rules: kept, atEnd, ...(of === undefined ? {} : { of }) }, outcomes };
  }

  #add(rule: Rule): Next {
    const effect = this.#effectOf(rule.target);
    if (effect.kind === "none" && !rule.matches.some(({ kind }) => kind === "hashlimit")) return "go on";
    for (const condition of conditionsOf(rule.matches, this.#scene.packet)) {
      // a full table of hashlimit drops
      const action = condition.isUndecided || effect.kind === "none" ? ask : effect;
      const made = ruleOf(condition, this.#scene.packet, action);
      if (isUnconditional(made) && action.kind === "return") return "at end";
      this.#rules.push(made);
      if (isUnconditional(made) && this.#isLast(action)) return "closed";
    }
    return "go on";
  }

  #isLast(action: DecisionAction): boolean {
    if (action.kind === "jump") return (this.#calleeOutcomes(action.chain) & Outcome.pass) === 0;
    return action.kind !== "mark";
  }

  /** At the end of the chain the rule changes nothing. */
  #isIdle(rule: DecisionRule | undefined, atEnd: DecisionChain["atEnd"]): boolean {
    return rule !== undefined && (this.#outcomesOf(rule.action) & ~(Outcome.pass | ends[atEnd])) === 0;
  }

  /** Asks, or does what is not noticed where a later rule asks. */
  #leadsToAsk(action: DecisionAction): boolean {
    if (action.kind === "ask" || action.kind === "mark") return true;
    const quiet = Outcome.ask | Outcome.mark | Outcome.pass;
    return action.kind === "jump" && (this.#calleeOutcomes(action.chain) & ~quiet) === 0;
  }

  #effectOf(target: Target | undefined): Effect {
    if (target === undefined) return none;
    switch (target.kind) {
      case "ACCEPT":
        return { kind: "accept" };
      case "DROP":
      case "REJECT":
      case "TPROXY": // no proxy listens on the node
        return { kind: "drop" };
      case "NFQUEUE": // nobody listens to the queue
        return { kind: target.bypass ? "accept" : "drop" };
      case "RETURN":
        return { kind: "return" };
      case "jump":
      case "goto":
        return this.#call(target.kind, target.chain);
      case "MARK":
        return { kind: "mark", keep: ~target.mask, flip: target.value };
      case "MASQUERADE":
        return this.#scene.canMasquerade && target.ports === undefined ? { kind: "masquerade" } : ask;
      case "CONNMARK":
        return this.#connmarkEffect(target);
      case "LOG":
      case "NFLOG":
      case "TRACE":
      case "AUDIT":
      case "CLASSIFY":
      case "CHECKSUM":
      case "TOS": // what asks for these fields is not decided here
      case "DSCP":
      case "TCPMSS":
        return none;
      case "CT":
      case "NOTRACK":
      case "SET":
      case "TTL":
      case "DNAT":
      case "SNAT":
      case "REDIRECT":
      case "NETMAP":
        return ask;
      default:
        return unreachable(target);
    }
  }

  #connmarkEffect(target: Extract<Target, { kind: "CONNMARK" }>): Effect {
    const { connmark } = this.#scene.packet;
    if (target.action !== "restore") return none;
    if (connmark === undefined) return ask;
    return { kind: "mark", keep: ~target.nfMask, flip: connmark & target.ctMask };
  }

  #call(kind: "jump" | "goto", name: string): Effect {
    const callee = this.#callees.get(name);
    if (callee === undefined || callee.outcomes === Outcome.pass)
      return kind === "jump" ? none : { kind: "return" };
    const [first] = callee.chain.rules;
    if (first !== undefined && isUnconditional(first) && isTerminal(first.action)) return first.action;
    return { kind, chain: callee.chain };
  }

  #outcomesOf(action: DecisionAction): number {
    switch (action.kind) {
      case "accept":
      case "masquerade":
      case "drop":
      case "ask":
      case "mark":
        return Outcome[action.kind];
      case "return":
        return Outcome.pass;
      case "jump": // what comes back goes on here
        return this.#calleeOutcomes(action.chain) & ~Outcome.pass;
      case "goto":
        return this.#calleeOutcomes(action.chain);
      case "choose": // no rule of iptables does
        return 0;
      default:
        return unreachable(action);
    }
  }

  #calleeOutcomes({ name }: DecisionChain): number {
    return this.#callees.get(name)?.outcomes ?? Outcome.pass;
  }

  /** The end that nearly all rules ask for, of a chain that leads to a chain of its own for each. */
  #owner(rules: readonly DecisionRule[]): DecisionChain["of"] {
    const called = new Set<DecisionChain>();
    for (const { action } of rules)
      if (action.kind === "jump" || action.kind === "goto") called.add(action.chain);
    if (called.size < 2 || called.size * 2 < rules.length) return undefined;
    for (const end of ["source", "destination"] as const) {
      const asking = rules.filter((rule) => rule[end]?.some(({ value, not }) => !not && value !== 0));
      if (asking.length * 4 >= rules.length * 3) return end;
    }
    return undefined;
  }
}

const ends = { return: Outcome.pass, accept: Outcome.accept, drop: Outcome.drop } as const;

function ruleOf(
  { source, destination, services, marks }: Condition,
  packet: KnownPacket,
  action: DecisionAction,
): DecisionRule {
  return {
    ...(source.length === 0 ? {} : { source }),
    ...(destination.length === 0 ? {} : { destination }),
    ...(areSameServices(services, packet.services) ? {} : { services }),
    ...(marks.length === 0 ? {} : { marks }),
    action,
  };
}

function isUnconditional({ source, destination, services, marks }: DecisionRule): boolean {
  return source === undefined && destination === undefined && services === undefined && marks === undefined;
}

function isTerminal({ kind }: DecisionAction): boolean {
  return kind === "accept" || kind === "drop" || kind === "ask" || kind === "masquerade";
}
