/** Differences: grouped by what explains them, each with its smallest witness. */
import { describe, expect, it } from "vitest";
import { computeDiff, type DiffDocument, unexplained } from "../../src/harness/index.ts";
import { pod, policy, selected, stateOf } from "./cluster.ts";

async function diff(engines: string, objects: readonly string[]): Promise<DiffDocument> {
  const [a, b] = selected(engines, stateOf(...objects));
  if (b === undefined) throw new Error("two engines");
  return computeDiff(a, b, "0", { seed: 1 });
}

const pods = [pod("x/a"), pod("x/b", { node: "n2" }), pod("y/c")];
const isolated = policy("x/b", '{ podSelector: { matchLabels: { app: b } }, policyTypes: ["Ingress"] }');

describe("a difference", () => {
  it("is empty where both say the same, and counts what it compared", async () => {
    const document = await diff("azure-npm,oracle", [...pods, isolated]);
    expect(document.groups).toEqual([]);
    expect(document.compared).toBeGreaterThan(10);
  });

  it("is put down to the divergence that predicts it", async () => {
    const document = await diff("none,oracle", [...pods, isolated]);
    expect(document.groups).toHaveLength(1);
    expect(document.groups[0]).toMatchObject({ divergence: "none-not-enforced" });
    expect(document.groups[0]?.cause).not.toBe("");
    // ends come in name order: no pair before this one differs
    expect(document.groups[0]?.witness).toMatchObject({
      from: "x/a",
      to: "x/b",
      port: 80,
      a: "allow",
      b: "deny",
    });
  });

  it("is explained from either side", async () => {
    const [one, other] = [
      await diff("none,oracle", [...pods, isolated]),
      await diff("oracle,none", [...pods, isolated]),
    ];
    expect(other.groups.map(({ divergence, cells }) => ({ divergence, cells }))).toEqual(
      one.groups.map(({ divergence, cells }) => ({ divergence, cells })),
    );
    expect(other.groups[0]?.witness).toMatchObject({ a: "deny", b: "allow" });
  });

  it("has a group for each cause, the unexplained one first", async () => {
    const bare = policy(
      "y/c",
      "{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchExpressions: [{ key: zone, operator: DoesNotExist }] } }] }] }",
    );
    const block = policy(
      "x/b",
      "{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8 } }] }] }",
    );
    // no engine documents how a reading of the API differs from it
    const document = await diff("azure-npm,oracle+ipBlockPods=never", [...pods, bare, block]);
    expect(document.groups.map((group) => group.divergence)).toEqual([unexplained, "npm-bare-negation"]);
    expect(document.groups[0]?.cause).toBeUndefined();
  });

  it("leaves open what the API leaves open, and counts it", async () => {
    const egress = policy("x/b", '{ podSelector: {}, policyTypes: ["Egress"] }');
    const document = await diff("azure-npm,oracle", [...pods, egress]);
    expect(document.undefined).toBeGreaterThan(0); // a pod to its own node
    expect(document.groups).toEqual([]);
  });
});
