/** What the tables of Azure NPM and of the bare platform state is what they do. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  clusterObjects,
  clusterOf,
  engineNames,
  type ProductSelection,
  parseSelection,
  type TablePort,
} from "../../src/harness/index.ts";
import { loadScenario } from "../../src/scenario/index.ts";
import { isSoak, runs } from "../runs.ts";
import { firstState } from "../scenario/states.ts";
import { betweenPods, statementLaw } from "../statement-law.ts";

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

const ports: readonly TablePort[] = [
  { protocol: "TCP", port: 80 },
  { protocol: "TCP", port: 8080 },
  { protocol: "UDP", port: 53 },
  { protocol: "SCTP", port: 9090 },
  { protocol: "ICMP", port: 8 },
];
const dualStack = { networkPluginMode: "overlay", ipFamilies: ["ipv4", "ipv6"] } as const;

describe.each([
  { engine: "azure-npm", words: {}, count: 10 },
  { engine: "azure-npm@2026-08+place-first+on-need", words: {}, count: 5 },
  { engine: "azure-npm@2022-04", words: {}, count: 5 },
  { engine: "none", words: {}, count: 3 },
  { engine: "none", words: dualStack, count: 3 },
])("statements of $engine $words", ({ engine, words, count }) => {
  it("decide on random clusters what the walk decides, and every connection between pods", {
    timeout: isSoak ? 3_600_000 : 60_000,
  }, () => {
    const selection = product(engine);
    let decided = 0;
    let asked = 0;
    fc.assert(
      fc.property(clusterObjects({ servicesMax: 2 }), (objects) => {
        const { state } = clusterOf(objects, { ...selection.aks, ...words });
        const counts = statementLaw(state, selection, { ports });
        expect(counts.broken).toEqual([]);
        expect(betweenPods(counts.asked)).toEqual([]);
        decided += counts.decided;
        asked += counts.asked.length;
      }),
      { ...runs(count), seed: 20_261 },
    );
    expect(decided).toBeGreaterThan(count * 50);
    expect(asked * 10).toBeLessThan(decided); // ports of nodes that Services have
  });
});

const scenarios = join(import.meta.dirname, "../../scenarios");

describe.each(["azure-npm", "corners", "services", "upstream-e2e"])(
  "statements of the clusters of scenarios/%s",
  (folder) => {
    const files = readdirSync(join(scenarios, folder)).filter((name) => name.endsWith(".yaml"));
    it.each(isSoak ? files : files.slice(0, 2))("decide what the walk decides: %s", (name) => {
      const text = readFileSync(join(scenarios, folder, name), "utf8");
      const scenario = loadScenario({ name, text }, { engineNames: engineNames() });
      for (const engine of ["azure-npm", "none"]) {
        const selection = product(engine);
        const { broken, asked, decided } = statementLaw(firstState(scenario, selection.aks), selection);
        expect(broken).toEqual([]);
        expect(betweenPods(asked)).toEqual([]);
        expect(decided).toBeGreaterThan(0);
      }
    });
  },
);
