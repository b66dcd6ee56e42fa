/** Law: a verdict table says what the chains say when they are read rule by rule, or leaves the connection to the walk. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatIp, type Ip, parseIp } from "../../src/addr/index.ts";
import type {
  AddressBlock,
  AddressMap,
  AddressTest,
  DecisionAction,
  DecisionChain,
  DecisionRule,
  HookChain,
  Questions,
  Way,
} from "../../src/base/index.ts";
import { buildVerdictTable, type ClassifiedEnd, countSlice, Decision } from "../../src/classify/index.ts";
import { answerOf } from "../questions.ts";

const ip = (text: string): Ip => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};

const v4 = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.1.2", "10.0.2.1", "10.1.0.1", "10.1.0.2", "10.1.0.3"];
/** Pods on nodes 0, 0, 1, 1, 2; then the nodes. */
const ends: readonly ClassifiedEnd[] = v4.map((text, i) => ({
  kind: i < 5 ? "pod" : "node",
  ...ip(text),
  node: i < 5 ? i >> 1 : i - 5,
}));
const outside = [
  "0.0.0.1",
  "9.255.255.255",
  "10.0.0.3",
  "10.0.0.255",
  "10.2.0.0",
  "172.16.5.5",
  "255.255.255.255",
];

const block: fc.Arbitrary<AddressBlock> = fc.oneof(
  fc.constantFrom(...v4).map((text) => ({ ...ip(text), prefix: 32 })),
  fc.constantFrom(
    { family: 4 as const, words: [0], prefix: 0 },
    { family: 4 as const, words: [0x0a00_0000], prefix: 8 },
    { family: 4 as const, words: [0x0a00_0000], prefix: 24 },
    { family: 4 as const, words: [0x0a00_0000], prefix: 31 },
    { family: 4 as const, words: [0x0a00_0100], prefix: 24 },
    { family: 4 as const, words: [0xac10_0000], prefix: 12 },
    { family: 4 as const, words: [0xffff_ffff], prefix: 32 },
  ),
);

const ownMap = fc.record(
  {
    entries: fc.uniqueArray(fc.tuple(block, fc.integer({ min: 0, max: 2 })), {
      maxLength: 5,
      selector: ([{ words, prefix }]) => `${words}/${prefix}`,
    }),
    own: fc.integer({ min: 0, max: 2 }),
  },
  { requiredKeys: ["entries"] },
);

const mapPool: fc.Arbitrary<readonly AddressMap[]> = fc
  .tuple(fc.array(ownMap, { minLength: 1, maxLength: 3 }), ownMap)
  .map(([maps, top]) => [...maps, { ...top, base: maps[0] as AddressMap }]);

const end = fc.constantFrom("source" as const, "destination" as const);

/** Chains made inside out, so that there are no circles; the last is a hook's. */
function chains(maps: readonly AddressMap[], atHook: boolean, depth: number): fc.Arbitrary<DecisionChain> {
  const test: fc.Arbitrary<AddressTest> = fc.record(
    { map: fc.constantFrom(...maps), value: fc.integer({ min: 0, max: 2 }), not: fc.boolean() },
    { requiredKeys: ["map", "value"] },
  );
  const plain: fc.Arbitrary<DecisionAction> = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom({ kind: "accept" as const }, { kind: "drop" as const }) },
    { weight: 2, arbitrary: fc.constant({ kind: "return" as const }) },
    { weight: 1, arbitrary: fc.constantFrom({ kind: "ask" as const }, { kind: "masquerade" as const }) },
    {
      weight: 3,
      arbitrary: fc.constantFrom(
        { kind: "mark" as const, keep: ~1, flip: 1 },
        { kind: "mark" as const, keep: ~2, flip: 2 },
        { kind: "mark" as const, keep: -1, flip: 1 },
      ),
    },
  );
  const action =
    depth === 0
      ? plain
      : fc.oneof(
          plain,
          fc.record({
            kind: fc.constantFrom("jump" as const, "goto" as const),
            chain: chains(maps, false, depth - 1),
          }),
        );
  const rule: fc.Arbitrary<DecisionRule> = fc.record(
    {
      source: fc.array(test, { minLength: 1, maxLength: 2 }),
      destination: fc.array(test, { minLength: 1, maxLength: 2 }),
      services: fc.constantFrom(
        [{ protocol: 6, first: 80, last: 80 }],
        [{ protocol: 6, first: 0, last: 65_535 }],
        [
          { protocol: 17, first: 53, last: 53 },
          { protocol: 6, first: 79, last: 90 },
        ],
      ),
      marks: fc.constantFrom([{ mask: 1, value: 1 }], [{ mask: 3, value: 2, not: true }]),
      family: fc.constantFrom(4 as const, 6 as const),
      action,
    },
    { requiredKeys: ["action"] },
  );
  const atEnd = atHook
    ? fc.constantFrom("accept" as const, "drop" as const)
    : fc.constantFrom("return" as const, "return" as const, "accept" as const, "drop" as const);
  return fc.record(
    { name: fc.constant("c"), rules: fc.array(rule, { maxLength: 4 }), atEnd, of: end },
    { requiredKeys: ["name", "rules", "atEnd"] },
  );
}

