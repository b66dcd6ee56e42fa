/**
 * `podwire generate`: a synthetic cluster as plain manifests. Files get their names together at the end, so that
 * whoever stops it, or runs out of disk, finds the folder as it was.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { assert, InputError, usageError } from "../../base/index.ts";
import {
  type ClusterSize,
  clusterSize,
  type GenerateDocument,
  generateObjects,
  manifestYaml,
  profiles,
} from "../../harness/index.ts";
import { generateReport } from "../../report/index.ts";
import { emit, noter, outputsOf } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import { fileIssue, isSystemError, manifestSuffixes } from "../input.ts";
import { addCommonOptions, type CommonOptions, parseInteger } from "../options.ts";
import { type OpenOutput, openOutput } from "../output.ts";
import { createProgress, type ProgressBar } from "../progress.ts";
import { version } from "../version.ts";

interface GenerateOptions extends CommonOptions, Partial<ClusterSize> {
  readonly profile: string;
  readonly out: string;
  readonly format: ManifestFormat;
}

const manifestFormats = ["yaml", "json"] as const;
type ManifestFormat = (typeof manifestFormats)[number];

export function addGenerateCommand(program: Command, finish: (code: ExitCode) => void): void {
  const generate = program
    .command("generate")
    .summary("synthetic cluster as plain manifests")
    .description(
      `Writes a synthetic cluster as plain manifests. Profiles:\n${profiles.map(({ name, summary }) => `  ${name}: ${summary}`).join("\n")}`,
    )
    .requiredOption("--profile <name>", "one of the profiles above")
    .requiredOption("--out <dir>", "directory to write to")
    .option("--nodes <n>", "instead of the profile's number", parseInteger)
    .option("--pods <n>", "likewise", parseInteger)
    .option("--namespaces <n>", "likewise", parseInteger)
    .option("--policies <n>", "likewise", parseInteger)
    .addOption(new Option("--format <format>", "of the manifests").choices(manifestFormats).default("yaml"));
  addCommonOptions(generate).action(async (options: GenerateOptions) => {
    const outputs = outputsOf(options, generateReport);
    const { profile, seed, out, format } = options;
    const size = clusterSize(profile, sizesOf(options));
    const parts = partsOf(size, format);
    checkNothingElse(
      out,
      parts.map((part) => part.file),
    );
    const progress = createProgress("objects", options);
    const isWritten = await writeParts(out, parts, generateObjects(profile, seed, size), format, progress);
    progress.stop();
    if (!isWritten) {
      noter(options)("stopped; nothing was written");
      finish(ExitCode.interrupted);
      return;
    }
    const files = parts.map((part) => join(out, part.file));
    const cluster = { profile, ...size };
    const document: GenerateDocument = { schema: "podwire/generate/v1", version, seed, cluster, files };
    emit(document, outputs, generateReport, options);
    finish(ExitCode.ok);
  });
}

function sizesOf(options: Partial<ClusterSize>): Partial<ClusterSize> {
  const sizes: { -readonly [K in keyof ClusterSize]?: number } = {};
  for (const name of ["nodes", "pods", "namespaces", "policies"] as const) {
    const value = options[name];
    if (value !== undefined) sizes[name] = value;
  }
  return sizes;
}

/** A file and how many of the next objects it takes. */
interface Part {
  readonly file: string;
  readonly objects: number;
}

/** Past this many objects of a kind an editor no longer likes the file, and `kubectl apply` of one that fails is long. */
const objectsPerFile = 10_000;

/** Files in the order of the objects, a kind each, large kinds in numbered parts. */
function partsOf(size: ClusterSize, format: ManifestFormat): readonly Part[] {
  return (["namespaces", "nodes", "pods", "policies"] as const).flatMap((kind, place) => {
    const count = Math.ceil(size[kind] / objectsPerFile);
    const name = `${place + 1}-${kind}`;
    return Array.from({ length: count }, (_, part) => ({
      file: count === 1 ? `${name}.${format}` : `${name}-${String(part + 1).padStart(3, "0")}.${format}`,
      objects: Math.min(objectsPerFile, size[kind] - part * objectsPerFile),
    }));
  });
}

/**
 * Manifests of an earlier run with other sizes would be read together with the new ones, as one cluster.
 * @throws InputError naming them.
 */
function checkNothingElse(folder: string, files: readonly string[]): void {
  let names: readonly string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT") return;
    throw new InputError([fileIssue(folder, error)]);
  }
  const others = names.filter(
    (name) => manifestSuffixes.some((suffix) => name.endsWith(suffix)) && !files.includes(name),
  );
  if (others.length > 0)
    throw usageError(
      `${folder} holds other manifests (${others.slice(0, 3).join(", ")}${others.length > 3 ? ", ..." : ""}), which would become part of the cluster; take an empty folder`,
    );
}

/** Answers false, with nothing written, when the user has asked to stop. */
async function writeParts(
  folder: string,
  parts: readonly Part[],
  objects: Generator<Readonly<Record<string, unknown>>, undefined>,
  format: ManifestFormat,
  progress: ProgressBar,
): Promise<boolean> {
  const total = parts.reduce((sum, part) => sum + part.objects, 0);
  const outputs: OpenOutput[] = [];
  let done = 0;
  try {
    for (const part of parts) {
      const output = openOutput({ file: join(folder, part.file) });
      outputs.push(output);
      output.write(opening[format]);
      for (let i = 0; i < part.objects; i++) {
        const { value } = objects.next();
        assert(value !== undefined, "as many objects as the sizes say");
        output.write(pieceOf(value, format, i === 0));
        if (++done % 1000 === 0 && !(await progress.update(done, total))) return false;
      }
      output.write(closing[format]);
      output.flush();
    }
    for (const output of outputs) output.close();
    return true;
  } finally {
    for (const output of outputs) output.abandon();
  }
}

const opening: Readonly<Record<ManifestFormat, string>> = {
  yaml: "",
  json: '{"apiVersion":"v1","kind":"List","items":[\n',
};
const closing: Readonly<Record<ManifestFormat, string>> = { yaml: "", json: "\n]}\n" };

function pieceOf(
  object: Readonly<Record<string, unknown>>,
  format: ManifestFormat,
  isFirst: boolean,
): string {
  if (format === "yaml") return `${isFirst ? "" : "---\n"}${manifestYaml(object)}`;
  return `${isFirst ? "" : ",\n"}${JSON.stringify(object)}`;
}
