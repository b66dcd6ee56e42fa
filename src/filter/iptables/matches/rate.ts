/**
 * Rates: limit, hashlimit, quota. A bucket holds credit in nanoseconds of virtual time: full at first, it gains one for each
 * that passes, up to `burst` packets' worth, and each packet that fits costs the time between two at the given rate. The
 * kernel counts in jiffies of 1 to 10 ms, so verdicts agree except within a jiffy of a refill. Left out: rates in bytes,
 * `--hashlimit-rate-match`. Source: kernel net/netfilter/xt_limit.c, xt_hashlimit.c, xt_quota.c.
 */
import { maskWord } from "../../../addr/index.ts";
import { type PacketBatch, packetEnd } from "../../../packet/index.ts";
import { readU32 } from "../../../wire/index.ts";
import { parseU32 } from "../../words.ts";
import { transportStart, transportWith } from "../headers.ts";
import type { HashlimitKey, Match, MatchOf, Rate, RateUnit } from "../match.ts";
import {
  Answer,
  bang,
  type MatchKinds,
  type MatchNode,
  type MatchReader,
  type OptionValues,
  parseRange,
  type RowTest,
} from "./extension.ts";

const unitSeconds: Readonly<Record<RateUnit, number>> = { sec: 1, min: 60, hour: 3600, day: 86400 };
const unitWords: readonly (readonly [RateUnit, string])[] = [
  ["sec", "second"],
  ["min", "minute"],
  ["hour", "hour"],
  ["day", "day"],
];
/** The kernel keeps the time between two packets in these parts of a second. */
const limitScale = 10_000;
const hashlimitScale = 1_000_000;
const burstDefault = 5;

/** `5/sec`, `5/s`, `5/second`; a count alone is per second. As the tool prints what the kernel makes of it. */
function parseRate(text: string, scale: number): Rate | undefined {
  const [countText = "", unitText = "second", ...rest] = text.split("/");
  const count = parseU32(countText);
  const wanted = unitText.toLowerCase();
  const per = unitWords.find(([, word]) => wanted !== "" && word.startsWith(wanted))?.[0];
  if (count === undefined || count === 0 || per === undefined || rest.length > 0) return undefined;
  return canonicalRate(averageOf({ count, per }, scale), scale);
}

/** Time between two packets in parts of a second. */
function averageOf({ count, per }: Rate, scale: number): number {
  return Math.floor((scale * unitSeconds[per]) / count);
}

/** The largest unit that loses little, as libxt_limit chooses it (print_rate). */
function canonicalRate(average: number, scale: number): Rate | undefined {
  if (average === 0) return undefined;
  let per: RateUnit = "day";
  for (const unit of ["hour", "min", "sec"] as const) {
    const span = scale * unitSeconds[unit];
    if (average > span || Math.floor(span / average) < span % average) break;
    per = unit;
  }
  return { count: Math.floor((scale * unitSeconds[per]) / average), per };
}

const rateText = ({ count, per }: Rate): string => `${count}/${per}`;

const keyOrder = ["srcip", "srcport", "dstip", "dstport"] as const;

function parseKeys(text: string): readonly HashlimitKey[] | undefined {
  const given = text.split(",");
  const found = keyOrder.filter((key) => given.includes(key));
  return found.length === new Set(given).size ? found : undefined;
}

function readHashlimit(options: OptionValues): readonly Match[] {
  const [upto, above] = [options.get("--hashlimit-upto"), options.get("--hashlimit-above")];
  const use = upto ?? above;
  const name = options.word("--hashlimit-name")?.text;
  if (use === undefined || (upto !== undefined && above !== undefined) || name === undefined || name === "")
    throw options.incomplete(
      "-m hashlimit needs --hashlimit-name and one of --hashlimit-upto, --hashlimit-above",
    );
  const [word] = use.values;
  if (/b(\/|$)/i.test(word?.text ?? ""))
    throw options.words.fail("not-supported", word, `rates in bytes are not supported: ${word?.text}`);
  const number = (option: string): number | undefined =>
    options.read(option, (text) => parseRange(text, 0xffffffff)?.[0], "a number");
  const rate = options.read(
    upto === undefined ? "--hashlimit-above" : "--hashlimit-upto",
    (text) => parseRate(text, hashlimitScale),
    "a rate such as 5/sec",
  );
  const optional = {
    size: number("--hashlimit-htable-size"),
    max: number("--hashlimit-htable-max"),
    gcIntervalMs: number("--hashlimit-htable-gcinterval"),
    expireMs: number("--hashlimit-htable-expire"),
    srcMask: number("--hashlimit-srcmask"),
    dstMask: number("--hashlimit-dstmask"),
  };
  const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
  return [
    {
      kind: "hashlimit",
      holds: (upto === undefined) === use.isNegated ? "upto" : "above",
      rate: rate ?? { count: 1, per: "sec" },
      burst: number("--hashlimit-burst") ?? burstDefault,
      name,
      mode: options.read("--hashlimit-mode", parseKeys, keyOrder.join(", ")) ?? [],
      ...given,
    },
  ];
}

