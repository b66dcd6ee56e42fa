/** `podwire compile` and `podwire generate`: files for other tools. */
import { join } from "node:path";
import type { Command } from "commander";
import { stringify } from "yaml";
import { usageError } from "../../base/index.ts";
import {
  type CompileDocument,
  compileCluster,
  diagnosticDocument,
  diagnosticText,
  type GenerateDocument,
  generateCluster,
  nodeFiles,
  profileOf,
  profiles,
} from "../../harness/index.ts";
import { compileReport, generateReport } from "../../report/index.ts";
import { loadCluster } from "../clusters.ts";
import { emit, noter, outputsOf } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import {
  addClusterOptions,
  addCommonOptions,
  type ClusterFlags,
  type CommonOptions,
  parseInteger,
} from "../options.ts";
import { writeFileAtomically } from "../output.ts";
import { version } from "../version.ts";

interface CompileOptions extends CommonOptions, ClusterFlags {
  readonly engine: string;
  readonly node?: string;
  readonly out: string;
}

interface GenerateOptions extends CommonOptions {
  readonly profile: string;
  readonly nodes?: number;
  readonly pods?: number;
  readonly namespaces?: number;
  readonly policies?: number;
  readonly out: string;
  readonly format: string;
}

export function addFileCommands(program: Command, finish: (code: ExitCode) => void): void {
  const compile = program
    .command("compile")
    .summary("a node's tables as the real tools read them")
    .description(
      "Writes a node's tables: iptables.save, ip6tables.save, ipset.save (for iptables-restore and ipset restore), bpf/ (programs, maps, and what the engine's own tools list of them), and node.json.",
    )
    .argument("<manifests...>", "files, directories, or - for standard input")
    .requiredOption("-e, --engine <engine>", "the engine; name[@version][+switch[=value]]...")
    .requiredOption("--out <dir>", "directory to write to; one below it for each node unless --node is given")
    .option("--node <name>", "this node only");
  addClusterOptions(addCommonOptions(compile)).action(async (names: string[], options: CompileOptions) => {
    const outputs = outputsOf(options, compileReport);
    const note = noter(options);
    const { state, selection } = await loadCluster(names, options.engine, options, "compile", note);
    if (options.node !== undefined && !state.nodes.has(options.node))
      throw usageError(`no node ${options.node}; there is ${[...state.nodes.keys()].slice(0, 5).join(", ")}`);
    const said = new Map<string, Parameters<typeof diagnosticText>[0]>();
    const nodes: CompileDocument["nodes"][number][] = [];
    for (const [name, { tables, diagnostics }] of compileCluster(state, selection)) {
      if (options.node !== undefined && name !== options.node) continue;
      for (const diagnostic of diagnostics) said.set(diagnosticText(diagnostic), diagnostic);
      const directory = options.node === undefined ? join(options.out, name) : options.out;
      const engine = selection.engines[state.nodes.get(name)?.os ?? "linux"];
      const files = nodeFiles(state, name, tables, engine);
      for (const [file, content] of files) writeFileAtomically(join(directory, file), [content]);
      nodes.push({ node: name, directory, files: [...files.keys()] });
    }
    for (const text of said.keys()) note(text);
    const document: CompileDocument = {
      schema: "podwire/compile/v1",
      version,
      engine: selection.label,
      engineVersion: selection.version,
      nodes,
      diagnostics: [...said.values()].map(diagnosticDocument),
    };
    emit(document, outputs, compileReport, options);
    finish(ExitCode.ok);
  });

  const generate = program
    .command("generate")
    .summary("synthetic cluster as plain manifests")
    .description(
      `Writes a synthetic cluster as plain manifests. Profiles:\n${profiles.map(({ name, summary }) => `  ${name}: ${summary}`).join("\n")}`,
    )
    .requiredOption("--profile <name>", "one of the profiles below")
    .requiredOption("--out <dir>", "directory to write to")
    .option("--nodes <n>", "instead of the profile's number", parseInteger)
    .option("--pods <n>", "likewise", parseInteger)
    .option("--namespaces <n>", "likewise", parseInteger)
    .option("--policies <n>", "likewise", parseInteger)
    .option("--format <format>", "yaml or json", "yaml");
  addCommonOptions(generate).action((options: GenerateOptions) => {
    const outputs = outputsOf(options, generateReport);
    const { profile, seed, out, format } = options;
    if (format !== "yaml" && format !== "json")
      throw usageError(`--format takes yaml or json, not ${format}`);
    const sizes: Record<string, number> = {};
    for (const name of ["nodes", "pods", "namespaces", "policies"] as const) {
      const value = options[name];
      if (value !== undefined) sizes[name] = value;
    }
    const byKind = new Map<string, object[]>();
    for (const object of generateCluster(profile, seed, sizes)) {
      const kind = String(object["kind"]);
      const objects = byKind.get(kind);
      if (objects === undefined) byKind.set(kind, [object]);
      else objects.push(object);
    }
    const files: string[] = [];
    for (const [kind, objects] of byKind) {
      const file = join(out, `${fileNames[kind] ?? kind}.${format}`);
      writeFileAtomically(file, pieces(objects, format));
      files.push(file);
    }
    const cluster = { profile, ...profileOf(profile).size, ...sizes };
    const document: GenerateDocument = { schema: "podwire/generate/v1", version, seed, cluster, files };
    emit(document, outputs, generateReport, options);
    finish(ExitCode.ok);
  });
}

const fileNames: Readonly<Record<string, string>> = {
  Namespace: "1-namespaces",
  Node: "2-nodes",
  Pod: "3-pods",
  NetworkPolicy: "4-policies",
};

function* pieces(objects: readonly object[], format: "yaml" | "json"): Iterable<string> {
  if (format === "yaml") {
    for (const [i, object] of objects.entries()) yield `${i === 0 ? "" : "---\n"}${stringify(object)}`;
    return;
  }
  yield '{"apiVersion":"v1","kind":"List","items":[\n';
  for (const [i, object] of objects.entries())
    yield `${JSON.stringify(object)}${i + 1 < objects.length ? "," : ""}\n`;
  yield "]}\n";
}
