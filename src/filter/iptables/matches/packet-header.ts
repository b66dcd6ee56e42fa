/**
 * Conditions on the bytes of the packet: length, ttl and hl, tos, dscp, ecn, u32, bpf. Source: kernel net/netfilter/
 * xt_length.c, xt_hl.c, xt_dscp.c, xt_ecn.c, xt_u32.c, xt_bpf.c. The program of `bpf` runs in an interpreter that is handed
 * in at link time (`LinkContext.compileProgram`).
 */
import type { PacketBatch } from "../../../packet/index.ts";
import { packetEnd } from "../../../packet/index.ts";
import { IpProtocol, readU16, readU32 } from "../../../wire/index.ts";
import type { ClassicInstruction } from "../../datapath.ts";
import { parseU32 } from "../../words.ts";
import { transportWith } from "../headers.ts";
import type { HeaderMatch, Match, MatchOf, Range, U32Test } from "../match.ts";
import {
  Answer,
  bang,
  colonRange,
  hex,
  isOrNot,
  type MatchKinds,
  type MatchReader,
  type OptionValues,
  parseRange,
  type RowTest,
  type RuleContext,
} from "./extension.ts";

const tosNames: Readonly<Record<string, number>> = {
  "minimize-delay": 0x10,
  "maximize-throughput": 0x08,
  "maximize-reliability": 0x04,
  "minimize-cost": 0x02,
  "normal-service": 0x00,
};
/** A name leaves the two ECN bits alone. */
const namedTosMask = 0x3f;

export function parseTos(text: string): readonly [value: number, mask: number] | undefined {
  const named = text.toLowerCase();
  if (Object.hasOwn(tosNames, named)) return [tosNames[named] ?? 0, namedTosMask];
  const [valueText = "", maskText, ...rest] = text.split("/");
  const value = parseU32(valueText);
  const mask = maskText === undefined ? 0xff : parseU32(maskText);
  if (value === undefined || mask === undefined || value > 0xff || mask > 0xff || rest.length > 0)
    return undefined;
  return [value, mask];
}

/** `EF`, `CS0`..`CS7`, `BE`, `AFxy` (RFC 2474, 2597, 3246). */
export function parseDscpClass(text: string): number | undefined {
  const name = text.toUpperCase();
  if (name === "BE") return 0;
  if (name === "EF") return 0x2e;
  const selector = /^CS([0-7])$/.exec(name);
  if (selector !== null) return Number(selector[1]) * 8;
  const assured = /^AF([1-4])([1-3])$/.exec(name);
  return assured === null ? undefined : Number(assured[1]) * 8 + Number(assured[2]) * 2;
}

export function parseDscp(text: string): number | undefined {
  const value = parseU32(text);
  return value !== undefined && value < 64 ? value : undefined;
}

export const dscpText = (value: number): string => `0x${value.toString(16).padStart(2, "0")}`;

function readTtl(options: OptionValues): readonly Match[] {
  const prefix = options.names.some((name) => name.startsWith("--hl")) ? "hl" : "ttl";
  for (const op of ["eq", "lt", "gt"] as const) {
    const name = `--${prefix}-${op}`;
    const value = options.read(name, (text) => parseRange(text, 255)?.[0], "a number up to 255");
    if (value !== undefined) return [{ kind: "ttl", op, value, ...options.not(name) }];
  }
  throw options.incomplete(`-m ${prefix} needs --${prefix}-eq, --${prefix}-lt or --${prefix}-gt`);
}

function readDscp(options: OptionValues): readonly Match[] {
  const value =
    options.read("--dscp", parseDscp, "a number below 64") ??
    options.read("--dscp-class", parseDscpClass, "a DiffServ class");
  if (value === undefined) throw options.incomplete("-m dscp needs --dscp or --dscp-class");
  return [{ kind: "dscp", value, ...options.not("--dscp"), ...options.not("--dscp-class") }];
}

