/** The words that the platform's rules are written in, in the order in which iptables-save prints them. */
import { type Cidr, type Family, type Ip, parseCidr } from "../../addr/index.ts";
import { assert, type Origin } from "../../base/index.ts";
import type { Chain, Match, Rule, Table, TableName, Target } from "../../filter/iptables/index.ts";
import { CtStateBit, emptyTable } from "../../filter/iptables/index.ts";

export type TransportName = "tcp" | "udp" | "sctp";

const protocolNumber: Readonly<Record<TransportName, number>> = { tcp: 6, udp: 17, sctp: 132 };

export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert(parsed !== undefined, `${text} is a CIDR`);
  return parsed;
}

export function hostCidr(ip: Ip): Cidr {
  return { family: ip.family, words: ip.words, prefix: ip.family === 4 ? 32 : 128 };
}

export const comment = (text: string): Match => ({ kind: "comment", text });
export const from = (net: Cidr): Match => ({ kind: "source", net });
export const notFrom = (net: Cidr): Match => ({ kind: "source", net, not: true });
export const to = (net: Cidr): Match => ({ kind: "destination", net });
export const notTo = (net: Cidr): Match => ({ kind: "destination", net, not: true });
export const protocol = (name: TransportName): Match => ({
  kind: "protocol",
  protocol: protocolNumber[name],
});
/** `-m tcp --dport 80`; stands after the comment. */
export const dport = (name: TransportName, port: number): readonly Match[] => [
  { kind: "transport", protocol: name },
  { kind: "dport", min: port, max: port },
];
export const ctstate = (states: number, not?: boolean): Match => ({
  kind: "ctstate",
  states,
  ...(not ? { not } : {}),
});
export const isNew: Match = ctstate(CtStateBit.NEW);
export const toLocal: Match = { kind: "addrtype", dst: { type: "LOCAL" } };
export const fromLocal: Match = { kind: "addrtype", src: { type: "LOCAL" } };

/** A list of sources: whole addresses, of the family. */
export const recent = (
  name: string,
  family: Family,
  what: Pick<Extract<Match, { kind: "recent" }>, "action" | "seconds" | "reap">,
): Match => ({
  kind: "recent",
  name,
  mask: { family, words: family === 4 ? [0xffffffff] : [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff] },
  side: "source",
  ...what,
});

export const jump = (chain: string): Target => ({ kind: "jump", chain });
export const accept: Target = { kind: "ACCEPT" };
export const drop: Target = { kind: "DROP" };

export const rule = (origin: Origin, matches: readonly Match[], target: Target | undefined): Rule => ({
  matches,
  target,
  origin,
});

/** Scaffolding of a component of the node. */
export const component = (name: string, direction?: Origin["direction"]): Origin => ({
  kind: "platform",
  name,
  path: "",
  role: "base",
  ...(direction === undefined ? {} : { direction }),
});

export type ChainRules = readonly (readonly [name: string, rules: readonly Rule[]])[];

/** Built-in chains with the rules given for them, then the other chains in name order, as iptables-save lists them. */
export function table(name: TableName, given: ChainRules, own: readonly Chain[] = []): Table {
  const rulesOf = new Map(given);
  const builtin = emptyTable(name).chains.map((chain) => ({
    ...chain,
    rules: rulesOf.get(chain.name) ?? [],
  }));
  const names = new Set(builtin.map((chain) => chain.name));
  const users = given
    .filter(([chain]) => !names.has(chain))
    .map(([chain, rules]) => ({ name: chain, rules }));
  return { name, chains: [...builtin, ...[...users, ...own].sort(byName)] };
}

export function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

/** Equal in all they say, provenance included. */
export function sameRules(a: readonly Rule[], b: readonly Rule[]): boolean {
  return a === b || (a.length === b.length && JSON.stringify(a) === JSON.stringify(b));
}