export const rateReaders: Readonly<Record<string, MatchReader>> = {
  limit: {
    options: { "--limit": { values: 1 }, "--limit-burst": { values: 1 } },
    read: (options) => [
      {
        kind: "limit",
        rate: options.read("--limit", (text) => parseRate(text, limitScale), "a rate such as 5/min") ?? {
          count: 3,
          per: "hour",
        },
        burst:
          options.read("--limit-burst", (text) => parseRange(text, 10_000)?.[0], "a number up to 10000") ??
          burstDefault,
      },
    ],
  },
  hashlimit: {
    options: {
      "--hashlimit-upto": { values: 1, not: true },
      "--hashlimit": { values: 1, not: true, as: "--hashlimit-upto" },
      "--hashlimit-above": { values: 1, not: true },
      "--hashlimit-burst": { values: 1 },
      "--hashlimit-mode": { values: 1 },
      "--hashlimit-name": { values: 1 },
      "--hashlimit-htable-size": { values: 1 },
      "--hashlimit-htable-max": { values: 1 },
      "--hashlimit-htable-gcinterval": { values: 1 },
      "--hashlimit-htable-expire": { values: 1 },
      "--hashlimit-srcmask": { values: 1 },
      "--hashlimit-dstmask": { values: 1 },
    },
    read: readHashlimit,
  },
  quota: {
    options: { "--quota": { values: 1, not: true } },
    read: (options) => {
      const bytes = options.read(
        "--quota",
        (text) => (/^[0-9]{1,15}$/.test(text) ? Number(text) : undefined),
        "a number of bytes",
      );
      if (bytes === undefined) throw options.incomplete("-m quota needs --quota");
      return [{ kind: "quota", bytes, ...options.not("--quota") }];
    },
  },
};

export const rateKinds: MatchKinds<"limit" | "hashlimit" | "quota"> = {
  limit: {
    text: ({ rate, burst }) =>
      `-m limit --limit ${rateText(rate)}${burst === burstDefault ? "" : ` --limit-burst ${burst}`}`,
    explain: ({ rate, burst }) => `the rate of ${rateText(rate)} with bursts of ${burst} is used up`,
    bind: (match, node) => {
      const { perPacketNs, capNs } = bucketOf(match.rate, match.burst, limitScale);
      const bucket = node.memory((): Bucket => ({ creditNs: capNs, atNs: node.nowNs() }));
      return () => (spend(bucket, node.nowNs(), perPacketNs, capNs) ? Answer.yes : Answer.no);
    },
  },
  hashlimit: {
    text: hashlimitText,
    explain: ({ rate, name, holds }) =>
      `the rate of ${rateText(rate)} in ${name} is ${holds === "upto" ? "exceeded" : "not exceeded"}`,
    bind: bindHashlimit,
  },
  quota: {
    text: (match) => `-m quota ${bang(match)}--quota ${match.bytes}`,
    explain: (match) => `the quota of ${match.bytes} bytes is ${match.not ? "not used up" : "used up"}`,
    bind: (match, node) => {
      const left = node.memory(() => ({ bytes: match.bytes }));
      const wanted = match.not !== true;
      return (batch, row) => {
        const size = packetEnd(batch, row) - batch.offset[row]!;
        const fits = left.bytes >= size;
        left.bytes = fits ? left.bytes - size : 0; // what does not fit uses the rest up
        return fits === wanted ? Answer.yes : Answer.no;
      };
    },
  },
};

