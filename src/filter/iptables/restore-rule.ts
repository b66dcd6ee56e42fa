/**
 * One rule (`-A CHAIN ...`, without its command) of iptables text, as the tool reads it: options in any order belong to the
 * extension loaded last that has them. Every option is known by name or refused by name; none is passed over. The result is
 * in the order that iptables-save prints. Governing sources: iptables(8), iptables-extensions(8).
 */
import type { Cidr } from "../../addr/index.ts";
import { parseProtocol } from "../protocols.ts";
import type { Word, WordReader } from "../words.ts";
import type { Match } from "./match.ts";
import {
  impliedReader,
  matchReader,
  type OptionShape,
  OptionValues,
  type RuleContext,
  readersWith,
} from "./matches/index.ts";
import { parseNet } from "./net.ts";
import type { Rule, TableName } from "./ruleset.ts";
import type { Target } from "./target.ts";
import { targetReader } from "./targets/index.ts";

const interfaceNameMax = 15;

/** What a rule may refer to. */
export interface RuleScope {
  readonly family: 4 | 6;
  readonly table: TableName;
  isChain(name: string): boolean;
}

/** One `-m` or `-j` with the options given to it so far. */
interface Use {
  readonly name: string;
  readonly shapes: Readonly<Record<string, OptionShape>>;
  readonly values: OptionValues;
}

interface TargetUse extends Use {
  /** A chain to jump or go to. */
  readonly chain: Extract<Target, { kind: "jump" | "goto" }> | undefined;
}

interface Negation {
  readonly not?: true;
}

interface RuleDraft {
  readonly scope: RuleScope;
  readonly chain: string;
  readonly words: WordReader;
  /** `-s` and `-d` take lists: one rule for each pair. */
  sources: readonly Match[];
  destinations: readonly Match[];
  in: Match | undefined;
  out: Match | undefined;
  protocol: { readonly value: number; readonly not: Negation } | undefined;
  fragment: Match | undefined;
  readonly uses: Use[];
  target: TargetUse | undefined;
  counters: readonly [number, number] | undefined;
}

/** Reads the rest of a line after its chain. @throws InputError with the place of the fault. */
export function readRules(
  words: WordReader,
  scope: RuleScope,
  chain: string,
  counters: readonly [number, number] | undefined,
): readonly Rule[] {
  const draft: RuleDraft = {
    scope,
    chain,
    words,
    sources: [],
    destinations: [],
    in: undefined,
    out: undefined,
    protocol: undefined,
    fragment: undefined,
    uses: [],
    target: undefined,
    counters,
  };
  for (let option = words.next(); option !== undefined; option = words.next()) {
    const bang = option.text === "!" && !option.isQuoted ? option : undefined;
    if (bang !== undefined) option = words.value(bang);
    if (option.isQuoted || !option.text.startsWith("-"))
      throw words.fail("syntax", option, `an option was expected, not ${option.text}`);
    readOption(draft, option, bang);
  }
  return finish(draft);
}

function readOption(draft: RuleDraft, option: Word, bang: Word | undefined): void {
  const { words, scope } = draft;
  const not: Negation = bang === undefined ? {} : { not: true };
  const plain = (): void => {
    if (bang !== undefined) throw words.fail("invalid", bang, `${option.text} cannot be negated`);
  };
  switch (option.text) {
    case "-m":
    case "--match":
      plain();
      readModule(draft, words.value(option));
      return;
    case "-j":
    case "--jump":
    case "-g":
    case "--goto":
      plain();
      readJump(draft, option);
      return;
    case "-c":
    case "--set-counters":
      plain();
      draft.counters = [readCount(words, words.value(option)), readCount(words, words.value(option))];
      return;
    case "-p":
    case "--protocol":
    case "--proto":
      readProtocol(draft, option, not);
      return;
    case "-s":
    case "--source":
    case "--src":
      once(words, option, draft.sources.length > 0);
      draft.sources = readNets(words, words.value(option), scope.family).map((net) => ({
        kind: "source",
        net,
        ...not,
      }));
      return;
    case "-d":
    case "--destination":
    case "--dst":
      once(words, option, draft.destinations.length > 0);
      draft.destinations = readNets(words, words.value(option), scope.family).map((net) => ({
        kind: "destination",
        net,
        ...not,
      }));
      return;
    case "-i":
    case "--in-interface":
      once(words, option, draft.in !== undefined);
      draft.in = readInterface(draft, option, "in-interface", not);
      return;
    case "-o":
    case "--out-interface":
      once(words, option, draft.out !== undefined);
      draft.out = readInterface(draft, option, "out-interface", not);
      return;
    case "-f":
    case "--fragment":
      once(words, option, draft.fragment !== undefined);
      if (scope.family === 6) throw words.fail("invalid", option, `${option.text} is an option of IPv4`);
      draft.fragment = { kind: "fragment", ...not };
      return;
    default:
      readExtensionOption(draft, option, bang !== undefined);
  }
}

