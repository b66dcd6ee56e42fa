/** Synthetic clusters: equal seeds give equal objects, sizes are kept, and what is generated loads. */
import fc from "fast-check";
import { load } from "js-yaml";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { formatCidr } from "../../src/addr/index.ts";
import { generateCluster, generateObjects, manifestYaml, profiles } from "../../src/harness/index.ts";
import { buildCluster, type ClusterState, loadManifests, loadObjects } from "../../src/k8s/index.ts";
import { runs } from "../runs.ts";

const small = { nodes: 3, pods: 24, namespaces: 4, policies: 6 };

describe.each(profiles.map((profile) => profile.name))("profile %s", (name) => {
  const objects = generateCluster(name, 7, small);

  it("is the same for the same seed, and another for another", () => {
    expect(generateCluster(name, 7, small)).toEqual(objects);
    const seeds = [8, 9, 10].map((seed) => JSON.stringify(generateCluster(name, seed, small)));
    expect(seeds.some((text) => text !== JSON.stringify(objects))).toBe(true);
  });

  it("has the sizes that were asked for, and as many pods on each node", () => {
    const { state } = buildCluster(loadObjects(name, objects), {});
    const made = { pods: state.pods.size, nodes: state.nodes.size, policies: state.networkPolicies.size };
    expect(made).toEqual({ pods: small.pods, nodes: small.nodes, policies: small.policies });
    const counts = new Map<string, number>();
    for (const { nodeName } of state.pods.values()) counts.set(nodeName, (counts.get(nodeName) ?? 0) + 1);
    expect([...counts.values()]).toEqual([8, 8, 8]);
  });

  it("has a cluster's least sizes", () => {
    const least = { nodes: 1, pods: 1, namespaces: 1, policies: 1 };
    expect(buildCluster(loadObjects(name, generateCluster(name, 1, least)), {}).state.pods.size).toBe(1);
    expect(generateCluster(name, 1, { ...least, policies: 0 })).toHaveLength(3);
  });

  it("loads from its YAML as from its objects", () => {
    const text = objects.map(manifestYaml).join("---\n");
    const said = ({ pods, nodes, namespaces, networkPolicies }: ClusterState): unknown =>
      JSON.parse(
        JSON.stringify([...pods, ...nodes, ...namespaces, ...networkPolicies], (key, value: unknown) =>
          key === "origin" || key === "source" ? undefined : value,
        ),
      );
    const fromText = buildCluster(loadManifests([{ name: "made.yaml", text }]), {}).state;
    expect(said(fromText)).toEqual(said(buildCluster(loadObjects("made", objects), {}).state));
  });
});

describe("sizes", () => {
  it.each([
    [{ pods: 0 }, /--pods takes a positive number, not 0/],
    [{ nodes: 2.5 }, /--nodes takes a positive number, not 2.5/],
    [{ policies: -1 }, /--policies takes a positive number/],
    [{ pods: 3_000_000 }, /--pods takes at most 2000000/],
  ])("%j are refused", (sizes, message) => {
    expect(() => generateCluster("aks-npm-limit", 1, sizes)).toThrow(message);
  });

  it("are checked before the first object is made", () => {
    expect(() => generateObjects("nothing", 1).next()).toThrow(/unknown profile nothing; known: aks-npm/);
  });
});

describe("a cluster too large for the default node subnet", () => {
  it("has a pod range on each node, and an address for each pod", () => {
    const objects: Readonly<Record<string, unknown>>[] = [];
    for (const object of generateObjects("aks-max", 1)) if (objects.push(object) === 7000) break;
    const { state } = buildCluster(loadObjects("made", objects), {});
    const ranges = [...state.nodes.values()].flatMap((node) => node.podCidrs.map(formatCidr));
    expect(new Set(ranges).size).toBe(5000);
    expect(ranges.slice(0, 2)).toEqual(["10.32.0.0/24", "10.32.1.0/24"]);
    const ips = [...state.pods.values()].flatMap((pod) => pod.ips.map(({ words }) => words[0]));
    expect([ips.length, new Set(ips).size]).toEqual([1000, 1000]);
  });
});

describe("manifest text", () => {
  const scalars = fc.oneof(
    fc.string(),
    fc.constantFrom("yes", "n", "0x10", "1e3", "1:30", "a: b", "-", "~", "172.16.0.0/16", "a#b", "a b", "a:"),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
  );
  const { map } = fc.letrec<{ readonly value: unknown; readonly map: Record<string, unknown> }>((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, scalars, fc.array(tie("value"), { maxLength: 3 }), tie("map")),
    map: fc.dictionary(
      fc.string().filter((key) => key !== "__proto__" && key !== "<<"),
      tie("value"),
      { maxKeys: 4 },
    ),
  }));

  it("law: reads back as the object, by either reader", () => {
    const law = fc.property(
      map.filter((object) => Object.keys(object).length > 0),
      (object) => {
        const text = manifestYaml(object);
        expect(parse(text)).toEqual({ ...object });
        expect(load(text)).toEqual({ ...object });
      },
    );
    fc.assert(law, runs(60));
  });

  it("is what people write", () => {
    expect(
      manifestYaml({ kind: "Pod", spec: { ports: [{ name: "http", port: 80 }, "1", []], none: {} } }),
    ).toBe('kind: Pod\nspec:\n  ports:\n    - name: http\n      port: 80\n    - "1"\n    - []\n  none: {}\n');
  });
});
