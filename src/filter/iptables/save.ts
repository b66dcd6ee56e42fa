/**
 * iptables-save text of a rule set, as iptables 1.8 prints it, without dates so that equal rules give equal bytes.
 * Governing source: iptables-save(8) and the `save` callbacks of the extensions.
 */
import { formatCidr } from "../../addr/index.ts";
import { unreachable } from "../../base/index.ts";
import { protocolName } from "../../wire/index.ts";
import { RejectKind } from "../verdict.ts";
import {
  builtinChains,
  CtStateBit,
  type Match,
  type NatRange,
  type Rule,
  type Ruleset,
  type Table,
  type TableName,
  type Target,
} from "./ruleset.ts";

const tableOrder: readonly TableName[] = ["mangle", "raw", "nat", "filter", "security"];

export const rejectNames: { readonly [kind: number]: string } = {
  [RejectKind.netUnreachable]: "icmp-net-unreachable",
  [RejectKind.hostUnreachable]: "icmp-host-unreachable",
  [RejectKind.protoUnreachable]: "icmp-proto-unreachable",
  [RejectKind.portUnreachable]: "icmp-port-unreachable",
  [RejectKind.netProhibited]: "icmp-net-prohibited",
  [RejectKind.hostProhibited]: "icmp-host-prohibited",
  [RejectKind.adminProhibited]: "icmp-admin-prohibited",
  [RejectKind.tcpReset]: "tcp-reset",
};

export const rejectNames6: { readonly [kind: number]: string } = {
  [RejectKind.noRoute]: "icmp6-no-route",
  [RejectKind.adminProhibited]: "icmp6-adm-prohibited",
  [RejectKind.addrUnreachable]: "icmp6-addr-unreachable",
  [RejectKind.portUnreachable]: "icmp6-port-unreachable",
  [RejectKind.policyFail]: "icmp6-policy-fail",
  [RejectKind.rejectRoute]: "icmp6-reject-route",
  [RejectKind.tcpReset]: "tcp-reset",
};

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
    if (match.kind === "protocol") protocol = protocolName(match.protocol);
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

function range(min: number, max: number): string {
  return min === max ? `${min}` : `${min}:${max}`;
}

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

export function matchText(match: Match, family: 4 | 6 = 4): string {
  const not = "not" in match && match.not ? "! " : "";
  switch (match.kind) {
    case "protocol":
      return `${not}-p ${protocolName(match.protocol)}`;
    case "source":
      return `${not}-s ${formatCidr(match.net)}`;
    case "destination":
      return `${not}-d ${formatCidr(match.net)}`;
    case "in-interface":
      return `${not}-i ${match.name}`;
    case "out-interface":
      return `${not}-o ${match.name}`;
    case "sport":
      return `${not}--sport ${range(match.min, match.max)}`;
    case "dport":
      return `${not}--dport ${range(match.min, match.max)}`;
    case "multiport":
      return `-m multiport ${not}--${match.field} ${match.ranges.map(([a, b]) => range(a, b)).join(",")}`;
    case "transport":
      return `-m ${match.protocol}`;
    case "tcp-flags":
      return `${not}--tcp-flags ${flagNames(match.mask)} ${flagNames(match.value)}`;
    case "icmp-type":
      return `${family === 6 ? `-m icmp6 ${not}--icmpv6-type` : `-m icmp ${not}--icmp-type`} ${icmpText(match)}`;
    case "set":
      return `-m set ${not}--match-set ${match.set} ${match.flags.join(",")}`;
    case "mark":
      return `-m mark ${not}--mark ${hex(match.value)}${match.mask >>> 0 === 0xffffffff ? "" : `/${hex(match.mask)}`}`;
    case "ctstate":
      return `-m conntrack ${not}--ctstate ${ctNames(match.states)}`;
    case "addrtype": {
      const side = (name: string, wanted: { type: string; not?: boolean } | undefined): string =>
        wanted === undefined ? "" : ` ${wanted.not ? "! " : ""}--${name}-type ${wanted.type}`;
      return `-m addrtype${side("src", match.src)}${side("dst", match.dst)}`;
    }
    case "statistic":
      return `-m statistic --mode random ${not}--probability ${match.probability.toFixed(11)}`;
    case "owner":
      return `-m owner ${not}--uid-owner ${match.uid}`;
    case "comment":
      return `-m comment --comment ${quote(match.text)}`;
    default:
      return unreachable(match);
  }
}

function icmpText({ type, code }: Extract<Match, { kind: "icmp-type" }>): string {
  return `${type === 255 ? "any" : type}${code === undefined ? "" : `/${code}`}`;
}

const flagBits: readonly (readonly [string, number])[] = [
  ["FIN", 1],
  ["SYN", 2],
  ["RST", 4],
  ["PSH", 8],
  ["ACK", 16],
  ["URG", 32],
];

function flagNames(bits: number): string {
  return flagBits.flatMap(([name, bit]) => (bits & bit ? [name] : [])).join(",") || "NONE";
}

/** In the order that the extension prints them. */
function ctNames(states: number): string {
  const order = ["INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"] as const;
  return order.filter((name) => states & CtStateBit[name]).join(",");
}

/** Quotes as libxtables' xtables_save_string does: unless all characters are letters, digits, `_` and `-`. */
function quote(text: string): string {
  return /^[A-Za-z0-9_-]+$/.test(text) ? text : `"${text.replaceAll(/["\\']/g, "\\$&")}"`;
}

export function targetText(target: Target, family: 4 | 6 = 4): string {
  switch (target.kind) {
    case "ACCEPT":
    case "DROP":
    case "RETURN":
      return `-j ${target.kind}`;
    case "REJECT":
      return `-j REJECT --reject-with ${(family === 6 ? rejectNames6 : rejectNames)[target.with] ?? ""}`;
    case "jump":
      return `-j ${target.chain}`;
    case "goto":
      return `-g ${target.chain}`;
    case "MARK":
      return `-j MARK --set-xmark ${hex(target.value)}/${hex(target.mask)}`;
    case "LOG": {
      const prefix = target.prefix === "" ? "" : ` --log-prefix ${quote(target.prefix)}`;
      return `-j LOG${prefix}${target.level === 4 ? "" : ` --log-level ${target.level}`}`;
    }
    case "DNAT":
      return `-j DNAT --to-destination ${natText(target.to)}`;
    case "SNAT":
      return `-j SNAT --to-source ${natText(target.to)}${target.randomFully ? " --random-fully" : ""}`;
    case "MASQUERADE": {
      const ports = target.ports === undefined ? "" : ` --to-ports ${portRange(target.ports)}`;
      return `-j MASQUERADE${ports}${target.randomFully ? " --random-fully" : ""}`;
    }
    case "NOTRACK":
      return "-j CT --notrack";
    default:
      return unreachable(target);
  }
}

function portRange([min, max]: readonly [number, number]): string {
  return min === max ? `${min}` : `${min}-${max}`;
}

function natText(to: NatRange): string {
  const host = (net: NatRange["min"]): string => formatCidr(net).replace(/\/\d+$/, "");
  const [min, max] = [host(to.min), host(to.max)];
  const address = min === max ? min : `${min}-${max}`;
  if (to.ports === undefined) return address;
  return `${to.min.family === 6 ? `[${address}]` : address}:${portRange(to.ports)}`;
}
