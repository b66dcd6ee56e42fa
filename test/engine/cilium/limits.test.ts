/** Cilium's limits as behaviour: a policy map too small for its policy, more label sets than identities, a full ipcache. */
import { describe, expect, it } from "vitest";
import type { Ip } from "../../../src/addr/index.ts";
import { datapathMaps, MapPlace } from "../../../src/engine/cilium/maps.ts";
import { type BpfTables, contentOf } from "../../../src/filter/bpf/index.ts";
import {
  clusterOf,
  compileCluster,
  connectionBetween,
  createJudge,
  type ProductSelection,
  parseSelection,
  resolveEnd,
  resolveSource,
} from "../../../src/harness/index.ts";
import type { ClusterState, Pod } from "../../../src/k8s/index.ts";
import { tcp } from "../../../src/packet/index.ts";
import { parseEnd } from "../../../src/scenario/index.ts";
import { TcpFlag } from "../../../src/wire/index.ts";
import { ip } from "../../filter/node.ts";
import { LoneNode, podA, podB } from "./lone-node.ts";

type RawObjects = Parameters<typeof clusterOf>[0];

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

const pod = (name: string, labels: Readonly<Record<string, string>> = {}): RawObjects[number] => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { namespace: "x", name, labels },
  spec: { nodeName: "n1", containers: [{ name: "main" }] },
});
const node = {
  apiVersion: "v1",
  kind: "Node",
  metadata: { name: "n1", labels: { "kubernetes.io/os": "linux" } },
};

/** 500 addresses x 40 ports: more keys than the 16,384 that a policy map takes. */
const addresses = Array.from({ length: 500 }, (_, i) => `203.0.${100 + (i >> 8)}.${i & 255}`);
const ports = Array.from({ length: 40 }, (_, i) => 1000 + 2 * i);
const wide = (direction: "ingress" | "ingressDeny"): RawObjects[number] => ({
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { namespace: "x", name: "wide" },
  spec: {
    endpointSelector: {},
    ...(direction === "ingressDeny" ? { ingress: [{ fromEntities: ["all"] }] } : {}),
    [direction]: [
      {
        fromCIDR: addresses.map((address) => `${address}/32`),
        toPorts: [{ ports: ports.map((port) => ({ port: String(port), protocol: "TCP" })) }],
      },
    ],
  },
});

/** Keys of the pod's policy map: `identity direction port`. */
function policyKeys(state: ClusterState, engine: string): readonly string[] {
  const maps =
    compileCluster(state, product(engine))
      .get("n1")
      ?.tables.bpf?.maps.slice(datapathMaps(variantOf).length) ?? [];
  expect(maps).toHaveLength(1);
  return maps.flatMap((map) => contentOf(map)).map(({ key }) => Buffer.from(key).toString("hex"));
}
const variantOf = { generation: "G2", policyMapMax: 16_384 } as const;

/** How many of some connections to the pod are allowed. */
function allowedOf(state: ClusterState, engine: string, of: readonly (readonly [string, number])[]): number {
  const { judge } = createJudge(state, product(engine), 1);
  const to = resolveEnd(state, parseEnd("x/a"));
  return of.filter(([address, port]) => {
    const from = resolveSource(state, parseEnd(`ip:${address}`));
    const cell = connectionBetween(from, to, { protocol: "TCP", port, family: 4 });
    return judge({ from, to, cell, isSelf: false }).verdict === "allow";
  }).length;
}

const sample = Array.from({ length: 120 }, (_, i) => [addresses[i * 4] ?? "", ports[i % 40] ?? 0] as const);

describe("a policy of 20,000 keys in a map of 16,384", () => {
  const { state } = clusterOf([node, pod("a"), wide("ingress")], product("cilium").aks);

  it("is enforced in part: the same part each time, and the rest is denied", { timeout: 60_000 }, () => {
    const keys = policyKeys(state, "cilium");
    expect(new Set(keys).size).toBe(16_384);
    expect(policyKeys(state, "cilium")).toEqual(keys);
    expect(createJudge(state, product("cilium"), 1).diagnostics.map(({ code }) => code)).toContain(
      "policy-map-overflow",
    );
    const allowed = allowedOf(state, "cilium", sample);
    expect(allowed).toBeGreaterThan(sample.length * 0.6);
    expect(allowed).toBeLessThan(sample.length);
    expect(allowedOf(state, "cilium+policy-map-max=65536", sample)).toBe(sample.length);
  });

  it("fails open where it loses denials", { timeout: 60_000 }, () => {
    const { state: denying } = clusterOf([node, pod("a"), wide("ingressDeny")], product("cilium").aks);
    const open = allowedOf(denying, "cilium", sample);
    expect(open).toBeGreaterThan(0);
    expect(open).toBeLessThan(sample.length * 0.4);
    expect(allowedOf(denying, "cilium+policy-map-max=65536", sample)).toBe(0);
  });

  it("closes the pod in both directions under lockdown", { timeout: 60_000 }, () => {
    expect(policyKeys(state, "cilium+lockdown")).toHaveLength(2);
    expect(allowedOf(state, "cilium+lockdown", sample)).toBe(0);
    const { judge } = createJudge(state, product("cilium+lockdown"), 1);
    const [from, to] = [resolveSource(state, parseEnd("x/a")), resolveEnd(state, parseEnd("ip:8.8.8.8"))];
    const cell = connectionBetween(from, to, { protocol: "TCP", port: 80, family: 4 });
    expect(judge({ from, to, cell, isSelf: false })).toMatchObject({ verdict: "deny", by: "egress" });
  });
});

