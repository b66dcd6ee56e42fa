/** kube-proxy on Windows: which load balancers a node has, what follows a change, and where the API says otherwise. */
import { describe, expect, it } from "vitest";
import { formatIp } from "../../../src/addr/index.ts";
import { platformTables, platformUpdate } from "../../../src/engine/platform/index.ts";
import {
  type HnsLoadBalancer,
  LbFlag,
  LbPortFlag,
  restoreHns,
  saveHns,
} from "../../../src/filter/hns/index.ts";
import { clusterOf, compareWithOracle, parseSelection } from "../../../src/harness/index.ts";
import type { ClusterState } from "../../../src/k8s/index.ts";
import { HnsTestNode } from "../../filter/hns/node.ts";

type Json = Readonly<Record<string, unknown>>;

const node = (name: string, os = "windows"): Json => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, labels: { "kubernetes.io/os": os } },
});
const pod = (name: string, nodeName: string, more: Json = {}, meta: Json = {}): Json => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "x", labels: { app: "web" }, ...meta },
  spec: { nodeName, containers: [{ name: "c", ports: [{ name: "http", containerPort: 80 }] }], ...more },
});
const servicePort = ({ type }: Json): Json => ({
  port: 8000,
  targetPort: 80,
  ...(type === undefined ? {} : { nodePort: 30_080 }),
});
const service = (spec: Json): Json => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "x" },
  spec: { selector: { app: "web" }, ports: [servicePort(spec)], ...spec },
});
const balanced = { type: "LoadBalancer" };
const local = { externalTrafficPolicy: "Local" };
const ending = { deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 30 };

const stateOf = (...objects: readonly Json[]): ClusterState =>
  clusterOf([node("n1"), node("n2"), ...objects]).state;

function hnsOf(state: ClusterState, name: string) {
  const at = state.nodes.get(name);
  const { hns } = at === undefined ? {} : platformTables(state, at);
  if (hns === undefined) throw new Error(`${name} has no HNS`);
  return hns;
}

/** `VIP:port -> backends`, with flags. */
function shown(state: ClusterState, name: string): readonly string[] {
  const { endpoints, loadBalancers } = hnsOf(state, name);
  const nameOf = (id: string): string => {
    const found = endpoints.find((one) => one.id === id);
    const owner = [...state.pods.values()].find((one) =>
      one.ips.some((ip) => found?.addresses.some((own) => formatIp(own) === formatIp(ip))),
    );
    return `${found?.isRemote === true ? "remote " : ""}${owner?.name ?? "?"}`;
  };
  const kinds = new Map(
    [...state.services.values()].flatMap((one) => [
      ...one.clusterIPs.map((ip) => [formatIp(ip), "cluster"] as const),
      ...one.loadBalancerIPs.map((ip) => [formatIp(ip), "ingress"] as const),
      ...one.externalIPs.map((ip) => [formatIp(ip), "external"] as const),
    ]),
  );
  return loadBalancers.map((one: HnsLoadBalancer) => {
    const [vip] = one.frontendVips;
    const [mapping] = one.portMappings;
    const kind = vip === undefined ? "node" : (kinds.get(formatIp(vip)) ?? "?");
    const flags = [
      ...((one.flags & LbFlag.dsr) !== 0 ? ["dsr"] : []),
      ...(((mapping?.flags ?? 0) & LbPortFlag.vipExternalIp) !== 0 ? ["external"] : []),
      ...(((mapping?.flags ?? 0) & LbPortFlag.localRoutedVip) !== 0 ? ["routed"] : []),
      ...(mapping?.distribution === "SourceIP" ? ["sticky"] : []),
    ];
    const ports = `${mapping?.externalPort} -> ${mapping?.internalPort}`;
    return `${kind} ${ports} ${flags.join()}: ${one.endpoints.map(nameOf).join()}`;
  });
}

