/** Reports of diff, run, probe and engines. */
import Table from "cli-table3";
import type {
  BenchDocument,
  CellDocument,
  DiffDocument,
  EnginesDocument,
  ProbeDocument,
  RunDocument,
  RunResultDocument,
} from "../harness/index.ts";
import { csvLine, duration, markdownTable, thousands, xml } from "./format.ts";
import { portText } from "./matrix.ts";
import { type ReportOptions, styleOf } from "./style.ts";

function cellText(cell: Pick<CellDocument, "from" | "to" | "protocol" | "port" | "type" | "family">): string {
  return `${cell.from} -> ${cell.to} ${portText(cell)}`;
}

export function* diffText(document: DiffDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  const [a, b] = document.engines;
  const differing = document.groups.reduce((sum, group) => sum + group.cells, 0);
  yield `${style.strong(a)} and ${style.strong(b)}: ${thousands(differing)} of ${thousands(document.compared)} cells differ`;
  yield `${document.undefined > 0 ? `, ${thousands(document.undefined)} left open by the API` : ""}\n`;
  for (const { divergence, cause, source, cells, witness } of document.groups) {
    const name = divergence === "unexplained" ? style.bad(divergence) : style.open(divergence);
    yield `\n${name}: ${thousands(cells)} cell${cells === 1 ? "" : "s"}\n`;
    if (cause !== undefined) yield `  ${cause}\n  ${style.dim(source ?? "")}\n`;
    yield `  for example ${cellText(witness)}: ${a} says ${witness.a}, ${b} says ${witness.b}\n`;
  }
}

export function* diffCsv(document: DiffDocument): Iterable<string> {
  yield csvLine([
    "divergence",
    "cells",
    "from",
    "to",
    "protocol",
    "port",
    ...document.engines,
    "cause",
    "source",
  ]);
  for (const { divergence, cells, witness, cause, source } of document.groups)
    yield csvLine([
      divergence,
      cells,
      witness.from,
      witness.to,
      witness.protocol,
      witness.port ?? witness.type,
      witness.a,
      witness.b,
      cause,
      source,
    ]);
}

export function* diffMarkdown(document: DiffDocument): Iterable<string> {
  const rows = document.groups.map(({ divergence, cells, cause, witness }) => [
    divergence,
    String(cells),
    cause ?? "",
    `${cellText(witness)}: ${witness.a} / ${witness.b}`,
  ]);
  yield markdownTable(["divergence", "cells", "cause", "example"], rows);
}

export function* runText(document: RunDocument, options: ReportOptions): Iterable<string> {
  for (const result of document.results) yield* runResultText(result, options);
  const style = styleOf(options.color);
  const total = `${document.passed} passed, ${document.failed} failed`;
  yield `${document.failed > 0 ? style.bad(total) : style.good(total)}\n`;
}

export function* runResultText(result: RunResultDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  const word = result.ok ? style.good("ok    ") : style.bad("FAILED");
  yield `${word} ${result.scenario} ${style.dim(`on ${result.engine}, ${duration(result.virtualNs)}, ${thousands(result.packets)} packets`)}\n`;
  for (const step of result.steps) {
    if (step.ok) continue;
    yield `       step ${step.step} ${step.action} (${result.file}${step.line === undefined ? "" : `:${step.line}`})\n`;
    for (const problem of step.problems) yield `         ${problem}\n`;
  }
}

export function* runJunit(document: RunDocument): Iterable<string> {
  yield '<?xml version="1.0" encoding="UTF-8"?>\n';
  yield `<testsuites name="podwire" tests="${document.results.length}" failures="${document.failed}">\n`;
  for (const engine of new Set(document.results.map((result) => result.engine))) {
    const results = document.results.filter((result) => result.engine === engine);
    yield `  <testsuite name="${xml(engine)}" tests="${results.length}" failures="${results.filter((result) => !result.ok).length}">\n`;
    for (const result of results) {
      const head = `    <testcase name="${xml(result.scenario)}" classname="${xml(engine)}" file="${xml(result.file)}" time="${(result.virtualNs / 1e9).toFixed(3)}"`;
      if (result.ok) {
        yield `${head}/>\n`;
        continue;
      }
      const problems = result.steps.flatMap((step) =>
        step.problems.map((problem) => `step ${step.step} ${step.action}: ${problem}`),
      );
      yield `${head}>\n      <failure message="${xml(problems[0] ?? "failed")}">${xml(problems.join("\n"))}</failure>\n    </testcase>\n`;
    }
    yield "  </testsuite>\n";
  }
  yield "</testsuites>\n";
}

