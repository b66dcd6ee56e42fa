/** The AKS walk-through on a Windows node, as HNS holds it: text for people to read. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { restoreHns, saveHns } from "../../../src/filter/hns/index.ts";
import { compileCluster } from "../../../src/harness/index.ts";
import { loadScenario } from "../../../src/scenario/index.ts";
import { expectGolden } from "../../golden.ts";
import { edited, firstState } from "../../scenario/states.ts";
import { npm } from "./npm.ts";

const file = join(import.meta.dirname, "../../../scenarios/windows/walk-through-client-on-windows.yaml");

/** `hns.json` of the server's node once the policy is there and the client has its label. */
function written(label: string): string {
  const scenario = loadScenario({ name: file, text: readFileSync(file, "utf8") });
  const last = scenario.steps.findIndex(({ action }) => action === "label");
  const state = scenario.steps.slice(0, last + 1).reduce(edited, firstState(scenario));
  const { hns } = compileCluster(state, npm(label)).get("n1")?.tables ?? {};
  if (hns === undefined) throw new Error("a Windows node has HNS");
  return saveHns(hns);
}

describe("the walk-through in HNS", () => {
  it.each(["1.5.36", "2026-08"])("is what NPM %s writes for the server's node", (version) => {
    const text = written(`azure-npm@${version}`);
    expectGolden(`azure-npm-windows/walk-through-${version}.hns.json`, text);
    expect(saveHns(restoreHns([{ name: "hns.json", text }]))).toBe(text);
  });
});