function readEcn(options: OptionValues, { protocol }: RuleContext): readonly Match[] {
  const bit = (name: string): boolean | undefined => {
    const use = options.get(name);
    if (use === undefined) return undefined;
    if (protocol !== IpProtocol.tcp) throw options.words.fail("invalid", use.option, `${name} needs -p tcp`);
    return !use.isNegated;
  };
  const [cwr, ece] = [bit("--ecn-tcp-cwr"), bit("--ecn-tcp-ece")];
  const ect = options.read("--ecn-ip-ect", (text) => parseRange(text, 3)?.[0], "a number up to 3");
  if (cwr === undefined && ece === undefined && ect === undefined)
    throw options.incomplete("-m ecn needs an option");
  return [
    {
      kind: "ecn",
      ...(cwr === undefined ? {} : { cwr }),
      ...(ece === undefined ? {} : { ece }),
      ...(ect === undefined ? {} : { ect: { value: ect, ...options.not("--ecn-ip-ect") } }),
    },
  ];
}

const u32TestsMax = 11;

/** `location [op number]... = value[:value],...` joined by `&&`. */
function parseU32Tests(text: string): readonly U32Test[] | undefined {
  const tests = text.split("&&").map((part): U32Test | undefined => {
    const [left, right, ...rest] = part.replaceAll(/\s/g, "").split("=");
    const tokens = /^(?:(?:&|<<|>>|@)?[0-9a-fA-FxX]+)+$/.test(left ?? "")
      ? [...(left ?? "").matchAll(/(&|<<|>>|@)?([0-9a-fA-FxX]+)/g)]
      : [];
    const location = tokens.map(([, op, number]) => ({
      op: (op ?? "") as U32Test["location"][number]["op"],
      number: parseU32(number ?? "") ?? Number.NaN,
    }));
    const values = (right ?? "").split(",").map((range) => parseRange(range, 0xffffffff));
    const isGood =
      rest.length === 0 &&
      location.length > 0 &&
      location.every(({ op, number }, i) => !Number.isNaN(number) && (op === "") === (i === 0)) &&
      !values.includes(undefined);
    return isGood ? { location, values: values as readonly Range[] } : undefined;
  });
  return tests.includes(undefined) || tests.length > u32TestsMax ? undefined : (tests as readonly U32Test[]);
}

/** `count,code jt jf k,...` as tcpdump -ddd prints a program. */
function parseBytecode(text: string): readonly ClassicInstruction[] | undefined {
  const [countText, ...lines] = text.trim().replace(/,$/, "").split(",");
  const program = lines.map((line) => {
    const numbers = line.trim().split(/\s+/).map(parseU32);
    const [code, jt, jf, k] = numbers;
    if (numbers.length !== 4 || code === undefined || jt === undefined || jf === undefined || k === undefined)
      return undefined;
    return code <= 0xffff && jt <= 0xff && jf <= 0xff ? { code, jt, jf, k } : undefined;
  });
  if (program.includes(undefined) || program.length !== Number(countText) || program.length === 0)
    return undefined;
  return program as readonly ClassicInstruction[];
}

function one<T>(
  option: string,
  parse: (text: string) => T | undefined,
  what: string,
  make: (value: T, not: { readonly not?: true }) => Match,
  isNegatable = true,
): MatchReader {
  return {
    options: { [option]: { values: 1, ...(isNegatable ? { not: true as const } : {}) } },
    read: (options) => {
      const value = options.read(option, parse, what);
      if (value === undefined) throw options.incomplete(`${option} is missing`);
      return [make(value, options.not(option))];
    },
  };
}

const ttlOptions = (prefix: string): MatchReader["options"] => ({
  [`--${prefix}-eq`]: { values: 1, not: true },
  [`--${prefix}`]: { values: 1, not: true, as: `--${prefix}-eq` },
  [`--${prefix}-lt`]: { values: 1 },
  [`--${prefix}-gt`]: { values: 1 },
});

