/**
 * `-m set --match-set NAME src|dst,...`. A plain set match is linked as a code word; one that reads or spares counters or
 * asks `--return-nomatch` runs here. Source: kernel net/netfilter/xt_set.c, net/netfilter/ipset/ip_set_core.c.
 */
import {
  type CounterCondition,
  dimensionBits,
  type Lookup,
  LookupFlag,
  setNameMax,
} from "../../ipset/index.ts";
import type { Word, WordReader } from "../../words.ts";
import type { Match, SetMatch, SetSide } from "../match.ts";
import {
  Answer,
  bang,
  isOrNot,
  type MatchKinds,
  type MatchReader,
  type OptionValues,
  type PacketContext,
  rowAddressText,
} from "./extension.ts";

/** Dimensions that the kernel knows (IPSET_DIM_MAX). */
const dimensionsMax = 6;

export function readSetName(words: WordReader, word: Word | undefined): string {
  if (word === undefined || word.text === "" || word.text.length > setNameMax)
    throw words.fail("too-large", word, `a set name has 1 to ${setNameMax} characters: ${word?.text}`);
  return word.text;
}

export function readSetSides(words: WordReader, word: Word | undefined): readonly SetSide[] {
  const flags = (word?.text ?? "").split(",");
  const sides = flags.filter((flag) => flag === "src" || flag === "dst");
  if (sides.length !== flags.length || sides.length > dimensionsMax)
    throw words.fail(
      "invalid",
      word,
      `dimensions of a set are src or dst, at most ${dimensionsMax}: ${word?.text}`,
    );
  return sides;
}

function readCounter(options: OptionValues, unit: "packets" | "bytes"): CounterCondition | undefined {
  const given = (["eq", "lt", "gt"] as const).filter((op) => options.has(`--${unit}-${op}`));
  const [op] = given;
  if (op === undefined) return undefined;
  if (given.length > 1) throw options.incomplete(`only one of --${unit}-eq, --${unit}-lt, --${unit}-gt`);
  const name = `--${unit}-${op}`;
  const value = options.read(
    name,
    (text) => (/^[0-9]{1,15}$/.test(text) ? Number(text) : undefined),
    "a number",
  );
  const isUnequal = op === "eq" && options.get(name)?.isNegated === true;
  return { op: isUnequal ? "ne" : op, value: value ?? 0 };
}

function readSet(options: OptionValues): readonly Match[] {
  const use = options.get("--match-set");
  if (use === undefined) throw options.incomplete("-m set needs --match-set");
  const { words } = options;
  const [packets, bytes] = [readCounter(options, "packets"), readCounter(options, "bytes")];
  const spares = (name: string): boolean => options.get(name)?.isNegated === true;
  return [
    {
      kind: "set",
      set: readSetName(words, use.values[0]),
      flags: readSetSides(words, use.values[1]),
      ...options.not("--match-set"),
      ...(options.has("--return-nomatch") ? { returnNomatch: true } : {}),
      ...(spares("--update-counters") ? { keepCounters: true } : {}),
      ...(spares("--update-subcounters") ? { keepSubcounters: true } : {}),
      ...(packets === undefined ? {} : { packets }),
      ...(bytes === undefined ? {} : { bytes }),
    },
  ];
}

const counterOptions: MatchReader["options"] = Object.fromEntries(
  (["packets", "bytes"] as const).flatMap((unit) => [
    [`--${unit}-eq`, { values: 1, not: true } as const],
    [`--${unit}-lt`, { values: 1 } as const],
    [`--${unit}-gt`, { values: 1 } as const],
  ]),
);

export const setReaders: Readonly<Record<string, MatchReader>> = {
  set: {
    options: {
      "--match-set": { values: 2, not: true },
      "--return-nomatch": { values: 0 },
      "--update-counters": { values: 0, not: true },
      "--update-subcounters": { values: 0, not: true },
      ...counterOptions,
    },
    read: readSet,
  },
};

function counterText(unit: string, test: CounterCondition | undefined): string {
  if (test === undefined) return "";
  return test.op === "ne" ? ` ! --${unit}-eq ${test.value}` : ` --${unit}-${test.op} ${test.value}`;
}

export const setKinds: MatchKinds<"set"> = {
  set: {
    text: (match) => {
      const options = [
        match.returnNomatch ? " --return-nomatch" : "",
        match.keepCounters ? " ! --update-counters" : "",
        match.keepSubcounters ? " ! --update-subcounters" : "",
        counterText("packets", match.packets),
        counterText("bytes", match.bytes),
      ].join("");
      return `-m set ${bang(match)}--match-set ${match.set} ${match.flags.join(",")}${options}`;
    },
    explain: (match, context) => {
      const where = match.flags.map((flag, i) => dimensionText(flag, i, context)).join(", ");
      const title = context.setTitle(match.set);
      const name = title === undefined ? match.set : `${title} (${match.set})`;
      const how = isPlainSet(match) ? "" : ", counters and options considered";
      return `${where} ${isOrNot(match)} in set ${name}${how}`;
    },
    bind: (match, node) => {
      const dimensions = dimensionBits(match.flags);
      const wanted = match.not !== true;
      const flags =
        (match.returnNomatch ? LookupFlag.returnNomatch : 0) |
        (match.keepCounters ? LookupFlag.keepCounters : 0) |
        (match.keepSubcounters ? LookupFlag.keepSubcounters : 0);
      const lookup: Lookup = { flags, packets: match.packets, bytes: match.bytes };
      return (batch, row) => {
        const found = node.set(match.set)?.lookup(batch, row, dimensions, node, lookup) === true;
        return found === wanted ? Answer.yes : Answer.no;
      };
    },
  },
};

/** True if nothing but membership is asked. */
export function isPlainSet(match: SetMatch): boolean {
  return !(
    match.returnNomatch ||
    match.keepCounters ||
    match.keepSubcounters ||
    match.packets !== undefined ||
    match.bytes !== undefined
  );
}

function dimensionText(flag: SetSide, index: number, context: PacketContext): string {
  const { packet } = context;
  if (index === 1) return `${packet.protocol} port ${flag === "src" ? packet.sport : packet.dport}`;
  return `${flag === "src" ? "source" : "destination"} ${rowAddressText(context, flag)}`;
}
