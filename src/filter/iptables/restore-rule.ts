/** One rule line (`-A CHAIN ...`) of iptables-save text. Governing sources: iptables(8), iptables-extensions(8). */
import { type Cidr, cidrOf, parseCidr, parseIp } from "../../addr/index.ts";
import { protocolNumber } from "../../wire/index.ts";
import { parseU32, type Word, type WordReader } from "../words.ts";
import { checkMatches, type RuleDraft, readMatchOption, readModule } from "./restore-match.ts";
import { readTarget } from "./restore-target.ts";
import type { Match, Rule, TableName, Target } from "./ruleset.ts";

const interfaceNameMax = 15;

export interface RuleLine {
  readonly chain: string;
  readonly rule: Rule;
}

/** What a rule may refer to. */
export interface RuleScope {
  readonly family: 4 | 6;
  readonly table: TableName;
  isChain(name: string): boolean;
}

/** Reads a whole rule line; `[n:m]` counters in front are allowed. @throws InputError with the place of the fault. */
export function readRule(words: WordReader, scope: RuleScope): RuleLine {
  let counters = readCounters(words);
  const command = words.next();
  if (command?.text !== "-A" && command?.text !== "--append")
    throw words.fail("not-supported", command, `a rule begins with -A, not ${command?.text ?? "nothing"}`);
  const chain = words.value(command);
  if (!scope.isChain(chain.text)) throw words.fail("unknown-name", chain, `no such chain: ${chain.text}`);
  const draft: RuleDraft = {
    family: scope.family,
    table: scope.table,
    chain: chain.text,
    matches: [],
    modules: [],
    protocol: undefined,
  };
  let target: Target | undefined;
  for (let option = words.next(); option !== undefined; option = words.next()) {
    const bang = option.text === "!" && !option.isQuoted ? option : undefined;
    if (bang !== undefined) option = words.value(bang);
    if (option.isQuoted || !option.text.startsWith("-"))
      throw words.fail("syntax", option, `an option was expected, not ${option.text}`);
    if (isOption(option, "-j", "--jump") || isOption(option, "-g", "--goto")) {
      if (bang !== undefined) throw words.fail("invalid", bang, `${option.text} cannot be negated`);
      if (target !== undefined) throw words.fail("duplicate", option, "a rule has one target");
      target = readTarget(draft, words, option, (name) => scope.isChain(name));
    } else if (isOption(option, "-c", "--set-counters")) {
      if (bang !== undefined) throw words.fail("invalid", bang, `${option.text} cannot be negated`);
      counters = [readCount(words, words.value(option)), readCount(words, words.value(option))];
    } else {
      readCondition(draft, words, option, bang);
    }
  }
  checkMatches(draft, words);
  const rule: Rule = { matches: draft.matches, target, ...(counters === undefined ? {} : { counters }) };
  return { chain: chain.text, rule };
}

function isOption(word: Word, short: string, long: string): boolean {
  return word.text === short || word.text === long;
}

function readCondition(draft: RuleDraft, words: WordReader, option: Word, bang: Word | undefined): void {
  const not: { readonly not?: true } = bang === undefined ? {} : { not: true };
  switch (option.text) {
    case "-m":
    case "--match":
      if (bang !== undefined) throw words.fail("invalid", bang, "-m cannot be negated");
      readModule(draft, words, option);
      return;
    case "-p":
    case "--protocol": {
      const word = words.value(option);
      const protocol = word.text === "all" ? 0 : protocolNumber(word.text);
      if (protocol === undefined)
        throw words.fail("not-supported", word, `protocol is not known: ${word.text}`);
      if (draft.matches.some(({ kind }) => kind === "protocol"))
        throw words.fail("duplicate", option, "a rule has one -p");
      draft.matches.push({ kind: "protocol", protocol, ...not });
      if (bang === undefined) draft.protocol = protocol;
      return;
    }
    case "-s":
    case "--source":
    case "--src":
      once(draft, words, option, "source");
      draft.matches.push({ kind: "source", net: readNet(words, words.value(option), draft.family), ...not });
      return;
    case "-d":
    case "--destination":
    case "--dst":
      once(draft, words, option, "destination");
      draft.matches.push({
        kind: "destination",
        net: readNet(words, words.value(option), draft.family),
        ...not,
      });
      return;
    case "-i":
    case "--in-interface":
      readInterface(draft, words, option, "in-interface", not);
      return;
    case "-o":
    case "--out-interface":
      readInterface(draft, words, option, "out-interface", not);
      return;
    default:
      if (!readMatchOption(draft, words, option, bang !== undefined))
        throw unknownOption(draft, words, option);
  }
}

