/**
 * Conditions on the tracked connection: conntrack, state, connmark, connbytes. `ctstate` is linked as a code word.
 * Source: kernel net/netfilter/xt_conntrack.c, xt_connmark.c, xt_connbytes.c.
 */
import { formatCidr, maskWord } from "../../../addr/index.ts";
import { CtState, type PacketBatch } from "../../../packet/index.ts";
import { type CtEntry, CtStatus, rowDirection, type Tuple } from "../../netfilter/index.ts";
import { parseProtocol } from "../../protocols.ts";
import {
  type ConnectionMatch,
  type CtNetTest,
  type CtRangeTest,
  CtStateBit,
  type Match,
  type MatchOf,
  type Range,
} from "../match.ts";
import { parseNet } from "../net.ts";
import {
  Answer,
  bang,
  colonRange,
  hex,
  isOrNot,
  type MatchKinds,
  type MatchNode,
  type MatchReader,
  type OptionValues,
  parseMark,
  parsePortRange,
  parseRange,
  type RowTest,
  type RuleContext,
} from "./extension.ts";

/** In the order that the tool prints them. */
const stateOrder = ["INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"] as const;
const stateModuleOrder = ["INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED"] as const;

function parseStates(names: readonly (keyof typeof CtStateBit)[], text: string): number | undefined {
  let bits = 0;
  for (const part of text.toUpperCase().split(",")) {
    const name = names.find((candidate) => candidate === part);
    if (name === undefined) return undefined;
    bits |= CtStateBit[name];
  }
  return bits;
}

const statesText = (bits: number): string => stateOrder.filter((name) => bits & CtStateBit[name]).join(",");

const statusNames: readonly (readonly [string, number])[] = [
  ["EXPECTED", CtStatus.expected],
  ["SEEN_REPLY", CtStatus.seenReply],
  ["ASSURED", CtStatus.assured],
  ["CONFIRMED", CtStatus.confirmed],
];

function parseStatus(text: string): number | undefined {
  let bits = 0;
  for (const part of text.toUpperCase().split(",")) {
    const found = statusNames.find(([name]) => name === part);
    if (found === undefined && part !== "NONE") return undefined;
    bits |= found?.[1] ?? 0;
  }
  return bits;
}

const statusText = (bits: number): string =>
  statusNames.flatMap(([name, bit]) => (bits & bit ? [name] : [])).join(",") || "NONE";

const addressOptions = [
  ["origSrc", "--ctorigsrc"],
  ["origDst", "--ctorigdst"],
  ["replSrc", "--ctreplsrc"],
  ["replDst", "--ctrepldst"],
] as const;
const portOptions = [
  ["origSrcPort", "--ctorigsrcport"],
  ["origDstPort", "--ctorigdstport"],
  ["replSrcPort", "--ctreplsrcport"],
  ["replDstPort", "--ctrepldstport"],
] as const;

function readConntrack(options: OptionValues, { family }: RuleContext): readonly Match[] {
  const states = options.read("--ctstate", (text) => parseStates(stateOrder, text), "connection states");
  if (states !== undefined && options.names.length === 1)
    return [{ kind: "ctstate", states, ...options.not("--ctstate") }];
  const match: { -readonly [K in keyof MatchOf<"conntrack">]: MatchOf<"conntrack">[K] } = {
    kind: "conntrack",
  };
  if (states !== undefined) match.states = { bits: states, ...options.not("--ctstate") };
  const protocol = options.read("--ctproto", parseProtocol, "a protocol");
  if (protocol !== undefined) match.protocol = { value: protocol, ...options.not("--ctproto") };
  for (const [field, name] of addressOptions) {
    const net = options.read(name, (text) => parseNet(text, family), `an IPv${family} address or prefix`);
    if (net !== undefined) match[field] = { net, ...options.not(name) };
  }
  for (const [field, name] of portOptions) {
    const range = options.read(name, parsePortRange, "a port or range of ports");
    if (range !== undefined) match[field] = { range, ...options.not(name) };
  }
  const status = options.read("--ctstatus", parseStatus, "NONE, EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED");
  if (status !== undefined) match.status = { bits: status, ...options.not("--ctstatus") };
  const seconds = (text: string): Range | undefined => parseRange(text, 0xffffffff);
  const expires = options.read("--ctexpire", seconds, "seconds or a range of seconds");
  if (expires !== undefined) match.expires = { range: expires, ...options.not("--ctexpire") };
  const direction = options.read(
    "--ctdir",
    (text) => (["ORIGINAL", "REPLY"] as const).find((name) => name === text.toUpperCase()),
    "ORIGINAL or REPLY",
  );
  if (direction !== undefined) match.direction = direction;
  if (options.names.length === 0) throw options.incomplete("-m conntrack needs an option");
  return [match];
}

