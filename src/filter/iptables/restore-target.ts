/**
 * Targets of rules, read from iptables-save text. Governing source: iptables-extensions(8); tables in which a target
 * is allowed are those of the kernel's `xt_target` registrations.
 */
import { type Cidr, parseIp } from "../../addr/index.ts";
import { RejectKind } from "../verdict.ts";
import { parsePort, parseU32, type Word, type WordReader } from "../words.ts";
import { type RuleDraft, readMarkValue } from "./restore-match.ts";
import type { NatRange, TableName, Target } from "./ruleset.ts";
import { rejectNames, rejectNames6 } from "./save.ts";

/** Values of a target's options by option name, as read. */
type OptionValues = ReadonlyMap<string, Word | undefined>;

interface TargetReader {
  /** Option names; true where a value follows. */
  readonly options: Readonly<Record<string, boolean>>;
  /** `undefined`: in any table. */
  readonly table?: TableName;
  make(values: OptionValues, words: WordReader, draft: RuleDraft, target: Word): Target;
}

const targetReaders: Readonly<Record<string, TargetReader>> = {
  ACCEPT: { options: {}, make: () => ({ kind: "ACCEPT" }) },
  DROP: { options: {}, make: () => ({ kind: "DROP" }) },
  RETURN: { options: {}, make: () => ({ kind: "RETURN" }) },
  REJECT: { options: { "--reject-with": true }, table: "filter", make: makeReject },
  MARK: {
    options: {
      "--set-xmark": true,
      "--set-mark": true,
      "--or-mark": true,
      "--and-mark": true,
      "--xor-mark": true,
    },
    make: makeMark,
  },
  LOG: { options: { "--log-prefix": true, "--log-level": true }, make: makeLog },
  DNAT: { options: { "--to-destination": true }, table: "nat", make: makeDnat },
  SNAT: { options: { "--to-source": true, "--random-fully": false }, table: "nat", make: makeSnat },
  MASQUERADE: {
    options: { "--to-ports": true, "--random-fully": false },
    table: "nat",
    make: makeMasquerade,
  },
  CT: { options: { "--notrack": false }, table: "raw", make: makeNotrack },
  NOTRACK: { options: {}, table: "raw", make: () => ({ kind: "NOTRACK" }) },
};

/**
 * Reads the name after `-j` or `-g` and, to the end of the line, the target's own options. Jumps to chains are
 * checked by the caller when all chains of the table are known.
 */
export function readTarget(
  draft: RuleDraft,
  words: WordReader,
  option: Word,
  isChain: (name: string) => boolean,
): Target {
  const name = words.value(option);
  const isGoto = option.text === "-g" || option.text === "--goto";
  const reader = Object.hasOwn(targetReaders, name.text) ? targetReaders[name.text] : undefined;
  if (isGoto || reader === undefined) {
    if (!isChain(name.text)) {
      const what = isGoto
        ? "no such chain in this table"
        : "neither a supported target nor a chain of this table";
      throw words.fail("unknown-name", name, `${what}: ${name.text}`);
    }
    return { kind: isGoto ? "goto" : "jump", chain: name.text };
  }
  if (reader.table !== undefined && reader.table !== draft.table)
    throw words.fail("invalid", name, `target ${name.text} is allowed in table ${reader.table} only`);
  const values = new Map<string, Word | undefined>();
  for (;;) {
    const word = words.peek();
    if (word === undefined || word.isQuoted || !Object.hasOwn(reader.options, word.text)) break;
    words.next();
    if (values.has(word.text)) throw words.fail("duplicate", word, `${word.text} is given twice`);
    values.set(word.text, reader.options[word.text] ? words.value(word) : undefined);
  }
  return reader.make(values, words, draft, name);
}

const shortRejectNames: Readonly<Record<string, number>> = {
  "net-unreach": RejectKind.netUnreachable,
  "host-unreach": RejectKind.hostUnreachable,
  "proto-unreach": RejectKind.protoUnreachable,
  "port-unreach": RejectKind.portUnreachable,
  "net-prohib": RejectKind.netProhibited,
  "host-prohib": RejectKind.hostProhibited,
  "admin-prohib": RejectKind.adminProhibited,
  "tcp-rst": RejectKind.tcpReset,
};

const shortRejectNames6: Readonly<Record<string, number>> = {
  "no-route": RejectKind.noRoute,
  "adm-prohibited": RejectKind.adminProhibited,
  "addr-unreach": RejectKind.addrUnreachable,
  "port-unreach": RejectKind.portUnreachable,
};

function makeReject(values: OptionValues, words: WordReader, draft: RuleDraft, target: Word): Target {
  const word = values.get("--reject-with");
  if (word === undefined) return { kind: "REJECT", with: RejectKind.portUnreachable };
  const names = draft.family === 6 ? rejectNames6 : rejectNames;
  const short = draft.family === 6 ? shortRejectNames6 : shortRejectNames;
  const long = Object.entries(names).find(([, name]) => name === word.text)?.[0];
  const kind =
    long === undefined ? (Object.hasOwn(short, word.text) ? short[word.text] : undefined) : Number(long);
  if (kind === undefined)
    throw words.fail("not-supported", word, `--reject-with ${word.text} is not supported`);
  if (kind === RejectKind.tcpReset && draft.protocol !== 6)
    throw words.fail("invalid", target, "REJECT with tcp-reset needs -p tcp");
  return { kind: "REJECT", with: kind as RejectKind };
}

