/**
 * iptables-save text of a rule set, as iptables 1.8 prints it, without dates so that equal rules give equal bytes. Where the
 * backends differ it is iptables-legacy's: iptables-nft lists a range of ports up to 65535 as the negation of the rest.
 * Governing source: iptables-save(8) and the `save` callbacks of the extensions (in `matches/` and `targets/`).
 */

import { protocolText } from "../protocols.ts";
import type { Match } from "./match.ts";
import { kindOf } from "./matches/index.ts";
import { builtinChains, type Rule, type Ruleset, type Table, type TableName } from "./ruleset.ts";
import { targetText } from "./targets/index.ts";

const tableOrder: readonly TableName[] = ["mangle", "raw", "nat", "filter", "security"];

export interface SaveOptions {
  readonly counters?: boolean;
}

/** The whole rule set, table by table. */
export function saveRuleset(ruleset: Ruleset, options: SaveOptions = {}): string {
  const present = tableOrder.flatMap((name) => ruleset.tables[name] ?? []);
  return present.map((table) => saveTable(table, ruleset.family, options)).join("");
}

function saveTable(table: Table, family: 4 | 6, options: SaveOptions): string {
  const lines = [`*${table.name}`];
  const builtins = builtinChains[table.name];
  const users = table.chains.filter((chain) => !builtins.includes(chain.name));
  const ordered = [...table.chains.filter((chain) => builtins.includes(chain.name)), ...users];
  for (const chain of ordered) {
    const [packets, bytes] = (options.counters && chain.counters) || [0, 0];
    lines.push(`:${chain.name} ${chain.policy ?? "-"} [${packets}:${bytes}]`);
  }
  for (const chain of ordered)
    for (const rule of chain.rules) {
      const counters = options.counters && rule.counters ? `[${rule.counters.join(":")}] ` : "";
      lines.push(`${counters}${ruleText(chain.name, rule, family)}`);
    }
  lines.push("COMMIT");
  return `${lines.join("\n")}\n`;
}

/** One rule as `-A CHAIN ...`. */
export function ruleText(chain: string, rule: Rule, family: 4 | 6 = 4): string {
  const parts = [`-A ${chain}`];
  let protocol = "";
  let module = "";
  for (const match of rule.matches) {
    if (match.kind === "protocol") {
      if (match.protocol === 0) continue; // any protocol: the tool says nothing
      protocol = protocolText(match.protocol);
    }
    if (match.kind === "transport") module = match.protocol;
    if ((match.kind === "sport" || match.kind === "dport") && module === "") {
      parts.push(`-m ${protocol}`); // port options belong to the protocol's own extension
      module = protocol;
    }
    parts.push(matchText(match, family));
  }
  if (rule.target !== undefined) parts.push(targetText(rule.target, family));
  return parts.join(" ");
}

export function matchText(match: Match, family: 4 | 6 = 4): string {
  return kindOf(match).text(match, family);
}

export { targetText };
