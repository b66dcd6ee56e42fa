/** Engines held against the oracle over random clusters, cell by cell, divergences both ways. */
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

export interface OracleRuns {
  readonly engine: string;
  readonly runs: number;
  readonly options: Parameters<typeof clusterObjects>[0];
}

/** Engine = oracle but for divergences; `fired`: those that random clusters can show. */
export function equalsOracle(rows: readonly OracleRuns[]): void {
  describe.each(rows)("$engine on random clusters ($runs, $options)", ({ engine, runs, options }) => {
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
}

export function divergencesFire(engine: string, ids: readonly string[]): void {
  describe(`the divergences of ${engine}`, () => {
    it("that random clusters can show each explain a cell of one", { timeout: 120_000 }, () => {
      const selection = product(engine);
      const fired = new Set<string>();
      const clusters = [
        ...fc.sample(clusterObjects({ ipv6Blocks: true }), { numRuns: 150, seed: 7 }),
        ...[3, 4, 7].flatMap((seed) => fc.sample(clusterObjects({ servicesMax: 3 }), { numRuns: 60, seed })),
      ];
      for (const objects of clusters) for (const id of compare(objects, selection).fired) fired.add(id);
      expect([...fired].sort()).toEqual(ids);
    });
  });
}
