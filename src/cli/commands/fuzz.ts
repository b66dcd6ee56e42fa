/** `podwire fuzz`: random clusters and rule sets until two sides disagree. */
import { join } from "node:path";
import { type Command, Option } from "commander";
import { stringify } from "yaml";
import { InputError, usageError } from "../../base/index.ts";
import { pcapngHeader, pcapngPacket, type ReadCapture } from "../../capture/index.ts";
import { captureOf, searchTables, type TableMismatch } from "../../harness/fuzz/index.ts";
import {
  type CellDisagreement,
  type ClusterFinding,
  type ComparedCluster,
  captureScenario,
  clusterOf,
  compareSides,
  compareWithOracle,
  type FuzzDocument,
  type FuzzResultDocument,
  hasName,
  type ProductSelection,
  parseSelection,
  type Selection,
  searchClusters,
  witnessScenario,
} from "../../harness/index.ts";
import {
  compareClusterWithKernel,
  type KernelBackend,
  KernelRefusal,
  type NodeDifference,
} from "../../harness/kernel/index.ts";
import { fuzzReport } from "../../report/index.ts";
import { loadScenario } from "../../scenario/index.ts";
import { emit, outputsOf } from "../emit.ts";
import { loadEngines } from "../engines.ts";
import { ExitCode } from "../failure.ts";
import { missingForKernel } from "../kernel-needs.ts";
import { addCommonOptions, type CommonOptions, parseInteger } from "../options.ts";
import { writeFileAtomically } from "../output.ts";
import { createProgress, type ProgressBar } from "../progress.ts";
import { version } from "../version.ts";

interface FuzzOptions extends CommonOptions {
  readonly engine?: string;
  readonly against?: string;
  readonly level: string;
  readonly backend?: string;
  readonly runs?: number;
  readonly packets?: number;
  readonly out?: string;
}

/** What is asked for, checked. */
interface FuzzPlan {
  readonly level: FuzzDocument["level"];
  readonly against: FuzzDocument["against"];
  readonly selections: readonly Selection[];
  readonly backends: readonly KernelBackend[];
  readonly runs: number;
  readonly packets: number;
  readonly seed: number;
  readonly out: string;
}

const againsts: readonly FuzzDocument["against"][] = ["oracle", "kernel", "engine"];
const backendNames: readonly KernelBackend[] = ["legacy", "nft"];
const defaultRuns = { oracle: 200, engine: 200, kernel: 20, tables: 100 };

export function addFuzzCommand(program: Command, finish: (code: ExitCode) => void): void {
  const fuzz = program
    .command("fuzz")
    .summary("search for a disagreement at random")
    .description(
      "Compares random clusters under an engine with the oracle, with another engine, or with the running kernel that has the same tables; or random rule sets with the kernel. What disagrees is made small and written with what reproduces it. Exit 1 if anything does.",
    )
    .option("-e, --engine <engine,...>", "engines; name[@version][+switch[=value]]...")
    .option("--against <side>", "oracle, kernel or engine (the two that --engine names)")
    .option("--level <level>", "cluster, or tables: raw rules, sets and packets", "cluster")
    .addOption(new Option("--backend <backend,...>", "of the kernel's iptables: legacy, nft (default: both)"))
    .option("--runs <n>", "clusters or rule sets of each search", parseInteger)
    .option("--packets <n>", "of each rule set (default: 300)", parseInteger)
    .option("--out <dir>", "where what disagrees is written (default: podwire-fuzz-SEED)");
  addCommonOptions(fuzz).action(async (options: FuzzOptions, command: Command) => {
    const outputs = outputsOf(options, fuzzReport);
    const hasSeed = command.getOptionValueSource("seed") === "cli";
    const plan = await planOf(options, hasSeed ? options.seed : freshSeed());
    if (plan.against === "kernel") {
      const missing = missingForKernel();
      if (missing !== undefined)
        throw new InputError([{ code: "not-supported", path: "", message: `--against kernel ${missing}` }]);
    }
    const progress = createProgress(plan.level === "tables" ? "rule sets" : "clusters", options);
    let results: readonly FuzzResultDocument[];
    try {
      results = await searchAll(plan, progress);
    } catch (error) {
      if (!(error instanceof KernelRefusal)) throw error;
      throw new InputError([{ code: "refused", path: "", message: error.message }]);
    } finally {
      progress.stop();
    }
    const isInterrupted = progress.isInterrupted();
    const document: FuzzDocument = {
      schema: "podwire/fuzz/v1",
      version,
      seed: plan.seed,
      level: plan.level,
      against: plan.against,
      runs: plan.runs,
      results,
      ...(isInterrupted ? { interrupted: true } : {}),
    };
    emit(document, outputs, fuzzReport, options);
    const hasFound = results.some(({ finding }) => finding !== undefined);
    finish(isInterrupted ? ExitCode.interrupted : hasFound ? ExitCode.failed : ExitCode.ok);
  });
}

