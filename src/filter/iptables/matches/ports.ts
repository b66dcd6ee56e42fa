/**
 * Ports, TCP flags and options: the extensions tcp, udp, sctp (ports), multiport and tcpmss. Ports and flags are linked as
 * code words. Source: kernel net/netfilter/xt_tcpudp.c, xt_multiport.c, xt_sctp.c, xt_tcpmss.c.
 */
import { IpProtocol, readU16, TcpFlag } from "../../../wire/index.ts";
import { transportStart, transportWith } from "../headers.ts";
import type { Match, MatchOf, Range } from "../match.ts";
import {
  Answer,
  bang,
  colonRange,
  isOrNot,
  type MatchKinds,
  type MatchReader,
  type OptionShape,
  type OptionValues,
  parsePortRange,
  parseRange,
  type RowTest,
} from "./extension.ts";
import { readSctpChunks } from "./sctp-chunks.ts";

const portOptions: Readonly<Record<string, OptionShape>> = {
  "--sport": { values: 1, not: true },
  "--source-port": { values: 1, not: true, as: "--sport" },
  "--dport": { values: 1, not: true },
  "--destination-port": { values: 1, not: true, as: "--dport" },
};

const portSpan = 0xffff;

function readPorts(options: OptionValues): readonly Match[] {
  return (["sport", "dport"] as const).flatMap((kind): readonly Match[] => {
    const range = options.read(`--${kind}`, parsePortRange, "a port or range of ports");
    if (range === undefined) return [];
    const [min, max] = range;
    const not = options.not(`--${kind}`);
    return min === 0 && max === portSpan && !not.not ? [] : [{ kind, min, max, ...not }];
  });
}

const flagBits: readonly (readonly [string, number])[] = [
  ["FIN", TcpFlag.fin],
  ["SYN", TcpFlag.syn],
  ["RST", TcpFlag.rst],
  ["PSH", TcpFlag.psh],
  ["ACK", TcpFlag.ack],
  ["URG", TcpFlag.urg],
];
const allFlags = 0x3f;

function parseFlags(text: string): number | undefined {
  let bits = 0;
  for (const name of text.split(",")) {
    if (name === "ALL") bits |= allFlags;
    else if (name !== "NONE") {
      const flag = flagBits.find(([candidate]) => candidate === name);
      if (flag === undefined) return undefined;
      bits |= flag[1];
    }
  }
  return bits;
}

function flagText(bits: number): string {
  return flagBits.flatMap(([name, bit]) => (bits & bit ? [name] : [])).join(",") || "NONE";
}

function readTcp(options: OptionValues): readonly Match[] {
  const { words } = options;
  const matches: Match[] = [{ kind: "transport", protocol: "tcp" }, ...readPorts(options)];
  const option = options.read("--tcp-option", (text) => parseRange(text, 0xff)?.[0], "a number up to 255");
  if (option !== undefined) matches.push({ kind: "tcp-option", option, ...options.not("--tcp-option") });
  const syn = options.get("--syn");
  const flags = options.get("--tcp-flags");
  if (syn !== undefined) {
    if (flags !== undefined)
      throw words.fail("duplicate", syn.option, "--syn and --tcp-flags exclude each other");
    const mask = TcpFlag.fin | TcpFlag.syn | TcpFlag.rst | TcpFlag.ack;
    matches.push({ kind: "tcp-flags", mask, value: TcpFlag.syn, ...options.not("--syn") });
  }
  if (flags !== undefined) {
    const [mask, value] = flags.values.map((word) => {
      const bits = parseFlags(word.text);
      if (bits === undefined) throw words.fail("invalid", word, `no such TCP flags: ${word.text}`);
      return bits;
    });
    matches.push({ kind: "tcp-flags", mask: mask ?? 0, value: value ?? 0, ...options.not("--tcp-flags") });
  }
  return matches;
}

const multiportSlots = 15;
const fields = ["sports", "dports", "ports"] as const;

function readMultiport(options: OptionValues): readonly Match[] {
  const given = fields.filter((field) => options.has(`--${field}`));
  const [field] = given;
  if (field === undefined || given.length > 1)
    throw options.incomplete("-m multiport needs one of --sports, --dports, --ports");
  const name = `--${field}`;
  const ranges = options.read(
    name,
    (text) => {
      const parts = text.split(",").map(parsePortRange);
      return parts.includes(undefined) ? undefined : (parts as readonly Range[]);
    },
    "ports and ranges of ports",
  ) as readonly Range[];
  const slots = ranges.reduce((sum, [min, max]) => sum + (min === max ? 1 : 2), 0);
  if (slots > multiportSlots)
    throw options.words.fail(
      "too-large",
      options.word(name),
      `${name} holds at most ${multiportSlots} ports (a range counts twice)`,
    );
  return [{ kind: "multiport", field, ranges, ...options.not(name) }];
}

