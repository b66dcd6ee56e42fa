/** `podwire bench`: decision throughput of the verdict table, and of engines' own tables walked rule by rule. */
import { availableParallelism, cpus, loadavg } from "node:os";
import { type Command, Option } from "commander";
import { usageError } from "../../base/index.ts";
import {
  type BenchDocument,
  type BenchResultDocument,
  type ClusterSize,
  measureDecisions,
  measureWalks,
  type ProductSelection,
  prepareBench,
  profileOf,
  type Selection,
  type TrafficShape,
  trafficShapes,
} from "../../harness/index.ts";
import { benchReport } from "../../report/index.ts";
import { emit, outputsOf } from "../emit.ts";
import { loadEngines } from "../engines.ts";
import { ExitCode } from "../failure.ts";
import { addCommonOptions, type CommonOptions, parseInteger } from "../options.ts";
import { createProgress } from "../progress.ts";
import { version } from "../version.ts";

interface BenchCommandOptions extends CommonOptions {
  readonly profile: string;
  readonly engine: string;
  readonly nodes?: number;
  readonly pods?: number;
  readonly policies?: number;
  readonly traffic: TrafficShape;
}

export function addBenchCommand(program: Command, finish: (code: ExitCode) => void): void {
  const bench = program
    .command("bench")
    .summary("decision throughput at scale")
    .description(
      "Builds a synthetic cluster, compiles and links an engine's tables and measures decisions a second: of the exact verdict table made of them, and of the step-faithful walk.",
    )
    .option("--profile <name>", "workload (see podwire generate --help)", "aks-npm-limit")
    .option("-e, --engine <engine,...>", "engines", "azure-npm")
    .option("--nodes <n>", "instead of the profile's number", parseInteger)
    .option("--pods <n>", "likewise", parseInteger)
    .option("--policies <n>", "likewise", parseInteger)
    .addOption(
      new Option("--traffic <shape>", "who talks to whom").choices(trafficShapes).default("uniform"),
    );
  addCommonOptions(bench).action(async (options: BenchCommandOptions) => {
    const outputs = outputsOf(options, benchReport);
    const document = await runBench(options, await loadEngines(options.engine));
    emit(document, outputs, benchReport, options);
    finish(ExitCode.ok);
  });
}

export async function runBench(
  options: BenchCommandOptions,
  selections: readonly Selection[],
): Promise<BenchDocument> {
  const { profile, seed, traffic } = options;
  const sizes: { -readonly [K in keyof ClusterSize]?: number } = {};
  for (const name of ["nodes", "pods", "policies"] as const) {
    const value = options[name];
    if (value !== undefined) sizes[name] = value;
  }
  const progress = createProgress("bench", options);
  const nowMs = (): number => performance.now();
  const results: BenchResultDocument[] = [];
  let cluster: ClusterSize = profileOf(profile).size;
  const products = selections.filter((one): one is ProductSelection => one.kind === "product");
  if (products.length === 0) throw usageError("bench needs an engine with tables; the oracle has none");
  for (const [i, selection] of products.entries()) {
    if (!(await progress.update(2 * i, 2 * products.length))) break;
    const setup = prepareBench(selection, { profile, sizes, seed, shape: traffic, nowMs });
    cluster = setup.sizes;
    if (!(await progress.update(2 * i + 1, 2 * products.length))) break;
    const { buildMs, compileMs, linkMs, rules, setEntries, tableBytes, allTablesBytes } = setup;
    const decisions = measureDecisions(setup.state, selection, { seed, shape: traffic, nowMs });
    const measures = [
      ...decisions.paths.map((path) => ({ ...path, connections: "new" as const })),
      ...measureWalks(setup, nowMs).map((walk) => ({ ...walk, asked: 0 })),
    ];
    for (const measure of measures)
      results.push({
        engine: selection.label,
        engineVersion: selection.version,
        ...measure,
        buildMs,
        compileMs,
        linkMs,
        verdictTableMs: decisions.tableMs,
        verdictTableBytes: decisions.size.bytes,
        classes: decisions.size.classes,
        rules,
        setEntries,
        tableBytes,
        allTablesBytes,
        rssBytes: process.memoryUsage.rss(),
      });
  }
  progress.stop();
  const machine = {
    node: process.versions.node,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    load: loadavg()[0] ?? 0,
  };
  return {
    schema: "podwire/bench/v1",
    version,
    seed,
    traffic,
    machine,
    cluster: { profile, ...cluster },
    results,
  };
}
