/**
 * The upstream end-to-end cases with every node on Windows: after each step each cell is the API's, but for the divergences
 * that Azure NPM declares there; which of them a case shows is written down here.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compareWithOracle, parseSelection } from "../../src/harness/index.ts";
import type { ClusterState } from "../../src/k8s/index.ts";
import { loadScenario } from "../../src/scenario/index.ts";
import { edited, firstState } from "./states.ts";

const root = join(import.meta.dirname, "../../scenarios/upstream-e2e");
const files = readdirSync(root).filter((name) => name.endsWith(".yaml"));

/** Of the 48 cases; all others are the API's in every cell. */
const shown: Readonly<Record<string, readonly string[]>> = {
  "09-pod-or-namespace-selector.yaml": ["npm-windows-namespace-negation"],
  "10-pod-and-namespace-selector.yaml": ["npm-windows-namespace-negation"],
  "11-several-pods-and-namespaces.yaml": ["npm-windows-namespace-negation"],
  "17-ingress-on-a-named-port.yaml": ["npm-windows-named-port"],
  "18-namespace-and-named-port.yaml": ["npm-windows-named-port"],
  "19-egress-on-a-named-port.yaml": ["npm-windows-named-port"],
  "35-egress-to-cidr-except.yaml": ["npm-windows-except"],
  "36-cidr-and-except-overlap.yaml": ["npm-windows-except"],
  "38-sctp-is-not-tcp.yaml": ["npm-windows-sctp"],
  "39-sctp-rule-isolates.yaml": ["npm-windows-sctp"],
  "42-default-namespace-label-not-in.yaml": ["npm-windows-inverted-egress"],
  "47-sctp-ports.yaml": ["npm-windows-sctp"],
};

/** What a pod may send to its own node the API leaves open: every egress policy shows it. */
const leftOpen = "npm-windows-own-node";

function onWindows(state: ClusterState): ClusterState {
  const nodes = [...state.nodes].map(([name, node]) => [name, { ...node, os: "windows" as const }] as const);
  return { ...state, nodes: new Map(nodes) };
}

describe("the upstream cases on Windows nodes", () => {
  const selection = parseSelection("azure-npm-windows");
  if (selection.kind !== "product") throw new Error("it has tables");

  it.each(files)("%s", (file) => {
    const scenario = loadScenario({ name: file, text: readFileSync(join(root, file), "utf8") });
    let state = firstState(scenario);
    const fired = new Set<string>();
    for (const step of scenario.steps) {
      const before = state;
      state = edited(state, step);
      if (state === before) continue;
      const compared = compareWithOracle({ state: onWindows(state), selection });
      for (const id of compared.fired) if (id !== leftOpen) fired.add(id);
      expect(compared.disagreements.map(({ text }) => text)).toEqual([]);
    }
    expect([...fired].sort()).toEqual(shown[file] ?? []);
  });
});