/** A hook's chain that chooses for pods of node `node`, between chains that all nodes share. */
function choosing(pool: readonly DecisionChain[], node: number): fc.Arbitrary<DecisionChain> {
  const home = ends.filter((one) => one.kind === "pod" && one.node === node);
  return fc
    .tuple(end, fc.tuple(fc.constantFrom(...pool), fc.constantFrom(...pool)), fc.nat(1))
    .map(([whose, two, offset]) => ({
      name: "choosing",
      atEnd: "accept" as const,
      rules: [
        {
          action: {
            kind: "choose" as const,
            end: whose,
            map: {
              entries: home.map(({ family, words }, i) => [
                { family, words, prefix: 32 },
                1 + ((i + offset) % 2),
              ]),
            },
            chains: new Map(two.map((chain, i) => [i + 1, { ...chain, atEnd: "accept" as const }])),
          },
        },
      ],
    }));
}

const allWays = [
  "pod-pod",
  "pod-wire",
  "wire-pod",
  "pod-node",
  "node-pod",
  "node-wire",
  "wire-node",
] as const;

const worlds = mapPool.chain((maps) =>
  fc.record({
    maps: fc.constant(maps),
    pool: fc.array(chains(maps, false, 1), { minLength: 2, maxLength: 3 }),
  }),
);

const cluster = worlds.chain(({ maps, pool }) => {
  const hooks = (node: number): fc.Arbitrary<readonly HookChain[]> =>
    fc
      .array(
        fc.oneof(
          { weight: 3, arbitrary: chains(maps, true, 2) },
          { weight: 1, arbitrary: choosing(pool, node) },
        ),
        {
          maxLength: 3,
        },
      )
      .map((list) => list.map((chain, hook) => ({ hook, chain })));
  const node = (number: number): fc.Arbitrary<Questions> =>
    fc.tuple(...allWays.map(() => fc.option(hooks(number), { freq: 12, nil: undefined }))).map((list) => ({
      ways: Object.fromEntries(allWays.flatMap((way, i) => (list[i] === undefined ? [] : [[way, list[i]]]))),
    }));
  // nodes that state the same share what they state
  return fc
    .tuple(node(0), node(1), node(2), fc.boolean())
    .map(([a, b, c, isShared]) => (isShared ? [a, a, b] : [a, b, c]));
});

type End = { readonly kind: "pod" | "node" | "outside"; readonly node: number; readonly ip: Ip };

function naive(
  nodes: readonly Questions[],
  from: End,
  to: End,
  protocol: number,
  port: number,
): "allow" | "deny" | "ask" {
  const passages: [number, Way][] = [];
  if (from.kind === "outside") passages.push([to.node, "wire-pod"]);
  else if (to.kind === "outside") passages.push([from.node, "pod-wire"]);
  else if (from.node === to.node) passages.push([from.node, `${from.kind}-${to.kind}` as Way]);
  else passages.push([from.node, `${from.kind}-wire`], [to.node, `wire-${to.kind}`]);
  let isMasqueraded = false;
  for (const [number, way] of passages) {
    const hooks = nodes[number]?.ways[way];
    if (hooks === undefined || isMasqueraded) return "ask";
    const own = ends.find((one) => one.kind === "node" && one.node === number);
    const isOwn = (one: Ip): boolean => one.family === 4 && one.words[0] === own?.words[0];
    const answer = answerOf(hooks, { src: from.ip, dst: to.ip, protocol, port }, isOwn);
    if (answer.verdict !== "accept") return answer.verdict === "drop" ? "deny" : "ask";
    isMasqueraded ||= answer.isMasqueraded;
  }
  return "allow";
}

