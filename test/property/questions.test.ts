/** Law: what datapaths state of themselves is what the walk finds, for connections between pods. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Ip } from "../../src/addr/index.ts";
import type { Way } from "../../src/base/index.ts";
import {
  clusterObjects,
  clusterOf,
  type EmulatedCluster,
  emulate,
  type ProductSelection,
  parseSelection,
} from "../../src/harness/index.ts";
import type { ClusterState, Pod } from "../../src/k8s/index.ts";
import { judgeConnection } from "../../src/sim/index.ts";
import { IpProtocol } from "../../src/wire/index.ts";
import { answerOf } from "../questions.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";

const services = [
  ["TCP", IpProtocol.tcp, 80],
  ["TCP", IpProtocol.tcp, 8080],
  ["UDP", IpProtocol.udp, 53],
  ["SCTP", IpProtocol.sctp, 9090],
  ["ICMP", IpProtocol.icmp, 8],
] as const;

type Service = (typeof services)[number];

function stated(cluster: EmulatedCluster, from: Pod, to: Pod, src: Ip, dst: Ip, service: Service): string {
  const ask = (node: string, way: Way): string => {
    const hooks = cluster.datapaths.get(node)?.questions()?.ways[way];
    const own = cluster.network.node(node);
    const connection = { src, dst, protocol: service[1], port: service[2] };
    return hooks === undefined ? "ask" : answerOf(hooks, connection, (ip) => own.isLocal(ip)).verdict;
  };
  if (from.nodeName === to.nodeName) return ask(from.nodeName, "pod-pod");
  const first = ask(from.nodeName, "pod-wire");
  return first === "accept" ? ask(to.nodeName, "wire-pod") : first;
}

function compare(state: ClusterState, selection: ProductSelection): { cells: number; allowed: number } {
  const cluster = emulate(state, selection, { seed: 1 });
  const pods = [...state.pods.values()].filter((pod) =>
    cluster.network.endpoint(`${pod.namespace}/${pod.name}`),
  );
  const seen = { cells: 0, allowed: 0 };
  for (const from of pods)
    for (const to of pods)
      for (const service of from === to ? [] : services) {
        const [src, dst] = [from.ips[0], to.ips[0]];
        if (src === undefined || dst === undefined) continue;
        const { isAllowed } = judgeConnection(cluster.network, {
          from: `${from.namespace}/${from.name}`,
          src,
          dst,
          protocol: service[0],
          port: service[2],
          sourcePort: 1024 + (seen.cells % 60_000),
        });
        seen.cells++;
        if (isAllowed) seen.allowed++;
        const cell = `${from.name} to ${to.name} by ${service[0]} ${service[2]}`;
        const said = stated(cluster, from, to, src, dst, service);
        expect(`${cell}: ${said}`).toBe(`${cell}: ${isAllowed ? "accept" : "drop"}`);
      }
  return seen;
}

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

describe.each([
  ["azure-npm", 25],
  ["azure-npm@2026-08+place-first+on-need", 10],
  ["azure-npm@2022-04", 10],
  ["none", 10],
])("%s", (name, runs) => {
  it("states of connections between pods what they meet", () => {
    const selection = product(name);
    const total = { cells: 0, allowed: 0 };
    fc.assert(
      fc.property(clusterObjects({ servicesMax: 2 }), (objects) => {
        const { cells, allowed } = compare(clusterOf(objects, selection.aks).state, selection);
        total.cells += cells;
        total.allowed += allowed;
      }),
      { numRuns: isSoak ? runs * 50 : runs, seed: isSoak ? Date.now() : 7 },
    );
    expect(total.allowed).toBeGreaterThan(runs * 5);
    if (name !== "none") expect(total.cells - total.allowed).toBeGreaterThan(runs * 2);
  });
});
