/** Every rule knows why it exists: the policy, the direction, and a field that the manifest has. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { platformTables } from "../../../src/engine/platform/index.ts";
import { clusterObjects, clusterOf } from "../../../src/harness/index.ts";
import { npm, type RawObject } from "./npm.ts";

/** The value at a field path of an object; `undefined` if there is none. */
function valueAt(object: unknown, path: string): unknown {
  const steps = [...path.matchAll(/([^.[\]]+)/g)].map(([step]) => step);
  return steps.reduce<unknown>(
    (value, step) => (typeof value === "object" && value !== null ? (value as RawObject)[step] : undefined),
    object,
  );
}

describe("law: the origin of each of NPM's rules exists", () => {
  it.each(["azure-npm", "azure-npm@2022-04"])("as %s", (label) => {
    const selection = npm(label);
    let rules = 0;
    fc.assert(
      fc.property(clusterObjects(), (objects) => {
        const { state } = clusterOf(objects, selection.aks);
        const node = state.nodes.get("n1");
        const engine = selection.engines.linux;
        if (node === undefined || engine === undefined)
          throw new Error("there is a node, and NPM runs on it");
        const { tables } = engine.compile(state)(node, platformTables(state, node));
        for (const { name, rules: list } of tables.iptables?.v4.tables.filter?.chains ?? []) {
          if (!name.startsWith("AZURE-NPM")) continue;
          for (const { origin, target } of list) {
            if (origin === undefined) throw new Error(`a rule of ${name} has no origin`);
            if (origin.kind === "engine") {
              expect(origin.name).toBe("azure-npm");
              continue;
            }
            rules++;
            expect(origin.kind).toBe("NetworkPolicy");
            const [index = -1] = origin.source?.items ?? [];
            const object = objects[index];
            expect(valueAt(object, "metadata.name")).toBe(origin.name.split("/")[1]);
            expect(valueAt(object, "metadata.namespace")).toBe(origin.name.split("/")[0]);
            expect(valueAt(object, origin.path), `${origin.name} ${origin.path}`).toBeDefined();
            expect(origin.direction).toBe(name.includes("INGRESS") ? "ingress" : "egress");
            const isJump = target?.kind === "jump" && /^AZURE-NPM-(IN|E)GRESS-[0-9a-z]+$/.test(target.chain);
            expect(origin.role).toBe(isJump ? "select" : target?.kind === "MARK" ? "default-deny" : "allow");
          }
        }
      }),
      { numRuns: 100, seed: 3 },
    );
    expect(rules).toBeGreaterThan(500);
  });
});
