/**
 * Match options of one rule, read from iptables-save text. Every option is known by name or refused by name; none is
 * passed over. Governing source: iptables-extensions(8) and the `save` callbacks of the extensions in iptables 1.8.
 */
import { TcpFlag } from "../../wire/index.ts";
import { setNameMax } from "../ipset/index.ts";
import { parsePort, parseU32, type Word, type WordReader } from "../words.ts";
import { type AddrType, CtStateBit, type Match, type TableName } from "./ruleset.ts";

/** One `-m name` of a rule. */
interface ModuleUse {
  readonly name: string;
  readonly word: Word;
  readonly options: Set<string>;
  /** Place of its match in the rule, once it has one. */
  at: number | undefined;
}

/** A rule while it is read. */
export interface RuleDraft {
  readonly family: 4 | 6;
  readonly table: TableName;
  readonly chain: string;
  readonly matches: Match[];
  readonly modules: ModuleUse[];
  /** Of a `-p` that is not negated. */
  protocol: number | undefined;
}

interface OptionContext {
  readonly draft: RuleDraft;
  readonly words: WordReader;
  readonly option: Word;
  readonly use: ModuleUse;
  /** Spread into the match. */
  readonly not: { readonly not?: true };
}

interface OptionReader {
  readonly modules: readonly string[];
  read(context: OptionContext): void;
}

const transports = ["tcp", "udp", "sctp"] as const;
/** Protocol that the kernel demands beside a match extension. */
const moduleProtocols: Readonly<Record<string, readonly number[]>> = {
  tcp: [6],
  udp: [17],
  sctp: [132],
  icmp: [1],
  icmp6: [58],
  multiport: [6, 17, 33, 132, 136],
};
const modules: ReadonlySet<string> = new Set([
  ...Object.keys(moduleProtocols),
  "set",
  "mark",
  "conntrack",
  "state",
  "addrtype",
  "statistic",
  "owner",
  "comment",
]);
const commentMax = 255;

/** Reads `-m NAME`, `option` being the `-m`. */
export function readModule(draft: RuleDraft, words: WordReader, option: Word): void {
  const word = words.value(option);
  const name = word.text === "icmpv6" ? "icmp6" : word.text;
  if (!modules.has(name)) throw words.fail("not-supported", word, `match -m ${word.text} is not supported`);
  useModule(draft, name, word);
}

function useModule(draft: RuleDraft, name: string, word: Word): ModuleUse {
  const use: ModuleUse = { name, word, options: new Set(), at: undefined };
  draft.modules.push(use);
  const protocol = transports.find((candidate) => candidate === name);
  if (protocol !== undefined) use.at = draft.matches.push({ kind: "transport", protocol }) - 1;
  return use;
}

/** Reads a match option and its values. Returns false when no supported match has that option. */
export function readMatchOption(
  draft: RuleDraft,
  words: WordReader,
  option: Word,
  isNegated: boolean,
): boolean {
  const reader = Object.hasOwn(optionReaders, option.text) ? optionReaders[option.text] : undefined;
  if (reader === undefined) return false;
  const use = moduleFor(draft, reader, option);
  if (use === undefined) {
    const wanted = reader.modules.map((name) => `-m ${name}`).join(" or ");
    throw words.fail("invalid", option, `${option.text} needs ${wanted} before it`);
  }
  if (use.options.has(option.text)) throw words.fail("duplicate", option, `${option.text} is given twice`);
  use.options.add(option.text);
  reader.read({ draft, words, option, use, not: isNegated ? { not: true } : {} });
  return true;
}

/** The last loaded module with the option; iptables loads a protocol's own module unasked. */
function moduleFor(draft: RuleDraft, reader: OptionReader, option: Word): ModuleUse | undefined {
  const loaded = draft.modules.findLast(({ name }) => reader.modules.includes(name));
  if (loaded !== undefined) return loaded;
  const own = reader.modules.find(
    (name) =>
      name !== "multiport" && draft.protocol !== undefined && moduleProtocols[name]?.includes(draft.protocol),
  );
  return own === undefined ? undefined : useModule(draft, own, option);
}

/** Checks what the kernel checks of a whole rule's matches. */
export function checkMatches(draft: RuleDraft, words: WordReader): void {
  for (const { name, word, at } of draft.modules) {
    if (at === undefined) throw words.fail("invalid", word, `-m ${name} stands without a supported option`);
    const wanted = moduleProtocols[name];
    if (wanted !== undefined && (draft.protocol === undefined || !wanted.includes(draft.protocol)))
      throw words.fail("invalid", word, `-m ${name} needs -p with its protocol`);
  }
}

