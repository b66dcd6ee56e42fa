/**
 * iptables rule sets as data (the Repr): what iptables-save prints, field by field, with provenance. Frozen and
 * shared between nodes; `link()` turns it into the flat form that runs. Governing sources: iptables(8),
 * iptables-extensions(8), kernel net/netfilter/x_tables.c and net/ipv4/netfilter/ip_tables.c.
 */
import type { Origin } from "../../base/index.ts";
import type { IpsetRepr } from "../ipset/index.ts";
import type { Match } from "./match.ts";
import type { Target } from "./target.ts";

export type TableName = "raw" | "mangle" | "nat" | "filter" | "security";

/** One rule of a chain. */
export interface Rule {
  /** In the order iptables-save prints them. All must match (a rule without matches matches everything). */
  readonly matches: readonly Match[];
  /** `undefined`: a rule that only counts. */
  readonly target: Target | undefined;
  readonly origin?: Origin;
  /** From a dump with `-c`; not used to judge. */
  readonly counters?: readonly [packets: number, bytes: number];
}

export interface Chain {
  readonly name: string;
  /** Built-in chains only. */
  readonly policy?: "ACCEPT" | "DROP";
  readonly rules: readonly Rule[];
  readonly counters?: readonly [packets: number, bytes: number];
}

export interface Table {
  readonly name: TableName;
  /** Built-in chains first, in hook order, then user chains in the order of creation. */
  readonly chains: readonly Chain[];
}

/** Tables of one family. */
export interface Ruleset {
  readonly family: 4 | 6;
  /** Absent tables are empty with policy ACCEPT. */
  readonly tables: { readonly [T in TableName]?: Table };
}

/** Everything of the iptables kind on one node. */
export interface IptablesTables {
  readonly v4: Ruleset;
  readonly v6: Ruleset;
  readonly sets: ReadonlyMap<string, IpsetRepr>;
}

/** Built-in chains of each table in hook order (iptables(8), TABLES). */
export const builtinChains: { readonly [T in TableName]: readonly string[] } = {
  raw: ["PREROUTING", "OUTPUT"],
  mangle: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
  filter: ["INPUT", "FORWARD", "OUTPUT"],
  security: ["INPUT", "FORWARD", "OUTPUT"],
};
