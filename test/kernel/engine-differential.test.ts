/**
 * A whole engine against the kernel: what `compile` writes for each node is loaded into a namespace of the node's shape,
 * and every hop of every cell's request and reply (fate, outgoing interface, mark, bytes) and the counters of the engine's
 * rules must be the kernel's own. Hops are compared node by node: where all are equal, so are the ways. Connections whose
 * way is drawn (a Service with several endpoints) are left to the tests of Services.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createPrng, type Prng } from "../../src/base/index.ts";
import { restoreRuleset } from "../../src/filter/iptables/index.ts";
import { connectionAttempt } from "../../src/harness/attempt.ts";
import {
  clusterObjects,
  clusterOf,
  compileCluster,
  type EmulatedCluster,
  emulate,
  engineNames,
  nodeFiles,
  type ProductSelection,
  parseSelection,
  tableCells,
} from "../../src/harness/index.ts";
import {
  judgedInterfacesMax,
  judgedNodeOf,
  type KernelBackend,
  startKernelJudge,
} from "../../src/harness/kernel/index.ts";
import type { ClusterState } from "../../src/k8s/index.ts";
import { loadScenario, type Scenario } from "../../src/scenario/index.ts";
import { judgeConnection } from "../../src/sim/index.ts";
import { describeNeeding } from "../needs.ts";
import { edited, firstState } from "../scenario/states.ts";
import { fateText, type HopRecord, HopRecorder } from "./hops.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";
const totals = { clusters: 0, hops: 0, drawn: 0, counters: 0 };

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

/** Counts what is drawn: a cell for which the count moves has more than one way. */
function countingPrng(inner: Prng, count: { draws: number }): Prng {
  const drawn = <T>(value: T): T => {
    count.draws++;
    return value;
  };
  return {
    nextU32: () => drawn(inner.nextU32()),
    below: (below) => drawn(inner.below(below)),
    chance: (wins, of) => drawn(inner.chance(wins, of)),
    unit: () => drawn(inner.unit()),
    pick: (items) => drawn(inner.pick(items)),
    fork: (label) => countingPrng(inner.fork(label), count),
  };
}

interface Walked {
  readonly cluster: EmulatedCluster;
  readonly hops: readonly HopRecord[];
  readonly recorder: HopRecorder;
  /** Some cell was drawn: counters are not comparable. */
  readonly isDrawn: boolean;
}

/** Walks every cell of the cluster, and writes down the hops of those whose way is certain. */
function walkAll(state: ClusterState, selection: ProductSelection): Walked {
  const count = { draws: 0 };
  const random = countingPrng(createPrng(1), count);
  const cluster = emulate(state, selection, { seed: 1, random });
  const recorder = new HopRecorder(cluster.network);
  const hops: HopRecord[] = [];
  let sourcePort = 1024;
  let isDrawn = false;
  for (const { cell, isSelf } of tableCells(state, [selection], {}).cells) {
    if (isSelf) continue;
    const attempt = connectionAttempt(cluster.network, cell, sourcePort++, random);
    if (attempt === undefined) continue;
    const [draws, before] = [count.draws, recorder.hops.length];
    judgeConnection(cluster.network, attempt, () => recorder);
    if (count.draws === draws) hops.push(...recorder.hops.slice(before));
    else {
      isDrawn = true;
      totals.drawn++;
    }
  }
  return { cluster, hops, recorder, isDrawn };
}

/** Differences between the emulator and the kernel; at most a few, worded. */
async function compare(
  state: ClusterState,
  selection: ProductSelection,
  backend: KernelBackend,
): Promise<readonly string[]> {
  const { cluster, hops, recorder, isDrawn } = walkAll(state, selection);
  const compiled = compileCluster(state, selection);
  const problems: string[] = [];
  totals.clusters++;
  for (const spec of cluster.topology.spec.nodes) {
    const own = hops.filter((hop) => hop.node === spec.name);
    const endpoints = cluster.topology.spec.endpoints.filter(({ node }) => node === spec.name);
    if (own.length === 0 || endpoints.length >= judgedInterfacesMax) continue;
    const files = nodeFiles(state, spec.name, compiled.get(spec.name)?.tables ?? {});
    const judge = await startKernelJudge({
      backend,
      node: judgedNodeOf(cluster.network.node(spec.name).spec, endpoints),
    });
    try {
      const [v4 = "", v6 = "", sets = ""] = ["iptables.save", "ip6tables.save", "ipset.save"].map((name) =>
        files.get(name),
      );
      await judge.load({ v4, v6, sets });
      const fates = await judge.judge(own.map(({ from, bytes }) => ({ from, bytes })));
      totals.hops += own.length;
      own.forEach((hop, i) => {
        const fate = fates[i];
        const theirs = fate === undefined ? "nothing" : fateText(fate);
        if (theirs !== hop.fate && problems.length < 5)
          problems.push(
            `${spec.name} ${hop.from} ${Buffer.from(hop.bytes).toString("hex")}: ours ${hop.fate}, kernel ${theirs}`,
          );
      });
      if (!isDrawn) problems.push(...counterProblems(cluster, recorder, spec.name, await judge.save(4)));
    } finally {
      await judge.close();
    }
  }
  return problems;
}

/** Packets that each rule of the engine's chains, and of FORWARD, has matched. */
function counterProblems(
  cluster: EmulatedCluster,
  recorder: HopRecorder,
  node: string,
  saved: string,
): readonly string[] {
  const datapath = cluster.datapaths.get(node);
  const counts = recorder.counts.get(node);
  if (datapath === undefined || counts === undefined) return [];
  const ours = new Map<string, number>();
  for (const [index, packets] of counts) {
    const { table, chain, number } = datapath.describeRule(index);
    ours.set(`${table}/${chain} ${number}`, packets);
  }
  const chains = restoreRuleset(saved, "saved").tables.filter?.chains ?? [];
  return chains
    .filter(({ name }) => name === "FORWARD" || name.startsWith("AZURE-NPM"))
    .flatMap(({ name, rules }) =>
      rules.flatMap(({ counters }, i) => {
        totals.counters++;
        const mine = ours.get(`filter/${name} ${i + 1}`) ?? 0;
        return counters?.[0] === mine
          ? []
          : [`${node} filter/${name} ${i + 1}: counted ${mine}, kernel ${counters?.[0]}`];
      }),
    )
    .slice(0, 3);
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