function once(words: WordReader, option: Word, isThere: boolean): void {
  if (isThere) throw words.fail("duplicate", option, `a rule has one ${option.text}`);
}

function readProtocol(draft: RuleDraft, option: Word, not: Negation): void {
  const { words } = draft;
  once(words, option, draft.protocol !== undefined);
  const word = words.value(option);
  const value = parseProtocol(word.text);
  if (value === undefined) throw words.fail("not-supported", word, `protocol is not known: ${word.text}`);
  if (value === 0 && not.not)
    throw words.fail("invalid", word, "a rule that excludes every protocol never matches");
  draft.protocol = { value, not };
}

/** Addresses, `address/prefix` or `address/mask`, joined by commas. */
function readNets(words: WordReader, word: Word, family: 4 | 6): readonly Cidr[] {
  return word.text.split(",").map((text) => {
    const net = parseNet(text, family);
    if (net === undefined)
      throw words.fail("invalid", word, `not an IPv${family} address or prefix: ${text}`);
    return net;
  });
}

/** Chains in which a packet has no interface of that direction (iptables(8), -i and -o). */
const withoutInterface: Readonly<Record<"in-interface" | "out-interface", readonly string[]>> = {
  "in-interface": ["OUTPUT", "POSTROUTING"],
  "out-interface": ["INPUT", "PREROUTING"],
};

function readInterface(
  draft: RuleDraft,
  option: Word,
  kind: "in-interface" | "out-interface",
  not: Negation,
): Match {
  const { words } = draft;
  const word = words.value(option);
  if (word.text === "" || word.text.length > interfaceNameMax)
    throw words.fail(
      "invalid",
      word,
      `an interface name has 1 to ${interfaceNameMax} characters: ${word.text}`,
    );
  if (withoutInterface[kind].includes(draft.chain))
    throw words.fail("invalid", option, `${option.text} cannot be used in ${draft.chain}`);
  if (word.text === "+" && not.not)
    throw words.fail("invalid", word, "a rule that excludes every interface never matches");
  return { kind, name: word.text, ...not };
}

function readModule(draft: RuleDraft, word: Word): void {
  const reader = matchReader(word.text);
  const { words, scope } = draft;
  if (reader === undefined) throw words.fail("not-supported", word, `match -m ${word.text} is not supported`);
  if (reader.tables !== undefined && !reader.tables.includes(scope.table))
    throw words.fail(
      "invalid",
      word,
      `-m ${word.text} is allowed in table ${reader.tables.join(" or ")} only`,
    );
  if (reader.families !== undefined && !reader.families.includes(scope.family))
    throw words.fail("invalid", word, `-m ${word.text} is a match of IPv${scope.family === 4 ? 6 : 4}`);
  const values = new OptionValues(words, word);
  draft.uses.push({ name: word.text, shapes: reader.options, values });
}

function readJump(draft: RuleDraft, option: Word): void {
  const { words, scope } = draft;
  once(words, option, draft.target !== undefined);
  const name = words.value(option);
  const isGoto = option.text === "-g" || option.text === "--goto";
  const reader = isGoto ? undefined : targetReader(name.text);
  const values = new OptionValues(words, name);
  if (reader === undefined) {
    if (!scope.isChain(name.text)) {
      const what = isGoto
        ? "no such chain in this table"
        : "neither a supported target nor a chain of this table";
      throw words.fail("unknown-name", name, `${what}: ${name.text}`);
    }
    const chain = { kind: isGoto ? "goto" : "jump", chain: name.text } as const;
    draft.target = { name: name.text, shapes: {}, values, chain };
    return;
  }
  if (reader.tables !== undefined && !reader.tables.includes(scope.table))
    throw words.fail(
      "invalid",
      name,
      `target ${name.text} is allowed in table ${reader.tables.join(", ")} only`,
    );
  if (reader.families !== undefined && !reader.families.includes(scope.family))
    throw words.fail("invalid", name, `target ${name.text} is one of IPv${scope.family === 4 ? 6 : 4}`);
  const isBuiltin =
    /^[A-Z]+$/.test(draft.chain) &&
    ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"].includes(draft.chain);
  if (reader.chains !== undefined && isBuiltin && !reader.chains.includes(draft.chain))
    throw words.fail("invalid", name, `target ${name.text} cannot be used in ${draft.chain}`);
  draft.target = { name: name.text, shapes: reader.options, values, chain: undefined };
}

/** An option of a match or of the target; `--name=value` is `--name value`. */
function readExtensionOption(draft: RuleDraft, option: Word, isNegated: boolean): void {
  const { words } = draft;
  const equals = option.text.startsWith("--") ? option.text.indexOf("=") : -1;
  const text = equals < 0 ? option.text : option.text.slice(0, equals);
  const use = useWith(draft, text, option);
  const shape = use.shapes[text] as OptionShape;
  if (isNegated && !shape.not) throw words.fail("invalid", option, `${text} cannot be negated`);
  const values: Word[] =
    equals < 0
      ? []
      : [{ ...option, text: option.text.slice(equals + 1), column: option.column + equals + 1 }];
  if (values.length > shape.values) throw words.fail("invalid", option, `${text} takes no value`);
  while (values.length < shape.values) values.push(words.value(option));
  use.values.add(shape.as ?? text, { option, isNegated, values });
}

