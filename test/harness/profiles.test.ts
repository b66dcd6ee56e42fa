/** The shapes of synthetic clusters against the figures that their sources publish. */
import { describe, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import {
  type ClusterSize,
  compileCluster,
  generateCluster,
  type ProductSelection,
  parseSelection,
  profileOf,
} from "../../src/harness/index.ts";
import { buildCluster, loadObjects } from "../../src/k8s/index.ts";

interface Selector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly { readonly key: string; readonly values: readonly string[] }[];
}
interface Peer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}
interface Port {
  readonly port: string | number;
  readonly endPort?: number;
  readonly protocol: string;
}
interface Rule {
  readonly peers: readonly Peer[];
  readonly ports: readonly Port[];
}
interface Policy {
  readonly namespace: string;
  readonly podSelector: Selector;
  readonly direction: "ingress" | "egress";
  readonly rules: readonly Rule[];
}
interface Pod {
  readonly namespace: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
}
interface Made {
  readonly pods: readonly Pod[];
  readonly policies: readonly Policy[];
}

function made(name: string, sizes: Partial<ClusterSize> = {}): Made {
  const [pods, policies]: [Pod[], Policy[]] = [[], []];
  for (const object of generateCluster(name, 1, sizes)) {
    const { namespace, labels } = object["metadata"] as Pod;
    const spec = object["spec"] as Record<string, never>;
    if (object["kind"] === "Pod") pods.push({ namespace, labels, node: spec["nodeName"] ?? "" });
    if (object["kind"] !== "NetworkPolicy") continue;
    const direction = spec["ingress"] === undefined ? "egress" : "ingress";
    const rules = (spec[direction] ?? []) as readonly { from?: Peer[]; to?: Peer[]; ports?: Port[] }[];
    policies.push({
      namespace,
      podSelector: spec["podSelector"] ?? {},
      direction,
      rules: rules.map(({ from, to, ports }) => ({ peers: from ?? to ?? [], ports: ports ?? [] })),
    });
  }
  return { pods, policies };
}

function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Pod["labels"]): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, values }) => values.includes(labels[key] ?? ""))
  );
}

