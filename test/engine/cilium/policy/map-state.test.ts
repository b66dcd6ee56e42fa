/** Map states: port blocks, what a lookup makes of raw maps, and that resolved maps mean what the rules say. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PolicyEntry } from "../../../../src/engine/cilium/policy/entry.ts";
import { MapState } from "../../../../src/engine/cilium/policy/map-state.ts";
import { portBlocks, withZeroStartDefect } from "../../../../src/engine/cilium/policy/port-blocks.ts";
import type { MapGeneration } from "../../../../src/engine/cilium/variant.ts";
import { type Asked, lookUp, type RawEntry } from "./naive-lookup.ts";

const generations: readonly MapGeneration[] = ["G1", "G2", "G3"];

describe("port blocks", () => {
  it.each([
    [80, 83, "80/14"],
    [80, 90, "80/13 88/15 90/16"],
    [1024, 2047, "1024/6"],
    [1024, 65535, "1024/6 2048/5 4096/4 8192/3 16384/2 32768/1"],
    [30000, 32767, "30000/12 30016/10 30080/9 30208/7 30720/5"],
    [32768, 60999, "32768/2 49152/3 57344/5 59392/6 60416/7 60928/10 60992/13"],
    [8000, 8999, "8000/10 8064/9 8192/7 8704/8 8960/11 8992/13"],
    [80, 80, "80/16"],
    [80, 79, "80/16"],
    [0, 65535, "0/0"],
  ])("of %i-%i are %s", (first, last, text) => {
    expect(
      portBlocks(first, last)
        .map(({ port, prefix }) => `${port}/${prefix}`)
        .join(" "),
    ).toBe(text);
  });

  it.each([
    [443, 8443, 13],
    [1, 65535, 16],
    [1, 65534, 30],
  ])("of %i-%i are %i", (first, last, count) => {
    expect(portBlocks(first, last)).toHaveLength(count);
  });

  it("law: hold each port of the range once and no other, no two could be one", () => {
    const port = fc.integer({ min: 0, max: 65535 });
    fc.assert(
      fc.property(port, port, (a, b) => {
        const [first, last] = [Math.min(a, b), Math.max(a, b)];
        let next = first;
        const blocks = portBlocks(first, last);
        for (const [i, { port: start, prefix }] of blocks.entries()) {
          const size = 2 ** (16 - prefix);
          expect([start, start % size]).toEqual([next, 0]);
          const after = blocks[i + 1];
          if (after?.prefix === prefix) expect(start % (size * 2)).not.toBe(0);
          next += size;
        }
        expect(next).toBe(last + 1);
      }),
      { seed: 3 },
    );
  });

  it("that begin at 0 are every port under the defect, and no other is", () => {
    expect(withZeroStartDefect(portBlocks(0, 1023))).toEqual([{ port: 0, prefix: 0 }]);
    expect(withZeroStartDefect(portBlocks(80, 83))).toEqual(portBlocks(80, 83));
  });
});

const own = 1000;
const raw = (
  identity: number,
  protocol: number,
  port: number,
  what: "allow" | "deny" | "proxy",
): RawEntry => ({
  identity,
  direction: "ingress",
  protocol,
  port,
  portPrefix: port === 0 ? 0 : 16,
  deny: what === "deny",
  redirect: what === "proxy" ? 101 : 0,
});
const asked: Asked = { identity: own, direction: "ingress", protocol: 6, port: 80 };

const vectors: readonly (readonly [readonly RawEntry[], string, string])[] = [
  [[], "133", "133"],
  [[raw(own, 6, 80, "allow")], "allow mt2", "allow mt2"],
  [[raw(0, 6, 80, "allow")], "allow mt3", "allow mt3"],
  [[raw(own, 0, 0, "allow"), raw(0, 6, 80, "deny")], "181 mt3", "181 mt3"],
  [[raw(own, 0, 0, "deny"), raw(0, 6, 80, "allow")], "allow mt3", "181 mt1"],
  [[raw(own, 6, 80, "allow"), raw(0, 6, 80, "proxy")], "allow mt2", "redirect mt3"],
  [[raw(own, 6, 0, "allow"), raw(0, 6, 80, "allow")], "allow mt3", "allow mt3"],
  [[raw(own, 6, 80, "allow"), raw(0, 6, 80, "allow")], "allow mt2", "allow mt2"],
  [[raw(own, 6, 80, "allow"), raw(own, 0, 0, "deny")], "allow mt2", "allow mt2"],
  [[raw(own, 6, 80, "allow"), raw(0, 0, 0, "deny")], "allow mt2", "181 mt4"],
  [[raw(0, 17, 80, "allow")], "133", "133"],
];

describe("a lookup in a raw map", () => {
  it.each(vectors)("%#: of G1, and of G2 and G3", (entries, g1, later) => {
    expect(generations.map((generation) => lookUp(entries, asked, generation))).toEqual([g1, later, later]);
  });
});

interface Rule {
  readonly identity: number;
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
  readonly deny: boolean;
}

const rule: fc.Arbitrary<Rule> = fc
  .record({
    identity: fc.constantFrom(0, 1000, 1001),
    protocol: fc.constantFrom(0, 6, 17),
    ports: fc.constantFrom([0, 65535], [80, 80], [80, 83], [80, 90], [81, 81], [64, 127], [82, 95]),
    deny: fc.boolean(),
  })
  .map(({ identity, protocol, ports, deny }) => {
    const [first = 0, last = 0] = protocol === 0 ? [0, 65535] : ports;
    return { identity, protocol, first, last, deny };
  });

function entriesOf({ identity, protocol, first, last, deny }: Rule): readonly PolicyEntry[] {
  return portBlocks(first, last).map(({ port, prefix }) => ({
    identity,
    direction: "ingress",
    protocol,
    port,
    portPrefix: prefix,
    deny,
    redirect: 0,
    origin: { kind: "test", name: "test", path: "", role: deny ? "deny" : "allow" },
  }));
}

function resolved(rules: readonly Rule[], generation: MapGeneration): readonly PolicyEntry[] {
  const state = new MapState();
  for (const one of rules) for (const entry of entriesOf(one)) state.add(entry);
  return state.resolve(generation);
}

/** Deny beats allow, whatever is narrower. */
function meant(rules: readonly Rule[], { identity, protocol, port }: Asked): string {
  const hits = rules.filter(
    (one) =>
      (one.identity === 0 || one.identity === identity) &&
      (one.protocol === 0 || one.protocol === protocol) &&
      one.first <= port &&
      port <= one.last,
  );
  if (hits.length === 0) return "133";
  return hits.some(({ deny }) => deny) ? "181" : "allow";
}