export const headerReaders: Readonly<Record<string, MatchReader>> = {
  length: one(
    "--length",
    (text) => parseRange(text),
    "a length or range",
    (range, not) => ({
      kind: "length",
      range,
      ...not,
    }),
  ),
  ttl: { options: ttlOptions("ttl"), families: [4], read: readTtl },
  hl: { options: ttlOptions("hl"), families: [6], read: readTtl },
  tos: one("--tos", parseTos, "a value, value/mask or name", ([value, mask], not) => ({
    kind: "tos",
    value,
    mask,
    ...not,
  })),
  dscp: {
    options: { "--dscp": { values: 1, not: true }, "--dscp-class": { values: 1, not: true } },
    read: readDscp,
  },
  ecn: {
    options: {
      "--ecn-tcp-cwr": { values: 0, not: true },
      "--ecn-tcp-ece": { values: 0, not: true },
      "--ecn-ip-ect": { values: 1, not: true },
    },
    read: readEcn,
  },
  u32: one("--u32", parseU32Tests, "tests as of iptables-extensions(8), u32", (tests, not) => ({
    kind: "u32",
    tests,
    ...not,
  })),
  bpf: one(
    "--bytecode",
    parseBytecode,
    "a program as tcpdump -ddd prints it, joined by commas",
    (program) => ({ kind: "bpf", program }),
    false,
  ),
};

const u32Text = (tests: readonly U32Test[]): string =>
  tests
    .map(({ location, values }) => {
      const where = location.map(({ op, number }) => `${op}${hex(number)}`).join("");
      const what = values.map(([min, max]) => (min === max ? hex(min) : `${hex(min)}:${hex(max)}`)).join(",");
      return `${where}=${what}`;
    })
    .join("&&");

const orderText = { eq: "is", lt: "is below", gt: "is above" } as const;

export const headerKinds: MatchKinds<HeaderMatch["kind"]> = {
  length: {
    text: (match) => `-m length ${bang(match)}--length ${colonRange(match.range)}`,
    explain: (match, { batch, row }) =>
      `length ${packetEnd(batch, row) - batch.offset[row]!} ${isOrNot(match)} ${colonRange(match.range)}`,
    bind: ({ range: [min, max], not }) => {
      const wanted = not !== true;
      return (batch, row) => {
        const length = packetEnd(batch, row) - batch.offset[row]!;
        return (length >= min && length <= max) === wanted ? Answer.yes : Answer.no;
      };
    },
  },
  ttl: {
    text: (match, family) => {
      const name = family === 6 ? "hl" : "ttl";
      return `-m ${name} ${bang(match)}--${name}-${match.op} ${match.value}`;
    },
    explain: (match, { batch, row }) =>
      `that the packet's TTL ${ttlOf(batch, row)} ${orderText[match.op]} ${match.value} is ${match.not ? "true" : "false"}`,
    bind: ({ op, value, not }) => {
      const wanted = not !== true;
      return (batch, row) => {
        const ttl = ttlOf(batch, row);
        const holds = op === "eq" ? ttl === value : op === "lt" ? ttl < value : ttl > value;
        return holds === wanted ? Answer.yes : Answer.no;
      };
    },
  },
  tos: {
    text: ({ value, mask, ...match }) =>
      `-m tos ${bang(match)}--tos 0x${value.toString(16).padStart(2, "0")}/0x${mask.toString(16).padStart(2, "0")}`,
    explain: (match, { batch, row }) =>
      `TOS ${hex(tosOf(batch, row))} ${isOrNot(match)} ${hex(match.value)} under ${hex(match.mask)}`,
    bind: ({ value, mask, not }) => {
      const wanted = not !== true;
      return (batch, row) => (((tosOf(batch, row) & mask) === value) === wanted ? Answer.yes : Answer.no);
    },
  },
  dscp: {
    text: (match) => `-m dscp ${bang(match)}--dscp ${dscpText(match.value)}`,
    explain: (match, { batch, row }) =>
      `DSCP ${dscpText(tosOf(batch, row) >>> 2)} ${isOrNot(match)} ${dscpText(match.value)}`,
    bind: ({ value, not }) => {
      const wanted = not !== true;
      return (batch, row) => ((tosOf(batch, row) >>> 2 === value) === wanted ? Answer.yes : Answer.no);
    },
  },
  ecn: {
    text: ({ cwr, ece, ect }) => {
      const bit = (isWanted: boolean | undefined, name: string): string =>
        isWanted === undefined ? "" : ` ${isWanted ? "" : "! "}--ecn-tcp-${name}`;
      const ip = ect === undefined ? "" : ` ${bang(ect)}--ecn-ip-ect ${ect.value}`;
      return `-m ecn${bit(ece, "ece")}${bit(cwr, "cwr")}${ip}`;
    },
    explain: () => "the packet's ECN bits are not those asked for",
    bind: bindEcn,
  },
  u32: {
    text: (match) => `-m u32 ${bang(match)}--u32 "${u32Text(match.tests)}"`,
    explain: (match) => `the bytes of the packet ${isOrNot(match)} as ${u32Text(match.tests)}`,
    bind: bindU32,
  },
  bpf: {
    text: ({ program }) =>
      `-m bpf --bytecode "${program.length},${program.map(({ code, jt, jf, k }) => `${code} ${jt} ${jf} ${k}`).join(",")}"`,
    explain: () => "the program answers 0 for the packet",
    bind: ({ program }, node) => {
      const run = node.compileProgram(program);
      return (batch, row) => (run(batch, row) !== 0 ? Answer.yes : Answer.no);
    },
  },
};

