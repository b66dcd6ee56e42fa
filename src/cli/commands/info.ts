/** `podwire engines`, `schema` and `version`. */
import type { Command } from "commander";
import { usageError } from "../../base/index.ts";
import {
  assertionsOf,
  describeEngines,
  documentJsonSchemas,
  documentNames,
  type VersionDocument,
} from "../../harness/index.ts";
import { enginesReport, schemaReport, versionReport } from "../../report/index.ts";
import { scenarioJsonSchema } from "../../scenario/index.ts";
import { emit, outputsOf } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";
import { shippedScenarios } from "../scenarios.ts";
import { version } from "../version.ts";

export function addInfoCommands(program: Command, finish: (code: ExitCode) => void): void {
  const engines = program
    .command("engines")
    .summary("features, versions, switches and documented divergences of the engines");
  addCommonOptions(engines).action((options: CommonOptions) => {
    emit(
      describeEngines(version, assertionsOf(shippedScenarios())),
      outputsOf(options, enginesReport),
      enginesReport,
      options,
    );
    finish(ExitCode.ok);
  });
  const schema = program
    .command("schema")
    .summary("JSON Schemas of scenario files and of result documents")
    .description(
      "Prints JSON Schema. Without a name: that of scenario files, with those of the result documents under $defs.",
    )
    .argument("[name]", `scenario, ${documentNames.join(", ")}`);
  addCommonOptions(schema).action((name: string | undefined, options: CommonOptions) => {
    emit(schemaNamed(name), outputsOf(options, schemaReport), schemaReport, options);
    finish(ExitCode.ok);
  });
  const versionCommand = program.command("version").summary("podwire's version");
  addCommonOptions(versionCommand).action((options: CommonOptions) => {
    const document: VersionDocument = { schema: "podwire/version/v1", version, node: process.versions.node };
    emit(document, outputsOf(options, versionReport), versionReport, options);
    finish(ExitCode.ok);
  });
}

function schemaNamed(name: string | undefined): object {
  const scenario = scenarioJsonSchema();
  const documents = documentJsonSchemas();
  if (name === "scenario") return scenario;
  if (name === undefined) {
    const own = "$defs" in scenario ? (scenario.$defs as object) : {};
    return { ...scenario, $defs: { ...own, ...documents } };
  }
  const document = documents[name];
  if (document === undefined)
    throw usageError(`no schema ${name}; there is scenario, ${documentNames.join(", ")}`);
  return document;
}