const byteModes = ["packets", "bytes", "avgpkt"] as const;
const byteDirections = ["original", "reply", "both"] as const;

function readConnbytes(options: OptionValues): readonly Match[] {
  const range = options.read(
    "--connbytes",
    (text) => {
      const parts = /^([0-9]+)(?::([0-9]*))?$/.exec(text);
      const [from, to] = [Number(parts?.[1]), parts?.[2] ? Number(parts[2]) : undefined];
      const isGood = parts !== null && Number.isSafeInteger(from) && (to === undefined || from <= to);
      return isGood ? { from, to } : undefined;
    },
    "a number or range FROM:TO",
  );
  const mode = options.read(
    "--connbytes-mode",
    (text) => byteModes.find((m) => m === text),
    byteModes.join(", "),
  );
  const direction = options.read(
    "--connbytes-dir",
    (text) => byteDirections.find((d) => d === text),
    byteDirections.join(", "),
  );
  if (range === undefined || mode === undefined || direction === undefined)
    throw options.incomplete("-m connbytes needs --connbytes, --connbytes-dir and --connbytes-mode");
  return [{ kind: "connbytes", ...range, mode, direction, ...options.not("--connbytes") }];
}

export const connectionReaders: Readonly<Record<string, MatchReader>> = {
  conntrack: {
    options: {
      "--ctstate": { values: 1, not: true },
      "--ctproto": { values: 1, not: true },
      ...Object.fromEntries(
        [...addressOptions, ...portOptions].map(([, name]) => [name, { values: 1, not: true } as const]),
      ),
      "--ctstatus": { values: 1, not: true },
      "--ctexpire": { values: 1, not: true },
      "--ctdir": { values: 1 },
    },
    read: readConntrack,
  },
  state: {
    options: { "--state": { values: 1, not: true } },
    read: (options) => {
      const states = options.read(
        "--state",
        (text) => parseStates(stateModuleOrder, text),
        "connection states",
      );
      if (states === undefined) throw options.incomplete("-m state needs --state");
      return [{ kind: "ctstate", states, module: "state", ...options.not("--state") }];
    },
  },
  connmark: {
    options: { "--mark": { values: 1, not: true } },
    read: (options) => {
      const mark = options.read("--mark", parseMark, "a mark or mark/mask of 32 bits");
      if (mark === undefined) throw options.incomplete("-m connmark needs --mark");
      return [{ kind: "connmark", value: mark[0], mask: mark[1], ...options.not("--mark") }];
    },
  },
  connbytes: {
    options: {
      "--connbytes": { values: 1, not: true },
      "--connbytes-dir": { values: 1 },
      "--connbytes-mode": { values: 1 },
    },
    read: readConnbytes,
  },
};

export const markText = (value: number, mask: number): string =>
  `${hex(value)}${mask >>> 0 === 0xffffffff ? "" : `/${hex(mask)}`}`;

const ctNames: Readonly<Record<number, string>> = {
  [CtState.none]: "not tracked yet",
  [CtState.new]: "NEW",
  [CtState.established]: "ESTABLISHED",
  [CtState.related]: "RELATED",
  [CtState.invalid]: "INVALID",
  [CtState.untracked]: "UNTRACKED",
};

