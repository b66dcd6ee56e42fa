/** Truth tables: as grids for people, and as rows for programs. */
import type { CellDocument, EngineMatrix, MatrixDocument } from "../harness/index.ts";
import { csvLine, junit, markdownTable, thousands } from "./format.ts";
import { type ReportOptions, type Style, styleOf } from "./style.ts";

/** More ends than this do not fit a screen: denied cells are listed instead. */
const widestGrid = 24;
const longestList = 200;

export function* matrixText(document: MatrixDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  for (const result of document.results) {
    yield `${style.strong(result.engine)} ${style.dim(`(${result.engineVersion})`)}: ${summary(result)}\n`;
    for (const { severity, message } of result.diagnostics) yield `  ${style.open(severity)}: ${message}\n`;
    const isGrid = document.endpoints.length <= widestGrid && result.classes === undefined;
    yield* isGrid ? grids(document, result, style) : list(result, style);
    yield* legend(result, style);
    yield "\n";
  }
  yield style.dim(
    "rows: from, columns: to;  . allowed  X denied  ? the API leaves it open  \\ the same end\n",
  );
}

function summary(result: EngineMatrix): string {
  const counts = new Map<string, number>();
  for (const cell of result.cells)
    if (!cell.self) counts.set(cell.verdict, (counts.get(cell.verdict) ?? 0) + 1);
  const words = { allow: "allowed", deny: "denied", undefined: "left open", some: "mixed" };
  const said = [...counts].map(
    ([verdict, count]) => `${thousands(count)} ${words[verdict as keyof typeof words]}`,
  );
  const between =
    result.classes === undefined ? "" : ` between ${thousands(result.classes.length)} classes of ends`;
  return `${said.join(", ") || "no cells"}${between}`;
}

const signs = { allow: ".", deny: "X", undefined: "?", some: "~" } as const;

/** One grid for all ports with the same table. */
function* grids(document: MatrixDocument, result: EngineMatrix, style: Style): Iterable<string> {
  const ids = document.endpoints.map((end) => end.id);
  const byPort = new Map<string, Map<string, CellDocument>>();
  for (const cell of result.cells) {
    const port = portText(cell);
    let cells = byPort.get(port);
    if (cells === undefined) {
      cells = new Map();
      byPort.set(port, cells);
    }
    cells.set(`${cell.from}\0${cell.to}`, cell);
  }
  const tables = new Map<
    string,
    { readonly ports: string[]; readonly rows: readonly (readonly string[])[] }
  >();
  for (const [port, cells] of byPort) {
    const rows = ids.map((from) => ids.map((to) => sign(cells.get(`${from}\0${to}`))));
    const key = rows.map((row) => row.join("")).join("/");
    const table = tables.get(key);
    if (table === undefined) tables.set(key, { ports: [port], rows });
    else table.ports.push(port);
  }
  for (const { ports, rows } of tables.values()) {
    yield `\n  ${style.strong(ports.join(", "))}\n`;
    yield* grid(ids, rows, style);
  }
}

function sign(cell: CellDocument | undefined): string {
  if (cell === undefined) return " ";
  return cell.self ? "\\" : signs[cell.verdict];
}

function* grid(ids: readonly string[], rows: readonly (readonly string[])[], style: Style): Iterable<string> {
  const width = Math.max(...ids.map((id) => id.length));
  const number = (i: number): string => String(i + 1).padStart(3);
  yield `  ${" ".repeat(width + 4)}${ids.map((_, i) => number(i)).join("")}\n`;
  for (const [i, id] of ids.entries()) {
    const cells = (rows[i] ?? []).map((text) => paint(text, style)).join("");
    yield `  ${number(i)} ${id.padEnd(width)}${cells}\n`;
  }
}

function paint(text: string, style: Style): string {
  const padded = text.padStart(3);
  if (text === ".") return style.good(padded);
  if (text === "X") return style.bad(padded);
  return text === "?" || text === "~" ? style.open(padded) : style.dim(padded);
}

function* list(result: EngineMatrix, style: Style): Iterable<string> {
  const denied = result.cells.filter((cell) => cell.verdict !== "allow" && !cell.self);
  for (const cell of denied.slice(0, longestList)) {
    const notes = [cell.by, cell.place?.replace("-", " ")].filter((note) => note !== undefined);
    const by = notes.length === 0 ? "" : style.dim(` (${notes.join(", ")})`);
    yield `  ${paint(signs[cell.verdict], style)} ${cell.from} -> ${cell.to} ${portText(cell)}${by}\n`;
  }
  if (denied.length > longestList)
    yield `  ... and ${thousands(denied.length - longestList)} more (-o json or -o csv has all)\n`;
}

/** What the classes hold that have more than one member. */
function* legend({ classes = [] }: EngineMatrix, style: Style): Iterable<string> {
  const merged = classes.filter((one) => one.count > 1);
  for (const { id, count, members } of merged.slice(0, longestList)) {
    const shown = members.slice(0, 3).join(", ");
    yield style.dim(`  ${id}: ${shown}${count > 3 ? ` and ${thousands(count - 3)} more` : ""}\n`);
  }
  if (merged.length > longestList) yield `  ... and ${thousands(merged.length - longestList)} more classes\n`;
}

export function portText(cell: Pick<CellDocument, "protocol" | "port" | "type" | "family">): string {
  const family = cell.family === undefined ? "" : ` IPv${cell.family}`;
  return `${cell.port ?? `type ${cell.type}`}/${cell.protocol}${family}`;
}

export function* matrixCsv(document: MatrixDocument): Iterable<string> {
  yield csvLine(["engine", "from", "to", "protocol", "port", "family", "verdict", "by", "place"]);
  for (const { engine, cells } of document.results)
    for (const { from, to, protocol, port, type, family, verdict, by, place } of cells)
      yield csvLine([engine, from, to, protocol, port ?? type, family, verdict, by, place]);
}

export function* matrixJsonl(document: MatrixDocument): Iterable<string> {
  for (const { engine, cells } of document.results)
    for (const cell of cells) yield `${JSON.stringify({ engine, ...cell })}\n`;
}

export function* matrixMarkdown(document: MatrixDocument): Iterable<string> {
  for (const result of document.results) {
    const ids = (result.classes ?? document.endpoints).map((end) => end.id);
    yield `## ${result.engine} (${result.engineVersion})\n\n${summary(result)}\n\n`;
    const ports = [...new Set(result.cells.map(portText))];
    const cells = new Map(result.cells.map((cell) => [`${cell.from}\0${cell.to}\0${portText(cell)}`, cell]));
    for (const port of ports) {
      const rows = ids.map((from) => [from, ...ids.map((to) => sign(cells.get(`${from}\0${to}\0${port}`)))]);
      yield `### ${port}\n\n${markdownTable(["from \\ to", ...ids], rows)}\n`;
    }
  }
}

/** A case a port, with its counts to read: a truth table expects nothing, so nothing fails. */
export function* matrixJunit(document: MatrixDocument): Iterable<string> {
  yield* junit(
    document.results.map((result) => {
      const ports = [...new Set(result.cells.map(portText))];
      const output = (port: string): string =>
        summary({ ...result, cells: result.cells.filter((cell) => portText(cell) === port) });
      return {
        name: result.engine,
        cases: ports.map((name) => ({ name, problems: [], output: output(name) })),
      };
    }),
  );
}
