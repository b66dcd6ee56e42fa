/** Laws of NetworkPolicy (reference: the decision procedure of networking.k8s.io/v1), held on random clusters. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clusterObjects, clusterOf, tableCells } from "../../src/harness/index.ts";
import {
  applyObjects,
  type ClusterState,
  type Connection,
  deleteObject,
  loadObjects,
} from "../../src/k8s/index.ts";
import { createOracle } from "../../src/oracle/index.ts";

type RawObject = Readonly<Record<string, unknown>>;
interface RawPolicy {
  readonly kind: "NetworkPolicy";
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly policyTypes?: readonly string[];
    readonly ingress: readonly object[];
    readonly egress: readonly object[];
    readonly podSelector: object;
  };
}

const runs = process.env["PODWIRE_SOAK"] === "1" ? 2000 : 120;

const isPolicy = (object: RawObject): boolean => object["kind"] === "NetworkPolicy";
const policiesOf = (objects: readonly RawObject[]): readonly RawPolicy[] =>
  objects.filter(isPolicy) as unknown as readonly RawPolicy[];
const withPolicies = (objects: readonly RawObject[], policies: readonly object[]): readonly RawObject[] => [
  ...objects.filter((object) => !isPolicy(object)),
  ...(policies as readonly RawObject[]),
];

/** Verdicts of every cell, by its ends and port. Policies change the ports and ranges that are worth asking: `state` says which. */
function verdicts(state: ClusterState, asked: ClusterState = state): ReadonlyMap<string, string> {
  const oracle = createOracle(state);
  const table = new Map<string, string>();
  for (const { from, to, cell } of tableCells(asked, [], {}).cells)
    table.set(`${from.id} ${to.id} ${cell.port}/${cell.protocol}`, oracle.judge(here(state, cell)).verdict);
  return table;
}

/** The same connection with the pods and Services as `state` knows them. */
function here(state: ClusterState, cell: Connection): Connection {
  const end = <E extends Connection["to"]>(one: E): E => {
    if (one.kind === "pod") {
      const pod = state.pods.get(`${one.pod.namespace}/${one.pod.name}`);
      return pod === undefined ? one : { ...one, pod };
    }
    if (one.kind !== "service") return one;
    const service = state.services.get(`${one.service.namespace}/${one.service.name}`);
    return service === undefined ? one : { ...one, service };
  };
  return { ...cell, from: end(cell.from), to: end(cell.to) };
}

function holds(law: (objects: readonly RawObject[]) => void): void {
  fc.assert(fc.property(clusterObjects(), law), { numRuns: runs, seed: 4711 });
}

/** Types as the API server defaults them. */
function typesOf({ spec }: RawPolicy): readonly string[] {
  return spec.policyTypes ?? (spec.egress.length > 0 ? ["Ingress", "Egress"] : ["Ingress"]);
}

