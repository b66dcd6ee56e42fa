import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InputError } from "../../../src/base/index.ts";
import { RejectKind } from "../../../src/filter/index.ts";
import {
  CtStateBit,
  emptyTable,
  type Rule,
  type Ruleset,
  restoreRuleset,
  ruleText,
  saveRuleset,
} from "../../../src/filter/iptables/index.ts";
import { ruleset } from "../arbitraries.ts";
import { rulesOfEveryKind } from "../every-match.ts";

const comments = fc.string({ minLength: 0, maxLength: 60, unit: "grapheme-ascii" });

function table(name: string, ...lines: string[]): string {
  return `*${name}\n${lines.join("\n")}\nCOMMIT\n`;
}

function filterRules(...lines: string[]): readonly Rule[] {
  const text = table("filter", ":A - [0:0]", ...lines.map((line) => `-A A ${line}`));
  return restoreRuleset(text, "t").tables.filter?.chains.find(({ name }) => name === "A")?.rules ?? [];
}

function faults(text: string, family: 4 | 6 = 4): readonly string[] {
  try {
    restoreRuleset(text, "rules.txt", family);
  } catch (error) {
    if (error instanceof InputError) return error.message.split("\n");
    throw error;
  }
  return [];
}

describe("iptables-save text", () => {
  it.each([4, 6] as const)("restores to the very rules it was saved from (IPv%i)", (family) => {
    fc.assert(
      fc.property(ruleset(family, { comments }), (rules) => {
        expect(restoreRuleset(saveRuleset(rules), "t", family)).toEqual(rules);
      }),
      { numRuns: process.env.PODWIRE_SOAK ? 10_000 : 300 },
    );
  });

  it.each([4, 6] as const)("restores rules of every kind to what they were (IPv%i)", (family) => {
    fc.assert(
      fc.property(rulesOfEveryKind(family), (rules) => {
        const chains = [...(emptyTable("filter").chains ?? []), { name: "U", rules }];
        const whole: Ruleset = { family, tables: { filter: { name: "filter", chains } } };
        expect(restoreRuleset(saveRuleset(whole), "t", family)).toEqual(whole);
      }),
      { numRuns: process.env.PODWIRE_SOAK ? 10_000 : 300 },
    );
  });

  it("keeps packet and byte counters of chains and rules when asked to", () => {
    const text = `*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [12:3456]\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n[7:89] -A FORWARD -j A\n[0:0] -A A -j RETURN\nCOMMIT\n`;
    expect(saveRuleset(restoreRuleset(text, "t"), { counters: true })).toBe(text);
    expect(saveRuleset(restoreRuleset(text, "t"))).not.toContain("3456");
  });

  it("keeps nat and raw targets", () => {
    const text = [
      "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -s 10.0.0.0/8 -j CT --notrack\nCOMMIT",
      "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]",
      "-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1-10.0.0.9:8080-8090",
      "-A POSTROUTING -j SNAT --to-source 192.0.2.1 --random-fully",
      "-A POSTROUTING -p udp -j MASQUERADE --to-ports 1024-2048 --random-fully\nCOMMIT\n",
    ].join("\n");
    expect(saveRuleset(restoreRuleset(text, "t"))).toBe(text);
  });

  it("quotes as iptables does: everything but letters, digits, - and _", () => {
    const rule = (text: string): Rule => ({ matches: [{ kind: "comment", text }], target: undefined });
    expect(ruleText("A", rule("DROP-ALL_0"))).toBe("-A A -m comment --comment DROP-ALL_0");
    expect(ruleText("A", rule("a/b"))).toBe('-A A -m comment --comment "a/b"');
    expect(ruleText("A", rule(`say "it's"`))).toBe(`-A A -m comment --comment "say \\"it\\'s\\""`);
  });

  it("reads the other spellings that iptables accepts as the same rules", () => {
    expect(filterRules("--protocol tcp --destination-port 80 --jump ACCEPT")).toEqual(
      filterRules("-p 6 -m tcp --dport 80:80 -j ACCEPT"),
    );
    expect(filterRules("-s 10.1.2.3/255.0.0.0 -j DROP")).toEqual(filterRules("-s 10.0.0.0/8 -j DROP"));
    expect(filterRules("-p tcp --syn")).toEqual(filterRules("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"));
    expect(filterRules("-j MARK --or-mark 0x400")).toEqual(filterRules("-j MARK --set-xmark 0x400/0x400"));
    expect(filterRules("-j MARK --and-mark 0xff")).toEqual(filterRules("-j MARK --set-xmark 0x0/0xffffff00"));
    expect(filterRules("-j MARK --set-mark 0x5/0x1")).toEqual(filterRules("-j MARK --set-xmark 0x5/0x5"));
    expect(filterRules("-j REJECT")).toEqual([
      { matches: [], target: { kind: "REJECT", with: RejectKind.portUnreachable } },
    ]);
    expect(filterRules("-m state --state NEW")).toEqual([
      { matches: [{ kind: "ctstate", states: CtStateBit.NEW, module: "state" }], target: undefined },
    ]);
  });

  it("completes a table whose built-in chains are not all named, in hook order", () => {
    const rules: Ruleset = restoreRuleset(table("filter", ":Z - [0:0]", ":OUTPUT DROP [0:0]"), "t");
    expect(rules.tables.filter?.chains.map(({ name, policy }) => [name, policy])).toEqual([
      ["INPUT", "ACCEPT"],
      ["FORWARD", "ACCEPT"],
      ["OUTPUT", "DROP"],
      ["Z", undefined],
    ]);
  });

  it("names the file, line, column and option of everything that it cannot hold, all at once", () => {
    const text = table(
      "filter",
      "-A FORWARD -m string --string x --algo bm -j DROP",
      "-A FORWARD -m conntrack --ctlabel 6 -j ACCEPT",
      "-A FORWARD -m hashlimit --hashlimit-name n --hashlimit-upto 1mb/s -j ACCEPT",
      "-A FORWARD -j TEE --gateway 10.0.0.1",
      "-A FORWARD -m statistic --mode nth --every 2 -j ACCEPT",
      "-A FORWARD -j ACCEPT",
    );
    expect(faults(text)).toEqual([
      "rules.txt:2:15: match -m string is not supported",
      "rules.txt:3:25: option --ctlabel is not supported (after -m conntrack)",
      "rules.txt:4:61: rates in bytes are not supported: 1mb/s",
      "rules.txt:5:15: neither a supported target nor a chain of this table: TEE",
      "rules.txt:6:15: --mode nth needs --every and --packet",
    ]);
  });

  it.each([
    ["-A FORWARD -m tcp --dport 80 -j DROP", "needs -p"],
    ["-A FORWARD -p udp -m tcp --dport 80", "needs -p"],
    ["-A FORWARD -p icmp -m multiport --dports 80", "needs -p"],
    ["-A FORWARD -p tcp -m tcp --dport 90:80", "a port or range of ports"],
    ["-A FORWARD -p tcp -m tcp --dport nowhere", "a port or range of ports"],
    ["-A FORWARD -p tcp -m tcp --dport 65536", "a port or range of ports"],
    ["-A FORWARD -s 10.0.0.0/33", "not an IPv4"],
    ["-A FORWARD -s fd00::/8", "not an IPv4"],
    ["-A FORWARD -s 10.0.0.1,nobody", "not an IPv4"],
    ["-A FORWARD -s 10.0.0.1 -s 10.0.0.2", "one -s"],
    ["-A FORWARD -m statistic ! --mode random --probability 1", "cannot be negated"],
    ["-A FORWARD -p tcp -m tcp --dport 1 --dport 2", "given twice"],
    ["-A FORWARD -m state --state DNAT", "connection states"],
    ["-A FORWARD ! -j DROP", "cannot be negated"],
    ["-A FORWARD -j DROP -j ACCEPT", "one -j"],
    ["-A FORWARD -j REJECT --reject-with tcp-reset", "needs -p tcp"],
    ["-A FORWARD -j MASQUERADE", "table nat only"],
    ["-A FORWARD -j SET --map-set s src --map-mark", "table mangle only"],
    ["-A FORWARD -m mark --mark 0x100000000", "32 bits"],
    ["-A FORWARD -m set --match-set s src,any", "src or dst"],
    ["-A FORWARD --match-set s src", "needs -m set"],
    ["-A FORWARD -m comment", "needs --comment"],
    ["-A FORWARD -m comment --comment", "needs a value"],
    ['-A FORWARD -m comment --comment "open', "not closed"],
    ["-A OUTPUT -i eth0", "cannot be used in OUTPUT"],
    ["-A FORWARD -g ACCEPT", "no such chain"],
    ["-A NOWHERE -j DROP", "no such chain"],
    ["-I FORWARD 2 -j DROP", "Index of insertion too big"],
    ["-D FORWARD -j DROP", "does a matching rule exist"],
    ["-C FORWARD -j DROP", "no such command"],
    ["-P FORWARD REJECT", "ACCEPT or DROP"],
    ["-X INPUT", "cannot be deleted"],
    ["-A FORWARD stray", "an option was expected"],
    [":A DROP [0:0]", "no policy"],
    [":FORWARD QUEUE [0:0]", "policy is QUEUE"],
    [":A2345678901234567890123456789 - [0:0]", "1 to 28"],
  ])("refuses %s", (line, complaint) => {
    const found = faults(table("filter", line));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(complaint);
    expect(found[0]).toMatch(/^rules\.txt:2:[0-9]+: /);
  });

  it("refuses tables that are unknown, given twice or never committed", () => {
    expect(faults(table("broute", ":A - [0:0]"))).toEqual(["rules.txt:1:1: no such table: broute"]);
    expect(faults(table("raw") + table("raw"))).toEqual(["rules.txt:4:1: table raw stands twice"]);
    expect(faults("*filter\n:INPUT ACCEPT [0:0]\n")[0]).toContain("not closed by COMMIT");
    expect(faults("-A FORWARD -j DROP\n")[0]).toContain("a table");
  });
});
