/** Reports of `engines`: what is emulated, and where it is documented to differ from the API. */
import Table from "cli-table3";
import type { EnginesDocument } from "../harness/index.ts";
import { csvLine, markdownTable } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";

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

/** The divergences, a row each. */
export function* enginesCsv(document: EnginesDocument): Iterable<string> {
  yield csvLine(["engine", "divergence", "versions", "cause", "source"]);
  for (const { name, divergences } of document.engines)
    for (const { id, versions, cause, source } of divergences)
      yield csvLine([name, id, versions, cause, source]);
}

export function* enginesMarkdown(document: EnginesDocument): Iterable<string> {
  for (const { name, product, filters, versions, features, divergences } of document.engines) {
    yield `## ${name}\n\nProduct ${product}: ${filters}. Versions: ${versions.join(", ")}.\n\n`;
    const rows = Object.entries(features).map(([feature, { support, note }]) => [
      feature,
      support,
      note ?? "",
    ]);
    yield `${markdownTable(["feature", "support", "note"], rows)}\n`;
    const known = divergences.map((one) => [one.id, one.versions, one.cause, one.source]);
    yield `${markdownTable(["divergence", "versions", "cause", "source"], known)}\n`;
  }
}
