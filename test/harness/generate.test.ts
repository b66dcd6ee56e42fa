/** Synthetic clusters: equal seeds give equal objects, sizes are kept, and what is generated loads. */
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { generateCluster, profiles } from "../../src/harness/index.ts";
import { buildCluster, loadManifests, loadObjects } from "../../src/k8s/index.ts";

const small = { nodes: 3, pods: 24, namespaces: 4, policies: 6 };

describe.each(profiles.map((profile) => profile.name))("profile %s", (name) => {
  const objects = generateCluster(name, 7, small);

  it("is the same for the same seed, and another for another", () => {
    expect(generateCluster(name, 7, small)).toEqual(objects);
    const seeds = [8, 9, 10].map((seed) => JSON.stringify(generateCluster(name, seed, small)));
    expect(seeds.some((text) => text !== JSON.stringify(objects))).toBe(true);
  });

  it("has the sizes that were asked for", () => {
    const { state } = buildCluster(loadObjects(name, objects), {});
    const made = { pods: state.pods.size, nodes: state.nodes.size, policies: state.networkPolicies.size };
    expect(made).toEqual({ pods: small.pods, nodes: small.nodes, policies: small.policies });
  });

  it("loads from its YAML as from its objects", () => {
    const text = objects.map((object) => stringify(object)).join("---\n");
    const fromText = buildCluster(loadManifests([{ name: "made.yaml", text }]), {}).state;
    const fromObjects = buildCluster(loadObjects("made", objects), {}).state;
    expect([...fromText.pods.keys()]).toEqual([...fromObjects.pods.keys()]);
    expect([...fromText.pods.values()].map((pod) => pod.ips)).toEqual(
      [...fromObjects.pods.values()].map((pod) => pod.ips),
    );
    const specs = (state: typeof fromText): unknown =>
      [...state.networkPolicies.values()].map(({ ingress, egress, podSelector }) => ({
        ingress,
        egress,
        podSelector,
      }));
    expect(specs(fromText)).toEqual(specs(fromObjects));
  });
});

describe("the profile of Azure NPM's limit", () => {
  it("keeps its published shares: two thirds ingress, 1 to 3 peers, at most 3 ports", () => {
    const policies = generateCluster("aks-npm-limit", 1, { ...small, policies: 600 }).filter(
      (object) => object["kind"] === "NetworkPolicy",
    ) as unknown as readonly {
      readonly spec: { readonly policyTypes: readonly string[]; readonly ingress?: readonly Rule[] };
    }[];
    const ingress = policies.filter((policy) => policy.spec.policyTypes[0] === "Ingress");
    expect(ingress.length / policies.length).toBeGreaterThan(0.6);
    expect(ingress.length / policies.length).toBeLessThan(0.73);
    for (const { spec } of ingress)
      for (const { from, ports } of spec.ingress ?? []) {
        expect(from.length).toBeGreaterThanOrEqual(1);
        expect(from.length).toBeLessThanOrEqual(3);
        expect(ports.length).toBeLessThanOrEqual(3);
      }
  });
});

interface Rule {
  readonly from: readonly unknown[];
  readonly ports: readonly unknown[];
}