const everyPacket: readonly Asked[] = [1000, 1001, 1002].flatMap((identity) =>
  [6, 17, 1].flatMap((protocol) =>
    [1, 63, 64, 79, 80, 81, 82, 83, 84, 90, 91, 95, 96, 127, 128].map((port) => ({
      identity,
      direction: "ingress" as const,
      protocol,
      port,
    })),
  ),
);

describe.each(generations)("a resolved map of %s", (generation) => {
  const keys = (rules: readonly Rule[]): readonly unknown[] => resolved(rules, generation);
  const rules = fc.array(rule, { maxLength: 7 });

  it("law: gives each packet what the rules say of it", () => {
    fc.assert(
      fc.property(rules, (list) => {
        const entries = resolved(list, generation);
        for (const packet of everyPacket)
          expect(lookUp(entries, packet, generation).split(" ")[0]).toBe(meant(list, packet));
      }),
      { seed: 5, numRuns: 400 },
    );
  });

  it("law: does not depend on the order of rules, nor on their number of times", () => {
    const withShuffle = rules.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray([...list, ...list], { minLength: 2 * list.length })),
    );
    fc.assert(
      fc.property(withShuffle, ([list, shuffled]) => {
        expect(keys(shuffled)).toEqual(keys(list));
      }),
      { seed: 6, numRuns: 200 },
    );
  });
});

it("a map of G1 holds the denies that its ladder needs, one of G2 does not", () => {
  const rules: readonly Rule[] = [
    { identity: own, protocol: 0, first: 0, last: 65535, deny: true },
    { identity: 0, protocol: 6, first: 80, last: 80, deny: false },
  ];
  expect(resolved(rules, "G1")).toHaveLength(3);
  expect(resolved(rules, "G2")).toHaveLength(2);
});
