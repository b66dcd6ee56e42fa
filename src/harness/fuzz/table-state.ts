/**
 * What packets left behind: the counters of every rule, the members of every set and the connections known, of the kernel
 * and of the emulator.
 */
import { saveIpsets } from "../../filter/ipset/index.ts";
import { saveRuleset } from "../../filter/iptables/index.ts";
import { formatEntry } from "../../filter/netfilter/index.ts";
import type { EmulatedNode, KernelState } from "../kernel/index.ts";

/** The first difference in words, if any. */
export function compareState(kernel: KernelState, node: EmulatedNode): string | undefined {
  const { v4, v6, sets } = node.datapath.tables();
  for (const [rules, theirs] of [
    [v4, kernel.v4],
    [v6, kernel.v6],
  ] as const) {
    const ours = saveRuleset(node.counters.apply(rules), { counters: true });
    const difference = compareCounters(countedRules(theirs), countedRules(ours), rules.family);
    if (difference !== undefined) return difference;
  }
  const entries = node.datapath.conntrack.list().map((entry) => formatEntry(entry, node.clock.ns));
  return (
    compareLines("connection", kernel.connections.map(readConnection), entries.map(readConnection)) ??
    compareLines("member", readMembers(kernel.sets), readMembers(saveIpsets(sets.values())))
  );
}

interface CountedRule {
  readonly count: string;
  readonly text: string;
}

/** Rules by table and chain, in order. */
function countedRules(text: string): ReadonlyMap<string, readonly CountedRule[]> {
  const chains = new Map<string, CountedRule[]>();
  let table = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1);
    const [, count = "", rule = "", chain = ""] = /^(\[\d+:\d+\]) (-A (\S+).*)/.exec(line) ?? [];
    if (chain === "") continue;
    const key = `${table} ${chain}`;
    const rules = chains.get(key);
    if (rules === undefined) chains.set(key, [{ count, text: rule }]);
    else rules.push({ count, text: rule });
  }
  return chains;
}

function compareCounters(
  kernel: ReadonlyMap<string, readonly CountedRule[]>,
  ours: ReadonlyMap<string, readonly CountedRule[]>,
  family: 4 | 6,
): string | undefined {
  for (const [chain, rules] of ours)
    for (const [i, { count, text }] of rules.entries()) {
      const theirs = kernel.get(chain)?.[i]?.count ?? "nothing";
      if (theirs !== count)
        return `IPv${family} ${chain}: ${text}\n  kernel counts ${theirs}\n  ours   counts ${count}`;
    }
  return undefined;
}

/** Seconds that the kernel's clock may have run on. */
const secondsTolerated = 5;

interface TimedLine {
  readonly text: string;
  /** Left to live. */
  readonly seconds: number;
}

function readConnection(line: string): TimedLine {
  const words = line.replace(/^ipv[46]\s+\d+\s+/, "").split(/\s+/);
  const at = words.findIndex((word, i) => i > 1 && /^\d+$/.test(word));
  const kept = words.filter((word, i) => i !== at && !/^(packets|bytes|use)=/.test(word));
  return { text: kept.join(" "), seconds: Number(words[at]) };
}

function readMembers(text: string): readonly TimedLine[] {
  return text.split("\n").flatMap((line): readonly TimedLine[] => {
    if (!line.startsWith("add ")) return [];
    const [timeout = "", seconds = "0"] = / timeout (\d+)/.exec(line) ?? [];
    return [{ text: line.replace(timeout, "").trimEnd(), seconds: Number(seconds) }];
  });
}

function compareLines(
  what: string,
  kernel: readonly TimedLine[],
  ours: readonly TimedLine[],
): string | undefined {
  const left = new Map(ours.map((one) => [one.text, one]));
  for (const { text, seconds } of kernel) {
    const own = left.get(text);
    left.delete(text);
    if (own === undefined) return `a ${what} of the kernel alone: ${seconds} ${text}`;
    if (Math.abs(own.seconds - seconds) > secondsTolerated)
      return `a ${what} ends in ${seconds} s in the kernel, in ${own.seconds} s in ours: ${text}`;
  }
  const [first] = left.values();
  return first === undefined ? undefined : `a ${what} of ours alone: ${first.seconds} ${first.text}`;
}
