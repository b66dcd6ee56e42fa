/** Saved results to text: pure functions, streamed in pieces. */
import type {
  BenchDocument,
  CapacityDocument,
  CompileDocument,
  DiffDocument,
  EnginesDocument,
  FuzzDocument,
  GenerateDocument,
  LiveDocument,
  MatrixDocument,
  ProbeDocument,
  RunDocument,
  TraceDocument,
  VersionDocument,
} from "../harness/index.ts";
import { benchCsv, benchMarkdown, benchText } from "./bench.ts";
import { capacityCsv, capacityMarkdown, capacityText } from "./capacity.ts";
import { diffCsv, diffJunit, diffMarkdown, diffText } from "./diff.ts";
import { enginesCsv, enginesMarkdown, enginesText } from "./engines.ts";
import { compileCsv, compileMarkdown, compileText, generateText, versionText } from "./files.ts";
import { jsonPieces } from "./format.ts";
import { fuzzCsv, fuzzJunit, fuzzMarkdown, fuzzText } from "./fuzz.ts";
import { liveCsv, liveJunit, liveMarkdown, liveText } from "./live.ts";
import { matrixCsv, matrixJsonl, matrixJunit, matrixMarkdown, matrixText } from "./matrix.ts";
import { probeCsv, probeJunit, probeMarkdown, probeText } from "./probe.ts";
import { runCsv, runJunit, runMarkdown, runText } from "./run.ts";
import type { ReportOptions } from "./style.ts";
import { traceCsv, traceJunit, traceMarkdown, traceText } from "./trace.ts";

export { duration, jsonPieces, thousands } from "./format.ts";
export {
  createReplayWriter,
  type ReplayPlace,
  type ReplayWriter,
  replayFormats,
  replayRuleText,
} from "./replay.ts";
export { runResultText } from "./run.ts";
export type { ReportOptions } from "./style.ts";
export { originText } from "./trace.ts";

/** The forms of one document; the formats a command offers are the keys. */
export interface Renderer<D> {
  readonly [format: string]: (document: D, options: ReportOptions) => Iterable<string>;
}

/** What every document has: JSON, and JSON on one line. */
const data = { json: jsonPieces, jsonl: jsonLine };

function* jsonLine(document: object): Iterable<string> {
  yield `${JSON.stringify(document)}\n`;
}

/** Truth tables. JSON lines hold a cell each. */
export const matrixReport: Renderer<MatrixDocument> = {
  ...data,
  text: matrixText,
  jsonl: matrixJsonl,
  junit: matrixJunit,
  csv: matrixCsv,
  md: matrixMarkdown,
};
/** Differences between two truth tables. */
export const diffReport: Renderer<DiffDocument> = {
  ...data,
  text: diffText,
  junit: diffJunit,
  csv: diffCsv,
  md: diffMarkdown,
};
/** Scenario runs. JSON lines hold a run each. */
export const runReport: Renderer<RunDocument> = {
  ...data,
  text: runText,
  jsonl: function* (document) {
    for (const result of document.results) yield* jsonLine(result);
  },
  junit: runJunit,
  csv: runCsv,
  md: runMarkdown,
};
/** A connection's way, rule by rule. */
export const traceReport: Renderer<TraceDocument> = {
  ...data,
  text: traceText,
  junit: traceJunit,
  csv: traceCsv,
  md: traceMarkdown,
};
/** One attempt; as text nothing when it connected. */
export const probeReport: Renderer<ProbeDocument> = {
  ...data,
  text: probeText,
  junit: probeJunit,
  csv: probeCsv,
  md: probeMarkdown,
};
/** What a random search compared, and what it found. */
export const fuzzReport: Renderer<FuzzDocument> = {
  ...data,
  text: fuzzText,
  junit: fuzzJunit,
  csv: fuzzCsv,
  md: fuzzMarkdown,
};
/** A scenario's packets on a real node. */
export const liveReport: Renderer<LiveDocument> = {
  ...data,
  text: liveText,
  junit: liveJunit,
  csv: liveCsv,
  md: liveMarkdown,
};
/** Features and divergences of engines. */
export const enginesReport: Renderer<EnginesDocument> = {
  ...data,
  text: enginesText,
  csv: enginesCsv,
  md: enginesMarkdown,
};
/** Decision rates. */
export const benchReport: Renderer<BenchDocument> = {
  ...data,
  text: benchText,
  csv: benchCsv,
  md: benchMarkdown,
};
/** What tables and agents take, and the limits they meet: as CSV a limit a line. */
export const capacityReport: Renderer<CapacityDocument> = {
  ...data,
  text: capacityText,
  csv: capacityCsv,
  md: capacityMarkdown,
};

/** Files that `compile` wrote. */
export const compileReport: Renderer<CompileDocument> = {
  ...data,
  text: compileText,
  csv: compileCsv,
  md: compileMarkdown,
};
/** Files that `generate` wrote. */
export const generateReport: Renderer<GenerateDocument> = { ...data, text: generateText };
/** podwire's version. */
export const versionReport: Renderer<VersionDocument> = { ...data, text: versionText };
/** A JSON Schema, which has no other form than itself. */
export const schemaReport: Renderer<object> = { ...data, text: jsonPieces };
