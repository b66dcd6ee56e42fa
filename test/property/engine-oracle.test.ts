/** Every engine does what the API says, but for its documented divergences; and each of those says so only where it is true. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ClusterComparison,
  clusterObjects,
  clusterOf,
  compareWithOracle,
  type ProductSelection,
  parseSelection,
} from "../../src/harness/index.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";

/** Every cell of a random cluster; `fired` holds the divergences that explained one. */
function compare(objects: Parameters<typeof clusterOf>[0], selection: ProductSelection): ClusterComparison {
  return compareWithOracle({ state: clusterOf(objects, selection.aks).state, selection });
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
  { engine: "azure-npm@2022-04", runs: 60, options: { servicesMax: 3 } },
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
        expect(compared.disagreements.slice(0, 5).map(({ text }) => text)).toEqual([]);
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
