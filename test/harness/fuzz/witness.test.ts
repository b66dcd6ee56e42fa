/** A disagreement written as a scenario says what was seen: it holds for the side that saw it, and for no other answer. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { type TableCell, tableCells } from "../../../src/harness/cell-table.ts";
import type { RawObject } from "../../../src/harness/fuzz/arbitraries.ts";
import {
  type CellVerdict,
  clusterObjects,
  clusterOf,
  parseSelection,
  runScenario,
  witnessScenario,
} from "../../../src/harness/index.ts";
import { createJudge } from "../../../src/harness/matrix.ts";
import { loadScenario } from "../../../src/scenario/index.ts";

const verdicts: readonly CellVerdict[] = ["allow", "deny", "some"];

interface JudgedCluster {
  readonly objects: readonly RawObject[];
  readonly cells: readonly TableCell[];
  readonly verdictOf: (cell: TableCell) => CellVerdict;
}

describe.each(["azure-npm", "cilium"])("a cell that %s has judged, written as a scenario", (name) => {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} has no tables`);

  function judged(objects: readonly RawObject[]): JudgedCluster {
    if (selection.kind !== "product") throw new Error("no tables");
    const { state } = clusterOf(objects, selection.aks);
    const { judge } = createJudge(state, selection, 1);
    const cells = [...tableCells(state, [selection], {}).cells];
    return { objects, cells, verdictOf: (cell) => judge(cell).verdict };
  }

  /** What it said passes, what it did not say fails. */
  function holds({ objects, verdictOf }: JudgedCluster, cell: TableCell, seed: number): CellVerdict {
    const verdict = verdictOf(cell);
    for (const expected of verdicts) {
      if (expected === "some" && cell.cell.to.kind !== "service") continue;
      const words = { objects, cell, expected, selections: [selection], comments: ["", ""] as const };
      const text = `# ${name}\n# ${expected}\n${stringify(witnessScenario(words).document)}`;
      const { ok } = runScenario(loadScenario({ name: "w.yaml", text }), selection, { seed });
      expect({ expected, ok, text }).toEqual({ expected, ok: expected === verdict, text });
    }
    return verdict;
  }

  it("expects that verdict of it", () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(clusterObjects({ servicesMax: 3 }), fc.boolean(), fc.nat(), (objects, isService, pick) => {
        const cluster = judged(objects);
        const cells = cluster.cells.filter(({ cell }) => (cell.to.kind === "service") === isService);
        const cell = cells[pick % cells.length];
        if (cell !== undefined)
          seen.add(`${holds(cluster, cell, pick)} ${isService ? "to a Service" : "to another end"}`);
      }),
      { numRuns: 40, seed: 5 },
    );
    expect([...seen].sort()).toEqual([
      "allow to a Service",
      "allow to another end",
      "deny to a Service",
      "deny to another end",
    ]);
  });

  it("expects that some pass, where chance decides", () => {
    let found = 0;
    for (const objects of fc.sample(clusterObjects({ servicesMax: 3, podsMax: 8 }), {
      numRuns: 100,
      seed: 5,
    })) {
      const cluster = judged(objects);
      const cell = cluster.cells.find(
        (one) => one.cell.to.kind === "service" && cluster.verdictOf(one) === "some",
      );
      if (cell === undefined) continue;
      found++;
      for (const seed of [1, 2, 3]) holds(cluster, cell, seed);
    }
    expect(found).toBeGreaterThan(0);
  });
});
