/** The scenario files that ship with the package: each loads, says what it shows, and expects something. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { connectionBetween, engineNames, resolveEnd, resolveSource } from "../../src/harness/index.ts";
import type { CellEnd, ClusterState, Connection } from "../../src/k8s/index.ts";
import { createOracle } from "../../src/oracle/index.ts";
import {
  expandExpectedMatrix,
  expectedValue,
  formatPort,
  loadScenario,
  type Scenario,
  scenarioJsonSchema,
} from "../../src/scenario/index.ts";
import { stepActions } from "../../src/scenario/schema.ts";
import { edited, firstState } from "./states.ts";

const root = join(import.meta.dirname, "../../scenarios");
const files = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".yaml"))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)))
  .sort();

interface Walked {
  readonly checks: number;
  /** Expectations that the oracle does not share: the verdicts in the files were written by hand. */
  readonly disagreements: readonly string[];
}

/**
 * Walks the steps over a real cluster state and asks the oracle about every cell and probe; of a scenario that is not for
 * the oracle (vendors' policies say what the API does not) the checks are counted.
 */
function walk(scenario: Scenario): Walked {
  let state = firstState(scenario);
  let checks = 0;
  const disagreements: string[] = [];
  const isForOracle = scenario.engines.some((engine) => engine.startsWith("oracle"));
  for (const step of scenario.steps) {
    state = edited(state, step);
    const oracle = createOracle(state);
    const compare = (what: string, cell: Connection, expected: string): void => {
      checks++;
      const { verdict } = oracle.judge(cell);
      if (isForOracle && verdict !== expected)
        disagreements.push(`line ${step.place.line}: ${what}: expected ${expected}, ${verdict}`);
    };
    if (step.action === "expectMatrix" && step.matrix.ends !== undefined) {
      const { ends, ports, family = 4 } = step.matrix;
      for (const from of ends.from)
        for (const to of ends.to)
          for (const port of ports) {
            const cell = connectionBetween(resolveSource(state, from), resolveEnd(state, to), {
              ...port,
              family,
            });
            compare(formatPort(port), cell, expectedValue(step.matrix.default, "oracle"));
          }
    } else if (step.action === "expectMatrix")
      for (const { from, to, port, verdict } of expandExpectedMatrix(step.matrix, podNames(state))) {
        const cell = {
          from: podEnd(state, from),
          to: podEnd(state, to),
          ...port,
          family: step.matrix.family ?? 4,
        };
        compare(`${from} -> ${to} ${formatPort(port)}`, cell, expectedValue(verdict, "oracle"));
      }
    if (step.action === "probe" || step.action === "connect") {
      const words = { ...step.port, family: step.family ?? 4 };
      const cell = connectionBetween(resolveSource(state, step.from), resolveEnd(state, step.to), words);
      const outcome = expectedValue(step.expect, "oracle");
      compare("probe", cell, outcome === "timeout" ? "deny" : outcome === "undefined" ? outcome : "allow");
    }
  }
  return { checks, disagreements };
}

function podEnd(state: ClusterState, name: string): CellEnd {
  const pod = state.pods.get(name);
  if (pod === undefined) throw new Error(`no pod ${name}`);
  return { kind: "pod", pod };
}

function podNames(state: ClusterState): readonly string[] {
  return [...state.pods].filter(([, pod]) => !pod.hostNetwork).map(([name]) => name);
}

describe("the shipped scenarios", () => {
  it("are there: the 48 upstream cases, the AKS walk-through, the engines' own behaviours, the corners and Services", () => {
    const count = (folder: string): number => files.filter((file) => file.startsWith(`${folder}/`)).length;
    expect(count("upstream-e2e")).toBe(48);
    expect(count("aks")).toBeGreaterThanOrEqual(2);
    expect(count("azure-npm")).toBeGreaterThanOrEqual(12);
    expect(count("cilium")).toBeGreaterThanOrEqual(25);
    expect(count("corners")).toBeGreaterThanOrEqual(23);
    expect(count("services")).toBeGreaterThanOrEqual(15);
    expect(count("windows")).toBeGreaterThanOrEqual(13);
  });

  const schema = z.fromJSONSchema(scenarioJsonSchema() as never);
  for (const file of files) {
    it(`${file} loads, begins with two comment lines, and expects what the oracle says`, () => {
      const text = readFileSync(join(root, file), "utf8");
      const lines = text.split("\n");
      for (const line of lines.slice(0, 2)) expect(line).toMatch(/^# \S.{20,117}$/);
      const scenario = loadScenario({ name: file, text }, { engineNames: engineNames() });
      expect(scenario.description).toHaveLength(2);
      const { checks, disagreements } = walk(scenario);
      expect(disagreements).toEqual([]);
      expect(checks).toBeGreaterThan(0);
      const [document] = parseAllDocuments(text);
      expect(schema.safeParse(document?.toJS()).error?.issues ?? []).toEqual([]);
    });
  }
});

describe("docs/scenarios.md", () => {
  const text = readFileSync(join(root, "../docs/scenarios.md"), "utf8");
  const [example = "", grid = ""] = [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(
    ([, block = ""]) => block,
  );

  it("shows the scenario that it names, word for word", () => {
    const file = /^\(`scenarios\/(.*)`\)$/m.exec(text)?.[1] ?? "";
    expect(example).toBe(readFileSync(join(root, file), "utf8"));
  });

  it("shows a grid that loads", () => {
    const { steps } = loadScenario({ name: "grid", text: `engines: [oracle]\nsteps:\n${grid}` });
    expect(steps.map((step) => step.action)).toEqual(["expectMatrix"]);
  });

  it("names every step there is", () => {
    for (const action of stepActions) expect(text).toMatch(new RegExp(`^\\| \`${action}[:\`]`, "m"));
  });
});