export function* runCsv(document: RunDocument): Iterable<string> {
  yield csvLine(["scenario", "engine", "ok", "virtualNs", "packets", "problems"]);
  for (const { scenario, engine, ok, virtualNs, packets, steps } of document.results)
    yield csvLine([
      scenario,
      engine,
      String(ok),
      virtualNs,
      packets,
      steps.flatMap((step) => step.problems).join("; "),
    ]);
}

export function* runMarkdown(document: RunDocument): Iterable<string> {
  const rows = document.results.map(({ scenario, engine, ok, steps }) => [
    scenario,
    engine,
    ok ? "ok" : "**failed**",
    steps.flatMap((step) => step.problems).join("; "),
  ]);
  yield markdownTable(["scenario", "engine", "result", "problems"], rows);
}

/** As `agnhost connect`: nothing when connected. */
export function* probeText(document: ProbeDocument): Iterable<string> {
  if (document.outcome !== "connected") yield `${document.outcome.toUpperCase()}\n`;
}

export function* enginesText(document: EnginesDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  for (const engine of document.engines) {
    yield `${style.strong(engine.name)} (product ${engine.product}): ${engine.filters}\n`;
    yield `  versions ${engine.versions.map((version) => (version === engine.defaultVersion ? `${version} (default)` : version)).join(", ")}\n`;
    for (const { name, values, summary } of engine.switches)
      yield `  +${name}=${values.join("|")}  ${summary}\n`;
    const table = new Table({
      head: ["feature", "support", "note"],
      style: { head: [], border: [], compact: true },
    });
    for (const [feature, { support, note }] of Object.entries(engine.features))
      table.push([feature, support, note ?? ""]);
    yield `${table.toString()}\n`;
    yield `  documented differences from the Kubernetes API:\n`;
    for (const { id, cause, source, versions } of engine.divergences)
      yield `    ${style.open(id)} (${versions}): ${cause}\n      ${style.dim(source)}\n`;
    yield "\n";
  }
}

export function* benchText(document: BenchDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  const { cluster, machine } = document;
  yield `${cluster.profile}: ${thousands(cluster.nodes)} nodes, ${thousands(cluster.pods)} pods, ${thousands(cluster.policies)} policies; seed ${document.seed}\n`;
  yield `${style.dim(`Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores, load ${machine.load.toFixed(1)}; the best of 7 rounds, absolute figures vary with the machine`)}\n`;
  for (const result of document.results) {
    const { engine, path, connections, decisionsPerSecond, nsPerDecision, packets, accepted } = result;
    if (path === "walk" && connections === "new") {
      yield `${style.strong(engine)} (${result.engineVersion}): ${thousands(result.rules)} rules and ${thousands(result.setEntries)} set entries a node, `;
      yield `${mebibytes(result.tableBytes)}, ${mebibytes(result.allTablesBytes)} for all nodes; cluster ${result.buildMs.toFixed(0)} ms, `;
      yield `compile ${result.compileMs.toFixed(0)} ms for all nodes, link ${result.linkMs.toFixed(0)} ms for one\n`;
    }
    const what = path === "walk-traced" ? `${connections} connections, traced` : `${connections} connections`;
    yield `  ${what.padEnd(27)} ${style.good(`${thousands(Math.round(decisionsPerSecond)).padStart(9)} decisions/s`)}, `;
    yield `${thousands(Math.round(nsPerDecision))} ns each (p50 ${thousands(Math.round(result.p50))}, p99 ${thousands(Math.round(result.p99))}); `;
    yield `${accepted} of ${packets} accepted, hash ${result.resultHash}\n`;
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

export function* benchCsv(document: BenchDocument): Iterable<string> {
  yield csvLine([
    "engine",
    "path",
    "connections",
    "decisionsPerSecond",
    "nsPerDecision",
    "p50",
    "p99",
    "buildMs",
    "compileMs",
    "linkMs",
    "rules",
    "setEntries",
    "tableBytes",
    "allTablesBytes",
    "rssBytes",
    "resultHash",
  ]);
  for (const one of document.results)
    yield csvLine([
      one.engine,
      one.path,
      one.connections,
      one.decisionsPerSecond,
      one.nsPerDecision,
      one.p50,
      one.p99,
      one.buildMs,
      one.compileMs,
      one.linkMs,
      one.rules,
      one.setEntries,
      one.tableBytes,
      one.allTablesBytes,
      one.rssBytes,
      one.resultHash,
    ]);
}
