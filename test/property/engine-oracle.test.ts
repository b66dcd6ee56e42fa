/** Every engine does what the API says, but for its documented divergences; and each of those says so only where it is true. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  clusterObjects,
  clusterOf,
  createJudge,
  divergencesOf,
  isSource,
  type ProductSelection,
  parseSelection,
  resolveEnd,
  type TableCell,
  tableCells,
} from "../../src/harness/index.ts";
import type { ClusterState, Connection } from "../../src/k8s/index.ts";
import { createOracle } from "../../src/oracle/index.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";

interface Compared {
  readonly problems: readonly string[];
  readonly cells: number;
  readonly fired: ReadonlySet<string>;
}

/** Compares every cell of a random cluster; `fired` holds the divergences that explained one. */
function compare(objects: Parameters<typeof clusterOf>[0], selection: ProductSelection): Compared {
  const { state } = clusterOf(objects, selection.aks);
  const oracle = createOracle(state);
  const { judge } = createJudge(state, selection, 1);
  const problems: string[] = [];
  const fired = new Set<string>();
  let cells = 0;
  for (const cell of [...tableCells(state, [selection], {}).cells, ...nodePortCells(state)]) {
    if (cell.isSelf) continue;
    const expected = oracle.judge(cell.cell).verdict;
    const named = divergencesOf(selection, state, cell.cell, expected);
    if (expected === "undefined" && named.length === 0) continue;
    cells++;
    const { verdict } = judge(cell);
    const where = `${cell.from.id} -> ${cell.to.id} ${cell.cell.port}/${cell.cell.protocol}`;
    if (expected !== "undefined" && verdict !== expected && !named.some((one) => one.verdict === verdict))
      problems.push(`unexplained: ${where}: ${expected} by the API, ${verdict}`);
    for (const { divergence, verdict: predicted } of named) {
      if (predicted !== verdict)
        problems.push(`${divergence.id} predicts ${predicted} for ${where}, which is ${verdict}`);
      else fired.add(divergence.id);
    }
  }
  return { problems, cells, fired };
}

/** Every pod, node and one host outside, to every node port of every node. */
function nodePortCells(state: ClusterState): readonly TableCell[] {
  const sources = tableCells(state, [], { ports: [{ protocol: "TCP", port: 1 }] })
    .ends.filter(isSource)
    .filter(({ id }) => id === "ip:other" || !id.startsWith("ip:"));
  const ports = [...state.services.values()].flatMap((service) => service.ports);
  return sources.flatMap((from) =>
    [...state.nodes.keys()].flatMap((node) =>
      ports.flatMap(({ nodePort, protocol }) => {
        if (nodePort === undefined) return [];
        const to = resolveEnd(state, { kind: "node-port", node, port: nodePort });
        const cell: Connection = { from: from.end, to: to.end, protocol, port: nodePort, family: 4 };
        return [{ from, to, cell, isSelf: false }];
      }),
    ),
  );
}

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

describe.each([
  { engine: "azure-npm", runs: 700, options: {} },
  { engine: "azure-npm", runs: 100, options: { ipv6Blocks: true } },
  { engine: "azure-npm@2026-09", runs: 200, options: {} },
  { engine: "azure-npm@2026-08+place-first+on-need", runs: 100, options: {} },
  { engine: "azure-npm@2022-04", runs: 100, options: {} },
  { engine: "azure-npm@1.5.36", runs: 50, options: {} },
  { engine: "cilium", runs: 500, options: {} },
  { engine: "cilium", runs: 100, options: { servicesMax: 3 } },
  { engine: "cilium", runs: 100, options: { ipv6Blocks: true } },
  { engine: "cilium@1.14", runs: 100, options: {} },
  { engine: "cilium@1.16+sctp", runs: 100, options: {} },
  { engine: "cilium@1.19", runs: 100, options: {} },
  { engine: "none", runs: 50, options: {} },
  { engine: "none", runs: 50, options: { servicesMax: 3 } },
  { engine: "azure-npm", runs: 150, options: { servicesMax: 3 } },
  { engine: "azure-npm@2026-08+place-first", runs: 60, options: { servicesMax: 3 } },
])("$engine on random clusters ($runs, $options)", ({ engine, runs, options }) => {
  it("equals the oracle except where a divergence says so, and diverges where one does", {
    timeout: 300_000,
  }, () => {
    const selection = product(engine);
    let cells = 0;
    fc.assert(
      fc.property(clusterObjects(options), (objects) => {
        const compared = compare(objects, selection);
        cells += compared.cells;
        expect(compared.problems.slice(0, 5)).toEqual([]);
      }),
      { numRuns: isSoak ? runs * 20 : runs, seed: isSoak ? Date.now() : 20_261 },
    );
    expect(cells).toBeGreaterThan(runs * 50);
  });
});

describe("the divergences", () => {
  it.each([
    {
      engine: "azure-npm",
      ids: [
        "egress-own-node",
        "npm-bare-negation",
        "npm-ipv6-policy-skipped",
        "npm-namespace-not-in",
        "service-ingress-snat",
      ],
    },
    {
      engine: "cilium@1.14",
      ids: [
        "egress-own-node",
        "endport-before-1.16",
        "ipblock-nodes",
        "ipblock-pods",
        "named-port-cluster-wide",
        "named-port-duplicates",
        "sctp-off",
        "service-ingress-snat",
      ],
    },
  ])(
    "of $engine that random clusters can show each explain a cell of one",
    { timeout: 120_000 },
    ({ engine, ids }) => {
      const selection = product(engine);
      const fired = new Set<string>();
      const clusters = [
        ...fc.sample(clusterObjects({ ipv6Blocks: true }), { numRuns: 150, seed: 7 }),
        ...fc.sample(clusterObjects({ servicesMax: 3 }), { numRuns: 80, seed: 3 }),
      ];
      for (const objects of clusters) for (const id of compare(objects, selection).fired) fired.add(id);
      expect([...fired].sort()).toEqual(ids);
    },
  );
});