function useWith(draft: RuleDraft, text: string, option: Word): Use {
  const loaded = [...draft.uses, ...(draft.target === undefined ? [] : [draft.target])];
  const found = loaded.findLast(({ shapes }) => Object.hasOwn(shapes, text));
  if (found !== undefined) return found;
  const { protocol, words } = draft;
  const implied =
    protocol === undefined || protocol.not.not ? undefined : impliedReader(protocol.value, text);
  if (implied !== undefined && !draft.uses.some(({ name }) => name === implied.name)) {
    const use: Use = {
      name: implied.name,
      shapes: implied.reader.options,
      values: new OptionValues(words, option),
    };
    draft.uses.push(use);
    return use;
  }
  const homes = readersWith(text);
  if (homes.length > 0)
    throw words.fail(
      "invalid",
      option,
      `${text} needs ${homes.map((name) => `-m ${name}`).join(" or ")} before it`,
    );
  const last = draft.uses.at(-1);
  const where = last === undefined ? "" : ` (after -m ${last.name})`;
  throw words.fail("not-supported", option, `option ${text} is not supported${where}`);
}

function finish(draft: RuleDraft): readonly Rule[] {
  const { scope, words } = draft;
  const protocol = draft.protocol?.not.not ? undefined : draft.protocol?.value;
  const context: RuleContext = { family: scope.family, table: scope.table, chain: draft.chain, protocol };
  const matches = draft.uses.flatMap(({ name, values }): readonly Match[] => {
    const reader = matchReader(name);
    if (reader === undefined) return [];
    needProtocol(words, values.place, `-m ${name}`, reader.protocols, protocol);
    return reader.read(values, context);
  });
  const target = finishTarget(draft, context);
  const head = [draft.in, draft.out].filter((match) => match !== undefined && !isAnyInterface(match));
  const rest: Match[] = [];
  if (draft.protocol !== undefined && draft.protocol.value !== 0)
    rest.push({ kind: "protocol", protocol: draft.protocol.value, ...draft.protocol.not });
  if (draft.fragment !== undefined) rest.push(draft.fragment);
  const { counters } = draft;
  return pairs(draft).map((addresses) => ({
    matches: [...addresses, ...(head as Match[]), ...rest, ...matches],
    target,
    ...(counters === undefined ? {} : { counters }),
  }));
}

function finishTarget({ target, words }: RuleDraft, context: RuleContext): Target | undefined {
  if (target === undefined) return undefined;
  if (target.chain !== undefined) return target.chain;
  const reader = targetReader(target.name);
  if (reader === undefined) return undefined;
  needProtocol(words, target.values.place, `target ${target.name}`, reader.protocols, context.protocol);
  return reader.read(target.values, context);
}

function needProtocol(
  words: WordReader,
  place: Word,
  who: string,
  wanted: readonly number[] | undefined,
  protocol: number | undefined,
): void {
  if (wanted !== undefined && (protocol === undefined || !wanted.includes(protocol)))
    throw words.fail("invalid", place, `${who} needs -p with its protocol`);
}

const isAnyInterface = (match: Match): boolean =>
  (match.kind === "in-interface" || match.kind === "out-interface") && match.name === "+";

/** Every source with every destination; an address that leaves nothing out is no condition. */
function pairs({ sources, destinations }: RuleDraft): readonly (readonly Match[])[] {
  const some = (list: readonly Match[]): readonly (readonly Match[])[] =>
    list.length === 0 ? [[]] : list.map((match) => (isEverywhere(match) ? [] : [match]));
  return some(sources).flatMap((source) =>
    some(destinations).map((destination) => [...source, ...destination]),
  );
}

const isEverywhere = (match: Match): boolean =>
  (match.kind === "source" || match.kind === "destination") && match.net.prefix === 0 && !match.not;

/** `[packets:bytes]`. */
export function parseCounters(words: WordReader, word: Word): readonly [number, number] {
  const parts = /^\[([0-9]+):([0-9]+)\]$/.exec(word.text);
  const [packets, bytes] = [Number(parts?.[1]), Number(parts?.[2])];
  if (parts === null || !Number.isSafeInteger(packets) || !Number.isSafeInteger(bytes))
    throw words.fail("syntax", word, `not counters as [packets:bytes]: ${word.text}`);
  return [packets, bytes];
}

function readCount(words: WordReader, word: Word): number {
  const value = /^[0-9]{1,16}$/.test(word.text) ? Number(word.text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw words.fail("invalid", word, `not a counter: ${word.text}`);
  return value;
}
