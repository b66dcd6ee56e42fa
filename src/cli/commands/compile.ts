/** `podwire compile`: a node's tables as files for other tools. */
import { join } from "node:path";
import type { Command } from "commander";
import { usageError } from "../../base/index.ts";
import {
  type CompileDocument,
  compileCluster,
  diagnosticDocument,
  diagnosticText,
  nodeFiles,
} from "../../harness/index.ts";
import { compileReport } from "../../report/index.ts";
import { loadCluster } from "../clusters.ts";
import { emit, noter, outputsOf } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import { addClusterOptions, addCommonOptions, type ClusterFlags, type CommonOptions } from "../options.ts";
import { writeFileAtomically } from "../output.ts";
import { version } from "../version.ts";

interface CompileOptions extends CommonOptions, ClusterFlags {
  readonly engine: string;
  readonly node?: string;
  readonly out: string;
}

export function addCompileCommand(program: Command, finish: (code: ExitCode) => void): void {
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
}
