/**
 * Online Boutique's manifests and policies as they are: tables against the oracle, cell by cell, and why the frontend does
 * not reach the cart's store.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  createJudge,
  createOriginPlacer,
  divergencesOf,
  emulate,
  type ProductSelection,
  parseSelection,
  resolveEnd,
  resolveSource,
  tableCells,
  traceConnection,
} from "../../src/harness/index.ts";
import { buildCluster, loadManifests, type ManifestInput } from "../../src/k8s/index.ts";
import { parseEnd } from "../../src/scenario/index.ts";

const root = join(process.env["PODWIRE_SHARED"] ?? "../shared", "inputs/online-boutique");

function inputs(): readonly ManifestInput[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".yaml"))
    .sort()
    .map((file) => ({ name: file, text: readFileSync(join(root, file), "utf8") }));
}

const products = ["azure-npm", "cilium", "cilium@1.14"];

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

describe.skipIf(!existsSync(root))(
  "Online Boutique on every engine (needs PODWIRE_SHARED/inputs/online-boutique)",
  () => {
    it.each(products)(
      "on %s equals the oracle on every cell but those that a declared divergence names",
      (name) => {
        const selection = product(name);
        const { state } = buildCluster(loadManifests(inputs()), selection.aks);
        const oracle = parseSelection("oracle");
        const engine = createJudge(state, selection, 1);
        const judged = createJudge(state, oracle, 1);
        const wrong: string[] = [];
        const counts = { allow: 0, deny: 0, undefined: 0, some: 0 };
        for (const cell of tableCells(state, [selection, oracle], {}).cells) {
          if (cell.isSelf) continue;
          const expected = judged.judge(cell).verdict;
          counts[expected]++;
          if (expected !== "allow" && expected !== "deny") continue;
          const actual = engine.judge(cell).verdict;
          const named = divergencesOf(selection, state, cell.cell, expected);
          const isExplained = named.some(({ verdict }) => verdict === actual);
          const says = `${cell.from.id} -> ${cell.to.id} ${cell.cell.port}/${cell.cell.protocol}: ${actual}, oracle ${expected}`;
          if (actual !== expected ? !isExplained : named.length > 0)
            wrong.push(
              `${says}, divergences ${named.map(({ divergence }) => divergence.id).join(" ") || "none"}`,
            );
        }
        expect(wrong).toEqual([]);
        expect(counts.allow).toBeGreaterThan(100);
        expect(counts.deny).toBeGreaterThan(1000);
      },
    );
  },
);

describe.skipIf(!existsSync(root))(
  "Online Boutique under Azure NPM (needs PODWIRE_SHARED/inputs/online-boutique)",
  () => {
    const selection = product("azure-npm");
    const files = inputs();
    const { state } = buildCluster(loadManifests(files), selection.aks);

    it("is twelve workloads and thirteen policies", () => {
      expect(state.pods.size).toBe(12);
      expect(state.networkPolicies.size).toBe(13);
    });

    it("shows which policy and which line keep the frontend from the cart's store", () => {
      const document = traceConnection(
        emulate(state, selection, { seed: 1 }),
        resolveSource(state, parseEnd("default/deploy/frontend")),
        resolveEnd(state, parseEnd("default/deploy/redis-cart")),
        { protocol: "TCP", port: 6379, family: 4 },
        createOriginPlacer(files),
        { version: "0", seed: 1 },
      );
      expect(document).toMatchObject({ verdict: "deny", by: "ingress", oracle: { verdict: "deny" } });
      const denying = document.deniedBecause?.find((origin) => origin.policy === "default/redis-cart");
      expect(denying?.file).toBe("network-policies/network-policy-redis.yaml");
      const lines = readFileSync(join(root, denying?.file ?? ""), "utf8").split("\n");
      expect(lines[(denying?.line ?? 0) - 1]).toMatch(/^ {2}ingress:/);
      const miss = document.packets.flatMap((packet) => packet.entries).find((entry) => !entry.matched);
      expect(miss?.why).toContain("podlabel-app:cartservice");
      expect(lines[(miss?.origin?.line ?? 0) - 1]).toMatch(/- podSelector:|from:/);
    });

    it("lets the cart reach its store", () => {
      const document = traceConnection(
        emulate(state, selection, { seed: 1 }),
        resolveSource(state, parseEnd("default/deploy/cartservice")),
        resolveEnd(state, parseEnd("default/deploy/redis-cart")),
        { protocol: "TCP", port: 6379, family: 4 },
        createOriginPlacer(files),
        { version: "0", seed: 1 },
      );
      expect(document.verdict).toBe("allow");
    });
  },
);
