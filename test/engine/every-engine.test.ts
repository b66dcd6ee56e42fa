/** What holds of every engine there is, whatever it compiles to. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { engineDefinitions } from "../../src/engine/registry.ts";
import { type BpfTables, contentOf, disassemble } from "../../src/filter/bpf/index.ts";
import { saveIpsets } from "../../src/filter/ipset/index.ts";
import { saveRuleset } from "../../src/filter/iptables/index.ts";
import {
  clusterObjects,
  clusterOf,
  compileCluster,
  createJudge,
  divergencesOf,
  type ProductSelection,
  parseSelection,
  tableCells,
} from "../../src/harness/index.ts";
import type { ClusterState } from "../../src/k8s/index.ts";

type RawObject = Readonly<Record<string, unknown>>;

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

function bpfText(bpf: BpfTables | undefined): string {
  const maps = (bpf?.maps ?? []).map((map) => {
    const entries = contentOf(map).map(({ key, value }) => `${key.join(" ")}: ${value.join(" ")}`);
    return `${map.name} ${map.type}\n${entries.join("\n")}\n`;
  });
  const programs = (bpf?.programs ?? []).map(
    ({ name, instructions }) => `${name} ${disassemble(instructions)}\n`,
  );
  return [...maps, ...programs, JSON.stringify(bpf?.attachments ?? [])].join("");
}

/** All nodes' tables and what was said, as text. */
function compiledText(state: ClusterState, selection: ProductSelection): string {
  return [...compileCluster(state, selection)]
    .map(([name, { tables, diagnostics }]) => {
      const { iptables, bpf } = tables;
      const rules = iptables === undefined ? "" : `${saveRuleset(iptables.v4)}${saveRuleset(iptables.v6)}`;
      return `${name}\n${rules}${saveIpsets(iptables?.sets.values() ?? [])}${bpfText(bpf)}${JSON.stringify(diagnostics)}`;
    })
    .join("\n");
}

function verdicts(state: ClusterState, selection: ProductSelection): ReadonlyMap<string, string> {
  const { judge } = createJudge(state, selection, 1);
  return new Map(
    [...tableCells(state, [selection], {}).cells].map((cell) => [
      `${cell.from.id} ${cell.to.id} ${cell.cell.port}/${cell.cell.protocol}`,
      judge(cell).verdict,
    ]),
  );
}

const linux = engineDefinitions.filter(({ os }) => os === "linux");
const isPolicy = ({ kind }: RawObject): boolean => kind === "NetworkPolicy";

describe.each(linux.map(({ product: name, versions }) => ({ name, versions })))(
  "$name",
  ({ name, versions }) => {
    it("compiles equal input to equal tables, in every version", () => {
      for (const version of versions) {
        const selection = product(`${name}@${version}`);
        for (const objects of fc.sample(clusterObjects({ ipv6Blocks: true }), { numRuns: 5, seed: 11 })) {
          const [one, two] = [clusterOf(objects, selection.aks), clusterOf(objects, selection.aks)];
          expect(compiledText(two.state, selection)).toBe(compiledText(one.state, selection));
        }
      }
    });

    it("allows everything where there is no policy, but for what a divergence denies", () => {
      const selection = product(name);
      fc.assert(
        fc.property(clusterObjects({ policiesMax: 0 }), (objects) => {
          const { state } = clusterOf(objects, selection.aks);
          const { judge } = createJudge(state, selection, 1);
          for (const cell of tableCells(state, [selection], {}).cells) {
            const denials = divergencesOf(selection, state, cell.cell, "allow").filter(
              ({ verdict }) => verdict === "deny",
            );
            const where = `${cell.from.id} ${cell.to.id} ${cell.cell.port}/${cell.cell.protocol}`;
            expect(judge(cell).verdict, where).toBe(denials.length > 0 ? "deny" : "allow");
          }
        }),
        { numRuns: 8, seed: 12 },
      );
    });

    it("does not care in which order policies come", () => {
      const selection = product(name);
      fc.assert(
        fc.property(clusterObjects({ ipv6Blocks: true }), (objects) => {
          const others = objects.filter((object) => !isPolicy(object));
          const backwards = [...others, ...objects.filter(isPolicy).reverse()];
          const [one, two] = [objects, backwards].map((list) =>
            verdicts(clusterOf(list, selection.aks).state, selection),
          );
          expect(two).toEqual(one);
        }),
        { numRuns: 12, seed: 13 },
      );
    });

    it("names no divergence twice, and sources for each", () => {
      const divergences = product(name).engines.linux?.divergences ?? [];
      expect(new Set(divergences.map(({ id }) => id)).size).toBe(divergences.length);
      for (const { id, cause, source, versions: concerned } of divergences)
        expect(
          [id, cause, source, concerned].every((text) => text.length > 2),
          id,
        ).toBe(true);
    });
  },
);

describe("none", () => {
  const objects = (policies: readonly string[]): readonly RawObject[] =>
    policies.map((name) => ({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { namespace: "x", name },
      spec: { podSelector: {} },
    }));

  it("says of each policy that nobody enforces it, and leaves the platform's tables as they are", () => {
    const selection = product("none");
    const [without, two] = [[], ["p", "q"]].map((names) =>
      compileCluster(clusterOf(objects(names)).state, selection),
    );
    for (const [name, { tables, diagnostics }] of two ?? []) {
      expect(diagnostics.map(({ message }) => message)).toEqual([
        "NetworkPolicy x/p is not enforced: no policy engine is installed",
        "NetworkPolicy x/q is not enforced: no policy engine is installed",
      ]);
      expect(without?.get(name)?.diagnostics).toEqual([]);
      expect(JSON.stringify(tables.iptables?.v4)).toBe(
        JSON.stringify(without?.get(name)?.tables.iptables?.v4),
      );
    }
  });
});