/** Below 2^31, so that it can be typed back. */
function freshSeed(): number {
  return Math.trunc((performance.timeOrigin * 1000 + performance.now() * 1000) % 0x7fff_ffff);
}

async function planOf(options: FuzzOptions, seed: number): Promise<FuzzPlan> {
  const { level, engine, runs, packets = 300, out = `podwire-fuzz-${seed}` } = options;
  if (level !== "cluster" && level !== "tables")
    throw usageError(`--level takes cluster or tables, not ${level}`);
  const isTables = level === "tables";
  const against = againsts.find((one) => one === (options.against ?? (isTables ? "kernel" : "oracle")));
  if (against === undefined)
    throw usageError(`--against takes oracle, kernel or engine, not ${options.against}`);
  if (isTables && against !== "kernel") throw usageError("--level tables has no other judge than the kernel");
  if (isTables && engine !== undefined)
    throw usageError("--level tables has no engine: its rule sets are drawn");
  if (!isTables && engine === undefined) throw usageError("fuzz needs --engine, or --level tables");
  if (!isTables && options.packets !== undefined) throw usageError("--packets goes with --level tables");
  if (against !== "kernel" && options.backend !== undefined)
    throw usageError("--backend goes with --against kernel");
  for (const [name, value] of [
    ["--runs", runs],
    ["--packets", options.packets],
  ] as const)
    if (value !== undefined && value < 1) throw usageError(`${name} must be at least 1, not ${value}`);
  const backends = (options.backend?.split(",") ?? backendNames).map((name) => {
    const backend = backendNames.find((one) => one === name);
    if (backend === undefined) throw usageError(`--backend takes legacy or nft, not ${name}`);
    return backend;
  });
  const selections = engine === undefined ? [] : await loadEngines(engine);
  if (against === "engine" && selections.length !== 2)
    throw usageError(`--against engine compares two, not ${selections.length}: --engine a,b`);
  if (against !== "engine" && selections.some(({ kind }) => kind === "oracle"))
    throw usageError(`--against ${against} needs engines with tables; the oracle has none`);
  return {
    level,
    against,
    selections,
    backends,
    packets,
    seed,
    out,
    runs: runs ?? defaultRuns[isTables ? "tables" : against],
  };
}

type Search = (onProgress: (done: number) => Promise<boolean>) => Promise<FuzzResultDocument>;

async function searchAll(plan: FuzzPlan, progress: ProgressBar): Promise<readonly FuzzResultDocument[]> {
  const searches = searchesOf(plan);
  const results: FuzzResultDocument[] = [];
  for (const [i, search] of searches.entries()) {
    if (progress.isInterrupted()) break;
    results.push(await search((done) => progress.update(i * plan.runs + done, searches.length * plan.runs)));
  }
  return results;
}

function searchesOf(plan: FuzzPlan): readonly Search[] {
  const { level, against, selections, backends } = plan;
  if (level === "tables")
    return backends.map((backend) => (onProgress) => searchRules(plan, backend, onProgress));
  const products = selections.filter((one): one is ProductSelection => one.kind === "product");
  switch (against) {
    case "oracle":
      return products.map((one) => (onProgress) => searchAgainstOracle(plan, one, onProgress));
    case "engine":
      return [(onProgress) => searchBetween(plan, onProgress)];
    case "kernel":
      return products.flatMap((one) =>
        backends.map(
          (backend): Search =>
            (onProgress) =>
              searchAgainstKernel(plan, one, backend, onProgress),
        ),
      );
  }
}

