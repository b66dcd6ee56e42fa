/**
 * `-m recent`: lists of addresses with the times at which they were last seen. Rules that name the same list share it. A list
 * keeps 100 addresses and forgets the one seen longest ago. Source: kernel net/netfilter/xt_recent.c.
 */
import { formatWords, type Ip } from "../../../addr/index.ts";
import type { PacketBatch } from "../../../packet/index.ts";
import type { Match, MatchOf } from "../match.ts";
import {
  Answer,
  bang,
  ipText,
  type MatchKinds,
  type MatchNode,
  type MatchReader,
  type OptionValues,
  parseIpOf,
  parseRange,
  type RowTest,
  type RuleContext,
  rowAddressText,
} from "./extension.ts";
import { ttlOf } from "./packet-header.ts";

const actions = ["set", "rcheck", "update", "remove"] as const;
const nameDefault = "DEFAULT";
const nameMax = 199;
/** Module parameter ip_list_tot. */
const addressesMax = 100;
const hitCountMax = 255;
/** Stamps kept for an address where no rule asks for a hit count. */
const stampsDefault = 32;

function readRecent(options: OptionValues, { family }: RuleContext): readonly Match[] {
  const given = actions.filter((action) => options.has(`--${action}`));
  const [action] = given;
  if (action === undefined || given.length > 1)
    throw options.incomplete("-m recent needs one of --set, --rcheck, --update, --remove");
  const number = (name: string, most: number): number | undefined =>
    options.read(name, (text) => parseRange(text, most)?.[0], `a number up to ${most}`);
  const seconds = number("--seconds", 0xffffffff);
  const hitCount = number("--hitcount", hitCountMax);
  const modifiers = ["--seconds", "--hitcount", "--rttl", "--reap"].filter((name) => options.has(name));
  if (modifiers.length > 0 && (action === "set" || action === "remove"))
    throw options.words.fail(
      "invalid",
      options.get(modifiers[0] ?? "")?.option,
      `${modifiers[0]} goes with --rcheck and --update`,
    );
  if (options.has("--reap") && !seconds) throw options.incomplete("--reap needs --seconds");
  const nameWord = options.word("--name");
  if (nameWord !== undefined && (nameWord.text === "" || nameWord.text.length > nameMax))
    throw options.words.fail("too-large", nameWord, `a name has 1 to ${nameMax} characters`);
  const mask = options.read("--mask", (text) => parseIpOf(family, text), `an IPv${family} mask`);
  const whole: Ip = { family, words: family === 4 ? [0xffffffff] : new Array(4).fill(0xffffffff) };
  return [
    {
      kind: "recent",
      action,
      name: nameWord?.text ?? nameDefault,
      ...(seconds === undefined ? {} : { seconds }),
      ...(options.has("--reap") ? { reap: true } : {}),
      ...(hitCount === undefined ? {} : { hitCount }),
      ...(options.has("--rttl") ? { ttl: true } : {}),
      mask: mask ?? whole,
      side: options.has("--rdest") ? "dest" : "source",
      ...options.not(`--${action}`),
    },
  ];
}

export const recentReaders: Readonly<Record<string, MatchReader>> = {
  recent: {
    options: {
      "--set": { values: 0, not: true },
      "--rcheck": { values: 0, not: true },
      "--update": { values: 0, not: true },
      "--remove": { values: 0, not: true },
      "--seconds": { values: 1 },
      "--reap": { values: 0 },
      "--hitcount": { values: 1 },
      "--rttl": { values: 0 },
      "--name": { values: 1 },
      "--mask": { values: 1 },
      "--rsource": { values: 0 },
      "--rdest": { values: 0 },
    },
    read: readRecent,
  },
};