/** iptables leaves the length off a whole address here, unlike in `-s`. */
function netText({ net }: CtNetTest): string {
  const text = formatCidr(net);
  return net.prefix === (net.family === 4 ? 32 : 128) ? text.slice(0, text.indexOf("/")) : text;
}

function conntrackText(match: MatchOf<"conntrack">): string {
  const parts: string[] = [];
  const part = (name: string, test: { readonly not?: boolean } | undefined, value: string): void => {
    if (test !== undefined) parts.push(`${bang(test)}${name} ${value}`);
  };
  part("--ctstate", match.states, statesText(match.states?.bits ?? 0));
  part("--ctproto", match.protocol, String(match.protocol?.value));
  for (const [field, name] of addressOptions) {
    const test = match[field];
    if (test !== undefined) part(name, test, netText(test));
  }
  for (const [field, name] of portOptions) {
    const test = match[field];
    if (test !== undefined) part(name, test, colonRange(test.range));
  }
  part("--ctstatus", match.status, statusText(match.status?.bits ?? 0));
  if (match.expires !== undefined) part("--ctexpire", match.expires, colonRange(match.expires.range));
  if (match.direction !== undefined) parts.push(`--ctdir ${match.direction}`);
  return parts.join(" ");
}

export const connectionKinds: MatchKinds<ConnectionMatch["kind"]> = {
  ctstate: {
    text: (match) =>
      match.module === "state"
        ? `-m state ${bang(match)}--state ${statesText(match.states)}`
        : `-m conntrack ${bang(match)}--ctstate ${statesText(match.states)}`,
    explain: (match, { batch, row }) =>
      `connection state ${ctNames[batch.state.ctState[row]!] ?? ""} ${isOrNot(match)} among ${statesText(match.states)}`,
  },
  conntrack: {
    text: (match) => `-m conntrack ${conntrackText(match)}`,
    explain: (match, { batch, row }) =>
      `the connection (state ${ctNames[batch.state.ctState[row]!] ?? ""}) is not as ${conntrackText(match)} asks`,
    bind: bindConntrack,
  },
  connmark: {
    text: (match) => `-m connmark ${bang(match)}--mark ${markText(match.value, match.mask)}`,
    explain: (match) => `the connection's mark ${isOrNot(match)} ${markText(match.value, match.mask)}`,
    bind: ({ value, mask, not }, { conntrack }) => {
      const wanted = not !== true;
      return (batch, row) => {
        const entry = conntrack.entryOf(batch, row);
        if (entry === undefined) return Answer.no; // negated or not
        return ((entry.mark & mask) >>> 0 === value >>> 0) === wanted ? Answer.yes : Answer.no;
      };
    },
  },
  connbytes: {
    text: (match) => {
      const to = match.to === undefined ? "" : `:${match.to}`;
      return `-m connbytes ${bang(match)}--connbytes ${match.from}${to} --connbytes-mode ${match.mode} --connbytes-dir ${match.direction}`;
    },
    explain: (match) =>
      `the connection's ${match.mode} (${match.direction}) ${match.not ? "are" : "are not"} from ${match.from} to ${match.to ?? "any number"}`,
    bind: bindConnbytes,
  },
};

/** Bits of `CtStateBit` of a row and its connection. */
export function ctStateBits(batch: PacketBatch, row: number, entry: CtEntry | undefined): number {
  let bits = stateBits[batch.state.ctState[row]!]!;
  if (entry !== undefined) {
    if (entry.status & CtStatus.template) return CtStateBit.NEW;
    if (entry.status & CtStatus.srcNat) bits |= CtStateBit.SNAT;
    if (entry.status & CtStatus.dstNat) bits |= CtStateBit.DNAT;
  }
  return bits;
}

/** By `CtState`; a packet that conntrack has not seen counts as INVALID. */
const stateBits: readonly number[] = [
  CtStateBit.INVALID,
  CtStateBit.NEW,
  CtStateBit.ESTABLISHED,
  CtStateBit.RELATED,
  CtStateBit.INVALID,
  CtStateBit.UNTRACKED,
];

