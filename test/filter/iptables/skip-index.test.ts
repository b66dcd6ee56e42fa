/** The law of the skip index: led past rules or trying each of them, a packet meets the same fate. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { createHookResults, type FilterObserver, Hook } from "../../../src/filter/index.ts";
import type { IpsetCommand, IpsetRepr } from "../../../src/filter/ipset/index.ts";
import { linkIptables, type Match, type Rule, type Ruleset } from "../../../src/filter/iptables/index.ts";
import { append, createBatch, decodeRow, tcp, udp } from "../../../src/packet/index.ts";
import { addresses, net, sets } from "../arbitraries.ts";
import { emptyV6, linkContext } from "../node.ts";

const names = ["nets", "more-nets", "hosts", "ports", "lists"] as const;
const setMatch: fc.Arbitrary<Match> = fc
  .tuple(fc.constantFrom(...names), fc.constantFrom("src" as const, "dst" as const), fc.boolean(), fc.nat(9))
  .map(([set, side, second, roll]) => ({
    kind: "set",
    set,
    flags: second ? [side, "dst"] : [side],
    ...(roll === 0 ? { not: true } : {}),
    ...(roll === 1 ? { returnNomatch: true } : {}),
  }));
const other: fc.Arbitrary<Match> = fc.oneof(
  fc.constantFrom<Match>(
    { kind: "dport", min: 80, max: 80 },
    { kind: "mark", value: 1, mask: 1 },
    { kind: "statistic", mode: "nth", every: 2, packet: 0 },
    { kind: "comment", text: "x" },
  ),
  net(4).map((prefix): Match => ({ kind: "source", net: prefix })),
);

const rule = (targets: readonly Rule["target"][]): fc.Arbitrary<Rule> =>
  fc
    .tuple(
      fc.array(fc.oneof({ weight: 4, arbitrary: setMatch }, other), { minLength: 1, maxLength: 3 }),
      fc.constantFrom(...targets),
    )
    .map(([matches, target]) => ({ matches, target }));

const addsSource: Rule["target"] = { kind: "SET", action: "add", set: "hosts", flags: ["src"], exist: true };
const marks = [1, 2, 4].map((value): Rule["target"] => ({ kind: "MARK", value, mask: value }));
const ends: readonly Rule["target"][] = [{ kind: "DROP" }, { kind: "ACCEPT" }, { kind: "RETURN" }];

const ruleset: fc.Arbitrary<Ruleset> = fc
  .tuple(
    fc.array(
      rule([{ kind: "jump", chain: "A" }, { kind: "jump", chain: "A" }, addsSource, ...marks, ...ends]),
      {
        minLength: 16,
        maxLength: 70,
      },
    ),
    fc.array(rule([{ kind: "goto", chain: "B" }, ...marks, ...ends]), { minLength: 1, maxLength: 40 }),
    fc.array(rule([...marks, ...ends]), { maxLength: 3 }),
  )
  .map(([forward, a, b]) => ({
    family: 4,
    tables: {
      filter: {
        name: "filter",
        chains: [
          { name: "INPUT", policy: "ACCEPT", rules: [] },
          { name: "FORWARD", policy: "ACCEPT", rules: forward },
          { name: "OUTPUT", policy: "ACCEPT", rules: [] },
          { name: "A", rules: a },
          { name: "B", rules: b },
        ],
      },
    },
  }));

const changeable = ["nets", "more-nets", "hosts"] as const;
const change: fc.Arbitrary<IpsetCommand> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(
        fc.constantFrom("add" as const, "del" as const),
        fc.constantFrom(...changeable),
        net(4),
        fc.boolean(),
      )
      .map(([op, name, prefix, nomatch]): IpsetCommand => {
        const isHost = name === "hosts";
        const entry = {
          net: isHost ? { ...prefix, prefix: 32 } : prefix,
          ...(nomatch && !isHost ? { nomatch } : {}),
        };
        return { op, name, entry, exist: true };
      }),
  },
  fc.constantFrom<IpsetCommand>(
    { op: "flush", name: "nets" },
    { op: "swap", name: "nets", to: "more-nets" },
    { op: "add", name: "lists", entry: { set: "hosts" }, exist: true },
    { op: "del", name: "lists", entry: { set: "nets" }, exist: true },
  ),
);

/** Sees everything, so that every rule must be tried. */
const watcher: FilterObserver = { enter: () => {}, rule: () => {}, lookup: () => {}, verdict: () => {} };

type Sets = ReadonlyMap<string, IpsetRepr>;

/** A change of no consequence before each packet: an index is never worth building. */
const restless: readonly IpsetCommand[] = [
  { op: "del", name: "hosts", entry: { net: { family: 4, words: [1], prefix: 32 } }, exist: true },
];

