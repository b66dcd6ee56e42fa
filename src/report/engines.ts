/**
 * Reports of `engines`: what is emulated, where it is documented to differ from the API, what AKS refuses, and which
 * scenarios show each.
 */
import Table from "cli-table3";
import type { EnginesDocument } from "../harness/index.ts";
import { csvLine, markdownTable } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";

type Product = EnginesDocument["products"][number];

/** Rows of the comparison of products, as AKS's article has them. */
const comparison: readonly (readonly [string, (product: Product) => readonly string[]])[] = [
  ["Platforms", ({ platforms }) => platforms],
  ["Network options", ({ networkOptions }) => networkOptions],
  ["NetworkPolicy", ({ networkPolicy }) => networkPolicy],
  ["Beyond it", ({ beyond }) => (beyond.length === 0 ? ["nothing"] : beyond)],
  ["How it filters", ({ filters }) => filters],
];

export function* enginesText(document: EnginesDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  const [first, width] = [16, Math.max(24, Math.floor(100 / document.products.length))];
  const table = new Table({
    head: ["", ...document.products.map(({ product }) => product)],
    colWidths: [first, ...document.products.map(() => width)],
    wordWrap: true,
    style: { head: [], border: [] },
  });
  for (const [title, cellOf] of comparison)
    table.push([title, ...document.products.map((product) => cellOf(product).join("\n"))]);
  yield `${table.toString()}\n\n`;
  for (const engine of document.engines) yield* engineText(engine, style);
  yield "what AKS refuses (--force emulates it all the same):\n";
  for (const { reason, source, scenarios } of document.refusals)
    yield `  ${reason}\n      ${style.dim(`${source}; ${shownBy(scenarios)}`)}\n`;
  yield "what AKS will not support for ever:\n";
  for (const { what, until, source } of document.retirements)
    yield `  ${what}: until ${until}\n      ${style.dim(source)}\n`;
  for (const note of document.notes) yield `\n${note}\n`;
}

function* engineText(
  engine: EnginesDocument["engines"][number],
  style: ReturnType<typeof styleOf>,
): Iterable<string> {
  yield `${style.strong(engine.name)} (product ${engine.product}): ${engine.filters}\n`;
  yield `  versions ${engine.versions.map((version) => (version === engine.defaultVersion ? `${version} (default)` : version)).join(", ")}\n`;
  for (const { name, values, summary } of engine.switches)
    yield `  +${name}=${values.join("|")}  ${summary}\n`;
  const table = new Table({
    head: ["feature", "support", "note", "scenarios"],
    style: { head: [], border: [], compact: true },
  });
  for (const [feature, { support, note, scenarios }] of Object.entries(engine.features))
    table.push([feature, support, note ?? "", String(scenarios.length)]);
  yield `${table.toString()}\n`;
  yield `  documented differences from the Kubernetes API:\n`;
  for (const { id, cause, source, versions, scenarios } of engine.divergences)
    yield `    ${style.open(id)} (${versions}): ${cause}\n      ${style.dim(`${source}; ${shownBy(scenarios)}`)}\n`;
  yield "\n";
}

/** A few names are enough for people; documents have all. */
function shownBy(scenarios: readonly string[]): string {
  if (scenarios.length === 0) return "no scenario at hand";
  const more = scenarios.length > 2 ? ` and ${scenarios.length - 2} more` : "";
  return `${scenarios.slice(0, 2).join(", ")}${more}`;
}

/** The divergences, a row each. */
export function* enginesCsv(document: EnginesDocument): Iterable<string> {
  yield csvLine(["engine", "divergence", "versions", "cause", "source", "scenarios"]);
  for (const { name, divergences } of document.engines)
    for (const { id, versions, cause, source, scenarios } of divergences)
      yield csvLine([name, id, versions, cause, source, scenarios.join(" ")]);
}

export function* enginesMarkdown(document: EnginesDocument): Iterable<string> {
  const head = ["", ...document.products.map(({ product }) => product)];
  const compared = comparison.map(([title, cellOf]) => [
    title,
    ...document.products.map((product) => cellOf(product).join("; ")),
  ]);
  yield `${markdownTable(head, compared)}\n`;
  for (const { name, product, filters, versions, features, divergences } of document.engines) {
    yield `## ${name}\n\nProduct ${product}: ${filters}. Versions: ${versions.join(", ")}.\n\n`;
    const rows = Object.entries(features).map(([feature, { support, note, scenarios }]) => [
      feature,
      support,
      note ?? "",
      String(scenarios.length),
    ]);
    yield `${markdownTable(["feature", "support", "note", "scenarios"], rows)}\n`;
    const known = divergences.map((one) => [
      one.id,
      one.versions,
      one.cause,
      one.source,
      shownBy(one.scenarios),
    ]);
    yield `${markdownTable(["divergence", "versions", "cause", "source", "scenarios"], known)}\n`;
  }
  const refused = document.refusals.map((one) => [one.id, one.reason, one.source, shownBy(one.scenarios)]);
  yield `## What AKS refuses\n\n${markdownTable(["refusal", "reason", "source", "scenarios"], refused)}\n`;
  const retired = document.retirements.map(({ what, until, source }) => [what, until, source]);
  yield `${markdownTable(["support of", "until", "source"], retired)}\n`;
  for (const note of document.notes) yield `${note}\n`;
}
