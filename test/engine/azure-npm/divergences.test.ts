/** Each of NPM's own divergences is shown by a scenario, and the scenarios' verdicts, written by hand, are what it predicts. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { divergencesOf } from "../../../src/harness/index.ts";
import {
  applyObjects,
  buildCluster,
  type Cell,
  type CellEnd,
  type ClusterState,
  deleteObject,
  loadManifests,
  setLabels,
} from "../../../src/k8s/index.ts";
import { createOracle } from "../../../src/oracle/index.ts";
import {
  type End,
  expandExpectedMatrix,
  expectedValue,
  loadScenario,
  type Scenario,
  type Step,
} from "../../../src/scenario/index.ts";
import { npm } from "./npm.ts";

const root = join(import.meta.dirname, "../../../scenarios");
const files = ["azure-npm", "corners", "aks"].flatMap((folder) =>
  readdirSync(join(root, folder)).map((name) => join(folder, name)),
);

/** What a divergence says of a cell, beside what the scenario says. */
interface Fired {
  readonly id: string;
  readonly predicted: string;
  readonly expected: string;
}

function edited(state: ClusterState, step: Step): ClusterState {
  switch (step.action) {
    case "apply":
      return applyObjects(state, loadManifests(step.manifests)).state;
    case "createPod":
      return applyObjects(state, loadManifests([step.manifest])).state;
    case "deletePod":
      return deleteObject(state, "Pod", step.namespace, step.name).state;
    case "delete":
      return deleteObject(state, step.kind, step.namespace ?? "", step.name).state;
    case "label":
      return setLabels(state, step.kind, step.namespace ?? "", step.name, step.labels).state;
    default:
      return state;
  }
}

/** Ends that are cells' ends; the others are Services'. */
function cellEnd(state: ClusterState, end: End): CellEnd | undefined {
  if (end.kind === "ip") return { kind: "external", ip: end.ip };
  const pod = end.kind === "pod" ? state.pods.get(`${end.namespace}/${end.name}`) : undefined;
  if (pod !== undefined) return { kind: "pod", pod };
  const node = end.kind === "node" ? state.nodes.get(end.name) : undefined;
  return node === undefined ? undefined : { kind: "node", node };
}

function walk(scenario: Scenario, label: string): readonly Fired[] {
  const selection = npm(label);
  const { force = false, ...words } = scenario.cluster;
  let { state } = buildCluster(loadManifests(scenario.manifests), { ...selection.aks, ...words }, { force });
  const fired: Fired[] = [];
  const look = (cell: Cell, expected: string): void => {
    const { verdict } = createOracle(state).judge(cell);
    if (verdict === "undefined") return;
    for (const { divergence, verdict: predicted } of divergencesOf(selection, state, cell, verdict))
      fired.push({ id: divergence.id, predicted, expected });
  };
  for (const step of scenario.steps) {
    state = edited(state, step);
    if (step.action === "expectMatrix") {
      const names = [...state.pods].filter(([, { hostNetwork }]) => !hostNetwork).map(([name]) => name);
      for (const { from, to, port, verdict } of expandExpectedMatrix(step.matrix, names)) {
        const [source, target] = [state.pods.get(from), state.pods.get(to)];
        if (source === undefined || target === undefined) throw new Error(`no pods ${from}, ${to}`);
        const ends = { from: { kind: "pod", pod: source }, to: { kind: "pod", pod: target } } as const;
        look(
          { ...ends, ...port, family: step.matrix.family ?? 4 },
          expectedValue(verdict, label, "azure-npm"),
        );
      }
    }
    if (step.action === "probe") {
      const [from, to] = [cellEnd(state, step.from), cellEnd(state, step.to)];
      const outcome = expectedValue<string>(step.expect, label, "azure-npm");
      if (from !== undefined && to !== undefined)
        look({ from, to, ...step.port, family: step.family ?? 4 }, outcome === "timeout" ? "deny" : "allow");
    }
  }
  return fired;
}

describe("NPM's divergences", () => {
  const fired = new Map<string, number>();
  for (const file of files) {
    const scenario = loadScenario({ name: file, text: readFileSync(join(root, file), "utf8") });
    for (const label of scenario.engines.filter((engine) => /^azure-npm(@|\+|$)/.test(engine)))
      it(`hold in ${file} as ${label}`, () => {
        for (const { id, predicted, expected } of walk(scenario, label)) {
          expect(`${id}: ${expected}`).toBe(`${id}: ${predicted}`);
          fired.set(id, (fired.get(id) ?? 0) + 1);
        }
      });
  }

  it("are each shown by a scenario", () => {
    const engine = npm("azure-npm@2026-08").engines.linux;
    const ids = (engine?.divergences ?? []).map(({ id }) => id).filter((id) => id.startsWith("npm-"));
    expect(ids.length).toBeGreaterThanOrEqual(6);
    for (const id of ids) expect(fired.get(id) ?? 0, id).toBeGreaterThan(0);
    expect(fired.get("platform-wireserver") ?? 0).toBeGreaterThan(0);
  });
});