function grouped<T>(items: readonly T[], key: (item: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}

const share = <T>(items: readonly T[], is: (item: T) => boolean): number =>
  items.filter(is).length / items.length;

describe("aks-npm-limit", () => {
  const { pods, policies } = made("aks-npm-limit");
  const rules = policies.flatMap((policy) => policy.rules);

  it("has the documented sizes, and spreads each namespace over many nodes", () => {
    expect(profileOf("aks-npm-limit").size).toEqual({
      nodes: 250,
      pods: 20_000,
      namespaces: 250,
      policies: 1000,
    });
    const nodes = [...grouped(pods.slice(0, 800), (pod) => pod.namespace).values()].map(
      (group) => new Set(group.map((pod) => pod.node)).size,
    );
    expect(Math.min(...nodes)).toBeGreaterThan(40);
  });

  it("has two thirds ingress, 1 to 3 peers and 0 to 3 ports a policy", () => {
    expect(share(policies, (policy) => policy.direction === "ingress")).toBeCloseTo(2 / 3, 1);
    for (const policy of policies) expect(policy.rules).toHaveLength(1);
    expect(new Set(rules.map(({ peers }) => peers.length))).toEqual(new Set([1, 2, 3]));
    expect(new Set(rules.map(({ ports }) => ports.length))).toEqual(new Set([0, 1, 2, 3]));
  });

  it("has 10% ipBlock with except and 5% named ports", () => {
    const [peers, ports] = [rules.flatMap((rule) => rule.peers), rules.flatMap((rule) => rule.ports)];
    expect(Math.abs(share(peers, ({ ipBlock }) => ipBlock?.except?.length === 1) - 0.1)).toBeLessThan(0.02);
    expect(Math.abs(share(ports, ({ port }) => port === "http") - 0.05)).toBeLessThan(0.02);
  });

  it("selects pods that there are", () => {
    const inNamespace = grouped(pods, (pod) => pod.namespace);
    const selected = policies.map(
      ({ namespace, podSelector }) =>
        (inNamespace.get(namespace) ?? []).filter(({ labels }) => selects(podSelector, labels)).length,
    );
    expect(Math.min(...selected)).toBeGreaterThan(0);
  });
});

describe("npm-scale-ci", () => {
  const { pods, policies } = made("npm-scale-ci");

  it("has 50 pods a node, each with 2 labels of its own and 10 that all have", () => {
    expect([...grouped(pods, (pod) => pod.node).values()].map((group) => group.length)).toEqual(
      Array(20).fill(50),
    );
    const count = new Map<string, number>();
    for (const { labels } of pods)
      for (const key of Object.keys(labels)) count.set(key, (count.get(key) ?? 0) + 1);
    expect([...count.values()].filter((n) => n === pods.length)).toHaveLength(10);
    expect([...count.values()].filter((n) => n === 1)).toHaveLength(2 * pods.length);
  });

  it("has 800 policies of one label to one label, each of which selects every pod", () => {
    expect(policies).toHaveLength(800);
    for (const { podSelector } of policies) {
      expect(Object.keys(podSelector.matchLabels ?? {})).toHaveLength(1);
      expect(selects(podSelector, pods[0]?.labels ?? {})).toBe(true);
    }
  });

  it("becomes the about 4,000 sets that the pipeline's own script counts", () => {
    const npm = parseSelection("azure-npm") as ProductSelection;
    const { state } = buildCluster(loadObjects("scale", generateCluster("npm-scale-ci", 1)), npm.aks);
    const [node] = compileCluster(state, npm).values();
    // two sets a label of a pod's own, two a label of all, and a handful of namespace
    const sets = node?.tables.iptables?.sets.size ?? 0;
    expect(sets).toBeGreaterThanOrEqual(2 * 1000 * 2 + 2 * 10);
    expect(sets).toBeLessThan(2 * 1000 * 2 + 2 * 10 + 12);
  });
});

describe("real-median", () => {
  const { pods, policies } = made("real-median");
  const full = policies.filter((policy) => policy.rules.length > 0);
  const inNamespace = grouped(pods, (pod) => pod.namespace);
  const peers = full.map((policy) => policy.rules.flatMap((rule) => rule.peers));

  it("has the published counts, a quarter of the policies empty", () => {
    expect([pods.length, inNamespace.size, policies.length]).toEqual([5413, 604, 13_678]);
    expect(Math.abs(share(policies, ({ rules }) => rules.length === 0) - 0.26)).toBeLessThan(0.015);
  });

  it("has the published medians", () => {
    const local = full.map(
      ({ namespace, podSelector }) =>
        (inNamespace.get(namespace) ?? []).filter(({ labels }) => selects(podSelector, labels)).length,
    );
    expect(median(local)).toBe(6);
    expect(median(peers.map((list) => list.filter(({ ipBlock }) => ipBlock !== undefined).length))).toBe(1);
    expect(median(peers.map((list) => list.filter(({ ipBlock }) => ipBlock === undefined).length))).toBe(1);
    expect(median(full.map(({ rules }) => rules.flatMap(({ ports }) => ports).length))).toBe(1);
    const byPair = grouped(pods, ({ labels }) => labels["pair"] ?? "");
    const peerPods = peers.map((list) =>
      list.reduce(
        (sum, { podSelector }) => sum + (byPair.get(podSelector?.matchLabels?.["pair"] ?? "-")?.length ?? 0),
        0,
      ),
    );
    expect(median(peerPods)).toBe(2);
  });
});

describe("ovn-burner", () => {
  const { pods, policies } = made("ovn-burner");

  it("has 240 namespaces of 10 pods and 20 policies", () => {
    const sizes = (groups: ReadonlyMap<string, readonly unknown[]>): unknown => [
      groups.size,
      ...new Set([...groups.values()].map((group) => group.length)),
    ];
    expect(sizes(grouped(pods, (pod) => pod.namespace))).toEqual([240, 10]);
    expect(sizes(grouped(policies, (policy) => policy.namespace))).toEqual([240, 20]);
    expect(share(policies, (policy) => policy.direction === "ingress")).toBe(0.5);
  });

  it("has 5 ports, 5 ranges, 5 namespaces, 5 pods, 5 CIDRs and 10 local pods a policy", () => {
    const firstTeam = pods.filter((pod) => pod.namespace === "team-000");
    for (const { podSelector, rules } of policies.filter((_, i) => i % 10 === 0)) {
      expect(firstTeam.filter(({ labels }) => selects(podSelector, labels))).toHaveLength(10);
      const [pods, ...blocks] = rules.map((rule) => rule.peers);
      const values = (selector: Selector | undefined): number =>
        new Set(selector?.matchExpressions?.[0]?.values).size;
      expect([values(pods?.[0]?.namespaceSelector), values(pods?.[0]?.podSelector)]).toEqual([5, 5]);
      expect(new Set(blocks.map(([peer]) => peer?.ipBlock?.cidr)).size).toBe(5);
      const isHalfRanges = rules.map(
        ({ ports }) => ports.length === 10 && share(ports, ({ endPort }) => endPort === undefined) === 0.5,
      );
      expect(isHalfRanges).not.toContain(false);
    }
  });
});

describe("cilium-report and aks-max", () => {
  it("cilium-report has 250 identities", () => {
    expect(profileOf("cilium-report").size).toEqual({
      nodes: 1000,
      pods: 50_000,
      namespaces: 250,
      policies: 250,
    });
    const { pods, policies } = made("cilium-report", { pods: 1000 });
    const identities = grouped(pods, ({ namespace, labels }) => JSON.stringify([namespace, labels]));
    expect(identities.size).toBe(250);
    expect(policies).toHaveLength(250);
  });

  it("aks-max has 5,000 nodes and 200,000 pods, of fewer identities than there can be", () => {
    const { size, labels } = profileOf("aks-max");
    expect(size).toMatchObject({ nodes: 5000, pods: 200_000 });
    const labelsOf = labels(createPrng(1), size);
    const identities = new Set<string>();
    for (let i = 0; i < size.pods; i++)
      identities.add(`${i % size.namespaces} ${Object.values(labelsOf(i)).join(" ")}`);
    expect(identities.size).toBeLessThan(65_280);
    expect(identities.size).toBeGreaterThan(30_000);
  });
});

describe("adversarial", () => {
  it.each([
    { pods: 40, policies: 40, namespaces: 1 },
    { pods: 40, policies: 7, namespaces: 3 },
    { pods: 30, policies: 100, namespaces: 4 },
  ])("names each of $pods pods in some of $policies policies, and tells all apart", (sizes) => {
    const { pods, policies } = made("adversarial", sizes);
    const selectors = policies.flatMap(({ rules }) => rules.flatMap((rule) => rule.peers));
    const answers = pods.map(({ labels }) =>
      selectors.map(({ podSelector }) => (selects(podSelector ?? {}, labels) ? "1" : "0")).join(""),
    );
    expect(new Set(answers).size).toBe(sizes.pods);
    expect(answers.every((answer) => answer.includes("1"))).toBe(true);
    for (const { namespace, podSelector } of policies)
      expect(
        pods.filter((pod) => pod.namespace === namespace && selects(podSelector, pod.labels)),
      ).toHaveLength(1);
  });
});