function hashlimitText(match: MatchOf<"hashlimit">): string {
  const option = (name: string, value: number | undefined): string =>
    value === undefined ? "" : ` --hashlimit-${name} ${value}`;
  const mode = match.mode.length === 0 ? "" : ` --hashlimit-mode ${match.mode.join(",")}`;
  return `-m hashlimit --hashlimit-${match.holds} ${rateText(match.rate)} --hashlimit-burst ${match.burst}${mode} --hashlimit-name ${match.name}${option("htable-size", match.size)}${option("htable-max", match.max)}${option("htable-gcinterval", match.gcIntervalMs)}${option("htable-expire", match.expireMs)}${option("srcmask", match.srcMask)}${option("dstmask", match.dstMask)}`;
}

interface Bucket {
  creditNs: number;
  atNs: number;
}

function bucketOf(rate: Rate, burst: number, scale: number): { perPacketNs: number; capNs: number } {
  const perPacketNs = averageOf(rate, scale) * (1e9 / scale);
  return { perPacketNs, capNs: perPacketNs * burst };
}

function spend(bucket: Bucket, nowNs: number, perPacketNs: number, capNs: number): boolean {
  bucket.creditNs = Math.min(capNs, bucket.creditNs + nowNs - bucket.atNs);
  bucket.atNs = nowNs;
  if (bucket.creditNs < perPacketNs) return false;
  bucket.creditNs -= perPacketNs;
  return true;
}

interface HashBucket extends Bucket {
  expiresNs: number;
}

const expireDefaultMs = 10_000;

/** Buckets by key; rules of one name and family share them, with the configuration of the first. */
function bindHashlimit(match: MatchOf<"hashlimit">, node: MatchNode): RowTest {
  const { perPacketNs, capNs } = bucketOf(match.rate, match.burst, hashlimitScale);
  const expireNs = (match.expireMs ?? expireDefaultMs) * 1e6;
  const tables = [4, 6].map((family) =>
    node.shared(`hashlimit ${family} ${match.name}`, () => new Map<string, HashBucket>()),
  );
  const wanted = match.holds === "upto";
  const portsAsked = match.mode.includes("srcport") || match.mode.includes("dstport");
  return (batch, row) => {
    const table = tables[batch.family[row] === 6 ? 1 : 0]!;
    const nowNs = node.nowNs();
    const ports = portsAsked ? portWords(batch, row) : 0;
    if (ports < 0) return Answer.drop;
    const key = bucketKey(match, batch, row, ports);
    let bucket = table.get(key);
    if (bucket === undefined || bucket.expiresNs <= nowNs) {
      bucket = { creditNs: capNs, atNs: nowNs, expiresNs: 0 };
      if (table.size >= (match.max ?? Number.POSITIVE_INFINITY) && !table.has(key)) {
        for (const [other, { expiresNs }] of table) if (expiresNs <= nowNs) table.delete(other);
        if (table.size >= (match.max ?? 0)) return Answer.drop;
      }
      table.set(key, bucket);
    }
    bucket.expiresNs = nowNs + expireNs;
    return spend(bucket, nowNs, perPacketNs, capNs) === wanted ? Answer.yes : Answer.no;
  };
}

/** Where protocols have two 16-bit ports (of ESP and AH, the halves of the SPI): proto_ports_offset of the kernel. */
const portOffsets: Readonly<Record<number, number>> = { 6: 0, 17: 0, 33: 0, 50: 0, 51: 4, 132: 0, 136: 0 };

/** Both ports in one word; 0 for protocols without ports; -1 where the header is cut. */
function portWords(batch: PacketBatch, row: number): number {
  const offset = portOffsets[batch.protocol[row]!];
  if (offset === undefined || transportStart(batch, row) < 0) return 0;
  const at = transportWith(batch, row, offset + 4);
  return at < 0 ? -1 : readU32(batch.bytes, at + offset);
}

function bucketKey(match: MatchOf<"hashlimit">, batch: PacketBatch, row: number, ports: number): string {
  const parts: number[] = [];
  const address = (column: Uint32Array, prefix: number | undefined): void => {
    const words = batch.family[row] === 6 ? 4 : 1;
    for (let i = 0; i < words; i++)
      parts.push((column[row * 4 + i]! & maskWord(prefix ?? words * 32, i)) >>> 0);
  };
  for (const key of match.mode) {
    if (key === "srcip") address(batch.src, match.srcMask);
    else if (key === "dstip") address(batch.dst, match.dstMask);
    else parts.push(key === "srcport" ? Math.floor(ports / 0x10000) : ports & 0xffff);
  }
  return parts.join(",");
}