/** Verdict, rule and mark of every packet. */
function fates(
  rules: Ruleset,
  all: Sets,
  rounds: readonly (readonly IpsetCommand[])[],
  { observer, isRestless }: { readonly observer?: FilterObserver; readonly isRestless?: boolean } = {},
) {
  const datapath = linkIptables({ v4: rules, v6: emptyV6, sets: all }, linkContext());
  const list = addresses[4];
  const batch = createBatch(list.length * list.length, 64);
  for (const src of list)
    for (const dst of list) {
      const ends = { src, dst, sport: 1, dport: batch.length % 3 === 0 ? 79 : 80 };
      append(batch, batch.length % 2 === 0 ? tcp({ ...ends, flags: 2 }) : udp(ends));
      decodeRow(batch, batch.length - 1);
    }
  const out = createHookResults(batch.capacity);
  return rounds.map((commands) => {
    datapath.apply({ kind: "ipset-restore", commands } as never);
    batch.state.mark.fill(0);
    batch.state.ctState.fill(1);
    for (let row = 0; row < batch.length; row++) {
      if (isRestless) datapath.apply({ kind: "ipset-restore", commands: restless } as never);
      datapath.run(Hook.forward, batch, row, row + 1, out, observer);
    }
    return [...out.verdict].map((verdict, i) => `${verdict} ${out.rule[i]} ${batch.state.mark[i]}`);
  });
}

it("law: led past rules = every rule tried, whatever happens to the sets in between", () => {
  fc.assert(
    fc.property(
      ruleset,
      sets(4),
      fc.array(fc.array(change, { maxLength: 3 }), { maxLength: 5 }),
      (rules, all, changes) => {
        const rounds = [[], ...changes, []];
        const tried = fates(rules, all, rounds, { isRestless: true });
        expect(fates(rules, all, rounds)).toEqual(tried);
        expect(fates(rules, all, rounds, { observer: watcher })).toEqual(tried);
      },
    ),
    { numRuns: process.env.PODWIRE_SOAK ? 5000 : 150 },
  );
});

/** The search found it: a list loses a set that has changed as often as the list did. */
it("is built anew when a list loses a set", () => {
  const inNets: Match = { kind: "set", set: "nets", flags: ["src"] };
  const inLists: Match = { kind: "set", set: "lists", flags: ["src"] };
  const jumps: readonly Rule[] = Array.from({ length: 18 }, () => ({
    matches: [inNets],
    target: { kind: "jump", chain: "A" },
  }));
  const forward: readonly Rule[] = [
    ...jumps,
    { matches: [inLists], target: { kind: "MARK", value: 1, mask: 1 } },
  ];
  const rules: Ruleset = {
    family: 4,
    tables: {
      filter: {
        name: "filter",
        chains: [
          { name: "INPUT", policy: "ACCEPT", rules: [] },
          { name: "FORWARD", policy: "ACCEPT", rules: forward },
          { name: "OUTPUT", policy: "ACCEPT", rules: [] },
          { name: "A", rules: [] },
        ],
      },
    },
  };
  const shape = { family: 4, hashsize: 1024, maxelem: 65_536 } as const;
  const all: Sets = new Map<string, IpsetRepr>([
    ["nets", { ...shape, name: "nets", type: "hash:net", entries: [] }],
    ["lists", { ...shape, name: "lists", type: "list:set", maxelem: 8, entries: [{ set: "nets" }] }],
  ]);
  const rounds: readonly (readonly IpsetCommand[])[] = [
    [{ op: "add", name: "nets", entry: { net: { family: 4, words: [10 << 24], prefix: 8 } }, exist: false }],
    [{ op: "del", name: "lists", entry: { set: "nets" }, exist: false }],
  ];
  const marked = (fate: readonly string[]): number => fate.filter((one) => one.endsWith(" 1")).length;
  const [before = [], after = []] = fates(rules, all, rounds);
  expect(marked(before)).toBeGreaterThan(0);
  expect(marked(after)).toBe(0);
});

const fieldMatch: fc.Arbitrary<readonly Match[]> = fc
  .tuple(
    fc.option(net(4)),
    fc.option(net(4)),
    fc.constantFrom(0, 6, 17, 1),
    fc.constantFrom(0, 79, 80),
    fc.nat(12),
  )
  .map(([src, dst, protocol, port, roll]): readonly Match[] => {
    const not = roll === 0 ? { not: true } : {};
    return [
      ...(src === null ? [] : [{ kind: "source" as const, net: src, ...not }]),
      ...(dst === null
        ? []
        : [{ kind: "destination" as const, net: dst, ...(roll === 1 ? { not: true } : {}) }]),
      ...(protocol === 0
        ? []
        : [{ kind: "protocol" as const, protocol, ...(roll === 2 ? { not: true } : {}) }]),
      ...(roll > 2 && (protocol === 6 || protocol === 17)
        ? [{ kind: "dport" as const, min: port, max: 80, ...(roll === 3 ? { not: true } : {}) }]
        : []),
      ...(roll === 4 ? [{ kind: "statistic" as const, mode: "nth" as const, every: 2, packet: 0 }] : []),
    ];
  });

it("law: led by header fields = every rule tried", () => {
  const rules = fc.array(
    fc.tuple(fieldMatch, fc.constantFrom<Rule["target"]>({ kind: "jump", chain: "A" }, ...marks, ...ends)),
    { minLength: 16, maxLength: 60 },
  );
  fc.assert(
    fc.property(rules, ruleset, sets(4), (list, other, all) => {
      const filter = other.tables.filter;
      const forward = list.map(([matches, target]): Rule => ({ matches, target }));
      const chains = (filter?.chains ?? []).map((chain) =>
        chain.name === "FORWARD" ? { ...chain, rules: forward } : chain,
      );
      const whole: Ruleset = { family: 4, tables: { filter: { name: "filter", chains } } };
      const rounds = [[], []];
      expect(fates(whole, all, rounds)).toEqual(fates(whole, all, rounds, { observer: watcher }));
    }),
    { numRuns: process.env.PODWIRE_SOAK ? 5000 : 100 },
  );
});