async function searchRules(
  { runs, packets, seed, out }: FuzzPlan,
  backend: KernelBackend,
  onProgress: (done: number) => Promise<boolean>,
): Promise<FuzzResultDocument> {
  const { ruleSets, verdicts, mismatch } = await searchTables({ backend, runs, packets, seed, onProgress });
  const finding = mismatch === undefined ? {} : { finding: writeMismatch(mismatch, out) };
  return { backend, runs: ruleSets, compared: verdicts, ...finding };
}

function writeMismatch(mismatch: TableMismatch, out: string): NonNullable<FuzzResultDocument["finding"]> {
  const { backend, run, tables, packets, difference, trace } = mismatch;
  const told = trace === undefined ? [] : [`iptables-${trace.backend}:`, ...trace.lines];
  const files = writeFiles(join(out, `tables-${backend}-${run}`), {
    "iptables.save": tables.v4,
    "ip6tables.save": tables.v6,
    "ipset.save": tables.sets,
    "difference.txt": `${difference}\n`,
    "trace.txt": told.length === 0 ? undefined : `${told.join("\n")}\n`,
    "packets.pcapng": capturePieces(captureOf(packets)),
  });
  return { run, lines: difference.split("\n"), files };
}

async function searchAgainstOracle(
  plan: FuzzPlan,
  selection: ProductSelection,
  onProgress: (done: number) => Promise<boolean>,
): Promise<FuzzResultDocument> {
  const result = await searchClusters<CellDisagreement>({
    ...plan,
    onProgress,
    kindOf: cellKind,
    compare: async (objects) => {
      const { state } = clusterOf(objects, selection.aks);
      return cellsCompared(compareWithOracle({ state, selection }));
    },
  });
  const sides = [parseSelection("oracle"), selection];
  return clusterResult(plan, { ...named(selection) }, result, sides, selection);
}

async function searchBetween(
  plan: FuzzPlan,
  onProgress: (done: number) => Promise<boolean>,
): Promise<FuzzResultDocument> {
  const [a, b] = plan.selections as [Selection, Selection];
  const clusterFor = (objects: Parameters<typeof clusterOf>[0], selection: Selection) => ({
    selection,
    state: clusterOf(objects, selection.kind === "product" ? selection.aks : {}).state,
  });
  const result = await searchClusters<CellDisagreement>({
    ...plan,
    onProgress,
    kindOf: cellKind,
    compare: async (objects) => cellsCompared(compareSides(clusterFor(objects, a), clusterFor(objects, b))),
  });
  const product = [b, a].find((one): one is ProductSelection => one.kind === "product");
  return clusterResult(plan, { engine: `${a.label},${b.label}` }, result, [a, b], product);
}

function cellsCompared(comparison: ReturnType<typeof compareWithOracle>): ComparedCluster<CellDisagreement> {
  // a cell with a single answer makes the better witness
  const { cells, fired, disagreements } = comparison;
  const isPlain = ({ verdicts }: CellDisagreement): boolean => !verdicts.includes("some");
  const ordered = [...disagreements.filter(isPlain), ...disagreements.filter((one) => !isPlain(one))];
  return { compared: cells, fired, disagreements: ordered };
}

/** Two engines or readings may differ here for one reason and there for another: both ways it is not the same one. */
function cellKind({ verdicts, cell }: CellDisagreement): string {
  return `${verdicts.join(" ")} ${cell.from.end.kind} ${cell.to.end.kind}`;
}

type SearchedCells = Awaited<ReturnType<typeof searchClusters<CellDisagreement>>>;

function clusterResult(
  { out, seed }: FuzzPlan,
  names: Pick<FuzzResultDocument, "engine" | "engineVersion">,
  result: SearchedCells,
  sides: readonly Selection[],
  product: ProductSelection | undefined,
): FuzzResultDocument {
  const { clusters, compared, fired, finding } = result;
  const document = { ...names, runs: clusters, compared, divergences: fired };
  if (finding === undefined) return document;
  const folder = join(out, `${fileName(names.engine ?? "")}-${finding.run}`);
  const files = writeFiles(folder, cellWitness(finding, seed, sides, product));
  return { ...document, finding: { run: finding.run, lines: [finding.disagreement.text], files } };
}

