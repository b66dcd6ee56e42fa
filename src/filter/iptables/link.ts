/**
 * Rule sets as flat integers. `linkRuleset` turns a frozen `Ruleset` into one `Int32Array` per address family, cached
 * by identity, so that every node with the same rules runs the same program. What differs between nodes (interface
 * numbers, local addresses, live sets) is asked through small per-node tables at run time.
 *
 * Layout of a rule: [next rule's address, rule index, match..., target...]; an address of 0 ends a chain. A match is
 * [op | NOT | number << 16, arguments...]. In a long chain each rule has a signpost in front, [the rule's address, -1 - run
 * number, position], that leads the evaluator past rules that cannot match: by an index of the sets that they name
 * (skip-index.ts), or by a table of the addresses, protocols and ports that they name (field-scan.ts). Governing source: kernel net/ipv4/netfilter/ip_tables.c.
 */
import { maskWord } from "../../addr/index.ts";
import { InputError, unreachable } from "../../base/index.ts";
import { dimensionBits } from "../ipset/index.ts";
import { type FieldTable, fieldTable } from "./field-scan.ts";
import type { Match } from "./match.ts";
import { isPlainSet, kindOf } from "./matches/index.ts";
import { builtinChains, type Chain, type Rule, type Ruleset, type TableName } from "./ruleset.ts";
import type { NatTarget, Target } from "./target.ts";

/** Match operations; arguments follow in the code. */
export const Op = {
  protocol: 1, // protocol
  src4: 2, // word, mask
  dst4: 3,
  src6: 4, // 4 words, 4 masks
  dst6: 5,
  inInterface: 6, // pattern number
  outInterface: 7,
  sport: 8, // min, max
  dport: 9,
  multiport: 10, // field (1 sports, 2 dports, 3 ports), count, min, max, ...
  transport: 11, // protocol, 1 where iptables-nft reads single fields instead of asking for the header
  tcpFlags: 12, // mask, value
  icmpType: 13, // type, code or -1
  set: 14, // set slot, dimensions
  mark: 15, // value, mask
  ctstate: 16, // bits
  fragment: 17,
  test: 18, // test number: a function of the node
} as const;
export const opNot = 0x100;
/** Targets are operations from here on. */
export const targetBase = 64;
export const TargetOp = {
  none: 64,
  accept: 65,
  drop: 66,
  return: 67,
  reject: 68, // kind
  jump: 69, // chain number
  goto: 70,
  mark: 71, // keep mask, xor value
  event: 72, // the rule reports the packet (LOG, NFLOG, TRACE) and goes on
  nat: 73, // nat number
  notrack: 74,
  action: 75, // action number: a function of the node
} as const;

/** Targets that change something and let the rules go on; run through a function of the node. */
export type ActionTarget = Extract<
  Target,
  { kind: "CONNMARK" | "CT" | "SET" | "TTL" | "TOS" | "DSCP" | "TCPMSS" }
>;

export interface LinkedRule {
  readonly table: TableName;
  readonly chain: string;
  /** 1-based. */
  readonly number: number;
  readonly rule: Rule;
}

export interface LinkedChain {
  readonly table: TableName;
  readonly name: string;
  /** Address of the first rule; 0 for an empty chain. */
  readonly start: number;
  readonly policy: "ACCEPT" | "DROP" | undefined;
}

export interface LinkedTest {
  readonly match: Match;
  readonly rule: Rule;
  /** Number of the match in its rule. */
  readonly number: number;
}

/** Membership that a rule needs: of source or destination, in a set by slot number. */
export interface SetNeed {
  readonly slot: number;
  readonly isSrc: boolean;
}

/** A chain with signposts. */
export interface SignpostedRun {
  /** Address of each rule, by position. */
  readonly addresses: Int32Array;
  /** What each rule needs of sets alone, before anything that remembers or draws is asked; all must hold. */
  readonly needs: readonly (readonly SetNeed[])[];
  /** Of a chain that is led by header fields instead. */
  readonly fields: FieldTable | undefined;
}

/** Indices of IPv6 rules and chains start here wherever they leave the evaluator: one number names one of either family. */
export const familyStride = 0x1000_0000;

