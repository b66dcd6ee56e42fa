/** `podwire engines`, `schema` and `version`. */
import type { Command } from "commander";
import { describeEngines } from "../../harness/index.ts";
import { enginesReport, jsonPieces } from "../../report/index.ts";
import { scenarioJsonSchema } from "../../scenario/index.ts";
import { emit, outputsOf } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";
import { writeOutput } from "../output.ts";
import { version } from "../version.ts";

export function addInfoCommands(program: Command, finish: (code: ExitCode) => void): void {
  const engines = program
    .command("engines")
    .summary("features, versions, switches and documented divergences of the engines");
  addCommonOptions(engines).action((options: CommonOptions) => {
    emit(describeEngines(version), outputsOf(options, enginesReport), enginesReport, options);
    finish(ExitCode.ok);
  });
  program
    .command("schema")
    .summary("JSON Schema of scenario files")
    .action(() => {
      writeOutput({ format: "json", file: undefined }, jsonPieces(scenarioJsonSchema()));
      finish(ExitCode.ok);
    });
  program
    .command("version")
    .summary("podwire's version")
    .action(() => {
      writeOutput({ format: "text", file: undefined }, [
        `podwire ${version} (Node ${process.versions.node})\n`,
      ]);
      finish(ExitCode.ok);
    });
}
