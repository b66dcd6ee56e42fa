/**
 * What does not depend on the node is made once: tables of 250 nodes and 20,000 pods take at most 1.3 times the objects
 * and twice the time of one node's.
 */
import { describe, expect, it } from "vitest";
import type { AddressMap, DecisionChain } from "../../../src/base/index.ts";
import type { Datapath } from "../../../src/filter/index.ts";
import { compileCluster, emulate } from "../../../src/harness/index.ts";
import { buildCluster, type ClusterState, loadObjects } from "../../../src/k8s/index.ts";
import { npm, type RawObject } from "./npm.ts";

const selection = npm();

/** Pods in turn on the nodes, policies with selectors, blocks and named ports, a Service of which nodes have own endpoints. */
function state(nodes: number, pods: number, policies: number): ClusterState {
  const many = (count: number, make: (i: number) => RawObject): readonly RawObject[] =>
    Array.from({ length: count }, (_, i) => make(i));
  const objects = [
    ...many(nodes, (i) => ({ apiVersion: "v1", kind: "Node", metadata: { name: `n${i}` } })),
    ...many(250, (i) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: `ns${i}`, labels: { team: `t${i % 20}` } },
    })),
    ...many(pods, (i) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: `pod-${i}`,
        namespace: `ns${i % 250}`,
        labels: { app: `app${i % 300}`, tier: `tier${i % 4}` },
      },
      spec: {
        nodeName: `n${i % nodes}`,
        containers: [{ name: "c", ports: [{ name: "http", containerPort: 8080 }] }],
      },
    })),
    ...many(policies, (i) => ({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: `p${i}`, namespace: `ns${i % 250}` },
      spec: {
        podSelector: { matchLabels: { app: `app${i % 300}` } },
        ingress: [
          {
            from: [
              { podSelector: { matchLabels: { app: `app${i % 7}` } } },
              { ipBlock: { cidr: `10.${i % 250}.0.0/16` } },
            ],
            ports: [{ port: 80 }, { port: "http" }],
          },
        ],
        ...(i % 3 === 0
          ? { egress: [{ to: [{ podSelector: { matchLabels: { app: `app${i % 5}` } } }] }] }
          : {}),
      },
    })),
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "local", namespace: "ns0" },
      spec: { selector: { app: "app0" }, internalTrafficPolicy: "Local", ports: [{ port: 80 }] },
    },
  ];
  return buildCluster(loadObjects("objects", objects), { ...selection.aks, nodeSubnet: "10.192.0.0/10" })
    .state;
}

/** Distinct objects, arrays, maps and their entries that can be reached, of which a `Cidr` and a rule are typical. */
function reachable(roots: readonly unknown[]): number {
  const seen = new Set<unknown>();
  const open: unknown[] = [...roots];
  let entries = 0;
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null || seen.has(value)) continue;
    seen.add(value);
    const inner: Iterable<unknown> = value instanceof Map ? value.values() : Object.values(value);
    for (const one of inner) {
      entries++;
      open.push(one);
    }
  }
  return seen.size + entries;
}

/** All chains that connections meet on a node, by name. */
function chainsOf(datapath: Datapath): ReadonlyMap<string, DecisionChain> {
  const chains = new Map<string, DecisionChain>();
  const open = Object.values(datapath.questions()?.ways ?? {}).flatMap((hooks) =>
    hooks.map(({ chain }) => chain),
  );
  for (let chain = open.pop(); chain !== undefined; chain = open.pop()) {
    if (chains.get(chain.name) === chain) continue;
    chains.set(chain.name, chain);
    for (const { action } of chain.rules) if ("chain" in action) open.push(action.chain);
  }
  return chains;
}

describe("what many nodes state of themselves", () => {
  const { datapaths } = emulate(state(50, 500, 30), selection, { seed: 1 });
  const all = [...datapaths.values()].map(chainsOf);

  it("is the same chains of NPM and the same sets of addresses, whatever the platform's chains are", () => {
    const ofNpm = new Set(
      all.flatMap((chains) => [...chains.values()].filter(({ name }) => name.startsWith("AZURE-NPM"))),
    );
    const names = new Set([...ofNpm].map(({ name }) => name));
    expect(names.size).toBeGreaterThan(30);
    expect(ofNpm.size).toBe(names.size);
    const mapsOf = (chains: ReadonlyMap<string, DecisionChain>): readonly AddressMap[] =>
      [...chains.values()].flatMap(({ rules }) =>
        rules.flatMap(({ source = [], destination = [] }) =>
          [...source, ...destination].map(({ map }) => map),
        ),
      );
    const [first] = all;
    const ofOne = new Set(mapsOf(first ?? new Map()));
    expect(ofOne.size).toBeGreaterThan(10);
    expect(new Set(all.flatMap(mapsOf)).size).toBeLessThan(ofOne.size + all.length);
  });

  it("tells whose rules the long chains are", () => {
    const owners = ["AZURE-NPM-INGRESS", "AZURE-NPM-EGRESS"].map((name) => all[0]?.get(name)?.of);
    expect(owners).toEqual(["destination", "source"]);
  });
});

describe("tables of many nodes", () => {
  it("hold at most 1.3 times what those of one do", { timeout: 120_000 }, () => {
    const compiled = [...compileCluster(state(250, 20_000, 1000), selection).values()].map(
      ({ tables }) => tables,
    );
    expect(compiled).toHaveLength(250);
    const [first] = compiled;
    const one = reachable([first?.iptables]);
    expect(one).toBeGreaterThan(200_000);
    expect(reachable(compiled.map(({ iptables }) => iptables)) / one).toBeLessThan(1.3);
    expect(new Set(compiled.map(({ iptables }) => iptables?.sets)).size).toBe(1);
  });

  it("are one object where the platform's are", () => {
    const alike = state(250, 500, 10);
    const distinct = new Set(
      [...compileCluster(alike, selection).values()].map(({ tables }) => tables.iptables),
    );
    expect(distinct.size).toBeLessThanOrEqual(3);
  });

  it("are made in at most twice the time of one", { timeout: 120_000 }, () => {
    const [single, many] = [state(1, 4000, 400), state(250, 4000, 400)];
    const times = { single: Number.POSITIVE_INFINITY, many: Number.POSITIVE_INFINITY };
    for (let round = 0; round < 7; round++) {
      for (const [name, one] of [
        ["single", single],
        ["many", many],
      ] as const) {
        const start = performance.now();
        compileCluster(one, selection);
        times[name] = Math.min(times[name], performance.now() - start);
      }
    }
    expect(times.many / times.single).toBeLessThan(2);
  });
});
