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
  matchesSelector,
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
/** With every list of rules written out: what is missing is empty. */
const policiesOf = (objects: readonly RawObject[]): readonly RawPolicy[] =>
  (objects.filter(isPolicy) as unknown as readonly RawPolicy[]).map((policy) => ({
    ...policy,
    spec: { ...policy.spec, ingress: policy.spec.ingress ?? [], egress: policy.spec.egress ?? [] },
  }));
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

function holds(law: (objects: readonly RawObject[]) => void, times = 1): void {
  fc.assert(fc.property(clusterObjects(), law), { numRuns: runs * times, seed: 4711 });
}

function extraPolicy(namespace: string, policyTypes: readonly string[]): RawObject {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "extra", namespace },
    spec: { podSelector: {}, policyTypes },
  };
}

/** Pods that a policy of this type selects. */
function isolated(state: ClusterState, type: "Ingress" | "Egress"): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const policy of state.networkPolicies.values())
    for (const [id, pod] of state.pods)
      if (
        pod.namespace === policy.namespace &&
        policy.policyTypes.includes(type) &&
        matchesSelector(policy.podSelector, pod.labels)
      )
        ids.add(id);
  return ids;
}

/** Types as the API server defaults them. */
function typesOf({ spec }: RawPolicy): readonly string[] {
  if (spec.policyTypes !== undefined && spec.policyTypes.length > 0) return spec.policyTypes;
  return spec.egress.length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
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

  it("lets a new policy deny only pods that it newly isolates, in its directions", () => {
    let turned = 0;
    holds((objects) => {
      const before = clusterOf(objects).state;
      for (const type of ["Ingress", "Egress"] as const) {
        const isolatedBefore = isolated(before, type);
        const created = applyObjects(before, loadObjects("extra", [extraPolicy("x", [type])])).state;
        const after = verdicts(created, before);
        for (const [cell, verdict] of verdicts(before)) {
          if (verdict !== "allow" || after.get(cell) === "allow") continue;
          const subject = cell.split(" ")[type === "Ingress" ? 1 : 0] ?? "";
          expect(subject, cell).toMatch(/^x\//);
          expect(isolatedBefore.has(subject), cell).toBe(false);
          turned++;
        }
      }
    });
    expect(turned).toBeGreaterThan(1000);
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

  it("is the same for two policies of one selector and one list of types merged into one", () => {
    holds((objects) => {
      const own = policiesOf(objects);
      const pairs = own.map((policy, i) => {
        const policyTypes = typesOf(policy);
        const other = own[(i + 1) % own.length] ?? policy;
        const first = { ...policy, spec: { ...policy.spec, policyTypes } };
        const second = {
          ...first,
          metadata: { ...policy.metadata, name: `${policy.metadata.name}-more` },
          spec: { ...first.spec, ingress: other.spec.ingress, egress: other.spec.egress },
        };
        const merged = {
          ...first,
          spec: {
            ...first.spec,
            ingress: [...first.spec.ingress, ...second.spec.ingress],
            egress: [...first.spec.egress, ...second.spec.egress],
          },
        };
        return { apart: [first, second], merged };
      });
      const apart = clusterOf(
        withPolicies(
          objects,
          pairs.flatMap((pair) => pair.apart),
        ),
      ).state;
      const merged = clusterOf(
        withPolicies(
          objects,
          pairs.map((pair) => pair.merged),
        ),
      ).state;
      expect(verdicts(merged, apart)).toEqual(verdicts(apart));
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

  it("does not let a policy of one direction change what the other direction denies", () => {
    holds((objects) => {
      const before = clusterOf(objects).state;
      for (const [type, other] of [
        ["Ingress", "egress"],
        ["Egress", "ingress"],
      ] as const) {
        const after = applyObjects(before, loadObjects("extra", [extraPolicy("y", [type])])).state;
        const [was, is] = [createOracle(before), createOracle(after)];
        const denies = (by: string | undefined): boolean => by === other || by === "both";
        for (const { cell } of tableCells(before, [], {}).cells)
          expect(denies(is.judge(here(after, cell)).by)).toBe(denies(was.judge(cell).by));
      }
    });
  });

  it("knows pods and namespaces by their labels, of which a namespace's name is one, not by their names", () => {
    holds((objects) => {
      const pods = (text: string): string => text.replaceAll(/p(\d)/g, "q$1");
      const rename = (text: string): string => pods(text).replaceAll(/"([xyz])"/g, '"renamed-$1"'); // as a name, and as the value of the name's label
      const before = clusterOf(objects).state;
      const after = clusterOf(JSON.parse(rename(JSON.stringify(objects))) as readonly RawObject[]).state;
      const renamed = [...verdicts(before)].map(
        ([cell, verdict]) => [pods(cell).replaceAll(/(^| )([xyz])\//g, "$1renamed-$2/"), verdict] as const,
      );
      expect(new Map([...verdicts(after)])).toEqual(new Map(renamed));
    }, 4); // one pod of one name bears on few clusters
  });

  it("is back at the old table when a policy is created and deleted", () => {
    holds((objects) => {
      const before = clusterOf(objects).state;
      const created = applyObjects(
        before,
        loadObjects("extra", [extraPolicy("y", ["Ingress", "Egress"])]),
      ).state;
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
