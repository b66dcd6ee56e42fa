/**
 * A node's tables as its own tools print them, read back: `iptables-save`, `ip6tables-save` and `ipset save` text, or what a
 * Windows node's tools print of HNS, as `podwire compile` writes them or as they come from a live node.
 */
import { InputError, type Issue } from "../base/index.ts";
import type { NodeTables } from "../engine/index.ts";
import { restoreHns } from "../filter/hns/index.ts";
import type { IpsetRepr } from "../filter/ipset/index.ts";
import { restoreIpsets } from "../filter/ipset/index.ts";
import { type Ruleset, restoreRuleset } from "../filter/iptables/index.ts";

/** A text with the name that messages call it by. */
export interface DumpText {
  readonly name: string;
  readonly text: string;
}

export interface DumpTexts {
  readonly iptables?: DumpText | undefined;
  readonly ip6tables?: DumpText | undefined;
  readonly ipset?: DumpText | undefined;
  /** Of a Windows node: networks, endpoints and load balancers, in one text or several. */
  readonly hns?: readonly DumpText[] | undefined;
  /** Set names by kernel name, as `compile` writes them (`ipset.names.json`). */
  readonly setTitles?: DumpText | undefined;
}

/** File names in a dump's folder. */
export const dumpFiles = {
  iptables: "iptables.save",
  ip6tables: "ip6tables.save",
  ipset: "ipset.save",
  hns: "hns.json",
  setTitles: "ipset.names.json",
} as const;

const nothing = (family: 4 | 6): Ruleset => ({ family, tables: {} });

/** @throws InputError with file, line and column of what is not supported, in all texts at once. */
export function readDump(texts: DumpTexts): NodeTables {
  const issues: Issue[] = [];
  const attempt = <T>(read: () => T, otherwise: T): T => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      issues.push(...error.issues);
      return otherwise;
    }
  };
  const { iptables, ip6tables, ipset, hns, setTitles } = texts;
  const v4 = attempt(
    () => (iptables === undefined ? nothing(4) : restoreRuleset(iptables.text, iptables.name)),
    nothing(4),
  );
  const v6 = attempt(
    () => (ip6tables === undefined ? nothing(6) : restoreRuleset(ip6tables.text, ip6tables.name, 6)),
    nothing(6),
  );
  const sets = attempt(
    () => (ipset === undefined ? new Map<string, IpsetRepr>() : restoreIpsets(ipset.text, ipset.name)),
    new Map<string, IpsetRepr>(),
  );
  if (issues.length === 0)
    for (const text of [iptables, ip6tables])
      if (text !== undefined) issues.push(...missingSets(text, new Set(sets.keys()), ipset === undefined));
  const titles = setTitles === undefined ? {} : attempt(() => readTitles(setTitles), {});
  const windows = hns === undefined ? undefined : attempt(() => restoreHns(hns), undefined);
  if (issues.length > 0) throw new InputError(issues);
  const titled = [...sets].map(([name, set]): [string, IpsetRepr] => {
    const title = titles[name];
    return [name, title === undefined || title === name ? set : { ...set, title }];
  });
  const hasLinux = hns === undefined || iptables !== undefined || ip6tables !== undefined;
  return {
    ...(hasLinux ? { iptables: { v4, v6, sets: new Map(titled) } } : {}),
    ...(windows === undefined ? {} : { hns: windows }),
  };
}

/** Rules that name a set which is not there: the kernel would not have taken them. */
function missingSets(
  { name, text }: DumpText,
  sets: ReadonlySet<string>,
  isUntold: boolean,
): readonly Issue[] {
  const issues: Issue[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (!/^(\[\d+:\d+\] )?-[AI] /.test(line)) continue;
    // a set's name in a comment is none
    const words = line.replace(/"(\\.|[^"\\])*"/g, (quoted) => "_".repeat(quoted.length));
    for (const match of words.matchAll(/ --(?:match|add|del|map)-set (\S+)/g)) {
      const [whole, set = ""] = match;
      if (sets.has(set)) continue;
      const column = match.index + whole.length - set.length + 1;
      const why = isUntold ? "no sets are given (what ipset save prints)" : "it does not exist";
      const message = `a rule names the set ${set}, but ${why}`;
      issues.push({ code: "unknown-name", path: "", message, file: name, line: i + 1, column });
    }
  }
  return issues;
}

function readTitles({ name, text }: DumpText): Readonly<Record<string, string>> {
  const fail = (message: string): InputError =>
    new InputError([{ code: "syntax", path: "", message, file: name }]);
  try {
    const value: unknown = JSON.parse(text);
    const isNames =
      typeof value === "object" &&
      value !== null &&
      Object.values(value).every((one) => typeof one === "string");
    if (!isNames) throw fail("an object of set names was expected");
    return value as Record<string, string>;
  } catch (error) {
    if (error instanceof SyntaxError) throw fail(`no JSON: ${error.message}`);
    throw error;
  }
}
