/** The law of the skip index: led past rules or trying each of them, a packet meets the same fate. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { createHookResults, type FilterObserver, Hook } from "../../../src/filter/index.ts";
import type { IpsetCommand, IpsetRepr } from "../../../src/filter/ipset/index.ts";
import { linkIptables, type Match, type Rule, type Ruleset } from "../../../src/filter/iptables/index.ts";
import { append, createBatch, decodeRow, tcp } from "../../../src/packet/index.ts";
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

const marks = [1, 2, 4].map((value): Rule["target"] => ({ kind: "MARK", value, mask: value }));
const ends: readonly Rule["target"][] = [{ kind: "DROP" }, { kind: "ACCEPT" }, { kind: "RETURN" }];

const ruleset: fc.Arbitrary<Ruleset> = fc
  .tuple(
    fc.array(rule([{ kind: "jump", chain: "A" }, { kind: "jump", chain: "A" }, ...marks, ...ends]), {
      minLength: 16,
      maxLength: 70,
    }),
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

/** Verdict, rule and mark of every packet, through two nodes of equal tables and equal memories. */
function fates(
  rules: Ruleset,
  all: Sets,
  rounds: readonly (readonly IpsetCommand[])[],
  observer?: FilterObserver,
) {
  const datapath = linkIptables({ v4: rules, v6: emptyV6, sets: all }, linkContext());
  const list = addresses[4];
  const batch = createBatch(list.length * list.length, 64);
  for (const src of list)
    for (const dst of list) {
      append(batch, tcp({ src, dst, sport: 1, dport: 80, flags: 2 }));
      decodeRow(batch, batch.length - 1);
    }
  const out = createHookResults(batch.capacity);
  return rounds.map((commands) => {
    datapath.apply({ kind: "ipset-restore", commands } as never);
    batch.state.mark.fill(0);
    batch.state.ctState.fill(1);
    datapath.run(Hook.forward, batch, 0, batch.length, out, observer);
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
        expect(fates(rules, all, rounds)).toEqual(fates(rules, all, rounds, watcher));
      },
    ),
    { numRuns: process.env.PODWIRE_SOAK ? 5000 : 150 },
  );
});
