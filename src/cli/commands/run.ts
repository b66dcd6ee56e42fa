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
import { manifestFile, type Scenario } from "../../scenario/index.ts";
import { isRefusal, leftOut } from "../clusters.ts";
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
    const jobs: Job[] = [];
    for (const scenario of scenarios) {
      const isAll = (options.engine?.split(",") ?? scenario.engines).includes("all");
      const selections = await enginesOfScenario(scenario, options.engine);
      jobs.push(...selections.map((selection) => ({ scenario, selection, isAll })));
    }
    // with several targets (or a file) the text is written at the end; on a terminal each line as it comes
    const [only] = outputs;
    const isLive = outputs.length === 1 && only?.format === "text" && only.file === undefined;
    const progress = createProgress("scenarios", { quiet: options.quiet === true || isLive });
    const results: RunResultDocument[] = [];
    for (const [i, job] of jobs.entries()) {
      if (!(await progress.update(i, jobs.length))) break;
      const result = runJob(job, options.seed, noter(options));
      if (result === undefined) continue;
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

interface Job {
  readonly scenario: Scenario;
  readonly selection: Selection;
  /** One of `all`: a product that cannot run there is left out. */
  readonly isAll: boolean;
}

function runJob(
  { scenario, selection, isAll }: Job,
  seed: number,
  note: (text: string) => void,
): RunResultDocument | undefined {
  try {
    return runPlaced(scenario, () => runScenario(scenario, selection, { seed }));
  } catch (error) {
    if (!isAll || !isRefusal(error)) throw error;
    note(leftOut(`${scenario.name} on ${selection.label}`, error));
    return undefined;
  }
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

/** What is wrong with the cluster's options (a combination that AKS refuses) has its place in the scenario. */
export function runPlaced<T>({ file, clusterPlaces }: Scenario, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(
      error.issues.map((issue) => {
        if (issue.file !== undefined) return { ...issue, file: manifestFile(issue.file) };
        const place = clusterPlaces.get(issue.path);
        const path = place === undefined || issue.path === "" ? issue.path : `cluster.${issue.path}`;
        return { file, ...(place ?? clusterPlaces.get("")), ...issue, path };
      }),
    );
  }
}
