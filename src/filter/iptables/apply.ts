/** Changes of one table as iptables-restore makes them: all lines or none. */
import { InputError } from "../../base/index.ts";
import { linkRuleset } from "./link.ts";
import { type IptablesRestoreOp, type RuleCommand, sameRule } from "./ops.ts";
import { builtinChains, type Chain, type Rule, type Ruleset, type Table } from "./ruleset.ts";

export type RulesResult =
  | { readonly ok: true; readonly ruleset: Ruleset }
  | { readonly ok: false; readonly errno: string; readonly line?: number; readonly message: string };

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
  const table = ruleset.tables[op.table] ?? emptyTable(op.table);
  const chains = new Map(table.chains.map((chain) => [chain.name, chain]));
  for (let i = 0; i < op.commands.length; i++) {
    const problem = applyCommand(chains, op.commands[i] as RuleCommand, setExists);
    if (problem !== undefined) return { ok: false, errno: problem[0], line: i + 1, message: problem[1] };
  }
  const changed: Ruleset = {
    family: ruleset.family,
    tables: { ...ruleset.tables, [op.table]: { name: op.table, chains: [...chains.values()] } },
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

type Problem = readonly [errno: string, message: string];

function applyCommand(
  chains: Map<string, Chain>,
  command: RuleCommand,
  setExists: (name: string) => boolean,
): Problem | undefined {
  const chain = chains.get(command.chain);
  if (command.op === "chain") {
    chains.set(command.chain, { ...(chain ?? { name: command.chain }), rules: [] });
    return undefined;
  }
  if (chain === undefined) return ["ENOENT", `No chain/target/match by that name: ${command.chain}`];
  const replace = (rules: readonly Rule[]): void => {
    chains.set(chain.name, { ...chain, rules });
  };
  switch (command.op) {
    case "policy":
      chains.set(chain.name, { ...chain, policy: command.policy });
      return undefined;
    case "flush":
      replace([]);
      return undefined;
    case "append":
    case "insert": {
      const missing = command.rule.matches.find((match) => match.kind === "set" && !setExists(match.set));
      if (missing?.kind === "set") return ["ENOENT", `Set ${missing.set} doesn't exist.`];
      const at = command.op === "append" ? chain.rules.length : command.number - 1;
      if (at > chain.rules.length) return ["E2BIG", "Index of insertion too big."];
      replace([...chain.rules.slice(0, at), command.rule, ...chain.rules.slice(at)]);
      return undefined;
    }
    case "delete": {
      const at = chain.rules.findIndex((rule) => sameRule(rule, command.rule));
      if (at < 0) return ["ENOENT", "Bad rule (does a matching rule exist in that chain?)."];
      replace([...chain.rules.slice(0, at), ...chain.rules.slice(at + 1)]);
      return undefined;
    }
    case "delete-chain": {
      if (chain.policy !== undefined) return ["EINVAL", `Built-in chain ${chain.name} cannot be deleted.`];
      if (chain.rules.length > 0) return ["ENOTEMPTY", `Directory not empty: ${chain.name}`];
      const isUsed = [...chains.values()].some((other) =>
        other.rules.some(
          ({ target }) => (target?.kind === "jump" || target?.kind === "goto") && target.chain === chain.name,
        ),
      );
      if (isUsed) return ["EMLINK", `Too many links: ${chain.name}`];
      chains.delete(chain.name);
      return undefined;
    }
  }
}