const optionReaders: Readonly<Record<string, OptionReader>> = {
  "--sport": { modules: transports, read: (c) => readPort(c, "sport") },
  "--source-port": { modules: transports, read: (c) => readPort(c, "sport") },
  "--dport": { modules: transports, read: (c) => readPort(c, "dport") },
  "--destination-port": { modules: transports, read: (c) => readPort(c, "dport") },
  "--sports": { modules: ["multiport"], read: (c) => readPorts(c, "sports") },
  "--source-ports": { modules: ["multiport"], read: (c) => readPorts(c, "sports") },
  "--dports": { modules: ["multiport"], read: (c) => readPorts(c, "dports") },
  "--destination-ports": { modules: ["multiport"], read: (c) => readPorts(c, "dports") },
  "--ports": { modules: ["multiport"], read: (c) => readPorts(c, "ports") },
  "--tcp-flags": { modules: ["tcp"], read: readTcpFlags },
  "--syn": { modules: ["tcp"], read: readSyn },
  "--icmp-type": { modules: ["icmp"], read: readIcmpType },
  "--icmpv6-type": { modules: ["icmp6"], read: readIcmpType },
  "--match-set": { modules: ["set"], read: readSet },
  "--mark": { modules: ["mark"], read: readMark },
  "--ctstate": { modules: ["conntrack"], read: readStates },
  "--state": { modules: ["state"], read: readStates },
  "--src-type": { modules: ["addrtype"], read: (c) => readAddrType(c, "src") },
  "--dst-type": { modules: ["addrtype"], read: (c) => readAddrType(c, "dst") },
  "--mode": { modules: ["statistic"], read: readMode },
  "--probability": { modules: ["statistic"], read: readProbability },
  "--uid-owner": { modules: ["owner"], read: readOwner },
  "--comment": { modules: ["comment"], read: readComment },
};

function put({ draft, use }: OptionContext, match: Match): void {
  use.at = draft.matches.push(match) - 1;
}

/** `a`, `a:b`, `a:`, `:b`. */
function portRange(words: WordReader, word: Word, text: string): readonly [number, number] {
  const colon = text.indexOf(":");
  const [low, high] =
    colon < 0 ? [text, text] : [text.slice(0, colon) || "0", text.slice(colon + 1) || "65535"];
  const [min, max] = [parsePort(low), parsePort(high)];
  if (min === undefined || max === undefined || text === ":")
    throw words.fail("invalid", word, `not a port or range of ports: ${text}`);
  if (min > max) throw words.fail("invalid", word, `the range of ports ${text} is empty`);
  return [min, max];
}

function readPort(context: OptionContext, kind: "sport" | "dport"): void {
  const word = context.words.value(context.option);
  const [min, max] = portRange(context.words, word, word.text);
  put(context, { kind, min, max, ...context.not });
}

const multiportSlots = 15;

function readPorts(context: OptionContext, field: "sports" | "dports" | "ports"): void {
  const { words } = context;
  const word = words.value(context.option);
  const ranges = word.text.split(",").map((text) => portRange(words, word, text));
  const slots = ranges.reduce((sum, [min, max]) => sum + (min === max ? 1 : 2), 0);
  if (slots > multiportSlots)
    throw words.fail(
      "too-large",
      word,
      `${context.option.text} holds at most ${multiportSlots} ports (a range counts twice)`,
    );
  put(context, { kind: "multiport", field, ranges, ...context.not });
}

const flagBits: Readonly<Record<string, number>> = {
  FIN: TcpFlag.fin,
  SYN: TcpFlag.syn,
  RST: TcpFlag.rst,
  PSH: TcpFlag.psh,
  ACK: TcpFlag.ack,
  URG: TcpFlag.urg,
  ALL: 0x3f,
  NONE: 0,
};

function readFlagList(words: WordReader, word: Word): number {
  let bits = 0;
  for (const name of word.text.split(",")) {
    const bit = Object.hasOwn(flagBits, name) ? flagBits[name] : undefined;
    if (bit === undefined) throw words.fail("invalid", word, `no such TCP flag: ${name}`);
    bits |= bit;
  }
  return bits;
}

function readTcpFlags(context: OptionContext): void {
  const { words, option } = context;
  const mask = readFlagList(words, words.value(option));
  const value = readFlagList(words, words.value(option));
  put(context, { kind: "tcp-flags", mask, value, ...context.not });
}

function readSyn(context: OptionContext): void {
  const mask = TcpFlag.fin | TcpFlag.syn | TcpFlag.rst | TcpFlag.ack;
  put(context, { kind: "tcp-flags", mask, value: TcpFlag.syn, ...context.not });
}

const anyIcmpType = 255;