describe("load balancers of a Windows node", () => {
  const pods = [pod("a", "n1"), pod("b", "n2")];

  it("are one for each address of a Service, in front of pods here and remote endpoints", () => {
    expect(shown(stateOf(...pods, service(balanced)), "n1")).toEqual([
      "cluster 8000 -> 80 dsr: a,remote b",
      "node 30080 -> 80 external,routed: a,remote b",
      "ingress 8000 -> 80 external: a,remote b",
    ]);
    expect(shown(stateOf(...pods, service({ externalIPs: ["192.0.2.9"] })), "n2")).toEqual([
      "cluster 8000 -> 80 dsr: remote a,b",
      "external 8000 -> 80 external: remote a,b",
    ]);
  });

  it("hold the node's own pods alone under a Local policy, and are none without any", () => {
    expect(shown(stateOf(...pods, service({ ...balanced, ...local })), "n1")).toEqual([
      "cluster 8000 -> 80 dsr: a,remote b",
      "node 30080 -> 80 dsr,external,routed: a",
      "ingress 8000 -> 80 dsr,external: a",
    ]);
    expect(shown(stateOf(pods[1] as Json, service({ ...balanced, ...local })), "n1")).toEqual([
      "cluster 8000 -> 80 dsr: remote b",
    ]);
    const internal = { internalTrafficPolicy: "Local" };
    expect(shown(stateOf(...pods, service(internal)), "n1")).toEqual(["cluster 8000 -> 80 dsr: a"]);
    expect(shown(stateOf(pods[1] as Json, service(internal)), "n1")).toEqual([]);
  });

  it("distribute by source address with session affinity", () => {
    const sticky = service({ sessionAffinity: "ClientIP" });
    expect(shown(stateOf(...pods, sticky), "n1")).toEqual(["cluster 8000 -> 80 dsr,sticky: a,remote b"]);
  });

  it("take ready endpoints; those that end only for a Service with a load balancer's address where all end", () => {
    const ends = pod("b", "n2", {}, ending);
    expect(shown(stateOf(pods[0] as Json, ends, service({})), "n1")).toEqual(["cluster 8000 -> 80 dsr: a"]);
    expect(shown(stateOf(ends, service({})), "n1")).toEqual([]);
    expect(shown(stateOf(ends, service(balanced)), "n1")).toEqual([
      "cluster 8000 -> 80 dsr: remote b",
      "ingress 8000 -> 80 external: remote b",
    ]);
  });

  it("pass over pods of the node's own host network", () => {
    const host = pod("h", "n1", { hostNetwork: true });
    expect(shown(stateOf(host, pods[1] as Json, service({})), "n1")).toEqual([
      "cluster 8000 -> 80 dsr: remote b",
    ]);
    expect(shown(stateOf(host, pods[1] as Json, service({})), "n2")).toEqual([
      "cluster 8000 -> 80 dsr: remote h,b",
    ]);
  });

  it("have one internal port, that of the endpoint which comes last", () => {
    const other = pod("b", "n2", {
      containers: [{ name: "c", ports: [{ name: "http", containerPort: 81 }] }],
    });
    const named = service({ ports: [{ port: 8000, targetPort: "http" }] });
    expect(shown(stateOf(pods[0] as Json, other, named), "n1")).toEqual([
      "cluster 8000 -> 81 dsr: a,remote b",
    ]);
  });

  it("are read back as they are written", () => {
    const tables = hnsOf(stateOf(...pods, service({ ...balanced, sessionAffinity: "ClientIP" })), "n1");
    const read = restoreHns([{ name: "hns.json", text: saveHns(tables) }]);
    expect(read.loadBalancers).toEqual(tables.loadBalancers.map(({ origin: _, ...rest }) => rest));
    expect(read.endpoints.map(({ id, isRemote, addresses }) => ({ id, isRemote, addresses }))).toEqual(
      tables.endpoints.map(({ id, isRemote, addresses }) => ({ id, isRemote, addresses })),
    );
  });

  it("are one object on all nodes without backends of their own", () => {
    const state = stateOf(node("n3"), node("n4"), ...pods, service(balanced));
    expect(hnsOf(state, "n3").loadBalancers).toBe(hnsOf(state, "n4").loadBalancers);
    expect(hnsOf(state, "n3").loadBalancers).not.toBe(hnsOf(state, "n1").loadBalancers);
  });
});

describe("an update", () => {
  it("leads from any cluster's load balancers to any other's", () => {
    const states = [
      stateOf(pod("a", "n1"), pod("b", "n2"), service(balanced)),
      stateOf(pod("a", "n1"), pod("c", "n2"), service({ ...balanced, ...local })),
      stateOf(pod("a", "n1"), service({ ports: [{ port: 8001, targetPort: 80 }] })),
      stateOf(pod("a", "n1")),
    ];
    for (const before of states)
      for (const after of states) {
        const [old, now] = [hnsOf(before, "n1"), hnsOf(after, "n1")];
        const { datapath } = new HnsTestNode(old);
        for (const op of platformUpdate({ hns: old }, { hns: now }))
          expect(datapath.apply(op)).toEqual({ ok: true });
        const byId = <T extends { readonly id: string }>(list: readonly T[]): readonly T[] =>
          [...list].sort((a, b) => (a.id < b.id ? -1 : 1));
        const { endpoints, loadBalancers } = datapath.tables();
        expect(byId(loadBalancers)).toEqual(byId(now.loadBalancers));
        expect(byId(endpoints)).toEqual(byId(now.endpoints));
      }
  });
});

describe("divergences that random clusters seldom show", () => {
  const firedBy = (engine: string, ...objects: readonly Json[]): readonly string[] => {
    const selection = parseSelection(engine);
    if (selection.kind !== "product") throw new Error("it has tables");
    const { fired, disagreements } = compareWithOracle({ state: stateOf(...objects), selection });
    expect(disagreements).toEqual([]);
    return [...fired];
  };

  it("endpoints that end", () => {
    expect(
      firedBy("none-windows", pod("c", "n1", {}, { labels: {} }), pod("b", "n2", {}, ending), service({})),
    ).toEqual(["windows-endpoint-conditions"]);
  });

  it("target ports that differ, where policies tell them apart", () => {
    const other = pod("b", "n2", {
      containers: [{ name: "c", ports: [{ name: "http", containerPort: 81 }] }],
    });
    const policy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "p", namespace: "x" },
      spec: { podSelector: { matchLabels: { app: "web" } }, ingress: [{ ports: [{ port: 80 }] }] },
    };
    const client = pod("c", "n1", {}, { labels: {} });
    const named = service({ ports: [{ port: 8000, targetPort: "http" }] });
    expect(firedBy("azure-npm-windows", client, pod("a", "n1"), other, named, policy)).toContain(
      "windows-one-target-port",
    );
  });
});
