/** Changes of one table as iptables-restore makes them: all lines or none, with the tool's answers. */
import { InputError, unreachable } from "../../base/index.ts";
import { linkRuleset } from "./link.ts";
import { type IptablesRestoreOp, type RuleCommand, sameRule } from "./ops.ts";
import { builtinChains, type Chain, type Rule, type Ruleset, type Table } from "./ruleset.ts";

export type RulesResult =
  | { readonly ok: true; readonly ruleset: Ruleset }
  | { readonly ok: false; readonly errno: string; readonly line?: number; readonly message: string };

export type Problem = readonly [errno: string, message: string];

/** An empty table: built-in chains with policy ACCEPT. */
export function emptyTable(name: Table["name"]): Table {
  return { name, chains: builtinChains[name].map((chain) => ({ name: chain, policy: "ACCEPT", rules: [] })) };
}

/** `setExists` is asked for every set that a new rule names. */
export function applyRules(
  ruleset: Ruleset,
  op: IptablesRestoreOp,
  setExists: (name: string) => boolean,
): RulesResult {
  const draft = new TableDraft(ruleset.tables[op.table] ?? emptyTable(op.table));
  for (let i = 0; i < op.commands.length; i++) {
    const command = op.commands[i] as RuleCommand;
    const problem = missingSet(command, setExists) ?? draft.apply(command);
    if (problem !== undefined) return { ok: false, errno: problem[0], line: i + 1, message: problem[1] };
  }
  const changed: Ruleset = {
    family: ruleset.family,
    tables: { ...ruleset.tables, [op.table]: draft.table() },
  };
  try {
    linkRuleset(changed); // refuses missing chains and loops, as the kernel does at COMMIT
  } catch (error) {
    if (error instanceof InputError)
      return { ok: false, errno: "ELOOP", line: op.commands.length + 1, message: error.message };
    throw error;
  }
  return { ok: true, ruleset: changed };
}

function missingSet(command: RuleCommand, setExists: (name: string) => boolean): Problem | undefined {
  if (command.op !== "append" && command.op !== "insert" && command.op !== "replace") return undefined;
  const { matches, target } = command.rule;
  const match = matches.find((one) => one.kind === "set" && !setExists(one.set));
  if (match?.kind === "set") return ["ENOENT", `Set ${match.set} doesn't exist.`];
  if (target?.kind === "SET" && !setExists(target.set)) return ["ENOENT", `Set ${target.set} doesn't exist.`];
  return undefined;
}

interface ChainDraft {
  readonly source: Chain;
  /** The chain's own rules until they change. */
  rules: readonly Rule[] | Rule[];
  isOwn: boolean;
}

/** A table while lines are applied to it: chains are copied when they first change. */
export class TableDraft {
  readonly #name: Table["name"];
  readonly #chains = new Map<string, ChainDraft>();

  constructor(table: Table) {
    this.#name = table.name;
    for (const chain of table.chains) this.#put(chain);
  }

  table(): Table {
    const chains = [...this.#chains].map(([name, { source, rules, isOwn }]): Chain => {
      if (!isOwn && source.name === name) return source;
      return { ...source, name, rules };
    });
    return { name: this.#name, chains };
  }

  /** What is wrong with the command, if something is; then nothing has changed. */
  apply(command: RuleCommand): Problem | undefined {
    const draft = this.#chains.get(command.chain);
    if (command.op === "chain" || command.op === "new-chain") {
      if (command.op === "new-chain" && draft !== undefined) return ["EEXIST", "Chain already exists."];
      this.#put({ ...(draft?.source ?? { name: command.chain }), rules: [] });
      return undefined;
    }
    if (draft === undefined) return ["ENOENT", `No chain/target/match by that name: ${command.chain}`];
    switch (command.op) {
      case "policy":
        this.#put({ ...draft.source, policy: command.policy, rules: draft.rules });
        return undefined;
      case "counters":
        this.#put({ ...draft.source, counters: command.counters, rules: draft.rules });
        return undefined;
      case "flush":
        this.#put({ ...draft.source, rules: [] });
        return undefined;
      case "append":
        own(draft).push(command.rule);
        return undefined;
      case "insert":
        if (command.number < 1 || command.number > draft.rules.length + 1)
          return ["E2BIG", "Index of insertion too big."];
        own(draft).splice(command.number - 1, 0, command.rule);
        return undefined;
      case "replace":
        if (command.number < 1 || command.number > draft.rules.length)
          return ["E2BIG", "Index of replacement too big."];
        own(draft)[command.number - 1] = command.rule;
        return undefined;
      case "delete": {
        const at = draft.rules.findIndex((rule) => sameRule(rule, command.rule));
        if (at < 0) return ["ENOENT", "Bad rule (does a matching rule exist in that chain?)."];
        own(draft).splice(at, 1);
        return undefined;
      }
      case "delete-number":
        if (command.number < 1 || command.number > draft.rules.length)
          return ["E2BIG", "Index of deletion too big."];
        own(draft).splice(command.number - 1, 1);
        return undefined;
      case "rename-chain":
        return this.#rename(draft, command.chain, command.to);
      case "delete-chain":
        return this.#delete(draft, command.chain);
      default:
        return unreachable(command);
    }
  }

  #put(chain: Chain): void {
    this.#chains.set(chain.name, { source: chain, rules: chain.rules, isOwn: false });
  }

  #delete(draft: ChainDraft, name: string): Problem | undefined {
    if (draft.source.policy !== undefined) return ["EINVAL", `Built-in chain ${name} cannot be deleted.`];
    if (draft.rules.length > 0) return ["ENOTEMPTY", `Directory not empty: ${name}`];
    const isUsed = [...this.#chains.values()].some((other) =>
      other.rules.some(({ target }) => isJump(target) && target.chain === name),
    );
    if (isUsed) return ["EMLINK", `Too many links: ${name}`];
    this.#chains.delete(name);
    return undefined;
  }

  /** Rules that jump to the chain follow it. */
  #rename(draft: ChainDraft, name: string, to: string): Problem | undefined {
    if (draft.source.policy !== undefined) return ["EINVAL", `Built-in chain ${name} cannot be renamed.`];
    if (this.#chains.has(to)) return ["EEXIST", "File exists."];
    const renamed = [...this.#chains.values()].map(({ source, rules }): Chain => {
      const follows = rules.map((rule) =>
        isJump(rule.target) && rule.target.chain === name
          ? { ...rule, target: { ...rule.target, chain: to } }
          : rule,
      );
      return { ...source, name: source.name === name ? to : source.name, rules: follows };
    });
    this.#chains.clear();
    for (const chain of renamed) this.#put(chain);
    return undefined;
  }
}

function isJump(target: Rule["target"]): target is Extract<Rule["target"], { kind: "jump" | "goto" }> {
  return target?.kind === "jump" || target?.kind === "goto";
}

function own(draft: ChainDraft): Rule[] {
  if (!draft.isOwn) draft.rules = [...draft.rules];
  draft.isOwn = true;
  return draft.rules as Rule[];
}
