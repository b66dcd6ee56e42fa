/** What Cilium states of its programs and maps is what they do, for each generation of them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Ip } from "../../../src/addr/index.ts";
import type { DecisionChain } from "../../../src/base/index.ts";
import { firstPolicyPlace } from "../../../src/engine/cilium/maps.ts";
import { type BpfOp, type BpfTables, linkBpf } from "../../../src/filter/bpf/index.ts";
import {
  ciliumObjects,
  clusterOf,
  compileCluster,
  engineNames,
  generateCluster,
  type ProductSelection,
  parseSelection,
  type TablePort,
} from "../../../src/harness/index.ts";
import { buildCluster, type ClusterState, loadObjects } from "../../../src/k8s/index.ts";
import { loadScenario } from "../../../src/scenario/index.ts";
import { ip, linkContext } from "../../filter/node.ts";
import { answerOf } from "../../questions.ts";
import { isSoak, runs } from "../../runs.ts";
import { firstState } from "../../scenario/states.ts";
import { betweenPods, statementLaw } from "../../statement-law.ts";
import { LoneNode } from "./lone-node.ts";

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

function tablesOf(state: ClusterState, selection: ProductSelection): ReadonlyMap<string, BpfTables> {
  return new Map(
    [...compileCluster(state, selection)].flatMap(([name, { tables }]) =>
      tables.bpf === undefined ? [] : [[name, tables.bpf]],
    ),
  );
}

const ports: readonly TablePort[] = [
  { protocol: "TCP", port: 80 },
  { protocol: "TCP", port: 8080 },
  { protocol: "UDP", port: 443 },
  { protocol: "SCTP", port: 80 },
  { protocol: "ICMP", port: 8 },
];

describe.each([
  { engine: "cilium@1.14", objects: {}, dual: false },
  { engine: "cilium@1.16", objects: {}, dual: false },
  { engine: "cilium@1.18", objects: { servicesMax: 3 }, dual: false },
  { engine: "cilium@1.19+sctp", objects: { ipv6Blocks: true }, dual: true },
  { engine: "cilium@1.16+sctp+host-firewall", objects: { nodePoliciesMax: 3 }, dual: false },
  { engine: "cilium@1.18+host-firewall", objects: { nodePoliciesMax: 3, servicesMax: 2 }, dual: true },
])("statements of $engine", ({ engine, objects: options, dual }) => {
  const selection = product(engine);
  const words = {
    ...selection.aks,
    ...(dual ? ({ ipFamilies: ["ipv4", "ipv6"], networkPluginMode: "overlay" } as const) : {}),
  };

  it("decide on random clusters what the walk decides, and every connection between pods", {
    timeout: isSoak ? 3_600_000 : 60_000,
  }, () => {
    let decided = 0;
    fc.assert(
      fc.property(ciliumObjects({ podsMax: 4, policiesMax: 2, ...options }), (objects) => {
        const { state } = clusterOf(objects, words);
        const counts = statementLaw(state, selection, { ports, oneIn: isSoak ? 1 : 11 });
        expect(counts.broken).toEqual([]);
        expect(betweenPods(counts.asked)).toEqual([]);
        decided += counts.decided;
      }),
      { ...runs(6), seed: 20_261 },
    );
    expect(decided).toBeGreaterThan(50);
  });
});

const scenarios = join(import.meta.dirname, "../../../scenarios/cilium");

describe("statements of the clusters of scenarios", () => {
  const files = readdirSync(scenarios).filter((name) => name.endsWith(".yaml"));
  it.each(isSoak ? files : files.slice(0, 4))("decide what the walk decides: %s", (name) => {
    const scenario = loadScenario(
      { name, text: readFileSync(join(scenarios, name), "utf8") },
      { engineNames: engineNames() },
    );
    for (const version of ["1.16", "1.18", "1.19"]) {
      const selection = product(`cilium@${version}`);
      const counts = statementLaw(firstState(scenario, selection.aks), selection);
      expect(counts.broken).toEqual([]);
      expect(betweenPods(counts.asked)).toEqual([]);
    }
  });
});

describe("a statement", () => {
  it("leaves to the walk what is sent to frontends, and nothing else", () => {
    const pod = (name: string, nodeName: string) => ({
      kind: "Pod",
      metadata: { namespace: "x", name, labels: { app: name } },
      spec: { nodeName, containers: [{ name: "main", image: "x" }] },
    });
    const service = {
      kind: "Service",
      metadata: { namespace: "x", name: "web" },
      spec: { type: "NodePort", selector: { app: "a" }, ports: [{ port: 80, nodePort: 30_080 }] },
    };
    const selection = product("cilium");
    const { state } = clusterOf([pod("a", "n1"), pod("b", "n1"), pod("c", "n2"), service], {
      ...selection.aks,
      nodePools: [{ name: "n", count: 2 }],
    });
    const { asked, broken } = statementLaw(state, selection, {
      ports: [
        { protocol: "TCP", port: 80 },
        { protocol: "TCP", port: 30_080 },
      ],
    });
    expect(broken).toEqual([]);
    expect(asked.length).toBeGreaterThan(0);
    for (const { to, cell } of asked) expect([to.end.kind, cell.port]).toEqual(["node", 30_080]);
    const [node] = state.nodes.values();
    if (node === undefined) throw new Error("the cluster has a node");
    const [own] = node.addresses;
    const ways = tablesOf(state, selection).get(node.name)?.questions?.()?.ways;
    const outside = { src: ip("203.0.113.7"), protocol: 6 };
    const answer = (dst: Ip | undefined, port: number): string =>
      answerOf(
        ways?.["wire-node"] ?? [],
        { ...outside, dst: dst ?? ip("0.0.0.0"), port },
        (one) => one === dst,
      ).verdict;
    expect([answer(own, 30_080), answer(own, 80)]).toEqual(["ask", "accept"]);
  });

  const size = { nodes: 20, pods: 600, namespaces: 5, policies: 60 };
  const cilium = product("cilium");

  it("has at most two chains for each policy map, whatever the nodes", () => {
    const { state } = buildCluster(
      loadObjects("scale", generateCluster("aks-npm-limit", 1, size)),
      cilium.aks,
    );
    const tables = [...tablesOf(state, cilium).values()];
    const chosen = new Set<DecisionChain>();
    for (const { questions } of tables)
      for (const hooks of Object.values(questions?.()?.ways ?? {}))
        for (const { chain } of hooks)
          for (const { action } of chain.rules)
            if (action.kind === "choose") for (const one of action.chains.values()) chosen.add(one);
    const contents = new Set(
      tables.flatMap(({ maps }) => maps.slice(firstPolicyPlace)).map(({ base }) => base),
    );
    expect(chosen.size).toBeGreaterThan(20);
    expect(chosen.size).toBeLessThanOrEqual(2 * contents.size);
  });

  it("is withdrawn when somebody changes maps, and is never made of programs alone", () => {
    const { state } = clusterOf([], cilium.aks);
    const [tables] = tablesOf(state, cilium).values();
    if (tables === undefined) throw new Error("the cluster has a node");
    const datapath = linkBpf(tables, linkContext({ ns: 0 }));
    expect(datapath.questions()?.ways["pod-pod"]).toBeDefined();
    const reload: BpfOp = { kind: "bpf-load", tables };
    datapath.apply(reload);
    expect(datapath.questions()).toBeUndefined();
    expect(new LoneNode().datapath.questions()).toBeUndefined();
  });
});
