/**
 * iptables rule sets as data (the Repr): what iptables-save prints, field by field, with provenance. Frozen and
 * shared between nodes; `link()` turns it into the flat form that runs. Governing sources: iptables(8),
 * iptables-extensions(8), kernel net/netfilter/x_tables.c and net/ipv4/netfilter/ip_tables.c.
 */
import type { Cidr } from "../../addr/index.ts";
import type { Origin } from "../../base/index.ts";
import type { IpsetRepr } from "../ipset/index.ts";
import type { RejectKind } from "../verdict.ts";

export type TableName = "raw" | "mangle" | "nat" | "filter" | "security";

/** `not` is the `!` in front of the option. Numbers are as on the wire; ranges are inclusive. */
export type Match =
  | { readonly kind: "protocol"; readonly protocol: number; readonly not?: boolean } // -p; 0 = all
  | { readonly kind: "source"; readonly net: Cidr; readonly not?: boolean }
  | { readonly kind: "destination"; readonly net: Cidr; readonly not?: boolean }
  | { readonly kind: "in-interface"; readonly name: string; readonly not?: boolean } // trailing "+" = prefix
  | { readonly kind: "out-interface"; readonly name: string; readonly not?: boolean }
  | { readonly kind: "sport"; readonly min: number; readonly max: number; readonly not?: boolean }
  | { readonly kind: "dport"; readonly min: number; readonly max: number; readonly not?: boolean }
  | {
      readonly kind: "multiport";
      readonly field: "sports" | "dports" | "ports";
      readonly ranges: readonly (readonly [number, number])[];
      readonly not?: boolean;
    }
  /** `-m tcp`, `-m udp`, `-m sctp` as iptables-save prints them; with no option they only need the header. */
  | { readonly kind: "transport"; readonly protocol: "tcp" | "udp" | "sctp" }
  | { readonly kind: "tcp-flags"; readonly mask: number; readonly value: number; readonly not?: boolean }
  | { readonly kind: "icmp-type"; readonly type: number; readonly code?: number; readonly not?: boolean }
  | {
      readonly kind: "set";
      readonly set: string;
      readonly flags: readonly ("src" | "dst")[];
      readonly not?: boolean;
    }
  | { readonly kind: "mark"; readonly value: number; readonly mask: number; readonly not?: boolean }
  /** Bits of `CtStateBit`. */
  | { readonly kind: "ctstate"; readonly states: number; readonly not?: boolean }
  | {
      readonly kind: "addrtype";
      readonly src?: { readonly type: AddrType; readonly not?: boolean };
      readonly dst?: { readonly type: AddrType; readonly not?: boolean };
    }
  | {
      readonly kind: "statistic";
      readonly mode: "random";
      readonly probability: number;
      readonly not?: boolean;
    }
  | { readonly kind: "owner"; readonly uid: number; readonly not?: boolean }
  | { readonly kind: "comment"; readonly text: string };

export type AddrType = "LOCAL" | "UNICAST" | "BROADCAST" | "MULTICAST" | "UNSPEC";

export const CtStateBit = {
  INVALID: 1,
  ESTABLISHED: 2,
  RELATED: 4,
  NEW: 8,
  UNTRACKED: 16,
  SNAT: 32,
  DNAT: 64,
} as const;

export type Target =
  | { readonly kind: "ACCEPT" }
  | { readonly kind: "DROP" }
  | { readonly kind: "RETURN" }
  | { readonly kind: "REJECT"; readonly with: RejectKind }
  | { readonly kind: "jump"; readonly chain: string }
  | { readonly kind: "goto"; readonly chain: string }
  /** `--set-xmark value/mask`: mark = (mark & ~mask) ^ value. */
  | { readonly kind: "MARK"; readonly value: number; readonly mask: number }
  | { readonly kind: "LOG"; readonly prefix: string; readonly level: number }
  | { readonly kind: "DNAT"; readonly to: NatRange }
  | { readonly kind: "SNAT"; readonly to: NatRange; readonly randomFully?: boolean }
  | {
      readonly kind: "MASQUERADE";
      readonly randomFully?: boolean;
      readonly ports?: readonly [number, number];
    }
  | { readonly kind: "NOTRACK" };

export interface NatRange {
  readonly min: Cidr; // a host prefix
  readonly max: Cidr;
  readonly ports?: readonly [number, number];
}

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