export interface LinkedRuleset {
  readonly ruleset: Ruleset;
  /** Added to indices of rules (in the code already) and chains: 0, or `familyStride` for IPv6. */
  readonly indexBase: number;
  readonly code: Int32Array;
  readonly chains: readonly LinkedChain[];
  /** Chain number of a built-in chain, by table and name; -1 when the table is absent. */
  readonly entry: ReadonlyMap<string, number>;
  readonly rules: readonly LinkedRule[];
  readonly interfacePatterns: readonly string[];
  /** Of every set that a rule names; the first are the slots of `Op.set`. */
  readonly setNames: readonly string[];
  readonly natTargets: readonly NatTarget[];
  /** Matches that each node turns into functions (`Op.test`), each with the rule that it stands in. */
  readonly tests: readonly LinkedTest[];
  readonly actions: readonly ActionTarget[];
  readonly runs: readonly SignpostedRun[];
  /** Deepest nesting of jumps below a built-in chain. */
  readonly depth: number;
}

/** Shorter chains are walked rule by rule. */
const signpostedRulesMin = 16;

/** Jumps may nest this deep (nf_tables' NFT_JUMP_STACK_SIZE is 16; legacy tables allow one level per chain). */
export const jumpDepthMax = 512;

const cache = new WeakMap<Ruleset, LinkedRuleset>();

/** @throws InputError when a jump has no chain, or chains form a loop (the kernel's ELOOP). */
export function linkRuleset(ruleset: Ruleset): LinkedRuleset {
  const known = cache.get(ruleset);
  if (known !== undefined) return known;
  const linked = new Linker(ruleset).link();
  cache.set(ruleset, linked);
  return linked;
}

export function entryKey(table: TableName, chain: string): string {
  return `${table} ${chain}`;
}

class Linker {
  readonly #ruleset: Ruleset;
  readonly #indexBase: number;
  readonly #code: number[] = [0]; // address 0 means "end of chain"
  readonly #rules: LinkedRule[] = [];
  readonly #patterns = new Map<string, number>();
  readonly #sets = new Map<string, number>();
  readonly #nats: NatTarget[] = [];
  readonly #tests: LinkedTest[] = [];
  readonly #actions: ActionTarget[] = [];
  readonly #runs: SignpostedRun[] = [];
  readonly #numbers = new Map<string, number>();

  constructor(ruleset: Ruleset) {
    this.#ruleset = ruleset;
    this.#indexBase = ruleset.family === 6 ? familyStride : 0;
  }

