/** Reports of `bench`. */
import type { BenchDocument } from "../harness/index.ts";
import { csvLine, markdownTable, thousands } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";

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

const columns = [
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
] as const;

export function* benchCsv(document: BenchDocument): Iterable<string> {
  yield csvLine(columns);
  for (const result of document.results) yield csvLine(columns.map((column) => result[column]));
}

export function* benchMarkdown(document: BenchDocument): Iterable<string> {
  const rows = document.results.map((result) => columns.map((column) => String(result[column])));
  yield markdownTable(columns, rows);
}
