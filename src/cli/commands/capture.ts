/** `podwire capture`: the packets of a scenario as a pcapng file. */
import type { Command } from "commander";
import { usageError } from "../../base/index.ts";
import { captureScenario, engineNames } from "../../harness/index.ts";
import { runResultText } from "../../report/index.ts";
import { noter, wantsColor } from "../emit.ts";
import { loadEngines } from "../engines.ts";
import { ExitCode } from "../failure.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";
import { writeFileAtomically, writeOutput } from "../output.ts";
import { readScenario } from "../scenarios.ts";
import { runPlaced } from "./run.ts";

interface CaptureOptions extends CommonOptions {
  readonly engine?: string;
  readonly out: string;
}

export function addCaptureCommand(program: Command, finish: (code: ExitCode) => void): void {
  const capture = program
    .command("capture")
    .summary("the packets that a scenario generates, as pcapng")
    .description(
      "Runs a scenario on one engine (the first with tables that it names) and writes every packet at every interface that it crosses.",
    )
    .argument("<scenario>", "scenario file")
    .requiredOption("--out <file.pcapng>", "file to write")
    .option("-e, --engine <engine>", "instead of the first that the scenario names");
  addCommonOptions(capture).action(async (name: string, options: CaptureOptions) => {
    const scenario = readScenario(name, engineNames());
    const selections = await loadEngines(options.engine ?? scenario.engines.join(","));
    const selection = selections.find((one) => one.kind === "product");
    if (selection === undefined)
      throw usageError("capture needs an engine with tables; the oracle sends no packets");
    const { result, packets, pieces } = runPlaced(scenario, () =>
      captureScenario(scenario, selection, options.seed),
    );
    writeFileAtomically(options.out, pieces);
    noter(options)(`${packets} packets of ${scenario.name} on ${selection.label} written to ${options.out}`);
    if (!result.ok)
      writeOutput({ format: "text", file: undefined }, runResultText(result, { color: wantsColor(options) }));
    finish(result.ok ? ExitCode.ok : ExitCode.failed);
  });
}
