/** The agent: however the cluster came to be, its tables end as the compiler makes them; and the order in which they do. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { connectionFields } from "../../../src/engine/cilium/layouts.ts";
import type { BpfOp } from "../../../src/filter/bpf/index.ts";
import { clusterObjects, clusterOf } from "../../../src/harness/index.ts";
import {
  applyObjects,
  buildCluster,
  type ClusterState,
  deleteObject,
  loadObjects,
  setLabels,
} from "../../../src/k8s/index.ts";
import { cilium, LiveNode, tablesText } from "./live-node.ts";

type RawObject = Readonly<Record<string, unknown>>;

const pod = (name: string, app: string, on: string): RawObject => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { namespace: "x", name, labels: { app } },
  spec: { nodeName: on, containers: [{ name: "main" }] },
});
const policy = (name: string, from: readonly RawObject[], ports: readonly number[] = [80]): RawObject => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { namespace: "x", name },
  spec: {
    podSelector: { matchLabels: { app: "web" } },
    ingress: [{ from, ports: ports.map((port) => ({ port })) }],
  },
});
const ofApp = (app: string): RawObject => ({ podSelector: { matchLabels: { app } } });
const block = (cidr: string): RawObject => ({ ipBlock: { cidr } });

function cluster(...objects: readonly RawObject[]): ClusterState {
  const nodes = ["n1", "n2"].map((name) => ({ apiVersion: "v1", kind: "Node", metadata: { name } }));
  return buildCluster(loadObjects("test", [...nodes, ...objects]), cilium().aks).state;
}

const edited = (state: ClusterState, ...objects: readonly RawObject[]): ClusterState =>
  applyObjects(state, loadObjects("edit", objects)).state;

/** Maps that an operation concerns, and what it does to them, in order and each run of equals once. */
function steps(ops: readonly BpfOp[]): readonly string[] {
  const all = ops.map((op) =>
    op.kind === "bpf-load"
      ? "load"
      : `${op.op} ${(op.kind === "bpf-pin" ? op.map.name : op.map).replace(/id\d+/, "id")}`,
  );
  return all.filter((step, i) => step !== all[i - 1]);
}

const base = cluster(pod("web", "web", "n1"), pod("a", "a", "n2"), policy("p", [ofApp("a")]));

describe("a quiet agent", () => {
  it("has the compiler's tables, whatever came before, restarts included", { timeout: 120_000 }, () => {
    const selection = cilium();
    fc.assert(
      fc.property(clusterObjects({ servicesMax: 2 }), clusterObjects({ servicesMax: 2 }), (one, two) => {
        const first = clusterOf(one, selection.aks).state;
        const node = new LiveNode(first, selection);
        expect(tablesText(node.tables())).toBe(tablesText(node.compiled()));
        let state = edited(first, ...two.filter(({ kind }) => kind !== "Node"));
        node.edit(state);
        expect(tablesText(node.tables())).toBe(tablesText(node.compiled()));
        for (const { namespace, name } of [...state.networkPolicies.values()].slice(0, 2))
          state = deleteObject(state, "NetworkPolicy", namespace, name).state;
        for (const { namespace, name } of [...state.pods.values()].slice(0, 1))
          state = deleteObject(state, "Pod", namespace, name).state;
        node.edit(state);
        expect(tablesText(node.tables())).toBe(tablesText(node.compiled()));
        node.restart();
        expect(tablesText(node.tables())).toBe(tablesText(node.compiled()));
        expect(node.diagnostics.filter(({ code }) => code === "apply-failed")).toEqual([]);
      }),
      { numRuns: 30, seed: 3 },
    );
  });

  it("with delays gets there when nothing is under way any more", () => {
    const selection = cilium("cilium+delays");
    fc.assert(
      fc.property(clusterObjects(), clusterObjects(), (one, two) => {
        const first = clusterOf(one, selection.aks).state;
        const node = new LiveNode(first, selection);
        node.edit(edited(first, ...two.filter(({ kind }) => kind !== "Node")));
        node.advance(10e9);
        expect(tablesText(node.tables())).toBe(tablesText(node.compiled()));
      }),
      { numRuns: 20, seed: 4 },
    );
  });
});

