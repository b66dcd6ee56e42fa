/** What does not depend on the node is made once, however many Services there are. */
import { describe, expect, it } from "vitest";
import { platformTables, platformUpdate } from "../../../src/engine/platform/index.ts";
import { linkIptables, saveRuleset } from "../../../src/filter/iptables/index.ts";
import { retainedBytes } from "../../../src/harness/table-bytes.ts";
import { applyObjects, type ClusterState, loadObjects, type Node } from "../../../src/k8s/index.ts";
import { linkContext } from "../../filter/node.ts";
import { cluster, node, type RawObject, rulesetOf, service, slice } from "./cluster.ts";

const nodeNames = Array.from({ length: 60 }, (_, i) => `n${i}`);

/** `local` of the Services keep to a node's own endpoints, which live on three nodes each. */
function manyServices(count: number, local: number): ClusterState {
  const objects: RawObject[] = nodeNames.map((name, i) => node(name, `10.224.0.${10 + i}`));
  for (let i = 0; i < count; i++) {
    const address = `10.0.${i >> 8}.${i & 255}`;
    const rest = i < local ? { type: "NodePort", externalTrafficPolicy: "Local" } : {};
    objects.push(service(`s${i}`, { clusterIP: address, ports: [{ port: 80 }], ...rest }));
    const endpoints = Array.from({ length: 10 }, (_, j) => ({
      ip: `10.${100 + (i >> 8)}.${i & 255}.${j}`,
      on: nodeNames[(i + (j % 3)) % nodeNames.length] as string,
    }));
    objects.push(slice(`s${i}`, 8080, endpoints));
  }
  return cluster(objects);
}

describe("the platform's tables of 60 nodes with 600 Services", () => {
  it("are one object where no Service keeps to the node", () => {
    const state = manyServices(600, 0);
    expect(new Set([...state.nodes.values()].map((one) => platformTables(state, one))).size).toBe(1);
  });

  it("take at most 1.3 times the bytes of one node's where some do, and differ only on nodes with endpoints", () => {
    const state = manyServices(600, 4);
    const all = [...state.nodes.values()].map((one) => platformTables(state, one));
    expect(new Set(all).size).toBe(7); // the Services' endpoints live on n0..n5; all other nodes agree
    expect(retainedBytes(...all) / retainedBytes(all[20])).toBeLessThan(1.3);
  });
});

describe("an update of the platform", () => {
  const at = (state: ClusterState): Node => state.nodes.get("n1") as Node;

  it("ends at the tables of the new state, and touches no built-in chain", () => {
    const before = manyServices(5, 2);
    const after = applyObjects(
      before,
      loadObjects("edit", [
        slice("s0", 8080, [{ ip: "10.100.0.77", on: "n1" }]),
        slice("s3", 8080, []),
        service("s9", { clusterIP: "10.0.9.9", ports: [{ port: 80 }] }),
      ]),
    ).state;
    const tables = platformTables(before, at(before)).iptables;
    if (tables === undefined) throw new Error("a Linux node has iptables");
    const datapath = linkIptables(tables, linkContext());
    const ops = platformUpdate(platformTables(before, at(before)), platformTables(after, at(after)));
    for (const op of ops)
      for (const { chain } of op.kind === "iptables-restore" ? op.commands : [])
        expect(chain).toMatch(/^KUBE-/);
    for (const op of ops) expect(datapath.apply(op)).toEqual({ ok: true });
    const sorted = (text: string): readonly string[] => text.split("\n").sort();
    expect(sorted(saveRuleset(datapath.tables().v4))).toEqual(sorted(saveRuleset(rulesetOf(after))));
  });

  it("is nothing where nothing changed that the node's rules speak of", () => {
    const state = manyServices(3, 0);
    expect(platformUpdate(platformTables(state, at(state)), platformTables(state, at(state)))).toEqual([]);
  });
});