function once(draft: RuleDraft, words: WordReader, option: Word, kind: Match["kind"]): void {
  if (draft.matches.some((match) => match.kind === kind))
    throw words.fail("duplicate", option, `a rule has one ${option.text}`);
}

function unknownOption(draft: RuleDraft, words: WordReader, option: Word): Error {
  const last = draft.modules.at(-1);
  const where = last === undefined ? "" : ` (after -m ${last.name})`;
  return words.fail("not-supported", option, `option ${option.text} is not supported${where}`);
}

/** Chains in which a packet has no interface of that direction (iptables(8), -i and -o). */
const withoutInterface: Readonly<Record<"in-interface" | "out-interface", readonly string[]>> = {
  "in-interface": ["OUTPUT", "POSTROUTING"],
  "out-interface": ["INPUT", "PREROUTING"],
};

function readInterface(
  draft: RuleDraft,
  words: WordReader,
  option: Word,
  kind: "in-interface" | "out-interface",
  not: { readonly not?: true },
): void {
  once(draft, words, option, kind);
  const word = words.value(option);
  if (word.text === "" || word.text.length > interfaceNameMax)
    throw words.fail(
      "invalid",
      word,
      `an interface name has 1 to ${interfaceNameMax} characters: ${word.text}`,
    );
  if (withoutInterface[kind].includes(draft.chain))
    throw words.fail("invalid", option, `${option.text} cannot be used in ${draft.chain}`);
  draft.matches.push({ kind, name: word.text, ...not });
}

/** Address, address/prefix or address/mask of the rule's family. */
function readNet(words: WordReader, word: Word, family: 4 | 6): Cidr {
  const net = parseNet(word.text, family);
  if (net?.family === family) return net;
  if (word.text.includes(",")) throw words.fail("not-supported", word, "one address or prefix, not a list");
  throw words.fail("invalid", word, `not an IPv${family} address or prefix: ${word.text}`);
}

function parseNet(text: string, family: 4 | 6): Cidr | undefined {
  const slash = text.indexOf("/");
  const ip = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (ip === undefined) return undefined;
  if (slash < 0) return cidrOf(ip, family === 4 ? 32 : 128);
  const mask = parseIp(text.slice(slash + 1));
  if (mask === undefined) return parseCidr(text);
  const bits = mask.words.map((word) => word.toString(2).padStart(32, "0")).join("");
  return /^1*0*$/.test(bits) && mask.family === ip.family ? cidrOf(ip, bits.lastIndexOf("1") + 1) : undefined;
}

/** `[packets:bytes]` at the front of the line. */
function readCounters(words: WordReader): readonly [number, number] | undefined {
  const word = words.peek();
  if (word === undefined || !word.text.startsWith("[")) return undefined;
  words.next();
  return parseCounters(words, word);
}

/** `[packets:bytes]`. */
export function parseCounters(words: WordReader, word: Word): readonly [number, number] {
  const parts = /^\[([0-9]+):([0-9]+)\]$/.exec(word.text);
  const [packets, bytes] = [Number(parts?.[1]), Number(parts?.[2])];
  if (parts === null || !Number.isSafeInteger(packets) || !Number.isSafeInteger(bytes))
    throw words.fail("syntax", word, `not counters as [packets:bytes]: ${word.text}`);
  return [packets, bytes];
}

function readCount(words: WordReader, word: Word): number {
  const value = parseU32(word.text);
  if (value === undefined) throw words.fail("invalid", word, `not a counter: ${word.text}`);
  return value;
}
