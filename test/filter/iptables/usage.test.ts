/** Sizes of rules against what a 64-bit kernel (6.18) answers to IPT_SO_GET_INFO, entries and bytes. */
import { describe, expect, it } from "vitest";
import {
  iptablesUsage,
  restoreRuleset,
  type TableName,
  tableSize,
} from "../../../src/filter/iptables/index.ts";

function sizeOf(
  table: TableName,
  rules: readonly string[],
  chains: readonly string[] = [],
): readonly number[] {
  const lines = [...chains.map((chain) => `:${chain} - [0:0]`), ...rules.map((rule) => `-A ${rule}`)];
  const text = `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
  const made = restoreRuleset(text, "t", 4).tables[table];
  if (made === undefined) throw new RangeError(`no table ${table}`);
  const { entries, bytes } = tableSize(made, 4);
  return [entries, bytes];
}

describe("a table's size", () => {
  it.each([
    ["filter", 4, 632],
    ["nat", 5, 784],
    ["mangle", 6, 936],
    ["raw", 3, 480],
    ["security", 4, 632],
  ] as const)("%s without rules has %d entries in %d bytes", (table, entries, bytes) => {
    expect(sizeOf(table, [])).toEqual([entries, bytes]);
  });

  it("a chain of its own has two entries more", () => {
    expect(sizeOf("filter", [], ["X"])).toEqual([6, 960]);
  });

  const [, empty = 0] = sizeOf("filter", []);
  it.each([
    ["-j ACCEPT", 152],
    ["", 152],
    ["-j REJECT --reject-with icmp-port-unreachable", 152],
    ["-j LOG", 176],
    ["-j NFLOG --nflog-group 1", 224],
    ["-j MARK --set-xmark 0x1/0xffffffff", 152],
    ["-j CONNMARK --set-xmark 0x1/0xffffffff", 160],
    ["-m comment --comment x", 440],
    ["-m conntrack --ctstate NEW", 352],
    ["-m mark --mark 0x1", 200],
    ["-m set --match-set s src", 232],
    ["-m set --match-set s src -m set --match-set s dst", 312],
    ["-p tcp -m tcp --dport 80", 200],
    ["-p udp -m udp --dport 80", 200],
    ["-p sctp -m sctp --dport 80", 480],
    ["-p tcp -m tcp --sport 1 --dport 80 --tcp-flags SYN SYN", 200],
    ["-p tcp -m multiport --dports 80,81", 232],
    ["-m addrtype --dst-type LOCAL", 192],
    ["-m statistic --mode random --probability 0.5", 208],
    ["-m limit --limit 5/sec", 224],
    ["-p icmp -m icmp --icmp-type 8", 192],
  ])("a rule `%s` takes %d bytes", (rule, bytes) => {
    expect(sizeOf("filter", [`FORWARD ${rule}`])).toEqual([5, empty + bytes]);
  });

  it("each processor has counters of each entry", () => {
    const v4 = restoreRuleset("*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n", "t", 4);
    const v6 = restoreRuleset("", "t", 6);
    const bytes = [1, 4].map(
      (processors) => iptablesUsage({ v4, v6, sets: new Map() }, processors)[0]?.bytes,
    );
    expect(bytes).toEqual([784 + 5 * 16, 784 + 5 * 16 * 4]);
  });
});
