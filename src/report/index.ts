/** Saved results to text: pure functions, streamed in pieces. */
import type {
  BenchDocument,
  DiffDocument,
  EnginesDocument,
  MatrixDocument,
  ProbeDocument,
  RunDocument,
  TraceDocument,
} from "../harness/index.ts";
import { jsonPieces } from "./format.ts";
import { matrixCsv, matrixJsonl, matrixMarkdown, matrixText } from "./matrix.ts";
import {
  benchCsv,
  benchText,
  diffCsv,
  diffMarkdown,
  diffText,
  enginesText,
  probeText,
  runCsv,
  runJunit,
  runMarkdown,
  runText,
} from "./results.ts";
import type { ReportOptions } from "./style.ts";
import { traceText } from "./trace.ts";

export { duration, jsonPieces, thousands } from "./format.ts";
export { runResultText } from "./results.ts";
export type { ReportOptions } from "./style.ts";
export { originText } from "./trace.ts";

type Renderer<D> = { readonly [format: string]: (document: D, options: ReportOptions) => Iterable<string> };

function* jsonLine(document: object): Iterable<string> {
  yield `${JSON.stringify(document)}\n`;
}

/** Renderers by format; the formats a command offers are the keys of its renderer. */
export const matrixReport: Renderer<MatrixDocument> = {
  text: matrixText,
  json: jsonPieces,
  jsonl: matrixJsonl,
  csv: matrixCsv,
  md: matrixMarkdown,
};
export const diffReport: Renderer<DiffDocument> = {
  text: diffText,
  json: jsonPieces,
  jsonl: jsonLine,
  csv: diffCsv,
  md: diffMarkdown,
};
export const runReport: Renderer<RunDocument> = {
  text: runText,
  json: jsonPieces,
  jsonl: function* (document) {
    for (const result of document.results) yield* jsonLine(result);
  },
  junit: runJunit,
  csv: runCsv,
  md: runMarkdown,
};
export const traceReport: Renderer<TraceDocument> = { text: traceText, json: jsonPieces, jsonl: jsonLine };
export const probeReport: Renderer<ProbeDocument> = { text: probeText, json: jsonPieces, jsonl: jsonLine };
export const enginesReport: Renderer<EnginesDocument> = {
  text: enginesText,
  json: jsonPieces,
  jsonl: jsonLine,
};
export const benchReport: Renderer<BenchDocument> = {
  text: benchText,
  json: jsonPieces,
  jsonl: jsonLine,
  csv: benchCsv,
};