describe("the oracle", () => {
  it("does not care about the order of policies, rules, peers and ports", () => {
    holds((objects) => {
      const reversed = policiesOf(objects)
        .map(({ spec, ...rest }) => ({
          ...rest,
          spec: {
            ...spec,
            ingress: spec.ingress.map(reverseRule).reverse(),
            egress: spec.egress.map(reverseRule).reverse(),
          },
        }))
        .reverse();
      const before = clusterOf(objects).state;
      expect(verdicts(clusterOf(withPolicies(objects, reversed)).state, before)).toEqual(verdicts(before));
    });
  });

  it("never turns allow into deny when a rule is added to a policy", () => {
    holds((objects) => {
      const [first, ...rest] = policiesOf(objects);
      if (first === undefined) return;
      const more = {
        ...first,
        spec: {
          ...first.spec,
          policyTypes: typesOf(first),
          ingress: [...first.spec.ingress, { ports: [{ port: 80 }] }],
          egress: [...first.spec.egress, { to: [{ podSelector: {} }] }],
        },
      };
      const before = clusterOf(objects).state;
      const after = verdicts(clusterOf(withPolicies(objects, [more, ...rest])).state, before);
      for (const [cell, verdict] of verdicts(before))
        if (verdict === "allow") expect(after.get(cell), cell).toBe("allow");
    });
  });

  it("lets a new policy deny only what it newly isolates", () => {
    holds((objects) => {
      const before = clusterOf(objects).state;
      const extra = {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "extra", namespace: "x" },
        spec: { podSelector: {}, policyTypes: ["Ingress"] },
      };
      const after = verdicts(clusterOf([...objects, extra]).state, before);
      for (const [cell, verdict] of verdicts(before))
        if (verdict === "allow" && after.get(cell) !== "allow") expect(cell.split(" ")[1]).toMatch(/^x\//);
    });
  });

  it("is the same for one policy of n rules and n policies of one rule", () => {
    holds((objects) => {
      const split = policiesOf(objects).flatMap((policy) => {
        const policyTypes = typesOf(policy);
        const { ingress, egress } = policy.spec;
        const parts = [
          ...ingress.map((rule) => ({ ingress: [rule], egress: [] })),
          ...egress.map((rule) => ({ ingress: [], egress: [rule] })),
        ];
        const kept = parts.length > 0 ? parts : [{ ingress: [], egress: [] }];
        return kept.map((part, i) => ({
          ...policy,
          metadata: { ...policy.metadata, name: `${policy.metadata.name}-${i}` },
          spec: { ...policy.spec, policyTypes, ...part },
        }));
      });
      const before = clusterOf(objects).state;
      expect(verdicts(clusterOf(withPolicies(objects, split)).state, before)).toEqual(verdicts(before));
    });
  });

  it("is the same for policies of one selector and one list of types merged into one", () => {
    holds((objects) => {
      const merged = new Map<string, RawPolicy>();
      for (const policy of policiesOf(objects)) {
        const key = JSON.stringify([policy.metadata.namespace, policy.spec.podSelector, typesOf(policy)]);
        const other = merged.get(key);
        const spec = {
          ...policy.spec,
          policyTypes: typesOf(policy),
          ingress: [...(other?.spec.ingress ?? []), ...policy.spec.ingress],
          egress: [...(other?.spec.egress ?? []), ...policy.spec.egress],
        };
        merged.set(key, { ...policy, spec });
      }
      const before = clusterOf(objects).state;
      expect(verdicts(clusterOf(withPolicies(objects, [...merged.values()])).state, before)).toEqual(
        verdicts(before),
      );
    });
  });

  it("keeps directions apart: ingress policies alone never deny by egress, and the other way round", () => {
    holds((objects) => {
      for (const [type, other] of [
        ["Ingress", "egress"],
        ["Egress", "ingress"],
      ] as const) {
        const only = policiesOf(objects).map((policy) => ({
          ...policy,
          spec: { ...policy.spec, policyTypes: [type] },
        }));
        const { state } = clusterOf(withPolicies(objects, only));
        const oracle = createOracle(state);
        for (const { cell } of tableCells(state, [], {}).cells) expect(oracle.judge(cell).by).not.toBe(other);
      }
    });
  });

  it("knows pods and namespaces by their labels, not by their names", () => {
    holds((objects) => {
      const rename = (text: string): string => text.replaceAll(/"name":"p(\d)"/g, '"name":"q$1"');
      const before = clusterOf(objects).state;
      const after = clusterOf(JSON.parse(rename(JSON.stringify(objects))) as readonly RawObject[]).state;
      const renamed = [...verdicts(before)].map(
        ([cell, verdict]) => [cell.replaceAll(/\/p(\d)/g, "/q$1"), verdict] as const,
      );
      expect(new Map([...verdicts(after)])).toEqual(new Map(renamed));
    });
  });

  it("is back at the old table when a policy is created and deleted", () => {
    holds((objects) => {
      const before = clusterOf(objects).state;
      const extra = {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "extra", namespace: "y" },
        spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] },
      };
      const created = applyObjects(before, loadObjects("extra", [extra])).state;
      expect(verdicts(deleteObject(created, "NetworkPolicy", "y", "extra").state)).toEqual(verdicts(before));
    });
  });

  it("explains every answer with a side that answers so", () => {
    holds((objects) => {
      const { state } = clusterOf(objects);
      const oracle = createOracle(state);
      for (const { cell } of [...tableCells(state, [], {}).cells].slice(0, 60)) {
        const { verdict, by } = oracle.judge(cell);
        const text = oracle
          .explain(cell)
          .map((line) => line.text)
          .join("\n");
        if (verdict === "allow") expect(text).not.toMatch(/: denied|left open/);
        if (verdict === "deny")
          expect(text).toMatch(
            by === "both"
              ? /egress of [^:]+: denied[\s\S]*ingress of [^:]+: denied/
              : new RegExp(`${by} of [^:]+: denied`),
          );
        if (verdict === "undefined") expect(text).toMatch(/left open/);
      }
    });
  });
});

function reverseRule(rule: object): object {
  return Object.fromEntries(
    Object.entries(rule).map(([key, value]) => [
      key,
      Array.isArray(value) ? [...(value as unknown[])].reverse() : value,
    ]),
  );
}