type EntryTest = (entry: CtEntry, batch: PacketBatch, row: number) => boolean;

/** Word of a tuple at which an address begins, and the ports' word (netfilter/tuples.ts). */
const tupleDst = 4;
const tuplePorts = 8;
const tupleProtocol = 9;

function bindConntrack(match: MatchOf<"conntrack">, node: MatchNode): RowTest {
  const tests: EntryTest[] = [];
  const add = (test: { readonly not?: boolean } | undefined, holds: EntryTest): void => {
    const wanted = test?.not !== true;
    if (test !== undefined) tests.push((entry, batch, row) => holds(entry, batch, row) === wanted);
  };
  const { direction, protocol, status, expires, states } = match;
  if (direction !== undefined)
    tests.push((_entry, batch, row) => (rowDirection(batch, row) === 0) === (direction === "ORIGINAL"));
  const address = (test: CtNetTest | undefined, side: 0 | 1, at: number): void =>
    add(test, (entry) => test !== undefined && tupleInNet(entry.tuples[side], at, test));
  address(match.origSrc, 0, 0);
  address(match.origDst, 0, tupleDst);
  address(match.replSrc, 1, 0);
  address(match.replDst, 1, tupleDst);
  add(protocol, (entry) => (entry.tuples[0][tupleProtocol]! & 0xff) === protocol?.value);
  const port = (test: CtRangeTest | undefined, side: 0 | 1, shift: number): void =>
    add(test, (entry) => {
      const value = (entry.tuples[side][tuplePorts]! >>> shift) & 0xffff;
      return test !== undefined && value >= test.range[0] && value <= test.range[1];
    });
  port(match.origSrcPort, 0, 16);
  port(match.origDstPort, 0, 0);
  port(match.replSrcPort, 1, 16);
  port(match.replDstPort, 1, 0);
  add(status, (entry) => status !== undefined && (entry.status & status.bits) !== 0);
  add(expires, (entry) => {
    const isTimed = (entry.status & (CtStatus.confirmed | CtStatus.template)) === CtStatus.confirmed;
    const left = isTimed ? Math.max(0, Math.floor((entry.expiresNs - node.nowNs()) / 1e9)) : 0;
    return expires !== undefined && left >= expires.range[0] && left <= expires.range[1];
  });
  const { conntrack } = node;
  return (batch, row) => {
    const entry = conntrack.entryOf(batch, row);
    if (
      states !== undefined &&
      ((ctStateBits(batch, row, entry) & states.bits) !== 0) === (states.not === true)
    )
      return Answer.no;
    if (entry === undefined) return states === undefined ? Answer.no : Answer.yes; // the rest is not asked
    for (let i = 0; i < tests.length; i++) if (!tests[i]!(entry, batch, row)) return Answer.no;
    return Answer.yes;
  };
}

function tupleInNet(tuple: Tuple, at: number, { net }: CtNetTest): boolean {
  for (let i = 0; i < net.words.length; i++)
    if ((tuple[at + i]! & maskWord(net.prefix, i)) >>> 0 !== net.words[i]) return false;
  return true;
}

function bindConnbytes(match: MatchOf<"connbytes">, { conntrack }: MatchNode): RowTest {
  const { from, to, mode, direction } = match;
  const wanted = match.not !== true;
  const sum = ([original, reply]: readonly [number, number]): number =>
    direction === "both" ? original + reply : direction === "original" ? original : reply;
  return (batch, row) => {
    const entry = conntrack.entryOf(batch, row);
    if (entry === undefined || entry.status & CtStatus.template) return Answer.no; // negated or not
    const [packets, bytes] = [sum(entry.packets), sum(entry.bytes)];
    const average = packets === 0 ? 0 : Math.floor(bytes / packets);
    const value = mode === "packets" ? packets : mode === "bytes" ? bytes : average;
    return (value >= from && (to === undefined || value <= to)) === wanted ? Answer.yes : Answer.no;
  };
}
