/** The search for a disagreement: what it finds, what it makes small, and what it leaves as it was. */
import { describe, expect, it } from "vitest";
import type { RawObject } from "../../../src/harness/fuzz/arbitraries.ts";
import { searchClusters } from "../../../src/harness/index.ts";

const countOf = (objects: readonly RawObject[], kind: string): number =>
  objects.filter((object) => object["kind"] === kind).length;

interface Found {
  readonly kind: string;
  readonly pods: number;
}

const search = (disagreementsOf: (objects: readonly RawObject[]) => readonly Found[], seed: number) =>
  searchClusters<Found>({
    runs: 20,
    seed,
    compare: async (objects) => ({ compared: 1, fired: [], disagreements: disagreementsOf(objects) }),
    kindOf: ({ kind }) => kind,
  });

describe("the search over clusters", () => {
  it("makes the cluster small as long as the disagreement is the same one", async () => {
    const kinds = new Set<string>();
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const { finding } = await search((objects) => {
        const pods = countOf(objects, "Pod");
        // small clusters disagree, too, but about something else
        return pods > 3 ? [{ kind: "large", pods }] : [{ kind: "small", pods }];
      }, seed);
      const { kind, pods } = finding?.disagreement ?? { kind: "", pods: 0 };
      kinds.add(kind);
      expect(pods).toBe(kind === "large" ? 4 : 2);
      expect(countOf(finding?.objects ?? [], "Pod")).toBe(pods);
      expect(countOf(finding?.objects ?? [], "NetworkPolicy")).toBe(0);
    }
    expect([...kinds].sort()).toEqual(["large", "small"]);
  });

  it("finds the same one among others, wherever it stands", async () => {
    const { finding } = await search((objects) => {
      const pods = countOf(objects, "Pod");
      const other = { kind: "other", pods };
      return pods > 4
        ? [{ kind: "first", pods }, other]
        : pods > 2
          ? [other, { kind: "first", pods }]
          : [other];
    }, 4);
    if (finding?.disagreement.kind === "first") expect(finding.disagreement.pods).toBe(3);
    else expect(finding?.disagreement).toEqual({ kind: "other", pods: 2 });
  });

  it("has nothing to show where all agree", async () => {
    expect(await search(() => [], 5)).toMatchObject({ clusters: 20, compared: 20, finding: undefined });
  });
});
