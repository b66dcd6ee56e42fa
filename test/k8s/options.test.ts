/** Cluster options in the words of `az aks create`, and what AKS refuses. */
import { describe, expect, it } from "vitest";
import { InputError } from "../../src/base/index.ts";
import { aksRefusals, type ClusterWords, parseClusterOptions } from "../../src/k8s/index.ts";
import { build } from "./cluster.ts";

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
    expect(aksRefusals(parseClusterOptions(words))).toContain(reason);
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
    { podCidr: "10.0.0.0/8" },
  ] as ClusterWords[])("AKS makes %o", (words) => {
    expect(aksRefusals(parseClusterOptions(words))).toEqual([]);
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