it("a policy for nodes overflows as one for pods does, and the agent says whose", () => {
  const forNodes = {
    apiVersion: "cilium.io/v2",
    kind: "CiliumClusterwideNetworkPolicy",
    metadata: { name: "wide" },
    spec: { nodeSelector: {}, ingress: [{ fromCIDR: addresses.map((address) => `${address}/32`) }] },
  };
  const small = product("cilium+host-firewall+policy-map-max=256");
  const { state } = clusterOf([node, pod("a"), forNodes], small.aks);
  const { judge, diagnostics } = createJudge(state, small, 1);
  expect(diagnostics.map(({ message }) => message)).toEqual([
    expect.stringMatching(/the policy of node n1 has 50[12] entries, its map 256; the rest is not enforced$/),
  ]);
  const to = resolveEnd(state, parseEnd("node:n1"));
  const verdicts = addresses.map((address) => {
    const from = resolveSource(state, parseEnd(`ip:${address}`));
    const cell = connectionBetween(from, to, { protocol: "TCP", port: 80, family: 4 });
    return judge({ from, to, cell, isSelf: false }).verdict;
  });
  const allowed = verdicts.filter((verdict) => verdict === "allow").length;
  expect(allowed).toBeGreaterThan(240);
  expect(allowed).toBeLessThanOrEqual(256);
});

/** A state with more pods than manifests are read in good time: copies of one that was, with labels and addresses of their own. */
function withPods(
  state: ClusterState,
  of: Pod,
  tweaks: Iterable<Partial<Pod> & { readonly name: string }>,
): ClusterState {
  const pods = new Map(state.pods);
  for (const tweak of tweaks) pods.set(`${of.namespace}/${tweak.name}`, { ...of, ...tweak });
  return { ...state, pods };
}

/** Addresses of 172.16.0.0/12, one after another. */
const podAddress = (i: number): Ip => ({ family: 4, words: [0xac10_0000 + i] });

describe("more label sets than identities", () => {
  const labelled = {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace: "x", name: "labelled" },
    spec: {
      podSelector: { matchLabels: { unique: "u0" } },
      ingress: [{ from: [{ podSelector: { matchExpressions: [{ key: "unique", operator: "Exists" }] } }] }],
    },
  };
  const identityCount = 65_280;

  it("leave the last pods without: they are nobody's peers, and closed as pods without labels are", {
    timeout: 120_000,
  }, () => {
    const { state: small } = clusterOf(
      [
        node,
        { ...node, metadata: { ...node.metadata, name: "n2" } },
        pod("first", { unique: "u0" }),
        labelled,
      ],
      product("cilium").aks,
    );
    const first = small.pods.get("x/first") as Pod;
    const others = Array.from({ length: identityCount - 1 }, (_, i) => ({
      name: `p${i}`,
      nodeName: "n2",
      labels: { unique: `u${i + 1}` },
      // most have an identity before they have an address
      ips: i < 2 || i === identityCount - 2 ? [podAddress(i)] : [],
    }));
    const late = { name: "late", labels: { unique: "late" }, ips: [podAddress(identityCount)] };
    const state = withPods(small, first, [...others, late]);
    const { judge, diagnostics } = createJudge(state, product("cilium+policy-map-max=65536"), 1);
    expect(diagnostics.map(({ code }) => code)).toEqual(["identities-exhausted"]);
    const verdict = (from: string, to: string): string => {
      const [source, target] = [resolveSource(state, parseEnd(from)), resolveEnd(state, parseEnd(to))];
      const cell = connectionBetween(source, target, { protocol: "TCP", port: 80, family: 4 });
      const answer = judge({ from: source, to: target, cell, isSelf: false });
      return `${answer.verdict} ${answer.by ?? ""}`.trim();
    };
    expect(verdict("x/p0", "x/first")).toBe("allow");
    expect(verdict("x/p65278", "x/first")).toBe("allow");
    expect(verdict("x/late", "x/first")).toBe("deny egress");
    expect(verdict("x/p0", "x/late")).toBe("deny ingress");
    expect(verdict("node:n2", "x/late")).toBe("deny ingress");
    expect(verdict("node:n1", "x/late")).toBe("allow");
    expect(verdict("x/p0", "x/p1")).toBe("allow");
  });
});

describe("a full ipcache", () => {
  const syn = tcp({ src: ip(podA), dst: ip(podB), sport: 40_000, dport: 80, flags: TcpFlag.syn });
  const options = { policyB: [{ identity: 1000 }] };

  it("makes the world of addresses that found no place", () => {
    expect(new LoneNode(options).to("B", syn).verdict).toBe("accept");
    const adjust = (tables: BpfTables): BpfTables => ({
      ...tables,
      maps: tables.maps.map((map, place) =>
        place === MapPlace.ipcache ? { ...map, maxEntries: 1, entries: map.entries.toReversed() } : map,
      ),
    });
    expect(new LoneNode({ ...options, adjust }).to("B", syn)).toMatchObject({ verdict: "drop", reason: 133 });
  });

  it("is told of, with how many addresses there are for how many places", { timeout: 60_000 }, () => {
    const { state: small } = clusterOf([node, pod("a")], product("cilium").aks);
    const first = small.pods.get("x/a") as Pod;
    // a pod's and a node's beside them: one too many
    const ips = Array.from({ length: 512_000 - 1 }, (_, i) => podAddress(i));
    const state = withPods(small, first, [{ name: "many", nodeName: "elsewhere", ips }]);
    const { diagnostics = [] } = compileCluster(state, product("cilium")).get("n1") ?? {};
    expect(diagnostics.map(({ code }) => code)).toEqual(["ipcache-full"]);
    expect(diagnostics[0]?.message).toContain("512001 entries, its map 512000");
    expect(compileCluster(small, product("cilium")).get("n1")?.diagnostics).toEqual([]);
  });
});
