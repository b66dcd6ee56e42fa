/** Reports of `diff`: groups of differing cells, by the divergence that explains them. */
import type { CellDocument, DiffDocument } from "../harness/index.ts";
import { csvLine, junit, markdownTable, thousands } from "./format.ts";
import { portText } from "./matrix.ts";
import { type ReportOptions, styleOf } from "./style.ts";

const unexplained = "unexplained";

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
    const name = divergence === unexplained ? style.bad(divergence) : style.open(divergence);
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

/** A case a group: an unexplained one fails. */
export function* diffJunit({ engines: [a, b], compared, groups }: DiffDocument): Iterable<string> {
  const cases = groups.map(({ divergence, cells, cause, witness }) => {
    const example = `${cellText(witness)}: ${a} says ${witness.a}, ${b} says ${witness.b}`;
    const said = `${thousands(cells)} of ${thousands(compared)} cells, for example ${example}`;
    return divergence === unexplained
      ? { name: divergence, problems: [said] }
      : { name: divergence, problems: [], output: `${cause ?? ""}\n${said}` };
  });
  // nothing differs: the comparison itself is what passed
  const agreed = { name: `${thousands(compared)} cells agree`, problems: [] };
  yield* junit([{ name: `${a} and ${b}`, cases: cases.length > 0 ? cases : [agreed] }]);
}