function cellWitness(
  { run, objects, disagreement: { cell, text, verdicts } }: ClusterFinding<CellDisagreement>,
  seed: number,
  sides: readonly Selection[],
  product: ProductSelection | undefined,
): Files {
  const { comments, document } = witnessScenario({
    objects,
    cell,
    expected: verdicts[0],
    selections: sides,
    comments: [`podwire fuzz, seed ${seed}, cluster ${run}, made small.${howToRun(sides)}`, text],
  });
  const yaml = `# ${comments[0]}\n# ${comments[1]}\n${stringify(document)}`;
  const scenario = loadScenario({ name: "scenario.yaml", text: yaml });
  const capture = product === undefined ? undefined : captureScenario(scenario, product, seed).pieces;
  return { "scenario.yaml": yaml, "packets.pcapng": capture };
}

/** Where the scenario cannot name all sides. */
function howToRun(sides: readonly Selection[]): string {
  const labels = sides.map(({ label }) => label);
  return labels.every(hasName) ? "" : ` Run with --engine ${labels.join(",")}.`;
}

async function searchAgainstKernel(
  plan: FuzzPlan,
  selection: ProductSelection,
  backend: KernelBackend,
  onProgress: (done: number) => Promise<boolean>,
): Promise<FuzzResultDocument> {
  const result = await searchClusters<NodeDifference>({
    ...plan,
    onProgress,
    compare: async (objects) => {
      const { state } = clusterOf(objects, selection.aks);
      const { hops, differences } = await compareClusterWithKernel(state, selection, backend);
      return { compared: hops, fired: [], disagreements: differences };
    },
    kindOf: ({ kind }) => kind,
  });
  const { clusters, compared, finding } = result;
  const document = { ...named(selection), backend, runs: clusters, compared };
  if (finding === undefined) return document;
  const { run, objects, disagreement } = finding;
  const { cell, node, text, kernelAllows, packets, files: tables } = disagreement;
  const about = [`podwire fuzz, seed ${plan.seed}, cluster ${run}, made small.`, `${node}: ${text}`] as const;
  const written = writeFiles(join(plan.out, `${fileName(selection.label)}-${backend}-${run}`), {
    ...Object.fromEntries([...tables].map(([name, content]) => [join(node, name), content])),
    "manifests.yaml": objects.map((object) => stringify(object)).join("---\n"),
    "difference.txt": `${about.join("\n")}\n`,
    "packets.pcapng": capturePieces(captureOf(packets)),
    ...(cell === undefined || kernelAllows === undefined
      ? {}
      : kernelScenario(objects, cell, kernelAllows, selection, about)),
  });
  return { ...document, finding: { run, lines: [`${node}: ${text}`], files: written } };
}

/** The connection whose packet it was, and that it is as open as the kernel leaves it: the emulator fails it. */
function kernelScenario(
  objects: ClusterFinding<unknown>["objects"],
  cell: CellDisagreement["cell"],
  kernelAllows: boolean,
  selection: ProductSelection,
  comments: readonly [string, string],
): Files {
  const { document } = witnessScenario({
    objects,
    cell,
    expected: kernelAllows ? "allow" : "deny",
    selections: [selection],
    comments,
  });
  return { "scenario.yaml": `# ${comments[0]}\n# ${comments[1]}\n${stringify(document)}` };
}

function named({ label, version: engineVersion }: ProductSelection): {
  readonly engine: string;
  readonly engineVersion: string;
} {
  return { engine: label, engineVersion };
}

type Files = Readonly<Record<string, string | readonly Uint8Array[] | undefined>>;

/** Paths of what was written; `undefined` and empty texts are left out. */
function writeFiles(folder: string, files: Files): readonly string[] {
  const written: string[] = [];
  for (const [name, content] of Object.entries(files)) {
    if (content === undefined || content.length === 0) continue;
    const path = join(folder, name);
    writeFileAtomically(path, typeof content === "string" ? [content] : content);
    written.push(path);
  }
  return written;
}

/** A selection's name as a part of a path. */
function fileName(label: string): string {
  return label.replaceAll(/[^\w.@+=,-]+/g, "_");
}

function capturePieces({ interfaces, records }: ReadCapture): readonly Uint8Array[] {
  return [pcapngHeader(interfaces), ...records.map((record) => pcapngPacket(record))];
}
