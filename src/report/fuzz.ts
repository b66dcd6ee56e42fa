/** Reports of `fuzz`: what was compared, and what disagrees. */
import type { FuzzDocument, FuzzResultDocument } from "../harness/index.ts";
import { csvLine, junit, markdownTable, thousands } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";

export function* fuzzText(document: FuzzDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  for (const result of document.results) {
    const { finding } = result;
    const word = finding === undefined ? style.good("ok   ") : style.bad("FOUND");
    yield `${word} ${nameOf(document, result)}: ${comparedText(document, result)}\n`;
    for (const line of finding?.lines ?? []) yield `      ${line}\n`;
    for (const file of finding?.files ?? []) yield `      ${style.dim("written:")} ${file}\n`;
    if (finding !== undefined) yield `      ${style.dim("again:")} ${againText(document, result)}\n`;
  }
  if (document.interrupted === true) yield "interrupted: what was compared so far is above\n";
}

function nameOf({ against, level }: FuzzDocument, { engine, backend }: FuzzResultDocument): string {
  const subject = engine ?? (level === "tables" ? "tables" : "");
  const other = against === "engine" ? "" : ` against the ${against}`;
  return `${subject}${other}${backend === undefined ? "" : ` (iptables-${backend})`}`;
}

function comparedText({ level, against, runs }: FuzzDocument, result: FuzzResultDocument): string {
  const what = level === "tables" ? "rule sets" : "clusters";
  const units = level === "tables" ? "packets" : against === "kernel" ? "hops" : "cells";
  const explained =
    result.divergences === undefined || result.divergences.length === 0
      ? ""
      : `; differences explained by ${result.divergences.join(", ")}`;
  const found = result.finding === undefined ? "" : `; the last of them disagrees`;
  return `${thousands(result.runs)} of ${thousands(runs)} ${what}, ${thousands(result.compared)} ${units}${found}${explained}`;
}

/** The command that goes as far and finds the same. */
function againText(
  { level, against, seed }: FuzzDocument,
  { engine, backend, finding }: FuzzResultDocument,
): string {
  return [
    "podwire fuzz",
    ...(level === "tables" ? ["--level tables"] : []),
    ...(engine === undefined ? [] : [`--engine ${engine}`]),
    `--against ${against}`,
    ...(backend === undefined ? [] : [`--backend ${backend}`]),
    `--runs ${(finding?.run ?? 0) + 1} --seed ${seed}`,
  ].join(" ");
}

const columns = ["search", "runs", "compared", "finding", "files"] as const;

function rowOf(document: FuzzDocument, result: FuzzResultDocument): readonly string[] {
  const { runs, compared, finding } = result;
  return [
    nameOf(document, result),
    String(runs),
    String(compared),
    (finding?.lines ?? []).join("; "),
    (finding?.files ?? []).join("; "),
  ];
}

export function* fuzzCsv(document: FuzzDocument): Iterable<string> {
  yield csvLine(columns);
  for (const result of document.results) yield csvLine(rowOf(document, result));
}

export function* fuzzMarkdown(document: FuzzDocument): Iterable<string> {
  yield markdownTable(
    columns,
    document.results.map((result) => [...rowOf(document, result)]),
  );
}

export function* fuzzJunit(document: FuzzDocument): Iterable<string> {
  yield* junit([
    {
      name: `fuzz ${document.level}`,
      cases: document.results.map((result) => ({
        name: nameOf(document, result),
        problems: result.finding?.lines ?? [],
      })),
    },
  ]);
}
