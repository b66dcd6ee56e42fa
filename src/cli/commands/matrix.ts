/** `podwire matrix` and `podwire diff`: truth tables, and where two differ. */
import type { Command } from "commander";
import { usageError } from "../../base/index.ts";
import { computeDiff, computeMatrix, type TablePort, unexplained } from "../../harness/index.ts";
import { diffReport, matrixReport } from "../../report/index.ts";
import { readPort } from "../../scenario/index.ts";
import { loadClusters } from "../clusters.ts";
import { emit, noter, outputsOf } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import { addClusterOptions, addCommonOptions, type ClusterFlags, type CommonOptions } from "../options.ts";
import { createProgress } from "../progress.ts";
import { version } from "../version.ts";

interface TableOptions extends CommonOptions, ClusterFlags {
  readonly engine: string;
  readonly ports?: string;
  readonly ends: string;
}

export function addMatrixCommands(program: Command, finish: (code: ExitCode) => void): void {
  const matrix = program
    .command("matrix")
    .summary("truth table of every ordered pair of ends")
    .description(
      "Prints which connections pass: every ordered pair of ends, every port that a container or a policy names.",
    )
    .argument("<manifests...>", "files, directories, or - for standard input");
  addTableOptions(matrix).action(async (names: string[], options: TableOptions) => {
    const outputs = outputsOf(options, matrixReport);
    const { clusters } = await loadClusters(names, options.engine, options, noter(options));
    const progress = createProgress("cells", options);
    const document = await computeMatrix(clusters, version, {
      ...tableOptions(options),
      onProgress: progress.update,
    });
    progress.stop();
    emit(document, outputs, matrixReport, options);
    finish(progress.isInterrupted() ? ExitCode.interrupted : ExitCode.ok);
  });

  const diff = program
    .command("diff")
    .summary("where two engines differ, and why")
    .description(
      "Prints the cells where two engines (or an engine and the oracle) differ, grouped by documented divergence. Exit 1 if any is unexplained.",
    )
    .argument("<manifests...>", "files, directories, or - for standard input");
  addTableOptions(diff).action(async (names: string[], options: TableOptions) => {
    const outputs = outputsOf(options, diffReport);
    const { clusters } = await loadClusters(names, options.engine, options, noter(options));
    const [a, b, ...more] = clusters;
    if (b === undefined || more.length > 0)
      throw usageError(`diff compares two engines, not ${clusters.length}: --engine a,b`);
    const progress = createProgress("cells", options);
    const document = await computeDiff(a, b, version, {
      ...tableOptions(options),
      onProgress: progress.update,
    });
    progress.stop();
    emit(document, outputs, diffReport, options);
    if (progress.isInterrupted()) finish(ExitCode.interrupted);
    else
      finish(
        document.groups.some((group) => group.divergence === unexplained) ? ExitCode.failed : ExitCode.ok,
      );
  });
}

function addTableOptions(command: Command): Command {
  command
    .requiredOption("-e, --engine <engine,...>", "engines, oracle or all; name[@version][+switch[=value]]...")
    .option("--ports <port,...>", "such as 80/TCP,53/UDP,8/ICMP instead of every port that is named")
    .option("--ends <ends>", "pods, or all: nodes and external ranges too", "all");
  return addClusterOptions(addCommonOptions(command));
}

function tableOptions(options: TableOptions): {
  readonly seed: number;
  readonly ports?: readonly TablePort[];
  readonly podsOnly: boolean;
} {
  if (options.ends !== "pods" && options.ends !== "all")
    throw usageError(`--ends takes pods or all, not ${options.ends}`);
  const ports = options.ports === undefined ? {} : { ports: options.ports.split(",").map(parsePort) };
  return { seed: options.seed, podsOnly: options.ends === "pods", ...ports };
}

function parsePort(text: string): TablePort {
  const port = readPort(text);
  if (typeof port === "string") throw usageError(port);
  return port;
}
