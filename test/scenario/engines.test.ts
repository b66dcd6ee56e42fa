/** Every shipped scenario on every engine that it names, as `podwire run scenarios` runs them: all its expectations hold. */
import { readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { enginesOfScenario } from "../../src/cli/engines.ts";
import { readScenarios } from "../../src/cli/scenarios.ts";
import { engineNames, runScenario } from "../../src/harness/index.ts";

const root = join(import.meta.dirname, "../../scenarios");
const folders = readdirSync(root).sort();

describe("the shipped scenarios on every engine that they name", () => {
  const scenarios = readScenarios([root], engineNames());

  it.each(folders)("%s", async (folder) => {
    const inFolder = scenarios.filter(({ file }) => dirname(relative(root, file)) === folder);
    expect(inFolder.length).toBeGreaterThan(0);
    const failures: string[] = [];
    for (const scenario of inFolder) {
      const selections = await enginesOfScenario(scenario, undefined);
      expect(selections.length, scenario.file).toBeGreaterThanOrEqual(scenario.engines.length);
      for (const selection of selections) {
        const { steps } = runScenario(scenario, selection, { seed: 1 });
        for (const { line, problems } of steps)
          for (const problem of problems)
            failures.push(`${relative(root, scenario.file)}:${line} on ${selection.label}: ${problem}`);
      }
    }
    expect(failures).toEqual([]);
  });
});
