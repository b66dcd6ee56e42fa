/** Law: what datapaths state of themselves is what the walk finds, for connections between pods, nodes and hosts outside. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Ip, parseIp } from "../../src/addr/index.ts";
import type { Way } from "../../src/base/index.ts";
import {
  clusterObjects,
  clusterOf,
  type EmulatedCluster,
  emulate,
  type ProductSelection,
  parseSelection,
} from "../../src/harness/index.ts";
import type { ClusterState, ClusterWords } from "../../src/k8s/index.ts";
import { judgeConnection } from "../../src/sim/index.ts";
import { IpProtocol } from "../../src/wire/index.ts";
import { answerOf } from "../questions.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";

const every = (port: number): { readonly 4: number; readonly 6: number } => ({ 4: port, 6: port });

/** Protocol, its number and port or type by family. */
const services = [
  ["TCP", every(IpProtocol.tcp), every(80)],
  ["TCP", every(IpProtocol.tcp), every(8080)],
  ["UDP", every(IpProtocol.udp), every(53)],
  ["SCTP", every(IpProtocol.sctp), every(9090)],
  ["ICMP", { 4: IpProtocol.icmp, 6: IpProtocol.icmpv6 }, { 4: 8, 6: 128 }],
] as const;

type Service = (typeof services)[number];

/** Someone who sends and receives. */
interface Station {
  readonly id: string;
  readonly place: "pod" | "node" | "wire";
  readonly ip: Ip;
  /** `undefined`: outside the cluster. */
  readonly node: string | undefined;
}

function stationsOf({ state, network }: EmulatedCluster): readonly Station[] {
  const pods = [...state.pods.values()].flatMap(({ namespace, name, ips, nodeName }): readonly Station[] => {
    const id = `${namespace}/${name}`;
    return network.endpoint(id) === undefined
      ? []
      : ips.map((ip) => ({ id, place: "pod", ip, node: nodeName }));
  });
  const nodes = [...state.nodes.values()].flatMap(({ name, os, addresses }) =>
    os === "linux"
      ? addresses.map((ip): Station => ({ id: `node:${name}`, place: "node", ip, node: name }))
      : [],
  );
  const outside = ["203.0.113.7", "172.16.0.1", "2001:db8:ffff::1"].map((text): Station => {
    const ip = parseIp(text);
    if (ip === undefined) throw new Error(`not an address: ${text}`);
    return { id: network.addExternal(ip), place: "wire", ip, node: undefined };
  });
  return [...pods, ...nodes, ...outside];
}

/** The nodes that a connection crosses, and how. */
function crossings(from: Station, to: Station): readonly (readonly [node: string, way: Way])[] {
  if (from.node !== undefined && from.node === to.node)
    return from.place === "node" && to.place === "node"
      ? []
      : [[from.node, `${from.place}-${to.place}` as Way]];
  return [
    ...(from.node === undefined ? [] : [[from.node, `${from.place}-wire` as Way] as const]),
    ...(to.node === undefined ? [] : [[to.node, `wire-${to.place}` as Way] as const]),
  ];
}

function stated(
  { state, network, datapaths }: EmulatedCluster,
  seen: Seen,
  from: Station,
  to: Station,
  service: Service,
): string {
  const [, protocols, port] = service;
  const { family } = from.ip;
  let src = from.ip;
  for (const [name, way] of crossings(from, to)) {
    const hooks = datapaths.get(name)?.questions()?.ways[way];
    const node = network.node(name);
    const connection = { src, dst: to.ip, protocol: protocols[family], port: port[family] };
    if (hooks === undefined) return "ask";
    const { verdict, isMasqueraded } = answerOf(hooks, connection, (ip) => node.isLocal(ip));
    if (verdict !== "accept") return verdict;
    const own = state.nodes.get(name)?.addresses.find((ip) => ip.family === family);
    if (!isMasqueraded || own === undefined) continue;
    seen.masqueraded++;
    src = own;
  }
  return "accept";
}

interface Seen {
  cells: number;
  allowed: number;
  asked: number;
  masqueraded: number;
}

function compare(state: ClusterState, selection: ProductSelection, seen: Seen): void {
  const cluster = emulate(state, selection, { seed: 1 });
  const stations = stationsOf(cluster);
  for (const from of stations)
    for (const to of stations)
      for (const service of crossings(from, to).length > 0 && from.id !== to.id ? services : []) {
        const { family } = from.ip;
        if (family !== to.ip.family) continue;
        const said = stated(cluster, seen, from, to, service);
        const cell = `${from.id} to ${to.id} by ${service[0]} ${service[2][family]}`;
        seen.cells++;
        if (said === "ask" && to.place === "node") {
          seen.asked++; // a node port
          continue;
        }
        const { isAllowed } = judgeConnection(cluster.network, {
          from: from.id,
          src: from.ip,
          dst: to.ip,
          protocol: service[0],
          port: service[2][family],
          sourcePort: 1024 + (seen.cells % 60_000),
        });
        if (isAllowed) seen.allowed++;
        expect(`${cell}: ${said}`).toBe(`${cell}: ${isAllowed ? "accept" : "drop"}`);
      }
}

/** Azure NPM is refused there. */
const dualStack: ClusterWords = { networkPluginMode: "overlay", ipFamilies: ["ipv4", "ipv6"] };

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

describe.each([
  ["azure-npm", 8],
  ["azure-npm@2026-08+place-first+on-need", 5],
  ["azure-npm@2022-04", 5],
  ["none", 6],
])("%s", (name, runs) => {
  it("states of connections what they meet, and leaves at most node ports to the walk", () => {
    const selection = product(name);
    const seen: Seen = { cells: 0, allowed: 0, asked: 0, masqueraded: 0 };
    fc.assert(
      fc.property(clusterObjects({ servicesMax: 2 }), fc.boolean(), (objects, isDual) => {
        const words = isDual && name === "none" ? { ...selection.aks, ...dualStack } : selection.aks;
        compare(clusterOf(objects, words).state, selection, seen);
      }),
      { numRuns: isSoak ? runs * 50 : runs, seed: isSoak ? Date.now() : 7 },
    );
    expect(seen.allowed).toBeGreaterThan(runs * 20);
    expect(seen.masqueraded).toBeGreaterThan(runs);
    expect(seen.asked).toBeLessThan(seen.cells / 10);
    if (name !== "none") expect(seen.cells - seen.allowed).toBeGreaterThan(runs * 2);
  });
});