const everyone: readonly End[] = [
  ...ends.map(({ kind, node, family, words }) => ({ kind, node, ip: { family, words } })),
  ...outside.map((text) => ({ kind: "outside" as const, node: -1, ip: ip(text) })),
];
const services = [
  [6, 80],
  [6, 85],
  [6, 443],
  [17, 53],
  [17, 80],
  [132, 80],
  [1, 8],
] as const;

describe("verdict tables", () => {
  it("law: a table = its chains read one by one", () => {
    let [told, asked] = [0, 0];
    fc.assert(
      fc.property(cluster, (nodes) => {
        const table = buildVerdictTable({ nodes, ends });
        for (const from of everyone)
          for (const to of everyone) {
            if (from === to || (from.kind !== "pod" && to.kind !== "pod")) continue;
            for (const [protocol, port] of services) {
              const expected = naive(nodes, from, to, protocol, port);
              const decision = table.decide(from.ip, to.ip, protocol, port);
              if (decision === Decision.ask) {
                asked++;
                continue;
              }
              told++;
              const verdict = decision === Decision.allow ? "allow" : "deny";
              if (verdict !== expected)
                throw new Error(
                  `${formatIp(from.ip)} -> ${formatIp(to.ip)} ${protocol}/${port}: chains say ${expected}, the table ${verdict}`,
                );
            }
          }
      }),
      { numRuns: 20 },
    );
    expect(told).toBeGreaterThan(asked / 4);
  });

  it("law: a slice counts what the table decides pair by pair", () => {
    const crowd: readonly ClassifiedEnd[] = [
      ...ends,
      ...["10.0.3.1", "10.0.3.2", "10.0.3.3"].map((text, node) => ({
        kind: "pod" as const,
        ...ip(text),
        node,
      })),
    ];
    const pods = crowd.filter(({ kind }) => kind === "pod");
    fc.assert(
      fc.property(cluster, (nodes) => {
        const table = buildVerdictTable({ nodes, ends: crowd });
        for (const [protocol, port] of services) {
          const counts = { allowed: 0, denied: 0, asked: 0 };
          for (const from of pods)
            for (const to of pods) {
              if (from === to) continue;
              const decision = table.decide(from, to, protocol, port);
              counts[
                decision === Decision.allow ? "allowed" : decision === Decision.deny ? "denied" : "asked"
              ]++;
            }
          expect(countSlice(table, crowd, protocol, port)).toEqual(counts);
        }
      }),
      { numRuns: 15 },
    );
  });

  it("chains that a node chooses for its own pods are not asked for those of others", () => {
    const refuse: DecisionChain = { name: "refuse", rules: [], atEnd: "drop" };
    const pods = ["10.0.0.1", "10.0.0.2"].map((text, node) => ({ kind: "pod" as const, ...ip(text), node }));
    const node = ({ family, words }: ClassifiedEnd): Questions => {
      const map: AddressMap = { entries: [[{ family, words, prefix: 32 }, 1]] };
      const action = { kind: "choose" as const, end: "source" as const, map, chains: new Map([[1, refuse]]) };
      const chain: DecisionChain = { name: "hook", rules: [{ action }], atEnd: "accept" };
      return { ways: { "pod-wire": [], "wire-pod": [{ hook: 0, chain }] } };
    };
    const table = buildVerdictTable({ nodes: pods.map(node), ends: pods });
    const [a, b] = ["10.0.0.1", "10.0.0.2"].map(ip) as [Ip, Ip];
    expect(table.decide(a, b, 6, 80)).toBe(Decision.allow);
    expect(table.decide(b, a, 6, 80)).toBe(Decision.allow);
  });
});