function makeMark(values: OptionValues, words: WordReader, _draft: RuleDraft, target: Word): Target {
  const [given, ...more] = [...values];
  const word = given?.[1];
  if (given === undefined || word === undefined || more.length > 0)
    throw words.fail(
      "required",
      target,
      "MARK needs exactly one of --set-xmark, --set-mark, --or-mark, --and-mark, --xor-mark",
    );
  const [value, mask] = readMarkValue(words, word);
  switch (given[0]) {
    case "--set-xmark":
      return { kind: "MARK", value, mask };
    case "--set-mark":
      return { kind: "MARK", value, mask: (value | mask) >>> 0 };
    case "--or-mark":
      return { kind: "MARK", value, mask: value };
    case "--and-mark":
      return { kind: "MARK", value: 0, mask: ~value >>> 0 };
    default:
      return { kind: "MARK", value, mask: 0 };
  }
}

const logLevels = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];
const logLevelDefault = 4;
const logPrefixMax = 29;

function makeLog(values: OptionValues, words: WordReader): Target {
  const prefix = values.get("--log-prefix");
  if (prefix !== undefined && prefix.text.length > logPrefixMax)
    throw words.fail("too-large", prefix, `a log prefix holds at most ${logPrefixMax} characters`);
  const word = values.get("--log-level");
  const named = word === undefined ? logLevelDefault : logLevels.indexOf(word.text);
  const level = named >= 0 ? named : parseU32(word?.text ?? "");
  if (level === undefined || level > 7) throw words.fail("invalid", word, `no such log level: ${word?.text}`);
  return { kind: "LOG", prefix: prefix?.text ?? "", level };
}

function makeDnat(values: OptionValues, words: WordReader, draft: RuleDraft, target: Word): Target {
  return {
    kind: "DNAT",
    to: natRange(values.get("--to-destination"), "--to-destination", words, draft, target),
  };
}

function makeSnat(values: OptionValues, words: WordReader, draft: RuleDraft, target: Word): Target {
  const to = natRange(values.get("--to-source"), "--to-source", words, draft, target);
  return { kind: "SNAT", to, ...(values.has("--random-fully") ? { randomFully: true } : {}) };
}

function makeMasquerade(values: OptionValues, words: WordReader, draft: RuleDraft, target: Word): Target {
  const word = values.get("--to-ports");
  if (word !== undefined && ![6, 17, 33, 132].includes(draft.protocol ?? 0))
    throw words.fail("invalid", target, "--to-ports needs -p with a protocol that has ports");
  return {
    kind: "MASQUERADE",
    ...(values.has("--random-fully") ? { randomFully: true } : {}),
    ...(word === undefined ? {} : { ports: natPorts(words, word, word.text) }),
  };
}

function makeNotrack(values: OptionValues, words: WordReader, _draft: RuleDraft, target: Word): Target {
  if (!values.has("--notrack"))
    throw words.fail("not-supported", target, "target CT is supported with --notrack only");
  return { kind: "NOTRACK" };
}

function natPorts(words: WordReader, word: Word, text: string): readonly [number, number] {
  const [lowText, highText, ...rest] = text.split("-");
  const low = parsePort(lowText ?? "");
  const high = highText === undefined ? low : parsePort(highText);
  if (low === undefined || high === undefined || low > high || low === 0 || rest.length > 0)
    throw words.fail("invalid", word, `not a port or range of ports: ${text}`);
  return [low, high];
}

/** `a`, `a-b`, with `:ports`; IPv6 addresses with ports stand in brackets. */
function natRange(
  word: Word | undefined,
  option: string,
  words: WordReader,
  draft: RuleDraft,
  target: Word,
): NatRange {
  if (word === undefined) throw words.fail("required", target, `target ${target.text} needs ${option}`);
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(word.text);
  const colon = draft.family === 4 ? word.text.indexOf(":") : -1;
  const plain = colon < 0 ? [word.text, undefined] : [word.text.slice(0, colon), word.text.slice(colon + 1)];
  const [addresses, ports] = bracketed !== null ? [bracketed[1], bracketed[2]] : plain;
  const [minText, maxText, ...rest] = (addresses ?? "").split("-");
  const min = hostPrefix(minText ?? "", draft.family);
  const max = maxText === undefined ? min : hostPrefix(maxText, draft.family);
  if (min === undefined || max === undefined || rest.length > 0)
    throw words.fail(
      "not-supported",
      word,
      `${option} takes an address or range of addresses with optional ports: ${word.text}`,
    );
  if (ports === undefined) return { min, max };
  if (![6, 17, 33, 132].includes(draft.protocol ?? 0))
    throw words.fail("invalid", word, `${option} with ports needs -p with a protocol that has ports`);
  return { min, max, ports: natPorts(words, word, ports) };
}

function hostPrefix(text: string, family: 4 | 6): Cidr | undefined {
  const ip = parseIp(text);
  return ip === undefined || ip.family !== family ? undefined : { ...ip, prefix: family === 4 ? 32 : 128 };
}
