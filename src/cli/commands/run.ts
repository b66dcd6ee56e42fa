/** `podwire run`: scenarios on engines. */
import type { Command } from "commander";
import { InputError, usageError } from "../../base/index.ts";
import {
  engineNames,
  type RunDocument,
  type RunResultDocument,
  runScenario,
  type Selection,
} from "../../harness/index.ts";
import { runReport, runResultText } from "../../report/index.ts";
import type { Scenario } from "../../scenario/index.ts";
import { emit, noter, outputsOf, wantsColor } from "../emit.ts";
import { enginesOfScenario } from "../engines.ts";
import { ExitCode } from "../failure.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";
import { writeOutput } from "../output.ts";
import { createProgress } from "../progress.ts";
import { readScenarios } from "../scenarios.ts";
import { version } from "../version.ts";

interface RunCommandOptions extends CommonOptions {
  readonly engine?: string;
}

export function addRunCommand(program: Command, finish: (code: ExitCode) => void): void {
  const run = program
    .command("run")
    .summary("run scenarios on engines")
    .description(
      "Runs scenario files (or every *.yaml below a directory) on the engines that they name, or on those given. Exit 1 if an expectation fails.",
    )
    .argument("<scenarios...>", "scenario files or directories")
    .option("-e, --engine <engine,...>", "engines, oracle or all, instead of those the scenarios name");
  addCommonOptions(run).action(async (names: string[], options: RunCommandOptions) => {
    const outputs = outputsOf(options, runReport);
    const scenarios = readScenarios(names, engineNames());
    if (scenarios.length === 0) throw usageError(`no scenario files (*.yaml) in ${names.join(", ")}`);
    const jobs: { readonly scenario: Scenario; readonly selection: Selection }[] = [];
    for (const scenario of scenarios) {
      const selections = await enginesOfScenario(scenario, options.engine);
      jobs.push(...selections.map((selection) => ({ scenario, selection })));
    }
    // with several targets (or a file) the text is written at the end; on a terminal each line as it comes
    const [only] = outputs;
    const isLive = outputs.length === 1 && only?.format === "text" && only.file === undefined;
    const progress = createProgress("scenarios", { quiet: options.quiet === true || isLive });
    const results: RunResultDocument[] = [];
    for (const [i, { scenario, selection }] of jobs.entries()) {
      if (!(await progress.update(i, jobs.length))) break;
      const result = runPlaced(scenario, () => runScenario(scenario, selection, { seed: options.seed }));
      results.push(result);
      if (isLive) writeOutput(only, runResultText(result, { color: wantsColor(options) }));
    }
    progress.stop();
    const document = runDocument(results, options);
    if (isLive) emit({ ...document, results: [] }, outputs, runReport, options);
    else emit(document, outputs, runReport, options);
    if (progress.isInterrupted()) noter(options)(`stopped after ${results.length} of ${jobs.length} runs`);
    finish(
      progress.isInterrupted() ? ExitCode.interrupted : document.failed > 0 ? ExitCode.failed : ExitCode.ok,
    );
  });
}

export function runDocument(results: readonly RunResultDocument[], options: CommonOptions): RunDocument {
  const failed = results.filter((result) => !result.ok).length;
  return {
    schema: "podwire/run/v1",
    version,
    seed: options.seed,
    results,
    passed: results.length - failed,
    failed,
  };
}

/** Errors without a place (a combination that AKS refuses) get the scenario's. */
export function runPlaced<T>(scenario: Scenario, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(
      error.issues.map((issue) => ({
        ...(issue.file === undefined ? { file: scenario.file, ...scenario.clusterPlace } : {}),
        ...issue,
      })),
    );
  }
}
