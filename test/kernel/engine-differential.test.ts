/**
 * A whole engine against the kernel, for every scenario and random clusters: each node's hops and rule counters. What is
 * left out there (Services with several endpoints) is compared by the tests of Services.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import {
  clusterObjects,
  clusterOf,
  engineNames,
  type ProductSelection,
  parseSelection,
} from "../../src/harness/index.ts";
import { compareClusterWithKernel, type KernelBackend } from "../../src/harness/kernel/index.ts";
import type { ClusterState } from "../../src/k8s/index.ts";
import { loadScenario, type Scenario } from "../../src/scenario/index.ts";
import { describeNeeding } from "../needs.ts";
import { edited, firstState } from "../scenario/states.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";
const totals = { clusters: 0, hops: 0, drawn: 0, counters: 0 };

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

/** Differences between the emulator and the kernel; at most a few, worded. */
async function compare(
  state: ClusterState,
  selection: ProductSelection,
  backend: KernelBackend,
): Promise<readonly string[]> {
  const { hops, counters, drawn, differences } = await compareClusterWithKernel(state, selection, backend);
  totals.clusters++;
  totals.hops += hops;
  totals.counters += counters;
  totals.drawn += drawn;
  return differences.map(({ node, text }) => `${node} ${text}`);
}

const folder = join(import.meta.dirname, "../../scenarios");
const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".yaml"))
  .sort();

function scenarioOf(name: string): Scenario | undefined {
  const file = join(folder, name);
  const text = readFileSync(file, "utf8");
  if (!/^engines:|^steps:/m.test(text)) return undefined; // manifests that scenarios share
  const readManifests = (path: string): readonly { readonly name: string; readonly text: string }[] => [
    { name: path, text: readFileSync(join(dirname(file), path), "utf8") },
  ];
  return loadScenario({ name: file, text }, { engineNames: engineNames(), readManifests });
}

/** The states of a scenario that differ in their objects. */
function statesOf(scenario: Scenario, selection: ProductSelection): readonly ClusterState[] {
  const states = [firstState(scenario, selection.aks)];
  for (const step of scenario.steps) {
    const next = edited(states[states.length - 1] as ClusterState, step);
    if (next !== states[states.length - 1]) states.push(next);
  }
  return states;
}

const needs = ["root", "tun", "ip", "iptables", "iptables-nft", "ipset", "conntrack"] as const;

describeNeeding("azure-npm's nodes in the kernel's place", needs, () => {
  it.each(["legacy", "nft"] as const)(
    "do the same on %s, for every state of every scenario",
    { timeout: 1_200_000 },
    async (backend) => {
      const selection = product("azure-npm");
      const problems: string[] = [];
      for (const name of files) {
        const scenario = scenarioOf(name);
        if (scenario === undefined) continue;
        // between the first and the last state little is new: the soak takes them all
        const all = statesOf(scenario, selection);
        const states = isSoak ? all : all.slice(-1);
        for (const state of states)
          for (const problem of await compare(state, selection, backend))
            problems.push(`${name}: ${problem}`);
      }
      expect(problems.slice(0, 10)).toEqual([]);
    },
  );

  it.each(["legacy", "nft"] as const)(
    "do the same on %s, for random clusters",
    { timeout: 1_200_000 },
    async (backend) => {
      const engines = ["azure-npm", "azure-npm@2026-09+place-first", "azure-npm@2022-04", "none"];
      const runs = isSoak ? 1000 : 50;
      const problems: string[] = [];
      for (const [i, objects] of fc
        .sample(clusterObjects({ podsMax: 5 }), { numRuns: runs, seed: 31 })
        .entries()) {
        const selection = product(engines[i % engines.length] ?? "none");
        const { state } = clusterOf(objects, selection.aks);
        for (const problem of await compare(state, selection, backend))
          problems.push(`cluster ${i} on ${selection.label}: ${problem}`);
      }
      expect(problems.slice(0, 10)).toEqual([]);
      console.log(
        `so far ${totals.clusters} clusters: ${totals.hops} hops and ${totals.counters} counters of the kernel's compared, ${totals.drawn} drawn connections left out`,
      );
    },
  );
});