function readIcmpType(context: OptionContext): void {
  const { words, option } = context;
  const word = words.value(option);
  if (word.text === "any") {
    put(context, { kind: "icmp-type", type: anyIcmpType, ...context.not });
    return;
  }
  const parts = /^([0-9]{1,3})(?:\/([0-9]{1,3}))?$/.exec(word.text);
  const [type, code] = [Number(parts?.[1]), parts?.[2] === undefined ? undefined : Number(parts[2])];
  if (parts === null || type > 255 || (code ?? 0) > 255)
    throw words.fail(
      "not-supported",
      word,
      `${option.text} takes a number, or number/code, not ${word.text}`,
    );
  put(context, { kind: "icmp-type", type, ...(code === undefined ? {} : { code }), ...context.not });
}

function readSet(context: OptionContext): void {
  const { words, option } = context;
  const name = words.value(option);
  if (name.text.length > setNameMax)
    throw words.fail("too-large", name, `set name is longer than ${setNameMax} characters: ${name.text}`);
  const list = words.value(option);
  const flags = list.text.split(",");
  const sides = flags.filter((flag) => flag === "src" || flag === "dst");
  if (sides.length !== flags.length || sides.length > 2)
    throw words.fail("not-supported", list, `dimensions of a set are src or dst, at most two: ${list.text}`);
  put(context, { kind: "set", set: name.text, flags: sides, ...context.not });
}

/** `value` or `value/mask`. */
export function readMarkValue(words: WordReader, word: Word): readonly [value: number, mask: number] {
  const [valueText, maskText, ...rest] = word.text.split("/");
  const value = parseU32(valueText ?? "");
  const mask = maskText === undefined ? 0xffffffff : parseU32(maskText);
  if (value === undefined || mask === undefined || rest.length > 0)
    throw words.fail("invalid", word, `not a mark or mark/mask of 32 bits: ${word.text}`);
  return [value, mask];
}

function readMark(context: OptionContext): void {
  const [value, mask] = readMarkValue(context.words, context.words.value(context.option));
  put(context, { kind: "mark", value, mask, ...context.not });
}

function readStates(context: OptionContext): void {
  const { words } = context;
  const word = words.value(context.option);
  let states = 0;
  for (const name of word.text.toUpperCase().split(",")) {
    const bit = Object.hasOwn(CtStateBit, name) ? CtStateBit[name as keyof typeof CtStateBit] : undefined;
    const isForeign = context.use.name === "state" && (name === "SNAT" || name === "DNAT");
    if (bit === undefined || isForeign)
      throw words.fail("invalid", word, `no such connection state: ${name}`);
    states |= bit;
  }
  put(context, { kind: "ctstate", states, ...context.not });
}

const addrTypes: readonly AddrType[] = ["LOCAL", "UNICAST", "BROADCAST", "MULTICAST", "UNSPEC"];

function readAddrType(context: OptionContext, side: "src" | "dst"): void {
  const { draft, words, option, use, not } = context;
  const word = words.value(option);
  const type = addrTypes.find((candidate) => candidate === word.text.toUpperCase());
  if (type === undefined)
    throw words.fail("not-supported", word, `address type is not supported: ${word.text}`);
  const before = use.at === undefined ? undefined : draft.matches[use.at];
  const match: Match = {
    ...(before?.kind === "addrtype" ? before : { kind: "addrtype" }),
    [side]: { type, ...not },
  };
  if (use.at === undefined) put(context, match);
  else draft.matches[use.at] = match;
}

function readMode({ words, option, not }: OptionContext): void {
  if (not.not) throw words.fail("invalid", option, "--mode cannot be negated");
  const word = words.value(option);
  if (word.text !== "random") throw words.fail("not-supported", word, `--mode ${word.text} is not supported`);
}

/** The kernel keeps probabilities in units of 2^-31. */
const probabilityUnits = 0x8000_0000;

function readProbability(context: OptionContext): void {
  const { words } = context;
  const word = words.value(context.option);
  const value = /^[0-9]*\.?[0-9]+$/.test(word.text) ? Number(word.text) : Number.NaN;
  if (!(value >= 0 && value <= 1))
    throw words.fail("invalid", word, `not a probability from 0 to 1: ${word.text}`);
  const probability = Math.round(value * probabilityUnits) / probabilityUnits;
  put(context, { kind: "statistic", mode: "random", probability, ...context.not });
}

function readOwner(context: OptionContext): void {
  const { words } = context;
  const word = words.value(context.option);
  const uid = /^[0-9]+$/.test(word.text) ? parseU32(word.text) : undefined;
  if (uid === undefined)
    throw words.fail("not-supported", word, `--uid-owner takes one number, not ${word.text}`);
  put(context, { kind: "owner", uid, ...context.not });
}

function readComment(context: OptionContext): void {
  const { words, option } = context;
  if (context.not.not) throw words.fail("invalid", option, "--comment cannot be negated");
  const word = words.value(option);
  if (new TextEncoder().encode(word.text).length > commentMax)
    throw words.fail("too-large", word, `a comment holds at most ${commentMax} bytes`);
  put(context, { kind: "comment", text: word.text });
}
