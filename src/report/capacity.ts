/** Reports of `capacity`: of each engine the limits, most used first, and what its worst node holds. */
import Table from "cli-table3";
import type { CapacityDocument } from "../harness/index.ts";
import { csvLine, markdownTable, thousands } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";

type Result = CapacityDocument["results"][number];
type Limit = Result["limits"][number];
type NodeUsage = Result["nodes"][number];

export function* capacityText(document: CapacityDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  const { nodes, pods, namespaces, policies } = document.cluster;
  yield `${thousands(nodes)} nodes, ${thousands(pods)} pods, ${thousands(namespaces)} namespaces, ${thousands(policies)} policies; ${document.processors} processors a node\n`;
  for (const result of document.results) {
    const notes = new Notes();
    yield `\n${style.strong(result.engine)} (${result.engineVersion}): ${verdict(result)}\n`;
    const used = result.limits.filter((limit) => limit.used > 0);
    if (used.length > 0)
      yield `${drawn(
        limitHead,
        used.map((limit) => limitCells(limit, notes)),
      )}\n`;
    for (const node of result.nodes) {
      yield `${node.node}${node.node === result.worstNode ? ", the fullest node" : ""}: ${totals(node)}\n`;
      const rows = usageRows(node, notes);
      if (rows.length > 0) yield `${drawn(usageHead, rows)}\n`;
    }
    for (const [number, source] of notes.list()) yield style.dim(`  [${number}] ${source}\n`);
  }
}

/** A limit a line. */
export function* capacityCsv({ results }: CapacityDocument): Iterable<string> {
  yield csvLine([
    "engine",
    "engineVersion",
    "limit",
    "node",
    "store",
    "used",
    "max",
    "percent",
    "unit",
    "usedEvidence",
    "evidence",
    "source",
  ]);
  for (const { engine, engineVersion, limits } of results)
    for (const { id, where, used, max, percent, unit, usedEvidence, evidence, source } of limits)
      yield csvLine([
        engine,
        engineVersion,
        id,
        where?.node,
        where?.store,
        used,
        max,
        percent,
        unit,
        usedEvidence,
        evidence,
        source,
      ]);
}

export function* capacityMarkdown({ results }: CapacityDocument): Iterable<string> {
  for (const result of results) {
    const notes = new Notes();
    yield `## ${result.engine} (${result.engineVersion})\n\n${verdict(result)}.\n\n`;
    if (result.limits.length > 0)
      yield `${markdownTable(
        limitHead,
        result.limits.map((limit) => limitCells(limit, notes)),
      )}\n`;
    for (const node of result.nodes)
      yield `${node.node}: ${totals(node)}\n\n${markdownTable(usageHead, usageRows(node, notes))}\n`;
    for (const [number, source] of notes.list()) yield `[${number}] ${source}  \n`;
    yield "\n";
  }
}

/** Sources by number: many figures have the same one. */
class Notes {
  readonly #numbers = new Map<string, number>();

  mark(evidence: string, source: string): string {
    let number = this.#numbers.get(source);
    if (number === undefined) {
      number = this.#numbers.size + 1;
      this.#numbers.set(source, number);
    }
    return `${evidence} [${number}]`;
  }

  *list(): Iterable<readonly [number: number, source: string]> {
    for (const [source, number] of this.#numbers) yield [number, source];
  }
}

function verdict({ breaksFirst, limits }: Result): string {
  const first = limits.find(({ id }) => id === breaksFirst?.limit);
  if (breaksFirst === undefined || first === undefined) return "no known limit is used";
  const { atScale } = breaksFirst;
  const when =
    atScale < 1
      ? `past it already, from ${atScale} times this cluster on`
      : `at ${atScale} times this cluster`;
  return `breaks first: ${first.what}, ${when}`;
}

const limitHead = ["limit", "used", "of", "%", "use", "limit is", "past it"];

function limitCells(limit: Limit, notes: Notes): string[] {
  const { id, used, max, percent, unit, usedEvidence, evidence, beyond, source } = limit;
  const amount = unit === "bytes" ? memory : thousands;
  return [id, amount(used), amount(max), `${percent}`, usedEvidence, notes.mark(evidence, source), beyond];
}

const usageHead = ["what", "number", "entries", "memory", "known"];

function usageRows({ stores, agent }: NodeUsage, notes: Notes): string[][] {
  return [
    ...stores.map(({ store, group, count, entries, unit, bytes, evidence, source }) => [
      `${store}: ${group}`,
      thousands(count),
      `${thousands(entries)} ${unit}`,
      bytes === undefined ? "unknown" : memory(bytes),
      evidence === undefined || source === undefined ? "" : notes.mark(evidence, source),
    ]),
    ...agent.map(({ what, bytes, evidence, source }) => [
      `agent: ${what}`,
      "",
      "",
      memory(bytes),
      notes.mark(evidence, source),
    ]),
  ];
}

function totals({ kernelBytes, agentBytes }: NodeUsage): string {
  const kernel = kernelBytes === undefined ? "kernel unknown" : `kernel ${memory(kernelBytes)}`;
  return agentBytes === undefined ? kernel : `${kernel}, agent ${memory(agentBytes)} (inferred)`;
}

function memory(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 2 ** 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function drawn(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({ head: [...head], style: { head: [], border: [], compact: true } });
  for (const row of rows) table.push([...row]);
  return table.toString();
}
