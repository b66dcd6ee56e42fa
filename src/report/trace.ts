/** The packet's way as a tree. */
import type { TraceDocument, TraceEntryDocument, TraceOriginDocument } from "../harness/index.ts";
import { csvLine, junit, markdownTable } from "./format.ts";
import { type ReportOptions, type Style, styleOf } from "./style.ts";

export function* traceText(document: TraceDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  const { from, to, port, protocol, engine, engineVersion } = document;
  yield `${style.strong(`${from} -> ${to} ${port}/${protocol}`)} on ${engine} (${engineVersion}): ${verdictText(document, style)}\n`;
  for (const packet of document.packets) {
    yield `\n${packet.direction === "request" ? ">" : "<"} ${packet.line}\n`;
    for (const [i, hook] of packet.hooks.entries()) {
      if (hook.node !== packet.hooks[i - 1]?.node) yield `  ${style.strong(hook.node)}\n`;
      yield `    ${hook.hook}: ${hook.verdict === "accept" ? style.good(hook.verdict) : style.bad(hook.verdict)}\n`;
      for (const entry of packet.entries)
        if (entry.node === hook.node && entry.hook === hook.hook) yield* entryLines(entry, style);
    }
    const where = packet.at === undefined ? "" : ` on ${packet.at}`;
    yield `  ${packet.disposition === "delivered" ? style.good("delivered") : style.bad(packet.disposition)}${where}\n`;
  }
  for (const origin of document.deniedBecause ?? []) yield `\ndenied because of ${originText(origin)}`;
  if (document.deniedBecause !== undefined) yield "\n";
  yield `\nthe Kubernetes API says: ${document.oracle.verdict}\n`;
  for (const line of document.oracle.explanation) yield `  ${line}\n`;
}

function verdictText(document: TraceDocument, style: Style): string {
  if (document.verdict === "allow") return style.good("allowed");
  return style.bad(document.by === undefined ? "denied" : `denied (${document.by})`);
}

function* entryLines(entry: TraceEntryDocument, style: Style): Iterable<string> {
  const indent = "      ".concat("  ".repeat(entry.depth));
  const number = entry.rule === 0 ? "policy" : `#${entry.rule}`;
  const mark = entry.decided ? style.bad("=>") : entry.matched ? "  " : style.dim("~ ");
  const text = `${entry.table}/${entry.chain} ${number}  ${entry.text}`;
  yield `${indent}${mark} ${entry.matched ? text : style.dim(text)}\n`;
  if (entry.why !== undefined) yield `${indent}     ${style.open(`nearest miss: ${entry.why}`)}\n`;
  for (const origin of originsOf(entry)) yield `${indent}     ${style.dim(originText(origin))}\n`;
}

/** Those that a manifest's line is known of. */
function originsOf({ origin, furtherOrigins = [] }: TraceEntryDocument): readonly TraceOriginDocument[] {
  return (origin === undefined ? [] : [origin, ...furtherOrigins]).filter(({ file }) => file !== undefined);
}

export function originText(origin: TraceOriginDocument): string {
  const place =
    origin.file === undefined
      ? ""
      : ` at ${origin.file}${origin.line === undefined ? "" : `:${origin.line}`}`;
  return `${origin.policy ?? ""}${origin.path === undefined ? "" : ` ${origin.path}`}${place}`;
}

const columns = [
  "packet",
  "node",
  "hook",
  "table",
  "chain",
  "rule",
  "matched",
  "text",
  "why",
  "origin",
] as const;

function rowsOf(document: TraceDocument): readonly (readonly string[])[] {
  return document.packets.flatMap(({ direction, entries }) =>
    entries.map((entry) => [
      direction,
      entry.node,
      entry.hook,
      entry.table,
      entry.chain,
      String(entry.rule),
      String(entry.matched),
      entry.text,
      entry.why ?? "",
      originsOf(entry).map(originText).join("; "),
    ]),
  );
}

export function* traceCsv(document: TraceDocument): Iterable<string> {
  yield csvLine(columns);
  for (const row of rowsOf(document)) yield csvLine(row);
}

export function* traceMarkdown(document: TraceDocument): Iterable<string> {
  yield `${connectionText(document)} on ${document.engine} (${document.engineVersion}): **${document.verdict}**\n\n`;
  yield markdownTable(columns, rowsOf(document));
  for (const origin of document.deniedBecause ?? []) yield `\nDenied because of ${originText(origin)}.\n`;
}

export function* traceJunit(document: TraceDocument): Iterable<string> {
  const because = (document.deniedBecause ?? []).map((origin) => `denied because of ${originText(origin)}`);
  const denied =
    because.length > 0 ? because : [`denied${document.by === undefined ? "" : ` (${document.by})`}`];
  const problems = document.verdict === "allow" ? [] : denied;
  yield* junit([{ name: document.engine, cases: [{ name: connectionText(document), problems }] }]);
}

function connectionText({ from, to, port, protocol }: TraceDocument): string {
  return `${from} -> ${to} ${port}/${protocol}`;
}
