/**
 * What rules take in the kernel: the size of a table as xtables holds it (`struct ipt_entry`, then matches, then the
 * target, each with a header), and a pair of counters a rule and processor beside it. nf_tables, where iptables-nft
 * puts the same rules, says nothing of sizes: there the figure is the nearest known. Governing sources: kernel
 * include/uapi/linux/netfilter/xt_*.h and ip_tables.h, sizes on 64-bit machines as `XT_ALIGN` makes them; the kernel at
 * hand agrees to the byte (IPT_SO_GET_INFO).
 */
import { unreachable } from "../../base/index.ts";
import { ipsetUsage } from "../ipset/index.ts";
import type { StoreKind, StoreUsage } from "../usage.ts";
import type { Match } from "./match.ts";
import type { Chain, IptablesTables, Rule, Ruleset, Table } from "./ruleset.ts";
import type { Target } from "./target.ts";

const tableStore: StoreKind = {
  name: "table",
  entries: "rules",
  memory: {
    evidence: "documented",
    source: "kernel net/ipv4/netfilter/ip_tables.c: the table's size and per-processor counters",
  },
};

type Family = Ruleset["family"];

/** Tables and sets of a node with `processors` processors. */
export function iptablesUsage({ v4, v6, sets }: IptablesTables, processors: number): readonly StoreUsage[] {
  const usages: StoreUsage[] = [];
  for (const { family, tables } of [v4, v6])
    for (const table of Object.values(tables)) {
      const { bytes, entries } = tableSize(table, family);
      const rules = table.chains.reduce((sum, chain) => sum + chain.rules.length, 0);
      const name = `${family === 4 ? "iptables" : "ip6tables"} ${table.name}`;
      usages.push({
        kind: tableStore,
        name,
        group: name,
        entries: rules,
        bytes: bytes + entries * counterBytes * processors,
      });
    }
  for (const set of sets.values()) usages.push(ipsetUsage(set));
  return usages;
}

const counterBytes = 16;

/** `entries` and `size` of `struct ipt_getinfo`. */
export function tableSize(
  table: Table,
  family: Family,
): { readonly entries: number; readonly bytes: number } {
  const head = entryBytes[family];
  let [entries, bytes] = [1, head + errorTargetBytes]; // the entry that ends every table
  for (const chain of table.chains) {
    const size = chainSize(chain, family);
    bytes += size + head + standardTargetBytes; // its policy, or the return at its end
    entries += chain.rules.length + 1;
    if (chain.policy !== undefined) continue;
    bytes += head + errorTargetBytes; // its name
    entries++;
  }
  return { entries, bytes };
}

const entryBytes: Readonly<Record<Family, number>> = { 4: 112, 6: 168 };
const headerBytes = 32;
const standardTargetBytes = 40;
const errorTargetBytes = 64;

/** By family: chains are shared between nodes, and between families when they are empty. */
const measured: Readonly<Record<Family, WeakMap<Chain, number>>> = { 4: new WeakMap(), 6: new WeakMap() };

function chainSize(chain: Chain, family: Family): number {
  let size = measured[family].get(chain);
  if (size === undefined) {
    size = chain.rules.reduce((sum, rule) => sum + ruleSize(rule, family), 0);
    measured[family].set(chain, size);
  }
  return size;
}

function ruleSize({ matches, target }: Rule, family: Family): number {
  let size = entryBytes[family] + headerBytes + (target === undefined ? 8 : targetBytes(target, family));
  const merged = new Set<string>();
  for (const match of matches) {
    const [module, bytes] = moduleOf(match, matches);
    if (module === undefined || merged.has(module)) continue;
    if (mergedModules.has(module)) merged.add(module);
    size += headerBytes + bytes;
  }
  return size;
}

/** Modules whose options are one match however many a rule names. */
const mergedModules = new Set(["tcp", "udp", "sctp", "conntrack"]);

const transportBytes = { tcp: 16, udp: 16, sctp: 296 } as const;

/** The module that tests it, and the size of what that is told; no module for what an entry's head holds. */
function moduleOf(match: Match, all: readonly Match[]): readonly [module: string | undefined, bytes: number] {
  switch (match.kind) {
    case "source":
    case "destination":
    case "in-interface":
    case "out-interface":
    case "protocol":
    case "fragment":
      return [undefined, 0];
    case "transport":
    case "sport":
    case "dport":
    case "tcp-option":
    case "tcp-flags":
    case "sctp-chunks": {
      const transport = all.find((one) => one.kind === "transport")?.protocol ?? "tcp";
      return [transport, transportBytes[transport]];
    }
    case "ctstate":
    case "conntrack":
      return ["conntrack", 168];
    default:
      return [match.kind, infoBytes[match.kind]];
  }
}

type Unmerged = Exclude<
  Match["kind"],
  | "source"
  | "destination"
  | "in-interface"
  | "out-interface"
  | "protocol"
  | "fragment"
  | "transport"
  | "sport"
  | "dport"
  | "tcp-option"
  | "tcp-flags"
  | "sctp-chunks"
  | "ctstate"
  | "conntrack"
>;

const infoBytes: Readonly<Record<Unmerged, number>> = {
  multiport: 48,
  "icmp-type": 8,
  "tcp-mss": 8,
  addrtype: 8,
  iprange: 72,
  rpfilter: 8,
  mac: 16,
  pkttype: 8,
  length: 8,
  ttl: 8,
  tos: 8,
  dscp: 8,
  ecn: 8,
  u32: 1984,
  bpf: 528,
  connmark: 16,
  connbytes: 24,
  set: 48,
  limit: 40,
  hashlimit: 312,
  recent: 232,
  statistic: 24,
  time: 24,
  quota: 24,
  mark: 16,
  owner: 24,
  socket: 8,
  cgroup: 4112,
  physdev: 72,
  comment: 256,
};

function targetBytes(target: Target, family: Family): number {
  switch (target.kind) {
    case "LOG":
    case "TPROXY":
      return 32;
    case "NFLOG":
      return 80;
    case "CONNMARK":
      return 16;
    case "SET":
      return 24;
    case "CT":
    case "NOTRACK":
      return 72;
    case "TRACE":
      return 0;
    case "DNAT":
      return 48;
    case "SNAT":
    case "MASQUERADE":
    case "REDIRECT":
    case "NETMAP":
      return family === 4 ? 24 : 40;
    case "ACCEPT":
    case "DROP":
    case "RETURN":
    case "REJECT":
    case "jump":
    case "goto":
    case "MARK":
    case "NFQUEUE":
    case "TTL":
    case "TOS":
    case "DSCP":
    case "TCPMSS":
    case "CLASSIFY":
    case "CHECKSUM":
    case "AUDIT":
      return 8;
    default:
      return unreachable(target);
  }
}
