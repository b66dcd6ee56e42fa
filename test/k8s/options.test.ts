/** Cluster options in the words of `az aks create`, and what AKS refuses. */
import { describe, expect, it } from "vitest";
import { InputError, type Issue } from "../../src/base/index.ts";
import {
  aksRefusals,
  aksRules,
  buildCluster,
  type ClusterWords,
  loadManifests,
  parseClusterOptions,
  poolFacts,
} from "../../src/k8s/index.ts";
import { build } from "./cluster.ts";

/** Of the options alone, before anything is in the cluster. */
function refusals(words: ClusterWords): readonly string[] {
  const options = parseClusterOptions(words);
  return aksRefusals({ options, nodes: poolFacts(options), podCount: 0 }).map(({ reason }) => reason);
}

function issuesOf(action: () => unknown): readonly Issue[] {
  try {
    action();
    return [];
  } catch (error) {
    if (error instanceof InputError) return error.issues;
    throw error;
  }
}

/** A pod on a node of its own. */
const on = (node: string, n: number): Readonly<Record<string, unknown>> => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { namespace: "x", name: `p${n}` },
  spec: { nodeName: node, hostNetwork: true, containers: [{ name: "c" }] },
});

describe("cluster options", () => {
  it.each([
    {
      words: { networkPlugin: "kubenet", networkPluginMode: "overlay" },
      reason: "networkPluginMode overlay needs networkPlugin azure",
    },
    {
      words: { networkPlugin: "kubenet", networkPolicy: "azure" },
      reason: "networkPolicy azure (Azure NPM) needs networkPlugin azure",
    },
    { words: { networkPolicy: "cilium" }, reason: "networkPolicy cilium needs networkDataplane cilium" },
    {
      words: { networkDataplane: "cilium", networkPolicy: "azure" },
      reason: "networkPolicy azure does not go with networkDataplane cilium",
    },
    {
      words: { networkDataplane: "cilium", networkPolicy: "calico" },
      reason: "networkPolicy calico does not go with networkDataplane cilium",
    },
    {
      words: { networkPlugin: "kubenet", networkDataplane: "cilium" },
      reason: "networkDataplane cilium needs networkPlugin azure",
    },
    {
      words: { networkPlugin: "none", networkPolicy: "calico" },
      reason: "networkPolicy calico needs networkPlugin azure or kubenet",
    },
    {
      words: { networkPlugin: "kubenet", nodePools: [{ osType: "Windows" }] },
      reason: "kubenet has no Windows node pools",
    },
    {
      words: { networkDataplane: "cilium", nodePools: [{ osType: "Windows" }] },
      reason: "networkDataplane cilium has no Windows node pools",
    },
    {
      words: { networkPolicy: "azure", nodePools: [{ osType: "Windows", osSku: "Windows2019" }] },
      reason: "networkPolicy azure on Windows needs osSku Windows2022",
    },
    {
      words: { networkPlugin: "kubenet", networkPolicy: "calico", nodePools: [{ osType: "Windows" }] },
      reason: "networkPolicy calico on Windows needs networkPlugin azure",
    },
    {
      words: { networkPolicy: "calico", kubernetesVersion: "1.19.11", nodePools: [{ osType: "Windows" }] },
      reason: "networkPolicy calico on Windows needs Kubernetes 1.20 or later",
    },
    {
      words: { networkPolicy: "azure", nodePools: [{ count: 200 }, { name: "b", count: 51 }] },
      reason:
        "networkPolicy azure (Azure NPM) is not supported beyond 250 nodes or 20000 pods: it runs out of memory",
    },
    { words: { ipFamilies: ["ipv6"] }, reason: "AKS has no clusters with IPv6 alone" },
    {
      words: { networkPlugin: "none", networkPolicy: "azure" },
      reason: "networkPolicy azure (Azure NPM) needs networkPlugin azure",
    },
    {
      words: { ipFamilies: ["ipv4", "ipv6"] },
      reason: "dual stack needs networkPluginMode overlay or kubenet",
    },
    {
      words: { ipFamilies: ["ipv4", "ipv6"], networkPluginMode: "overlay", networkPolicy: "azure" },
      reason: "networkPolicy azure (Azure NPM) does not support IPv6",
    },
    {
      words: { serviceCidr: "10.224.1.0/24" },
      reason: "serviceCidr 10.224.1.0/24 overlaps nodeSubnet 10.224.0.0/16",
    },
    {
      words: { networkPlugin: "kubenet", podCidr: "10.0.0.0/8" },
      reason: "podCidr 10.0.0.0/8 overlaps nodeSubnet 10.224.0.0/16",
    },
  ] as { words: ClusterWords; reason: string }[])("AKS refuses $words", ({ words, reason }) => {
    expect(refusals(words)).toContain(reason);
    expect(() => build([], words)).toThrow(`AKS refuses: ${reason}`);
    expect(() => build([], words, { force: true })).not.toThrow();
  });

  it.each([
    {},
    { networkPolicy: "azure" },
    { networkPolicy: "azure", networkPluginMode: "overlay" },
    { networkPlugin: "kubenet", networkPolicy: "calico" },
    { networkPlugin: "kubenet", ipFamilies: ["ipv4", "ipv6"] },
    { networkPolicy: "calico", nodePools: [{}, { osType: "Windows", osSku: "Windows2019" }] },
    { networkDataplane: "cilium", networkPolicy: "cilium", networkPluginMode: "overlay" },
    { networkDataplane: "cilium" },
    { networkPlugin: "none" },
    { networkPolicy: "azure", nodePools: [{ count: 250 }] },
    { networkPolicy: "calico", nodePools: [{ count: 251 }] },
    { networkPolicy: "azure", nodePools: [{}, { osType: "Windows", osSku: "Windows2022" }] },
    { networkPolicy: "azure", nodePools: [{}, { osType: "Windows", osSku: "Windows2019", count: 0 }] },
    { networkPolicy: "calico", kubernetesVersion: "1.20.2", nodePools: [{ osType: "Windows" }] },
    { networkPolicy: "calico", kubernetesVersion: "1.19.11" },
    { podCidr: "10.0.0.0/8" },
  ] as ClusterWords[])("AKS makes %o", (words) => {
    expect(refusals(words)).toEqual([]);
  });

  it("are refused at the option that was given, or at the node that is the matter", () => {
    const cilium = { networkDataplane: "cilium", networkPolicy: "cilium" } as const;
    const paths = (words: ClusterWords, defaults: ClusterWords = {}): readonly string[] =>
      issuesOf(() => build([], words, { defaults })).map(({ path }) => path);
    expect(paths({ networkPlugin: "kubenet" }, { networkPolicy: "azure" })).toEqual(["networkPlugin"]);
    expect(paths({ networkPolicy: "azure" }, { networkPlugin: "kubenet" })).toEqual(["networkPolicy"]);
    const pools = [{ name: "a" }, { name: "w", osType: "Windows" }] as const;
    expect(paths({ nodePools: pools }, cilium)).toEqual(["nodePools[1]"]);
    const text = `kind: Node
apiVersion: v1
metadata: { name: n1 }
---
kind: Node
apiVersion: v1
metadata:
  name: n2
  labels: { kubernetes.io/os: windows }
`;
    const inputs = [{ name: "nodes.yaml", text }];
    const [issue] = issuesOf(() => buildCluster(loadManifests(inputs), cilium, { inputs }));
    expect(issue).toMatchObject({ code: "refused", path: "networkDataplane" });
    const [placed] = issuesOf(() => buildCluster(loadManifests(inputs), {}, { inputs, defaults: cilium }));
    expect(placed).toMatchObject({ code: "refused", path: "", file: "nodes.yaml", line: 7, column: 1 });
  });

  it("are refused for nodes and pods that are there, not for those of options alone", () => {
    const npm = { networkPolicy: "azure" } as const;
    const nodes = Array.from({ length: 251 }, (_, i) => on(`n${i}`, i));
    expect(() => build(nodes.slice(1), npm)).not.toThrow();
    expect(() => build(nodes, npm)).toThrow("beyond 250 nodes");
    const facts = { options: parseClusterOptions(npm), nodes: [] };
    expect(aksRefusals({ ...facts, podCount: 20_000 })).toEqual([]);
    expect(aksRefusals({ ...facts, podCount: 20_001 }).map(({ rule }) => rule)).toEqual(["npm-scale"]);
  });

  it("are warned of where support of them ends, by who asks for them by name", () => {
    const said = (words: ClusterWords, defaults: ClusterWords = {}): readonly string[] =>
      build([], words, { defaults }).warnings.filter((text) => text.includes("until"));
    expect(said({ networkPlugin: "kubenet" })).toEqual([
      "AKS supports networkPlugin kubenet until 2028-03-31",
    ]);
    expect(said({ networkPolicy: "azure" })).toEqual([
      "AKS supports Azure NPM on Linux nodes until 2028-09-30",
    ]);
    expect(said({ nodePools: [{ osType: "Windows" }] }, { networkPolicy: "azure" })).toEqual([
      "AKS supports Azure NPM on Windows nodes until 2026-09-30",
    ]);
    expect(said({}, { networkPolicy: "azure" })).toEqual([]);
  });

  it("have rules of one name each, with a reason and a source", () => {
    expect(new Set(aksRules.map(({ id }) => id)).size).toBe(aksRules.length);
    for (const { reason, source, words } of aksRules) {
      expect(reason.length).toBeGreaterThan(20);
      expect(source).toMatch(/^AKS: /);
      expect(words.length).toBeGreaterThan(0);
    }
  });

  it("tell every wrong word at once", () => {
    const words = {
      networkPlugin: "flannel",
      podCidr: "10.0.0.1/8",
      constructor: "x",
      nodePools: [
        { name: "Bad" },
        { osType: "Windows", osSku: "Ubuntu", name: "toolong" },
        { count: -1 },
        { count: 2 },
      ],
    } as unknown as ClusterWords;
    const issues = ((): readonly string[] => {
      try {
        parseClusterOptions(words);
        return [];
      } catch (error) {
        return error instanceof InputError ? error.issues.map(({ path }) => path) : [];
      }
    })();
    expect(issues).toEqual([
      "networkPlugin",
      "constructor",
      "podCidr",
      "nodePools[0].name",
      "nodePools[1].name",
      "nodePools[1].osSku",
      "nodePools[2].count",
      "nodePools",
    ]);
  });
});
