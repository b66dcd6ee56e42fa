/** Reports of `capture --live`: what a real node let out, held against the emulated one. */
import type { LiveDocument } from "../harness/index.ts";
import { csvLine, junit, markdownTable } from "./format.ts";

type Difference = LiveDocument["differences"][number];

/** First what differs, then what was compared. */
export function* liveText(document: LiveDocument): Iterable<string> {
  for (const one of document.differences) yield `${differenceText(one)}\n`;
  yield `${summary(document)}\n`;
  const left = leftOutTexts(document);
  if (left.length > 0) yield `left out: ${left.join("; ")}\n`;
}

function differenceText({ packet, sent, place, line, kind }: Difference): string {
  const what =
    kind === "missing"
      ? `did not come out at ${place}`
      : `came out at ${place}, which nothing in the emulation does`;
  const cause = packet === undefined ? "" : `\n    packet ${packet}: ${sent}`;
  return `${kind}: ${line} ${what}${cause}`;
}

function summary({ engine, node, packets, sent, expected, differences, interrupted }: LiveDocument): string {
  const whole = interrupted === true ? ` of ${packets} (interrupted)` : "";
  const verdict = differences.length === 0 ? "no difference" : `${differences.length} differences`;
  return `${sent}${whole} packets sent to a real node as ${node} on ${engine}, ${expected} awaited: ${verdict}`;
}

function leftOutTexts({ leftOut }: LiveDocument): readonly string[] {
  const { nodesOwn, noPlace, later, masqueraded } = leftOut;
  const texts: readonly (readonly [number, string])[] = [
    [nodesOwn, "of or for the node itself"],
    [noPlace, "where no place is named"],
    [later, "after the cluster, the engine or the time changed"],
    [masqueraded, "of connections whose source the node rewrites, after their first packet"],
  ];
  return texts.filter(([count]) => count > 0).map(([count, text]) => `${count} packets ${text}`);
}

const columns = ["kind", "packet", "sent", "place", "line"] as const;

export function* liveCsv({ differences }: LiveDocument): Iterable<string> {
  yield csvLine(columns);
  for (const one of differences) yield csvLine(columns.map((column) => one[column] ?? ""));
}

export function* liveMarkdown(document: LiveDocument): Iterable<string> {
  yield `${summary(document)}\n\n`;
  if (document.differences.length === 0) return;
  const rows = document.differences.map((one) => columns.map((column) => String(one[column] ?? "")));
  yield markdownTable(columns, rows);
}

export function* liveJunit(document: LiveDocument): Iterable<string> {
  const { scenario, engine, differences } = document;
  yield* junit([{ name: engine, cases: [{ name: scenario, problems: differences.map(differenceText) }] }]);
}
