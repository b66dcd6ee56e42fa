/** Scenario files from disk, with the manifests that they name. */
import { existsSync } from "node:fs";
import { dirname, isAbsolute, join, relative } from "node:path";
import { InputError, type Issue } from "../base/index.ts";
import { engineNames } from "../harness/index.ts";
import { loadScenario, type Scenario } from "../scenario/index.ts";
import { fileIssue, type InputFile, readInput, readInputs } from "./input.ts";

/** Files and directories; the problems of all files are reported at once. */
export function readScenarios(names: readonly string[], engines: readonly string[]): readonly Scenario[] {
  const issues: Issue[] = [];
  const scenarios: Scenario[] = [];
  for (const { name, text } of readInputs(names, [".yaml", ".yml"])) {
    try {
      scenarios.push(loadScenario({ name, text }, { engineNames: engines, readManifests }));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      issues.push(...error.issues);
    }
  }
  if (issues.length > 0) throw new InputError(issues);
  return scenarios;
}

/** Those that come with the package, named from there (`scenarios/aks/...`); none where they were left out. */
export function shippedScenarios(): readonly Scenario[] {
  const root = join(import.meta.dirname, "../..");
  const folder = join(root, "scenarios");
  if (!existsSync(folder)) return [];
  return readScenarios([folder], engineNames()).map((one) => ({ ...one, file: relative(root, one.file) }));
}

function readManifests(
  path: string,
  scenarioFile: string,
): readonly { readonly name: string; readonly text: string }[] {
  return readInputs([isAbsolute(path) ? path : join(dirname(scenarioFile), path)]);
}

/** One file, whatever its suffix. */
export function readScenario(name: string, engines: readonly string[]): Scenario {
  let input: InputFile;
  try {
    input = readInput(name);
  } catch (error) {
    throw new InputError([fileIssue(name, error)]);
  }
  return loadScenario(input, { engineNames: engines, readManifests });
}
