/** The virtual cluster: nodes, scheduling, namespaces, edits. */
import { describe, expect, it } from "vitest";
import { formatIp } from "../../src/addr/index.ts";
import { type ClusterState, deleteObject, setLabels, stateChanges } from "../../src/k8s/index.ts";
import { addresses, apply, build, get, node, pod, two } from "./cluster.ts";
import type { RawObject } from "./load.ts";

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
