/** Every benchmark at a size that takes no time: it measures something, and always the same thing. */
import { describe, expect, it } from "vitest";
import { bpfPrograms } from "../../bench/bpf-programs.ts";
import { ciliumTables } from "../../bench/cilium-tables.ts";
import { decodeHeaders } from "../../bench/decode.ts";
import { hnsAcls } from "../../bench/hns-acls.ts";
import { npmWalk } from "../../bench/npm-walk.ts";
import { replayCaptures } from "../../bench/replay.ts";
import { sharedMaps } from "../../bench/shared-maps.ts";
import { sharedTables } from "../../bench/shared-tables.ts";
import { BatchDecider } from "../../src/classify/index.ts";
import {
  createTrafficColumns,
  emulate,
  interleavedRounds,
  measureDecisions,
  measureWalks,
  parseSelection,
  prepareBench,
  quantile,
  retainedBytes,
  Traffic,
} from "../../src/harness/index.ts";
import { ClusterTable } from "../../src/harness/verdict-table.ts";

describe.each([
  bpfPrograms,
  ciliumTables,
  decodeHeaders,
  hnsAcls,
  npmWalk,
  replayCaptures,
  sharedMaps,
  sharedTables,
])("bench/$name", ({ prepare }) => {
  it("computes the same each time, and says what it depends on", () => {
    const hashes = [prepare("smoke"), prepare("smoke")].map((benchmark) => {
      for (const one of benchmark.cases) one.run();
      return benchmark.resultHash();
    });
    expect(hashes[0]).toMatch(/^[0-9a-f]+( [0-9a-f]+)*$/);
    expect(hashes[1]).toBe(hashes[0]);
    expect(Object.keys(prepare("smoke").facts).length).toBeGreaterThan(4);
  });
});

describe("shared tables", () => {
  it("take at most 1.3 times the bytes of one node's for all nodes", () => {
    const { facts } = sharedTables.prepare("smoke");
    expect(facts["nodes"]).toBe(20);
    expect(Number(facts["bytesRatio"])).toBeGreaterThanOrEqual(1);
    expect(Number(facts["bytesRatio"])).toBeLessThanOrEqual(1.3);
  });
});

describe("retained bytes", () => {
  it("counts a shared object once, and every object once", () => {
    const shared = { text: "x".repeat(1000), numbers: new Uint32Array(100) };
    const one = retainedBytes([{ shared }]);
    expect(one).toBeGreaterThan(1400);
    expect(retainedBytes([{ shared }, { shared }]) - one).toBeLessThan(100);
    expect(retainedBytes([{ shared }, { shared: { ...shared, text: "y".repeat(1000) } }])).toBeGreaterThan(
      one + 1000,
    );
  });

  it("ends on data that refers to itself", () => {
    const loop: { self?: object } = {};
    loop.self = loop;
    expect(retainedBytes(loop)).toBeGreaterThan(0);
  });
});

describe("interleaved rounds", () => {
  /** A clock that only runs when a case does. */
  function measured(costs: readonly number[]): { readonly best: readonly number[]; readonly order: string } {
    let now = 0;
    let order = "";
    const cases = costs.map((cost, i) => () => {
      now += cost;
      order += String(i);
    });
    const measures = interleavedRounds(cases, { rounds: 3, roundMs: 4, nowMs: () => now });
    return { best: measures.map((measure) => measure.bestMs), order };
  }

  it("takes turns, and divides each turn's time by its calls", () => {
    expect(measured([2, 10])).toEqual({ best: [2, 10], order: "01001001001" });
  });

  it("answers quantiles by nearest rank", () => {
    expect(quantile([5, 1, 3, 2, 4], 0.5)).toBe(3);
    expect(quantile([5, 1, 3, 2, 4], 0.99)).toBe(5);
    expect(quantile([7], 0.01)).toBe(7);
  });
});

describe("the walk's figures", () => {
  it("agree in what they judged, traced or not, and differ by connection state", () => {
    const selection = parseSelection("azure-npm");
    if (selection.kind !== "product") throw new Error("a product");
    let now = 0;
    const nowMs = (): number => (now += 0.5);
    const sizes = { nodes: 3, pods: 60, namespaces: 5, policies: 25 };
    const setup = prepareBench(selection, { profile: "aks-npm-limit", sizes, seed: 3, packets: 200, nowMs });
    const [fresh, established, traced] = measureWalks(setup, nowMs, { rounds: 1, roundMs: 1 });
    expect(traced?.resultHash).toBe(fresh?.resultHash);
    expect(established?.accepted).toBe(200);
    expect(fresh?.accepted).toBeLessThan(200);
    expect(fresh?.accepted).toBeGreaterThan(0);
  });
});

describe("the verdict table's figures", () => {
  it.each(["azure-npm", "cilium"])(
    "%s: the same packets get the same verdicts as columns and as frames",
    (name) => {
      const selection = parseSelection(name);
      if (selection.kind !== "product") throw new Error("a product");
      let now = 0;
      const nowMs = (): number => (now += 0.5);
      const sizes = { nodes: 3, pods: 60, namespaces: 5, policies: 25 };
      const { state } = prepareBench(selection, { profile: "aks-npm-limit", sizes, seed: 3, nowMs });
      const options = {
        seed: 3,
        shape: "uniform",
        rows: 500,
        frames: 500,
        nowMs,
        rounds: 1,
        roundMs: 1,
      } as const;
      const { paths } = measureDecisions(state, selection, options);
      const [decide, parsed] = paths;
      expect(parsed?.resultHash).toBe(decide?.resultHash);
      expect(decide?.asked).toBe(0);
      expect(decide?.accepted).toBeGreaterThan(0);
      expect(decide?.accepted).toBeLessThan(500);
    },
  );
});

describe("a decision by the verdict table", () => {
  it("allocates nothing", () => {
    const selection = parseSelection("azure-npm");
    if (selection.kind !== "product") throw new Error("a product");
    const sizes = { nodes: 3, pods: 60, namespaces: 5, policies: 25 };
    const { state } = prepareBench(selection, { profile: "aks-npm-limit", sizes, seed: 3, nowMs: () => 0 });
    const { table } = new ClusterTable(emulate(state, selection, { seed: 3 }));
    const decider = new BatchDecider(table);
    // few enough that most slices see no collection, which would hide what they allocate
    const rows = 2048;
    const columns = createTrafficColumns(rows);
    new Traffic(state, { shape: "uniform", seed: 3 }).fill(columns, 0, rows);
    const out = new Uint8Array(rows);
    const slices = process.env["PODWIRE_SOAK"] === undefined ? 500 : 5000;
    const growth: number[] = [];
    for (let slice = 0; slice < slices; slice++) {
      const before = process.memoryUsage().heapUsed;
      decider.decide(columns, 0, rows, out);
      growth.push(process.memoryUsage().heapUsed - before);
    }
    // the smallest object takes 16 bytes
    expect(quantile(growth.slice(slices / 2), 0.5)).toBeLessThan(rows * 8);
  });
});