describe("the order of changes", () => {
  it("a new identity stands in policy maps before the ipcache gives it to an address, and leaves in the opposite order", () => {
    const node = new LiveNode(base);
    const wider = edited(base, policy("p", [ofApp("a"), block("203.0.113.0/24")]));
    node.takeOps();
    node.edit(wider);
    expect(steps(node.takeOps())).toEqual(["update cilium_policy_v2_id", "update cilium_ipcache"]);
    node.edit(edited(wider, policy("p", [ofApp("a")])));
    expect(steps(node.takeOps())).toEqual(["delete cilium_ipcache", "delete cilium_policy_v2_id"]);
  });

  it("what is allowed before and after is never missing: entries are added before others go", () => {
    const node = new LiveNode(base);
    node.takeOps();
    node.edit(edited(base, policy("p", [ofApp("a")], [81])));
    expect(steps(node.takeOps())).toEqual(["update cilium_policy_v2_id", "delete cilium_policy_v2_id"]);
  });

  it("a map that cannot hold old and new together is cleared of the old first", () => {
    const many = (first: number): readonly number[] => Array.from({ length: 40 }, (_, i) => first + 2 * i);
    const peers = ["a", "b", "c", "d", "e"].map(ofApp);
    const pods = ["a", "b", "c", "d", "e"].map((app) => pod(app, app, "n2"));
    const state = cluster(pod("web", "web", "n1"), ...pods, policy("p", peers, many(1001)));
    const node = new LiveNode(state, cilium("cilium+policy-map-max=256"));
    node.takeOps();
    node.edit(edited(state, policy("p", peers, many(3001))));
    expect(steps(node.takeOps())).toEqual(["delete cilium_policy_v2_id", "update cilium_policy_v2_id"]);
    expect(node.diagnostics.filter(({ code }) => code === "apply-failed")).toEqual([]);
    expect(tablesText(node.tables())).toBe(tablesText(node.compiled()));
  });

  it("a pod's policy map is made before the pod has it", () => {
    const node = new LiveNode(base);
    node.takeOps();
    node.edit(edited(base, pod("new", "new", "n1")));
    const done = steps(node.takeOps());
    expect(done[0]).toBe("create cilium_policy_v2_id");
    expect(done.slice(-2)).toEqual(["update cilium_policy_by_endpoint", "update cilium_lxc"]);
  });
});

describe("with delays", () => {
  const selection = cilium("cilium+delays");
  const identitiesOf = (node: LiveNode): string => tablesText(node.tables());

  it("a pod keeps its identity for the grace period of 5 s after its labels changed", () => {
    const node = new LiveNode(base, selection);
    const before = identitiesOf(node);
    node.edit(setLabels(base, "Pod", "x", "web", { app: "other" }).state);
    node.advance(4.9e9);
    expect(identitiesOf(node)).toBe(before);
    node.advance(0.2e9);
    expect(identitiesOf(node)).toBe(tablesText(node.compiled()));
  });

  it("a pod of another node is known within a second and a half, not at once", () => {
    const node = new LiveNode(base, selection);
    node.edit(edited(base, pod("far", "a", "n2")));
    expect(identitiesOf(node)).not.toBe(tablesText(node.compiled()));
    node.advance(1.5e9);
    expect(identitiesOf(node)).toBe(tablesText(node.compiled()));
  });

  it("a pod that is gone before its new labels were taken up does not come back", () => {
    const node = new LiveNode(base, selection);
    const labelled = setLabels(base, "Pod", "x", "web", { app: "other" }).state;
    node.edit(labelled);
    node.edit(deleteObject(labelled, "Pod", "x", "web").state);
    node.advance(10e9);
    expect(identitiesOf(node)).toBe(tablesText(node.compiled()));
  });
});

describe("an agent's life", () => {
  /** A connection of 10.0.0.1 and 10.0.0.2 that expires at a second of the node's clock. */
  const connection = (lifetime: number): BpfOp => {
    const value = new Uint8Array(56);
    new DataView(value.buffer).setUint32(connectionFields.lifetime, lifetime, true);
    const key = Uint8Array.from([10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 4, 0, 6, 0]);
    return { kind: "bpf-map", op: "update", map: "cilium_ct4_global", key, value };
  };
  const connections = (node: LiveNode): number =>
    node.tables().bpf?.maps.find(({ name }) => name === "cilium_ct4_global")?.entries.length ?? -1;

  it("keeps connections and changes nothing when it starts again", () => {
    const node = new LiveNode(base);
    node.apply(connection(1000));
    node.takeOps();
    node.restart();
    expect(steps(node.takeOps())).toEqual(["load"]);
    expect(connections(node)).toBe(1);
  });

  it("repairs maps that somebody else changed while it was away", () => {
    const node = new LiveNode(base);
    const ipcache = node.tables().bpf?.maps.find(({ name }) => name === "cilium_ipcache");
    const key = ipcache?.base?.[0]?.key ?? ipcache?.entries[0]?.key;
    if (key === undefined) throw new Error("the ipcache has entries");
    node.apply({ kind: "bpf-map", op: "delete", map: "cilium_ipcache", key } as BpfOp);
    node.restart();
    expect(tablesText(node.tables())).toBe(tablesText(node.compiled()));
  });

  it("collects expired connections every five minutes, and only those: until then they are there", () => {
    const node = new LiveNode(base);
    node.apply(connection(60));
    node.advance(299e9);
    expect(connections(node)).toBe(1);
    node.advance(2e9);
    expect(connections(node)).toBe(0);
    node.apply(connection(10_000));
    node.advance(300e9);
    expect(connections(node)).toBe(1);
  });

  it("leaves nothing behind when it is uninstalled", () => {
    const node = new LiveNode(base);
    node.stop();
    const { bpf, iptables } = node.tables();
    expect(bpf).toEqual({ maps: [], programs: [], attachments: [] });
    expect(JSON.stringify(iptables?.v4)).not.toContain("CILIUM");
  });
});
