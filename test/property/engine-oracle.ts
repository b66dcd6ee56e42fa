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

type RawObject = Readonly<Record<string, unknown>>;

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
  readonly clusters: readonly {
    readonly runs: number;
    readonly options: Parameters<typeof clusterObjects>[0];
    /** Policies as NPM Lite takes them: peers are blocks, ports are numbers. */
    readonly isOfBlocks?: boolean;
  }[];
  /** Divergences that must explain a cell each, and no others; where this is left out, any may. */
  readonly fires?: readonly string[];
}

const blocks = [
  { cidr: "10.224.0.0/16", except: ["10.224.0.4/30"] },
  { cidr: "10.0.0.0/8", except: ["10.224.0.8/32"] },
  { cidr: "10.224.0.4/31" },
  { cidr: "0.0.0.0/0", except: ["10.224.0.0/29", "128.0.0.0/1"] },
];

function ofBlocks(object: RawObject): RawObject {
  if (object["kind"] !== "NetworkPolicy") return object;
  let selectors = 0;
  return JSON.parse(JSON.stringify(object), (key, value: unknown) => {
    if (key === "port" && typeof value === "string") return 80;
    if (key !== "from" && key !== "to") return value;
    return (value as readonly object[]).map((peer) =>
      "ipBlock" in peer ? peer : { ipBlock: blocks[selectors++ % blocks.length] },
    );
  });
}

/** Engine = oracle but for divergences, which are where they say so. */
export function equalsOracle(rows: readonly OracleRuns[]): void {
  describe.each(rows)("$engine on random clusters", ({ engine, clusters, fires }) => {
    const total = clusters.reduce((sum, { runs }) => sum + runs, 0);
    it(`equals the oracle except where a divergence says so, and diverges where one does (${total})`, {
      timeout: isSoak ? 3_600_000 : 300_000,
    }, () => {
      const selection = product(engine);
      const fired = new Set<string>();
      let cells = 0;
      for (const { runs, options, isOfBlocks } of clusters)
        fc.assert(
          fc.property(clusterObjects(options), (objects) => {
            const compared = compare(isOfBlocks ? objects.map(ofBlocks) : objects, selection);
            cells += compared.cells;
            for (const id of compared.fired) fired.add(id);
            expect(compared.disagreements.slice(0, 5).map(({ text }) => text)).toEqual([]);
          }),
          { numRuns: isSoak ? runs * 20 : runs, seed: isSoak ? Date.now() : 20_261 },
        );
      expect(cells).toBeGreaterThan(total * 50);
      if (fires !== undefined) expect([...fired].sort()).toEqual([...fires].sort());
    });
  });
}