export const portReaders: Readonly<Record<string, MatchReader>> = {
  tcp: {
    options: {
      ...portOptions,
      "--tcp-flags": { values: 2, not: true },
      "--syn": { values: 0, not: true },
      "--tcp-option": { values: 1, not: true },
    },
    protocols: [IpProtocol.tcp],
    isImplied: true,
    read: readTcp,
  },
  udp: {
    options: portOptions,
    protocols: [IpProtocol.udp],
    isImplied: true,
    read: (options) => [{ kind: "transport", protocol: "udp" }, ...readPorts(options)],
  },
  sctp: {
    options: { ...portOptions, "--chunk-types": { values: 2, not: true } },
    protocols: [IpProtocol.sctp],
    isImplied: true,
    read: (options) => [
      { kind: "transport", protocol: "sctp" },
      ...readPorts(options),
      ...readSctpChunks(options),
    ],
  },
  multiport: {
    options: {
      "--sports": { values: 1, not: true },
      "--source-ports": { values: 1, not: true, as: "--sports" },
      "--dports": { values: 1, not: true },
      "--destination-ports": { values: 1, not: true, as: "--dports" },
      "--ports": { values: 1, not: true },
    },
    protocols: [6, 17, 33, 132, 136],
    read: readMultiport,
  },
  tcpmss: {
    options: { "--mss": { values: 1, not: true } },
    protocols: [IpProtocol.tcp],
    read: (options) => {
      const range = options.read("--mss", (text) => parseRange(text), "a size or range of sizes");
      if (range === undefined) throw options.incomplete("-m tcpmss needs --mss");
      return [{ kind: "tcp-mss", range, ...options.not("--mss") }];
    },
  },
};

const portsText = (ranges: readonly Range[]): string => ranges.map(colonRange).join(",");

export const portKinds: MatchKinds<
  "sport" | "dport" | "multiport" | "transport" | "tcp-flags" | "tcp-option" | "tcp-mss"
> = {
  sport: {
    text: (match) => `${bang(match)}--sport ${colonRange([match.min, match.max])}`,
    explain: (match, { packet }) =>
      `source port ${packet.sport} ${isOrNot(match)} ${colonRange([match.min, match.max])}`,
  },
  dport: {
    text: (match) => `${bang(match)}--dport ${colonRange([match.min, match.max])}`,
    explain: (match, { packet }) =>
      `destination port ${packet.dport} ${isOrNot(match)} ${colonRange([match.min, match.max])}`,
  },
  multiport: {
    text: (match) => `-m multiport ${bang(match)}--${match.field} ${portsText(match.ranges)}`,
    explain: (match, { packet }) => {
      const own = { sports: packet.sport, dports: packet.dport, ports: `${packet.sport}->${packet.dport}` };
      return `port ${own[match.field]} ${isOrNot(match)} among ${portsText(match.ranges)}`;
    },
  },
  transport: {
    text: (match) => `-m ${match.protocol}`,
    explain: (match) => `the packet has no ${match.protocol} header`,
  },
  "tcp-flags": {
    text: (match) => `${bang(match)}--tcp-flags ${flagText(match.mask)} ${flagText(match.value)}`,
    explain: (match, { packet }) =>
      `of the flags ${flagText(match.mask)} (packet: ${packet.flags}) exactly ${flagText(match.value)} ${match.not ? "are" : "are not"} set`,
  },
  "tcp-option": {
    text: (match) => `${bang(match)}--tcp-option ${match.option}`,
    explain: (match) => `the TCP header ${match.not ? "has" : "has no"} option ${match.option}`,
    bind: bindTcpOption,
  },
  "tcp-mss": {
    text: (match) => `-m tcpmss ${bang(match)}--mss ${colonRange(match.range)}`,
    explain: (match) =>
      `the maximum segment size of the TCP options ${isOrNot(match)} ${colonRange(match.range)}`,
    bind: bindTcpMss,
  },
};

const tcpHeaderSize = 20;
const optionNop = 1;
const optionMss = 2;

/** Looks an option up as the kernel does: options 0 and 1 are one byte long, and a cut one ends the search. */
function bindTcpOption(match: MatchOf<"tcp-option">): RowTest {
  const wanted = match.not !== true;
  return (batch, row) => {
    const at = transportWith(batch, row, tcpHeaderSize);
    if (at < 0) return transportStart(batch, row) < 0 ? Answer.no : Answer.drop;
    const size = (batch.bytes[at + 12]! >>> 4) * 4;
    if (size < tcpHeaderSize) return Answer.drop;
    if (size > tcpHeaderSize && transportWith(batch, row, size) < 0) return Answer.drop;
    let found = false;
    for (let i = tcpHeaderSize; i < size && !found; ) {
      const kind = batch.bytes[at + i]!;
      found = kind === match.option;
      i += kind <= optionNop || i + 1 >= size ? 1 : batch.bytes[at + i + 1]! || 1;
    }
    return found === wanted ? Answer.yes : Answer.no;
  };
}

function bindTcpMss(match: MatchOf<"tcp-mss">): RowTest {
  const [min, max] = match.range;
  const wanted = match.not !== true;
  return (batch, row) => {
    const at = transportWith(batch, row, tcpHeaderSize);
    const size = at < 0 ? 0 : (batch.bytes[at + 12]! >>> 4) * 4;
    if (size < tcpHeaderSize) return Answer.drop;
    if (size > tcpHeaderSize && transportWith(batch, row, size) < 0) return Answer.drop;
    for (let i = tcpHeaderSize; i < size; ) {
      const kind = batch.bytes[at + i]!;
      const length = batch.bytes[at + i + 1]!;
      if (kind === optionMss && size - i >= 4 && length === 4) {
        const mss = readU16(batch.bytes, at + i + 2);
        return (mss >= min && mss <= max) === wanted ? Answer.yes : Answer.no;
      }
      i += kind <= optionNop ? 1 : length || 1;
    }
    return wanted ? Answer.no : Answer.yes;
  };
}
