/** Operations on live iptables tables and ipsets, as agents issue them (the structured form of the tools' input). */
import type { TableOp } from "../datapath.ts";
import type { IpsetCommand } from "../ipset/index.ts";
import type { Match } from "./match.ts";
import type { Rule, TableName } from "./ruleset.ts";

/** One line of an iptables-restore table section. */
export type RuleCommand =
  | { readonly op: "chain"; readonly chain: string } // `:NAME - -`: creates or flushes
  | { readonly op: "new-chain"; readonly chain: string } // `-N`
  | { readonly op: "policy"; readonly chain: string; readonly policy: "ACCEPT" | "DROP" }
  | {
      readonly op: "counters";
      readonly chain: string;
      readonly counters: readonly [packets: number, bytes: number];
    }
  | { readonly op: "flush"; readonly chain: string }
  | { readonly op: "append"; readonly chain: string; readonly rule: Rule }
  | { readonly op: "insert"; readonly chain: string; readonly number: number; readonly rule: Rule } // from 1
  | { readonly op: "replace"; readonly chain: string; readonly number: number; readonly rule: Rule }
  | { readonly op: "delete"; readonly chain: string; readonly rule: Rule } // first equal rule
  | { readonly op: "delete-number"; readonly chain: string; readonly number: number }
  | { readonly op: "rename-chain"; readonly chain: string; readonly to: string }
  | { readonly op: "delete-chain"; readonly chain: string };

/** Runs lines until the first bad one, as `ipset restore` does; that line's number (from 1) is in the answer. */
export interface IpsetRestoreOp extends TableOp {
  readonly kind: "ipset-restore";
  readonly commands: readonly IpsetCommand[];
}

/** All or nothing, as `iptables-restore --noflush` of one table. */
export interface IptablesRestoreOp extends TableOp {
  readonly kind: "iptables-restore";
  readonly family: 4 | 6;
  readonly table: TableName;
  readonly commands: readonly RuleCommand[];
}

export type IptablesOp = IpsetRestoreOp | IptablesRestoreOp;

/** Two rules are the same to `iptables -D` when matches and target are, whatever their provenance or counters. */
export function sameRule(a: Rule, b: Rule): boolean {
  return ruleKey(a) === ruleKey(b);
}

function ruleKey(rule: Rule): string {
  return JSON.stringify([rule.matches.map(sortedMatch), rule.target]);
}

function sortedMatch(match: Match): unknown {
  return Object.entries(match).sort(([a], [b]) => (a < b ? -1 : 1));
}
