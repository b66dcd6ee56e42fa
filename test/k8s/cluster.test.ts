/** The virtual cluster: nodes, scheduling, addresses, workloads, edits. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatCidr, formatIp } from "../../src/addr/index.ts";
import { InputError } from "../../src/base/index.ts";
import {
  aksRefusals,
  applyObjects,
  type BuildOptions,
  type BuiltCluster,
  buildCluster,
  type ClusterState,
  type ClusterWords,
  deleteObject,
  loadObjects,
  type Pod,
  parseClusterOptions,
  setLabels,
  stateChanges,
} from "../../src/k8s/index.ts";
import type { RawObject } from "./load.ts";

interface PodTweaks {
  readonly labels?: RawObject;
  readonly spec?: RawObject;
  readonly status?: RawObject;
}

const pod = (id: string, { labels = {}, spec = {}, status = {} }: PodTweaks = {}): RawObject => {
  const [namespace, name] = id.split("/");
  return { apiVersion: "v1", kind: "Pod", metadata: { namespace, name, labels }, spec, status };
};
const node = (name: string, address?: string, more: RawObject = {}): RawObject => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, labels: { "kubernetes.io/os": "linux" } },
  status: address === undefined ? {} : { addresses: [{ type: "InternalIP", address }] },
  ...more,
});
const build = (
  objects: readonly RawObject[],
  words: ClusterWords = {},
  options: BuildOptions = {},
): BuiltCluster => buildCluster(loadObjects("test", objects), words, options);
const apply = (state: ClusterState, ...objects: readonly RawObject[]): BuiltCluster =>
  applyObjects(state, loadObjects("test", objects));
const addresses = ({ ips }: Pick<Pod, "ips">): string => ips.map(formatIp).join(" ");
const podAddresses = (state: ClusterState): readonly (readonly [string, string])[] =>
  [...state.pods].map(([id, one]) => [id, addresses(one)]);
const get = (state: ClusterState, id: string): Pod => {
  const found = state.pods.get(id);
  if (found === undefined) throw new Error(`no pod ${id}`);
  return found;
};
const two = [pod("x/a", { spec: { nodeName: "n1" } }), pod("x/b", { spec: { nodeName: "n2" } })];

describe("addresses", () => {
  it.each([
    {
      plugin: "Azure CNI in the node subnet",
      words: {},
      nodes: ["10.224.0.4", "10.224.0.255"],
      ranges: ["", ""],
      pods: ["10.224.0.5", "10.224.1.0"],
    },
    {
      plugin: "Azure CNI overlay",
      words: { networkPluginMode: "overlay" },
      nodes: ["10.224.0.4", "10.224.0.5"],
      ranges: ["10.244.0.0/24", "10.244.1.0/24"],
      pods: ["10.244.0.2", "10.244.1.2"],
    },
    {
      plugin: "kubenet",
      words: { networkPlugin: "kubenet" },
      nodes: ["10.224.0.4", "10.224.0.5"],
      ranges: ["10.244.0.0/24", "10.244.1.0/24"],
      pods: ["10.244.0.2", "10.244.1.2"],
    },
    {
      plugin: "overlay with both families",
      words: { networkPluginMode: "overlay", ipFamilies: ["ipv4", "ipv6"] },
      nodes: ["10.224.0.4 fd00:10:224::4", "10.224.0.5 fd00:10:224::5"],
      ranges: ["10.244.0.0/24 fd12:3456:789a::/64", "10.244.1.0/24 fd12:3456:789a:1::/64"],
      pods: ["10.244.0.2 fd12:3456:789a::2", "10.244.1.2 fd12:3456:789a:1::2"],
    },
  ] as const)("of $plugin", ({ words, nodes, ranges, pods }) => {
    const { state } = build(two, words);
    const made = [...state.nodes.values()];
    expect(made.map((one) => one.addresses.map(formatIp).join(" "))).toEqual(nodes);
    expect(made.map((one) => one.podCidrs.map(formatCidr).join(" "))).toEqual(ranges);
    expect([...state.pods.values()].map(addresses)).toEqual(pods);
  });

  it("IPv6 alone is nothing that AKS has, but can be forced", () => {
    const words: ClusterWords = { networkPluginMode: "overlay", ipFamilies: ["ipv6"] };
    expect(() => build(two, words)).toThrow("AKS has no clusters with IPv6 alone");
    expect(addresses(get(build(two, words, { force: true }).state, "x/a"))).toBe("fd12:3456:789a::2");
  });

  it("that the input gives are kept, and nobody else gets them", () => {
    const given = pod("x/given", {
      spec: { nodeName: "n1" },
      status: { podIP: "10.224.0.4", hostIP: "10.224.0.9" },
    });
    const { state, warnings } = build([given, ...two]);
    expect(podAddresses(state)[0]).toEqual(["x/given", "10.224.0.4"]);
    expect(state.nodes.get("n1")?.addresses.map(formatIp)).toEqual(["10.224.0.9"]);
    expect(warnings).toEqual([]);
  });

  it("that the input gives to two pods are told", () => {
    const status = { podIP: "10.224.0.77" };
    const { warnings } = build([pod("x/a", { status }), pod("x/b", { status })]);
    expect(warnings).toEqual(["pod x/b has the address 10.224.0.77 of another"]);
  });

  it("of ended pods are free for others", () => {
    const ended = pod("x/done", {
      spec: { nodeName: "n1" },
      status: { podIP: "10.224.0.5", phase: "Succeeded" },
    });
    const { state, warnings } = build([ended, ...two]);
    expect(addresses(get(state, "x/a"))).toBe("10.224.0.5");
    expect(warnings).toEqual([]);
  });

  it("of hostNetwork pods are their node's", () => {
    const { state } = build([pod("x/host", { spec: { nodeName: "n1", hostNetwork: true } })]);
    expect(addresses(get(state, "x/host"))).toBe("10.224.0.4");
  });

  it("of a node that comes later never collide with those of nodes that are there", () => {
    const words: ClusterWords = { networkPluginMode: "overlay" };
    const given = node("n2", undefined, { spec: { podCIDR: "10.244.1.0/24" } });
    const first = build([node("n1"), given, node("n3")], words).state;
    const later = apply(deleteObject(first, "Node", "", "n1").state, node("n4")).state;
    const ranges = [...later.nodes.values()].flatMap((one) => one.podCidrs.map(formatCidr));
    expect(ranges).toEqual(["10.244.1.0/24", "10.244.2.0/24", "10.244.0.0/24"]);
  });

  it("run out with a message", () => {
    const pods = Array.from({ length: 300 }, (_, i) => pod(`x/p${i}`, { spec: { nodeName: "n1" } }));
    expect(() => build(pods, { networkPluginMode: "overlay" })).toThrow(
      "no free pod address left in 10.244.0.0/24",
    );
  });
});

describe("law: no two addresses of a cluster are equal", () => {
  const plugins: fc.Arbitrary<ClusterWords> = fc.constantFrom(
    {},
    { networkPluginMode: "overlay" as const },
    { networkPlugin: "kubenet" as const },
    { networkPluginMode: "overlay" as const, ipFamilies: ["ipv4", "ipv6"] as const },
  );
  const step = fc.oneof(
    fc.record({ add: fc.nat(11), on: fc.constantFrom("n1", "n2", undefined) }),
    fc.record({ remove: fc.nat(11) }),
    fc.record({ addNode: fc.nat(3) }),
    fc.record({ removeNode: fc.nat(3) }),
    fc.record({ end: fc.nat(11) }),
  );

  it("through every edit, and what goes on keeps what it has", () => {
    fc.assert(
      fc.property(plugins, fc.array(step, { maxLength: 25 }), (words, steps) => {
        let { state } = build([node("n1"), node("n2")], words);
        for (const one of steps) {
          const before = state;
          if ("add" in one && one.add !== undefined)
            state = apply(
              state,
              pod(`x/p${one.add}`, { spec: one.on && state.nodes.has(one.on) ? { nodeName: one.on } : {} }),
            ).state;
          else if ("remove" in one && state.pods.has(`x/p${one.remove}`))
            state = deleteObject(state, "Pod", "x", `p${one.remove}`).state;
          else if ("addNode" in one) state = apply(state, node(`n${one.addNode}`)).state;
          else if ("removeNode" in one && state.nodes.has(`n${one.removeNode}`))
            state = deleteObject(state, "Node", "", `n${one.removeNode}`).state;
          else if ("end" in one && state.pods.has(`x/p${one.end}`))
            state = apply(state, pod(`x/p${one.end}`, { status: { phase: "Failed" } })).state;
          const living = [...state.pods.values()].filter(
            ({ phase, nodeName }) => phase === "Running" && nodeName !== "",
          );
          const texts = [...living, ...[...state.nodes.values()].map((n) => ({ ips: n.addresses }))].flatMap(
            ({ ips }) => ips.map(formatIp),
          );
          expect(new Set(texts).size).toBe(texts.length);
          for (const one2 of living) {
            expect(one2.ips).toHaveLength(state.options.ipFamilies.length);
            const old = before.pods.get(`x/${one2.name}`);
            if (old?.phase === "Running" && old.nodeName === one2.nodeName)
              expect(addresses(one2)).toBe(addresses(old));
          }
          const ranges = [...state.nodes.values()].flatMap((n) => n.podCidrs.map(formatCidr));
          expect(new Set(ranges).size).toBe(ranges.length);
        }
      }),
      { numRuns: 150, seed: 42 },
    );
  });
});

describe("law: what has no address does not bear on those that have", () => {
  it("namespaces, policies and Services may stand anywhere among the pods", () => {
    const others: readonly RawObject[] = [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "x" } },
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "p", namespace: "y" },
        spec: {},
      },
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "s", namespace: "x" },
        spec: { ports: [{ port: 80 }] },
      },
    ];
    const pods = Array.from({ length: 8 }, (_, i) => pod(`x/p${i}`));
    const expected = podAddresses(build([...pods, ...others]).state);
    fc.assert(
      fc.property(fc.array(fc.nat(8), { minLength: 3, maxLength: 3 }), (places) => {
        const mixed: RawObject[] = [...pods];
        others.forEach((object, i) => {
          mixed.splice(places[i] ?? 0, 0, object);
        });
        expect(podAddresses(build(mixed).state)).toEqual(expected);
      }),
      { numRuns: 30, seed: 1 },
    );
  });

  it("equal input gives equal clusters", () => {
    const objects = [pod("x/a"), pod("y/b"), node("n1"), node("n2")];
    expect(JSON.stringify([...build(objects).state.pods])).toBe(
      JSON.stringify([...build(objects).state.pods]),
    );
  });
});

describe("nodes", () => {
  it("are three of Linux where the input names none, and as many as its pods need", () => {
    expect([...build([pod("x/a")]).state.nodes.keys()]).toEqual([
      "aks-nodepool1-37463671-vmss000000",
      "aks-nodepool1-37463671-vmss000001",
      "aks-nodepool1-37463671-vmss000002",
    ]);
    const many = Array.from({ length: 450 }, (_, i) => pod(`x/p${i}`));
    expect(build(many).state.nodes.size).toBe(5);
  });

  it("are those of the pools, with the labels that AKS gives", () => {
    const { state } = build([], {
      nodePools: [
        { name: "sys", count: 2 },
        { name: "win", osType: "Windows", osSku: "Windows2019" },
      ],
    });
    expect([...state.nodes.values()].map(({ name, os, osSku, pool }) => [name, os, osSku, pool])).toEqual([
      ["aks-sys-37463671-vmss000000", "linux", "Ubuntu", "sys"],
      ["aks-sys-37463671-vmss000001", "linux", "Ubuntu", "sys"],
      ["akswin000000", "windows", "Windows2019", "win"],
    ]);
    expect(state.nodes.get("akswin000000")?.labels).toEqual({
      "kubernetes.io/hostname": "akswin000000",
      "kubernetes.io/os": "windows",
      "kubernetes.io/arch": "amd64",
      "kubernetes.azure.com/agentpool": "win",
      "kubernetes.azure.com/os-sku": "Windows2019",
    });
  });

  it("that only pods name exist, with the host's address", () => {
    const { state } = build([pod("x/a", { spec: { nodeName: "n9" }, status: { hostIP: "10.224.0.99" } })]);
    expect([...state.nodes.values()].map(({ name, addresses: ips }) => [name, ips.map(formatIp)])).toEqual([
      ["n9", ["10.224.0.99"]],
    ]);
  });

  it("are found by the host's address where a pod names no node", () => {
    const nodes = [node("n1", "10.224.0.11"), node("n2", "10.224.0.12")];
    const { state } = build([...nodes, pod("x/a", { status: { hostIP: "10.224.0.12" } })]);
    expect(get(state, "x/a").nodeName).toBe("n2");
  });
});

describe("the scheduler", () => {
  it("takes the emptiest node, the first of equals", () => {
    const { state } = build([node("n1"), node("n2"), pod("x/a"), pod("x/b"), pod("x/c")]);
    expect([...state.pods.values()].map(({ nodeName }) => nodeName)).toEqual(["n1", "n2", "n1"]);
  });

  it("follows nodeSelectors, and leaves a pod that fits nowhere pending and without address", () => {
    const spec = (os: string): RawObject => ({ nodeSelector: { "kubernetes.io/os": os } });
    const pools = [{ name: "sys" }, { name: "win", osType: "Windows" as const }];
    const { state, warnings } = build(
      [
        pod("x/l", { spec: spec("linux") }),
        pod("x/w", { spec: spec("windows") }),
        pod("x/n", { spec: spec("plan9") }),
        pod("x/any"),
      ],
      { nodePools: pools },
    );
    const where = [...state.pods.values()].map(({ name, nodeName, phase }) => [name, nodeName, phase]);
    expect(where).toEqual([
      ["l", "aks-sys-37463671-vmss000000", "Running"],
      ["w", "akswin000000", "Running"],
      ["n", "", "Pending"],
      ["any", "aks-sys-37463671-vmss000000", "Running"],
    ]);
    expect(warnings).toEqual(["no node takes pod x/n: it stays Pending without an address"]);
  });

  it("leaves out nodes that are cordoned or full", () => {
    const cordoned = node("n1", undefined, { spec: { unschedulable: true } });
    expect(get(build([cordoned, node("n2"), pod("x/a")]).state, "x/a").nodeName).toBe("n2");
    const crowd = Array.from({ length: 251 }, (_, i) => pod(`x/p${i}`));
    expect(build([node("n1"), ...crowd]).warnings).toEqual([
      "no node takes pod x/p250: it stays Pending without an address",
    ]);
  });
});

describe("workloads", () => {
  const template = (nodeSelector?: RawObject): RawObject => ({
    metadata: { labels: { app: "w" } },
    spec: {
      ...(nodeSelector ? { nodeSelector } : {}),
      containers: [{ name: "c", ports: [{ name: "http", containerPort: 8080 }] }],
    },
  });
  const workload = (kind: string, spec: RawObject, name = "w"): RawObject => ({
    apiVersion: kind === "Job" || kind === "CronJob" ? "batch/v1" : "apps/v1",
    kind,
    metadata: { namespace: "x", name },
    spec: { template: template(), ...spec },
  });
  const word = "[bcdfghjklmnpqrstvwxz2-9]";
  it.each([
    { kind: "Deployment", spec: { replicas: 2 }, names: `^w-${word}{10}-${word}{5}$`, count: 2 },
    { kind: "Deployment", spec: {}, names: `^w-${word}{10}-${word}{5}$`, count: 1 },
    { kind: "Deployment", spec: { replicas: 0 }, names: "", count: 0 },
    { kind: "ReplicaSet", spec: { replicas: 3 }, names: `^w-${word}{5}$`, count: 3 },
    { kind: "StatefulSet", spec: { replicas: 2 }, names: "^w-[01]$", count: 2 },
    { kind: "StatefulSet", spec: { replicas: 2, ordinals: { start: 5 } }, names: "^w-[56]$", count: 2 },
    { kind: "DaemonSet", spec: {}, names: `^w-${word}{5}$`, count: 3 },
    { kind: "Job", spec: { parallelism: 2 }, names: `^w-${word}{5}$`, count: 2 },
    { kind: "Job", spec: { parallelism: 4, completions: 3 }, names: `^w-${word}{5}$`, count: 3 },
    { kind: "Job", spec: { suspend: true }, names: "", count: 0 },
    {
      kind: "Job",
      spec: { parallelism: 2, completions: 2, completionMode: "Indexed" },
      names: `^w-[01]-${word}{5}$`,
      count: 2,
    },
    {
      kind: "CronJob",
      spec: { jobTemplate: { spec: { template: template(), parallelism: 2 } } },
      names: `^w-28[0-9]{6}-${word}{5}$`,
      count: 2,
    },
    {
      kind: "CronJob",
      spec: { suspend: true, jobTemplate: { spec: { template: template() } } },
      names: "",
      count: 0,
    },
  ])("$kind $spec makes $count pods", ({ kind, spec, names, count }) => {
    const object = workload(kind, spec);
    const { state } = build([object]);
    const pods = [...state.pods.values()];
    expect(pods).toHaveLength(count);
    for (const one of pods) {
      expect(one.name).toMatch(new RegExp(names));
      expect(one).toMatchObject({
        labels: { app: "w" },
        owner: { kind, name: "w" },
        ports: [{ name: "http" }],
      });
    }
    expect([...build([object]).state.pods.keys()]).toEqual([...state.pods.keys()]);
  });

  it("label their pods as the controllers do", () => {
    const labelsOf = (kind: string, spec: RawObject): RawObject =>
      [...build([workload(kind, spec)]).state.pods.values()][0]?.labels ?? {};
    expect(labelsOf("StatefulSet", {})).toEqual({
      app: "w",
      "statefulset.kubernetes.io/pod-name": "w-0",
      "apps.kubernetes.io/pod-index": "0",
    });
    expect(labelsOf("Job", {})).toEqual({ app: "w", "job-name": "w", "batch.kubernetes.io/job-name": "w" });
    expect(Object.keys(labelsOf("Deployment", {}))).toEqual(["app", "pod-template-hash"]);
  });

  it("name every pod, however many, and cut long names as Kubernetes does", () => {
    expect(
      build([workload("ReplicaSet", { replicas: 8000 })], { nodePools: [{ count: 40 }] }).state.pods.size,
    ).toBe(8000);
    const [name] = build([workload("Deployment", {}, "a".repeat(60))]).state.pods.keys();
    expect(name).toMatch(new RegExp(`^x/a{58}${word}{5}$`));
  });

  it("DaemonSets follow nodeSelectors", () => {
    const nodePools = [
      { name: "sys", count: 2 },
      { name: "win", osType: "Windows" as const },
    ];
    const linux = workload("DaemonSet", { template: template({ "kubernetes.io/os": "linux" }) });
    const { state } = build([linux], { nodePools });
    expect([...state.pods.values()].map(({ nodeName }) => nodeName)).toEqual([
      "aks-sys-37463671-vmss000000",
      "aks-sys-37463671-vmss000001",
    ]);
  });

  it("are not expanded where the input, a dump, holds their pods", () => {
    const controlled = (kind: string, name: string): RawObject => ({
      ownerReferences: [{ kind, name, controller: true }],
    });
    const dump: readonly RawObject[] = [
      workload("Deployment", { replicas: 3 }),
      {
        ...workload("ReplicaSet", { replicas: 3 }, "w-1"),
        metadata: { namespace: "x", name: "w-1", ...controlled("Deployment", "w") },
      },
      {
        ...pod("x/w-1-abc"),
        metadata: { namespace: "x", name: "w-1-abc", ...controlled("ReplicaSet", "w-1") },
      },
    ];
    expect([...build(dump).state.pods.keys()]).toEqual(["x/w-1-abc"]);
    expect(build(dump.slice(0, 2)).state.pods.size).toBe(3);
  });

  it("that shrink lose pods, that grow keep theirs", () => {
    const before = build([workload("Deployment", { replicas: 3 })]).state;
    const after = apply(before, workload("Deployment", { replicas: 2 })).state;
    expect(podAddresses(after)).toEqual(podAddresses(before).slice(0, 2));
    expect(podAddresses(apply(after, workload("Deployment", { replicas: 4 })).state).slice(0, 2)).toEqual(
      podAddresses(after),
    );
  });
});

describe("edits", () => {
  it("give the address of a deleted pod to the next one", () => {
    const { state } = build(two);
    const reused = apply(
      deleteObject(state, "Pod", "x", "a").state,
      pod("x/c", { spec: { nodeName: "n1" } }),
    ).state;
    expect(addresses(get(reused, "x/c"))).toBe(addresses(get(state, "x/a")));
  });

  it("that move a pod to another node make another pod of it", () => {
    const { state } = build(two);
    const moved = apply(state, pod("x/a", { spec: { nodeName: "n2" } })).state;
    expect(addresses(get(moved, "x/a"))).toBe("10.224.1.1");
  });

  it("that start an ended pod again give it an address that is free", () => {
    const { state } = build(two);
    const ended = apply(state, pod("x/a", { status: { phase: "Failed" } })).state;
    const taken = apply(ended, pod("x/c", { spec: { nodeName: "n1" } })).state;
    expect([addresses(get(taken, "x/a")), addresses(get(taken, "x/c"))]).toEqual([
      "10.224.0.5",
      "10.224.0.5",
    ]);
    expect(addresses(get(apply(taken, pod("x/a")).state, "x/a"))).toBe("10.224.0.6");
  });

  it("share what they do not change", () => {
    const { state } = build(two);
    const policy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "p", namespace: "x" },
      spec: {},
    };
    const after = apply(state, policy).state;
    for (const part of ["namespaces", "nodes", "pods", "services", "endpointSlices", "vendor"] as const)
      expect(after[part], part).toBe(state[part]);
    expect(after.networkPolicies.size).toBe(1);
  });

  it("delete a namespace with everything in it, a node with its pods", () => {
    const policy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "p", namespace: "x" },
      spec: {},
    };
    const { state } = build([...two, policy, pod("y/c", { spec: { nodeName: "n1" } })]);
    const without = deleteObject(state, "Namespace", "", "x").state;
    expect([[...without.namespaces.keys()], [...without.pods.keys()], without.networkPolicies.size]).toEqual([
      ["y"],
      ["y/c"],
      0,
    ]);
    expect([...deleteObject(state, "Node", "", "n1").state.pods.keys()]).toEqual(["x/b"]);
  });

  it("label pods, nodes and namespaces; a namespace keeps its name's label", () => {
    const { state } = build(two);
    const labelled = setLabels(state, "Pod", "x", "a", { app: "web", gone: null }).state;
    expect(get(labelled, "x/a").labels).toEqual({ app: "web" });
    const namespace = setLabels(state, "Namespace", "", "x", {
      "kubernetes.io/metadata.name": null,
      a: "b",
    }).state;
    expect(namespace.namespaces.get("x")?.labels).toEqual({ "kubernetes.io/metadata.name": "x", a: "b" });
    expect(() => setLabels(state, "Pod", "x", "a", { "a b": "c" })).toThrow("metadata.labels: Invalid value");
  });

  it("name what is not there", () => {
    const { state } = build(two);
    expect(() => deleteObject(state, "Pod", "x", "none")).toThrow("no Pod x/none in the cluster");
    expect(() => setLabels(state, "Namespace", "", "none", {})).toThrow("no Namespace none in the cluster");
  });

  it("are told as a watch tells them: what comes in order, what goes in the opposite order", () => {
    const { state } = build(two);
    const policy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "p", namespace: "y" },
      spec: {},
    };
    const after = apply(state, policy, pod("y/c", { spec: { nodeName: "n1" } })).state;
    const told = (a: ClusterState, b: ClusterState): readonly string[] =>
      stateChanges(a, b).map(({ type, object }) => `${type} ${object.kind} ${object.name}`);
    expect(told(state, after)).toEqual(["added Namespace y", "added Pod c", "added NetworkPolicy p"]);
    expect(told(after, state)).toEqual(["deleted NetworkPolicy p", "deleted Pod c", "deleted Namespace y"]);
    expect(told(state, setLabels(state, "Pod", "x", "b", { v: "1" }).state)).toEqual(["modified Pod b"]);
  });
});

describe("namespaces", () => {
  it("that are only referred to exist, with the label of their name", () => {
    const slice = {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: "e", namespace: "e" },
      endpoints: [],
    };
    const service = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "s", namespace: "s" },
      spec: { clusterIP: "None" },
    };
    const { state } = build([pod("x/a"), service, slice]);
    expect([...state.namespaces.values()].map(({ name, labels }) => [name, labels])).toEqual(
      ["x", "s", "e"].map((name) => [name, { "kubernetes.io/metadata.name": name }]),
    );
  });

  it("carry the label of their name whatever the input says", () => {
    const labels = { "kubernetes.io/metadata.name": "other", team: "a" };
    const { state } = build([{ apiVersion: "v1", kind: "Namespace", metadata: { name: "x", labels } }]);
    expect(state.namespaces.get("x")?.labels).toEqual({ "kubernetes.io/metadata.name": "x", team: "a" });
  });
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