export function ttlOf(batch: PacketBatch, row: number): number {
  return batch.bytes[batch.offset[row]! + (batch.family[row] === 6 ? 7 : 8)]!;
}

/** TOS, or traffic class. */
export function tosOf(batch: PacketBatch, row: number): number {
  const at = batch.offset[row]!;
  return batch.family[row] === 6 ? (readU16(batch.bytes, at) >>> 4) & 0xff : batch.bytes[at + 1]!;
}

const tcpCwr = 0x80;
const tcpEce = 0x40;

function bindEcn({ cwr, ece, ect }: MatchOf<"ecn">): RowTest {
  return (batch, row) => {
    if (ect !== undefined && ((tosOf(batch, row) & 3) === ect.value) === (ect.not === true)) return Answer.no;
    if (cwr === undefined && ece === undefined) return Answer.yes;
    const at = transportWith(batch, row, 20);
    if (at < 0) return Answer.no;
    const flags = batch.bytes[at + 13]!;
    if (ece !== undefined && ((flags & tcpEce) !== 0) !== ece) return Answer.no;
    return cwr !== undefined && ((flags & tcpCwr) !== 0) !== cwr ? Answer.no : Answer.yes;
  };
}

function bindU32({ tests, not }: MatchOf<"u32">): RowTest {
  const wanted = not !== true;
  return (batch, row) =>
    tests.every((test) => u32Holds(test, batch, row)) === wanted ? Answer.yes : Answer.no;
}

function u32Holds({ location, values }: U32Test, batch: PacketBatch, row: number): boolean {
  const start = batch.offset[row]!;
  const size = packetEnd(batch, row) - start;
  let base = 0;
  let value = 0;
  for (const { op, number } of location) {
    if (op === "" || op === "@") {
      if (op === "@") base += value;
      if (base + number + 4 > size) return false;
      value = readU32(batch.bytes, start + base + number);
    } else if (op === "&") value = (value & number) >>> 0;
    else if (op === "<<") value = number > 31 ? 0 : (value << number) >>> 0;
    else value = number > 31 ? 0 : value >>> number;
  }
  return values.some(([min, max]) => value >= min && value <= max);
}
