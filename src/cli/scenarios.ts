/** Scenario files from disk, with the manifests that they name. */
import { dirname, isAbsolute, join } from "node:path";
import { InputError, type Issue } from "../base/index.ts";
import { loadScenario, type Scenario } from "../scenario/index.ts";
import { fileIssue, type InputFile, readInput, readInputs } from "./input.ts";

/** Files and directories; the problems of all files are reported at once. */
export function readScenarios(names: readonly string[], engineNames: readonly string[]): readonly Scenario[] {
  const issues: Issue[] = [];
  const scenarios: Scenario[] = [];
  for (const { name, text } of readInputs(names, [".yaml", ".yml"])) {
    try {
      scenarios.push(loadScenario({ name, text }, { engineNames, readManifests }));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      issues.push(...error.issues);
    }
  }
  if (issues.length > 0) throw new InputError(issues);
  return scenarios;
}

function readManifests(
  path: string,
  scenarioFile: string,
): readonly { readonly name: string; readonly text: string }[] {
  return readInputs([isAbsolute(path) ? path : join(dirname(scenarioFile), path)]);
}

/** One file, whatever its suffix. */
export function readScenario(name: string, engineNames: readonly string[]): Scenario {
  let input: InputFile;
  try {
    input = readInput(name);
  } catch (error) {
    throw new InputError([fileIssue(name, error)]);
  }
  return loadScenario(input, { engineNames, readManifests });
}
