/** What engines take and how full it is: counted from their tables, limits told where they are passed. */
import { describe, expect, it } from "vitest";
import {
  type CapacityResultDocument,
  type ClusterSize,
  compileCluster,
  computeCapacity,
  generateCluster,
  type ProductSelection,
  parseSelection,
} from "../../src/harness/index.ts";
import { buildCluster, type ClusterState, loadObjects } from "../../src/k8s/index.ts";

const product = (text: string): ProductSelection => parseSelection(text) as ProductSelection;

function clusterFor(selection: ProductSelection, profile: string, sizes: ClusterSize): ClusterState {
  return buildCluster(loadObjects("made", generateCluster(profile, 1, sizes)), selection.aks, {
    anySize: true,
  }).state;
}

const small = { nodes: 3, pods: 60, namespaces: 5, policies: 30 };
const limitOf = (
  { limits }: CapacityResultDocument,
  id: string,
): CapacityResultDocument["limits"][number] => {
  const limit = limits.find((one) => one.id === id);
  if (limit === undefined) throw new RangeError(`no limit ${id} among ${limits.map((one) => one.id)}`);
  return limit;
};

describe("Azure NPM", () => {
  const npm = product("azure-npm");
  const state = clusterFor(npm, "aks-npm-limit", small);
  const result = computeCapacity(state, npm, { allNodes: true });

  it("is counted as its tables are", () => {
    const compiled = [...compileCluster(state, npm)];
    expect(result.nodes.map(({ node }) => node)).toEqual(compiled.map(([name]) => name));
    for (const [i, [, { tables }]] of compiled.entries()) {
      const sets = [...(tables.iptables?.sets.values() ?? [])];
      const stores = result.nodes[i]?.stores.filter(({ store }) => store === "ipset") ?? [];
      const sum = (key: "count" | "entries"): number =>
        stores.reduce((total, store) => total + store[key], 0);
      expect(sum("count")).toBe(sets.length);
      expect(sum("entries")).toBe(sets.reduce((total, { entries }) => total + entries.length, 0));
      const rules = tables.iptables?.v4.tables.filter?.chains.reduce(
        (total, chain) => total + chain.rules.length,
        0,
      );
      const filter = result.nodes[i]?.stores.find(({ group }) => group === "iptables filter");
      expect(filter?.entries).toBe(rules);
    }
  });

  it("shows the node that takes most, and limits most used first", () => {
    const weight = ({ kernelBytes = 0, agentBytes = 0 }): number => kernelBytes + agentBytes;
    const most = Math.max(...result.nodes.map(weight));
    const one = computeCapacity(state, npm);
    expect(one.nodes).toHaveLength(1);
    expect(one.nodes.map(weight)).toEqual([most]);
    expect(one.worstNode).toBe(one.nodes[0]?.node);
    const percents = one.limits.map(({ percent }) => percent);
    expect(percents).toEqual([...percents].sort((a, b) => b - a));
    expect(limitOf(one, "pods")).toMatchObject({
      used: 60,
      max: 20_000,
      percent: 0.3,
      evidence: "documented",
    });
    expect(limitOf(one, "ipset: hash:net, maxelem 65536").used).toBe(60);
    expect(one.diagnostics).toEqual([]);
  });

  it("meets its container's memory at the documented number of pods, by its own growth alone", () => {
    const agent = limitOf(result, "agent-memory");
    expect(agent).toMatchObject({ unit: "bytes", usedEvidence: "inferred", max: 300 * 2 ** 20 });
    const { breaksFirst } = result;
    expect(breaksFirst?.limit).toBe("nodes");
    expect(breaksFirst?.atScale).toBeCloseTo(250 / 3, 1);
    const crowded = computeCapacity(
      clusterFor(npm, "aks-npm-limit", { ...small, pods: 2000, nodes: 3 }),
      npm,
    );
    // a tenth of the documented pods: the cluster may grow about ten times
    const { percent } = limitOf(crowded, "agent-memory");
    expect(percent).toBeGreaterThan(15);
    expect(percent).toBeLessThan(30);
  });

  it("past a documented number says so", () => {
    const sizes = { nodes: 251, pods: 251, namespaces: 2, policies: 1 };
    const past = computeCapacity(clusterFor(npm, "aks-npm-limit", sizes), npm);
    expect(past.breaksFirst).toEqual({ limit: "nodes", atScale: 1 });
    expect(past.diagnostics).toEqual([
      expect.objectContaining({
        code: "limit-exceeded",
        severity: "error",
        message: "nodes: 251 of 250 nodes of the cluster: not supported: agents run out of memory",
      }),
    ]);
  });

  it("has more counters on more processors", () => {
    const kernel = [1, 64].map(
      (processors) => computeCapacity(state, npm, { processors }).nodes[0]?.kernelBytes ?? 0,
    );
    expect(kernel[1]).toBeGreaterThan(kernel[0] ?? 0);
  });
});

describe("Azure NPM on Windows nodes", () => {
  const npm = product("azure-npm-windows");
  const objects = generateCluster("npm-scale-ci", 1, { nodes: 1, pods: 20, namespaces: 1, policies: 4 }).map(
    (object) =>
      object["kind"] === "Node"
        ? {
            ...object,
            metadata: { ...(object["metadata"] as object), labels: { "kubernetes.io/os": "windows" } },
          }
        : object,
  );
  const { state } = buildCluster(loadObjects("made", objects), npm.aks, { force: true });

  it("is counted, and no memory is made up", () => {
    const [node] = computeCapacity(state, npm).nodes;
    expect(node?.os).toBe("windows");
    expect(node?.stores.find(({ store }) => store === "HNS ACL list")?.entries).toBeGreaterThan(0);
    expect(node?.stores.find(({ store }) => store === "HNS set")?.entries).toBeGreaterThan(0);
    expect(node).not.toHaveProperty("kernelBytes");
  });
});

describe("Cilium", () => {
  const sizes = { nodes: 2, pods: 300, namespaces: 1, policies: 1 };

  it("counts identities, addresses and the fullest policy map", () => {
    const cilium = product("cilium");
    const result = computeCapacity(clusterFor(cilium, "adversarial", sizes), cilium);
    expect(limitOf(result, "identities")).toMatchObject({ used: 300, max: 65_535 });
    expect(limitOf(result, "ipcache")).toMatchObject({ max: 512_000 });
    expect(limitOf(result, "ipcache").used).toBeGreaterThanOrEqual(302);
    expect(limitOf(result, "policy-map").max).toBe(16_384);
    expect(limitOf(result, "policy-map").used).toBeGreaterThanOrEqual(300);
    expect(result.diagnostics).toEqual([]);
  });

  it("says which map is full, and whose policy did not fit", () => {
    const tight = product("cilium+policy-map-max=256");
    const result = computeCapacity(clusterFor(tight, "adversarial", sizes), tight);
    expect(limitOf(result, "policy-map")).toMatchObject({ used: 256, max: 256, percent: 100 });
    expect(result.breaksFirst).toEqual({ limit: "policy-map", atScale: 1 });
    const codes = result.diagnostics.map(({ code }) => code);
    expect(new Set(codes)).toEqual(new Set(["policy-map-overflow", "limit-exceeded"]));
  });
});

it("a platform without an engine has no limit of its own, and no agent", () => {
  const none = product("none");
  const result = computeCapacity(clusterFor(none, "cilium-report", small), none);
  expect(result.limits).toEqual([]);
  expect(result).not.toHaveProperty("breaksFirst");
  expect(result.nodes[0]).toMatchObject({ agent: [] });
  expect(result.nodes[0]).not.toHaveProperty("agentBytes");
});
