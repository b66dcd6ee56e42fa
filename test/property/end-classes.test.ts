/** Law: a truth table between classes says of every pair of ends what the table of all pairs says. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type CellDocument,
  ciliumObjects,
  clusterObjects,
  clusterOf,
  computeMatrix,
  type EngineMatrix,
  parseSelection,
} from "../../src/harness/index.ts";

/** Every pod three times more, on nodes as drawn: classes have members, together and apart. */
function withReplicas(
  objects: Parameters<typeof clusterOf>[0],
  nodes: readonly string[],
): Parameters<typeof clusterOf>[0] {
  return objects.flatMap((object, at) => {
    const { kind, metadata, spec, status, ...rest } = object as {
      readonly kind: string;
      readonly metadata: { readonly name: string };
      readonly spec?: { readonly nodeName?: string };
      readonly status?: unknown;
    };
    if (kind !== "Pod") return [object];
    const copies = [0, 1, 2].map((i) => ({
      ...rest,
      kind,
      metadata: { ...metadata, name: `${metadata.name}-${i}` },
      spec: { ...spec, nodeName: nodes[(at * 3 + i) % nodes.length] },
    }));
    return [object, ...copies];
  });
}

const placements = fc.array(fc.constantFrom("n1", "n2"), { minLength: 5, maxLength: 12 });

const keyOf = ({ protocol, port, type, family }: CellDocument): string =>
  `${protocol} ${port ?? type} ${family ?? ""}`;
const answerOf = ({ verdict, by }: CellDocument): string => `${verdict} ${by ?? ""}`;

/** What the classes say that the full table does not, of every pair of different ends. */
function contradictions(
  full: EngineMatrix,
  classed: EngineMatrix,
  nodeOf: ReadonlyMap<string, string>,
): readonly string[] {
  const classOf = new Map(
    classed.classes?.flatMap(({ id, members }) => members.map((member) => [member, id] as const)),
  );
  const answers = new Map<string, CellDocument[]>();
  for (const cell of classed.cells) {
    const key = `${cell.from} ${cell.to} ${keyOf(cell)}`;
    answers.set(key, [...(answers.get(key) ?? []), cell]);
  }
  return full.cells.flatMap((cell) => {
    if (cell.self) return [];
    const place = nodeOf.get(cell.from) === nodeOf.get(cell.to) ? "same-node" : "other-node";
    const key = `${classOf.get(cell.from)} ${classOf.get(cell.to)} ${keyOf(cell)}`;
    const said = answers.get(key)?.find((one) => one.place === undefined || one.place === place);
    if (said !== undefined && answerOf(said) === answerOf(cell)) return [];
    return [
      `${cell.from} -> ${cell.to} ${keyOf(cell)}: ${answerOf(cell)}, by classes ${said === undefined ? "nothing" : answerOf(said)}`,
    ];
  });
}

const plain = clusterObjects({ podsMax: 4 });
const withPoliciesOfCilium = ciliumObjects({ podsMax: 2, policiesMax: 1, ciliumPoliciesMax: 2 });

describe.each([
  { engine: "oracle", clusters: plain, runs: 15 },
  { engine: "azure-npm", clusters: plain, runs: 15 },
  { engine: "azure-npm@2022-04", clusters: plain, runs: 15 },
  { engine: "none", clusters: plain, runs: 15 },
  { engine: "cilium", clusters: withPoliciesOfCilium, runs: 10 },
])("classes of ends under $engine", ({ engine, clusters, runs }) => {
  it("say what every pair says", async () => {
    const selection = parseSelection(engine);
    let [large, merged] = [0, 0];
    await fc.assert(
      fc.asyncProperty(clusters, placements, async (objects, nodes) => {
        const words = selection.kind === "product" ? selection.aks : {};
        const { state } = clusterOf(withReplicas(objects, nodes), words);
        const table = (
          classesAbove: number,
        ): Promise<{
          readonly results: readonly EngineMatrix[];
          readonly endpoints: readonly { readonly id: string; readonly node?: string }[];
        }> => computeMatrix([{ selection, state }], "0", { seed: 1, classesAbove });
        const [full, classed] = [await table(Number.POSITIVE_INFINITY), await table(0)];
        const [all, some] = [full.results[0], classed.results[0]];
        if (all === undefined || some === undefined) throw new Error("no result");
        large += all.cells.length;
        merged += some.cells.length;
        const nodeOf = new Map(full.endpoints.map(({ id, node }) => [id, node ?? ""]));
        expect(contradictions(all, some, nodeOf)).toEqual([]);
      }),
      { numRuns: runs, seed: 11 },
    );
    // replicas are alike: the law is not about classes of one
    expect(merged).toBeLessThan(large / 2);
  });
});
