/** Reports of `probe`: one attempt and the hooks that its packets passed. */
import type { ProbeDocument } from "../harness/index.ts";
import { csvLine, junit, markdownTable } from "./format.ts";

/** As `agnhost connect`: nothing when connected. */
export function* probeText(document: ProbeDocument): Iterable<string> {
  if (document.outcome !== "connected") yield `${document.outcome.toUpperCase()}\n`;
}

const columns = ["atNs", "node", "hook", "verdict", "line"] as const;

export function* probeCsv(document: ProbeDocument): Iterable<string> {
  yield csvLine(columns);
  for (const packet of document.packets) yield csvLine(columns.map((column) => packet[column]));
}

export function* probeMarkdown(document: ProbeDocument): Iterable<string> {
  yield `${attemptText(document)}: **${document.outcome}**\n\n`;
  const rows = document.packets.map((packet) => columns.map((column) => String(packet[column])));
  yield markdownTable(columns, rows);
}

export function* probeJunit(document: ProbeDocument): Iterable<string> {
  const { engine, outcome, elapsedNs } = document;
  const problems = outcome === "connected" ? [] : [outcome.toUpperCase()];
  yield* junit([{ name: engine, cases: [{ name: attemptText(document), time: elapsedNs / 1e9, problems }] }]);
}

function attemptText({ from, to, port, protocol }: ProbeDocument): string {
  return `${from} -> ${to} ${port}/${protocol}`;
}
