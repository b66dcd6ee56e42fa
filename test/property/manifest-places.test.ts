/** Law: the fast parse and the parse with positions number documents and items alike, whatever stands between them. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { buildCluster, loadManifests, locate } from "../../src/k8s/index.ts";

type Piece = "pod" | "empty" | "comment" | "null" | "list" | "other" | "end";

const pieces = fc.array(fc.constantFrom<Piece>("pod", "empty", "comment", "null", "list", "other", "end"), {
  minLength: 1,
  maxLength: 12,
});

function textOf(documents: readonly Piece[]): string {
  let number = 0;
  const pod = (): readonly string[] => [
    "apiVersion: v1",
    "kind: Pod",
    "metadata:",
    `  name: pod-${number++}`,
  ];
  const item = (): readonly string[] => pod().map((line, i) => `  ${i === 0 ? "- " : "  "}${line}`);
  const forms: Readonly<Record<Piece, () => readonly string[]>> = {
    pod,
    list: () => ["apiVersion: v1", "kind: List", "items:", ...item(), ...item()],
    other: () => ["apiVersion: v1", "kind: ConfigMap", "metadata: { name: c }"],
    comment: () => ["# nothing"],
    null: () => ["null"],
    end: () => [...pod(), "..."],
    empty: () => [],
  };
  return documents
    .map((piece) =>
      forms[piece]()
        .map((line) => `${line}\n`)
        .join(""),
    )
    .join("---\n");
}

it("both parsers agree on where every object stands", () => {
  fc.assert(
    fc.property(pieces, fc.boolean(), (documents, hasMarker) => {
      const text = `${hasMarker ? "---\n" : ""}${textOf(documents)}`;
      const input = { name: "all.yaml", text };
      const { state } = buildCluster(loadManifests([input]), {});
      const lines = text.split("\n");
      expect(state.pods.size).toBe(lines.filter((line) => line.includes("name: pod-")).length);
      for (const pod of state.pods.values()) {
        if (pod.source === undefined) throw new Error("a pod from a file has a source");
        const { line = 0 } = locate(input, pod.source, "metadata.name");
        expect(lines[line - 1]?.trim()).toBe(`name: ${pod.name}`);
      }
    }),
    { numRuns: 200 },
  );
});