  link(): LinkedRuleset {
    const tables = Object.values(this.#ruleset.tables);
    for (const table of tables)
      for (const chain of table.chains)
        this.#numbers.set(entryKey(table.name, chain.name), this.#numbers.size);
    const chains: LinkedChain[] = [];
    for (const table of tables)
      for (const chain of table.chains) {
        const start = chain.rules.length === 0 ? 0 : this.#code.length;
        this.#emitChain(table.name, chain);
        chains.push({ table: table.name, name: chain.name, start, policy: chain.policy });
      }
    const entry = new Map<string, number>();
    for (const [name, builtins] of Object.entries(builtinChains))
      for (const chain of builtins) {
        const key = entryKey(name as TableName, chain);
        entry.set(key, this.#numbers.get(key) ?? -1);
      }
    return {
      ruleset: this.#ruleset,
      indexBase: this.#indexBase,
      code: Int32Array.from(this.#code),
      chains,
      entry,
      rules: this.#rules,
      interfacePatterns: [...this.#patterns.keys()],
      setNames: [...this.#sets.keys()],
      natTargets: this.#nats,
      tests: this.#tests,
      actions: this.#actions,
      runs: this.#runs,
      depth: measureDepth(this.#ruleset),
    };
  }

  #emitChain(table: TableName, { name, rules }: Chain): void {
    const isLong = this.#ruleset.family === 4 && rules.length >= signpostedRulesMin;
    const needs = isLong ? rules.map((rule) => this.#needsOf(rule)) : [];
    const bySets = needs.filter((need) => need.length > 0).length >= signpostedRulesMin;
    const fields = isLong && !bySets ? fieldTable(rules.map((rule) => stablePart(rule))) : undefined;
    const hasSignposts = bySets || fields !== undefined;
    const addresses = new Int32Array(hasSignposts ? rules.length : 0);
    rules.forEach((rule, i) => {
      if (hasSignposts) {
        addresses[i] = this.#code.length + 3;
        this.#code.push(this.#code.length + 3, -1 - this.#runs.length, i);
      }
      this.#emitRule({ table, chain: name, number: i + 1, rule }, i + 1 === rules.length);
    });
    if (hasSignposts) this.#runs.push({ addresses, needs: bySets ? needs : [], fields });
  }

  #needsOf(rule: Rule): readonly SetNeed[] {
    return stablePart(rule).flatMap((match): readonly SetNeed[] =>
      match.kind === "set" && !match.not
        ? [{ slot: numberOf(this.#sets, match.set), isSrc: match.flags[0] === "src" }]
        : [],
    );
  }

  #emitRule(linked: LinkedRule, isLast: boolean): void {
    const code = this.#code;
    const start = code.length;
    code.push(0, this.#indexBase + this.#rules.length);
    this.#rules.push(linked);
    const { matches, target } = linked.rule;
    matches.forEach((match, number) => {
      this.#emitMatch(match, number, linked.rule);
      if (match.kind === "set") numberOf(this.#sets, match.set);
    });
    if (target?.kind === "SET") numberOf(this.#sets, target.set);
    this.#emitTarget(linked);
    code[start] = isLast ? 0 : code.length;
  }

  #emitMatch(match: Match, number: number, rule: Rule): void {
    const code = this.#code;
    const head = (op: number, not?: boolean): void => {
      code.push(op | (not ? opNot : 0) | (number << 16));
    };
    switch (match.kind) {
      case "protocol":
        if (match.protocol === 0) return; // "all"
        head(Op.protocol, match.not);
        code.push(match.protocol);
        return;
      case "source":
      case "destination": {
        const isSrc = match.kind === "source";
        const { words, prefix, family } = match.net;
        if (family === 4) {
          head(isSrc ? Op.src4 : Op.dst4, match.not);
          code.push((words[0] ?? 0) | 0, maskWord(prefix, 0) | 0);
          return;
        }
        head(isSrc ? Op.src6 : Op.dst6, match.not);
        for (const word of words) code.push(word | 0);
        for (let i = 0; i < 4; i++) code.push(maskWord(prefix, i) | 0);
        return;
      }
      case "in-interface":
      case "out-interface":
        head(match.kind === "in-interface" ? Op.inInterface : Op.outInterface, match.not);
        code.push(numberOf(this.#patterns, match.name));
        return;
      case "sport":
      case "dport":
        head(match.kind === "sport" ? Op.sport : Op.dport, match.not);
        code.push(match.min, match.max);
        return;
      case "multiport":
        head(Op.multiport, match.not);
        code.push({ sports: 1, dports: 2, ports: 3 }[match.field], match.ranges.length);
        for (const [min, max] of match.ranges) code.push(min, max);
        return;
      case "transport":
        head(Op.transport);
        code.push(
          { tcp: 6, udp: 17, sctp: 132 }[match.protocol],
          readsFields(match.protocol, rule.matches) ? 1 : 0,
        );
        return;
      case "tcp-flags":
        head(Op.tcpFlags, match.not);
        code.push(match.mask, match.value);
        return;
      case "icmp-type":
        head(Op.icmpType, match.not);
        code.push(match.type, match.code ?? -1);
        return;
      case "set":
        if (!isPlainSet(match)) break;
        head(Op.set, match.not);
        code.push(numberOf(this.#sets, match.set), dimensionBits(match.flags));
        return;
      case "mark":
        head(Op.mark, match.not);
        code.push(match.value | 0, match.mask | 0);
        return;
      case "ctstate":
        head(Op.ctstate, match.not);
        code.push(match.states);
        return;
      case "fragment":
        head(Op.fragment, match.not);
        return;
      case "comment":
        return;
      default:
        break;
    }
    head(Op.test);
    code.push(this.#tests.push({ match, rule, number }) - 1);
  }

  #emitTarget({ table, chain, number, rule }: LinkedRule): void {
    const code = this.#code;
    const { target } = rule;
    if (target === undefined) {
      code.push(TargetOp.none);
      return;
    }
    switch (target.kind) {
      case "ACCEPT":
        code.push(TargetOp.accept);
        return;
      case "DROP":
        code.push(TargetOp.drop);
        return;
      case "RETURN":
        code.push(TargetOp.return);
        return;
      case "REJECT":
        code.push(TargetOp.reject, target.with);
        return;
      case "jump":
      case "goto": {
        const to = this.#numbers.get(entryKey(table, target.chain));
        if (to === undefined) throw badChain(`${table}/${chain} rule ${number}: no chain ${target.chain}`);
        code.push(target.kind === "jump" ? TargetOp.jump : TargetOp.goto, to);
        return;
      }
      case "MARK":
        code.push(TargetOp.mark, ~target.mask | 0, target.value | 0);
        return;
      case "LOG":
      case "NFLOG":
      case "TRACE":
        code.push(TargetOp.event);
        return;
      case "NFQUEUE": // nobody listens to the queue
        code.push(target.bypass ? TargetOp.accept : TargetOp.drop);
        return;
      case "TPROXY": // no proxy listens on the node
        code.push(TargetOp.drop);
        return;
      case "AUDIT":
      case "CLASSIFY":
      case "CHECKSUM": // touch nothing that a verdict depends on
        code.push(TargetOp.none);
        return;
      case "CONNMARK":
      case "CT":
      case "SET":
      case "TTL":
      case "TOS":
      case "DSCP":
      case "TCPMSS":
        code.push(TargetOp.action, this.#actions.push(target) - 1);
        return;
      case "DNAT":
      case "SNAT":
      case "MASQUERADE":
      case "REDIRECT":
      case "NETMAP":
        code.push(TargetOp.nat, this.#nats.push(target) - 1);
        return;
      case "NOTRACK":
        code.push(TargetOp.notrack);
        return;
      default:
        unreachable(target);
    }
  }
}

/** Matches before the first that counts, remembers or draws: passing such a match over would be noticed. */
function stablePart({ matches }: Rule): readonly Match[] {
  const end = matches.findIndex(
    (match) => kindOf(match).bind !== undefined && !(match.kind === "set" && isPlainSet(match)),
  );
  return end < 0 ? matches : matches.slice(0, end);
}

/**
 * iptables-nft 1.8 turns ports and flags into loads of single fields, which fail to match where the field is cut off; alone,
 * or beside `--tcp-option`, the whole extension runs as in iptables-legacy and drops a packet without its header.
 */
function readsFields(protocol: "tcp" | "udp" | "sctp", matches: readonly Match[]): boolean {
  if (protocol === "sctp" || matches.some(({ kind }) => kind === "tcp-option")) return false;
  return matches.some(({ kind }) => kind === "sport" || kind === "dport" || kind === "tcp-flags");
}

function numberOf(numbers: Map<string, number>, name: string): number {
  const known = numbers.get(name);
  if (known !== undefined) return known;
  numbers.set(name, numbers.size);
  return numbers.size - 1;
}

function badChain(message: string): InputError {
  return new InputError([{ code: "invalid", path: "", message }]);
}

/** Longest path of jumps from any chain. @throws InputError for a loop (ELOOP). */
function measureDepth(ruleset: Ruleset): number {
  let deepest = 0;
  for (const table of Object.values(ruleset.tables)) {
    const jumps = new Map(
      table.chains.map((chain) => [chain.name, chain.rules.flatMap(({ target }) => jumpTarget(target))]),
    );
    const depths = new Map<string, number>();
    for (const start of jumps.keys())
      deepest = Math.max(deepest, chainDepth(start, jumps, depths, table.name));
  }
  if (deepest > jumpDepthMax)
    throw badChain(`jumps nest ${deepest} deep; at most ${jumpDepthMax} are allowed`);
  return deepest;
}

function jumpTarget(target: Target | undefined): readonly string[] {
  return target?.kind === "jump" || target?.kind === "goto" ? [target.chain] : [];
}

/** Iterative depth-first search: -1 marks a chain whose jumps are being followed. */
function chainDepth(
  start: string,
  jumps: ReadonlyMap<string, readonly string[]>,
  depths: Map<string, number>,
  table: string,
): number {
  const stack: { chain: string; next: number; best: number }[] = [];
  const open = (chain: string): void => {
    depths.set(chain, -1);
    stack.push({ chain, next: 0, best: 0 });
  };
  if (!depths.has(start)) open(start);
  while (stack.length > 0) {
    const top = stack[stack.length - 1] as (typeof stack)[number];
    const targets = jumps.get(top.chain) ?? [];
    const target = targets[top.next++];
    if (target === undefined) {
      depths.set(top.chain, top.best);
      stack.pop();
      const parent = stack[stack.length - 1];
      if (parent !== undefined) parent.best = Math.max(parent.best, top.best + 1);
      continue;
    }
    const known = depths.get(target);
    if (known === -1) throw badChain(`chains of table ${table} form a loop through ${target} (ELOOP)`);
    if (known === undefined) open(target);
    else top.best = Math.max(top.best, known + 1);
  }
  return depths.get(start) ?? 0;
}