export const recentKinds: MatchKinds<"recent"> = {
  recent: {
    text: (match) => {
      const option = (name: string, value: number | undefined): string =>
        value === undefined ? "" : ` --${name} ${value}`;
      const modifiers = `${option("seconds", match.seconds)}${match.reap ? " --reap" : ""}${option("hitcount", match.hitCount)}${match.ttl ? " --rttl" : ""}`;
      return `-m recent ${bang(match)}--${match.action}${modifiers} --name ${match.name} --mask ${ipText(match.mask)} --r${match.side}`;
    },
    explain: (match, context) => {
      const side = match.side === "dest" ? "dst" : "src";
      const within = match.seconds === undefined ? "" : ` within ${match.seconds} s`;
      const often = match.hitCount === undefined ? "" : ` ${match.hitCount} times`;
      return `${rowAddressText(context, side)} was ${match.not ? "" : "not "}seen${often}${within} in list ${match.name}`;
    },
    bind: bindRecent,
  },
};

interface RecentEntry {
  ttl: number;
  /** A ring of the times at which the address was seen. */
  readonly stampsNs: number[];
  index: number;
}

interface RecentList {
  /** In order of last use, oldest first. */
  readonly entries: Map<string, RecentEntry>;
  /** Length of the ring: a power of two above the largest hit count of the rules that name the list. */
  stamps: number;
  forgetClients(): void;
}

function newList(): RecentList {
  const entries: RecentList["entries"] = new Map();
  return { entries, stamps: stampsDefault, forgetClients: () => entries.clear() };
}

function bindRecent(match: MatchOf<"recent">, node: MatchNode): RowTest {
  const list = node.shared(`recent ${match.name}`, newList);
  const stamps = match.hitCount === undefined ? stampsDefault : 2 ** Math.ceil(Math.log2(match.hitCount));
  if (stamps > list.stamps) {
    list.stamps = stamps;
    list.entries.clear();
  }
  const { action } = match;
  return (batch, row) => {
    const nowNs = node.nowNs();
    const ttl = ttlOf(batch, row) + (batch.state.oif[row] === 0 ? 0 : 1); // as seen before forwarding
    const key = keyOf(match, batch, row);
    let holds = match.not === true;
    let entry = list.entries.get(key);
    if (entry !== undefined && match.ttl && entry.ttl !== ttl && entry.ttl !== 0) entry = undefined;
    if (entry === undefined) {
      if (action !== "set") return holds ? Answer.yes : Answer.no;
      remember(list, key, { ttl, stampsNs: [nowNs], index: 1 });
      return holds ? Answer.no : Answer.yes;
    }
    if (action === "set") holds = !holds;
    else if (action === "remove") {
      list.entries.delete(key);
      holds = !holds;
    } else {
      if (wasSeen(entry, match, nowNs)) holds = !holds;
      if (match.reap) reap(list, nowNs - (match.seconds ?? 0) * 1e9);
    }
    if (action === "set" || (action === "update" && holds)) {
      entry.index %= list.stamps;
      entry.stampsNs[entry.index++] = nowNs;
      entry.ttl = ttl;
      remember(list, key, entry);
    }
    return holds ? Answer.yes : Answer.no;
  };
}

function keyOf({ side, mask }: MatchOf<"recent">, batch: PacketBatch, row: number): string {
  const column = side === "dest" ? batch.dst : batch.src;
  return formatWords(
    mask.family,
    mask.words.map((word, i) => (column[row * 4 + i]! & word) >>> 0),
  );
}

function wasSeen(entry: RecentEntry, match: MatchOf<"recent">, nowNs: number): boolean {
  const sinceNs = match.seconds ? nowNs - match.seconds * 1e9 : Number.NEGATIVE_INFINITY;
  let hits = 0;
  for (const stamp of entry.stampsNs) {
    if (stamp < sinceNs) continue;
    if (!match.hitCount || ++hits >= match.hitCount) return true;
  }
  return false;
}

/** Drops the address seen longest ago if that was before `sinceNs`. */
function reap(list: RecentList, sinceNs: number): void {
  for (const [key, entry] of list.entries) {
    if ((entry.stampsNs[entry.index - 1] ?? 0) < sinceNs) list.entries.delete(key);
    return;
  }
}

function remember(list: RecentList, key: string, entry: RecentEntry): void {
  list.entries.delete(key);
  if (list.entries.size >= addressesMax) {
    for (const oldest of list.entries.keys()) {
      list.entries.delete(oldest);
      break;
    }
  }
  list.entries.set(key, entry);
}
