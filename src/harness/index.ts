export { type BenchOptions, type BenchSetup, measureWalk, prepareBench, walkBatch, type WalkMeasure } from "./bench.ts";
export { captureScenario, type CapturedRun } from "./capture.ts";
export { type ComposeOptions, compileCluster, emulate, type EmulatedCluster } from "./compose.ts";
export { computeDiff, divergencesOf, unexplained } from "./diff.ts";
export type * from "./documents.ts";
export { endAddress, type TableEnd, tableEnds, type TablePort, tablePorts } from "./ends.ts";
export {
  type CellTable,
  computeMatrix,
  createJudge,
  diagnosticText,
  type MatrixOptions,
  type Progress,
  type SelectedCluster,
  type TableCell,
  tableCells,
} from "./matrix.ts";
export { type ClusterArbitraryOptions, clusterObjects, clusterOf } from "./fuzz/arbitraries.ts";
export { type ClusterSize, generateCluster, profileOf, profiles } from "./generate.ts";
export { describeEngines } from "./engines.ts";
export { LiveCluster } from "./live.ts";
export { type NodeFiles, nodeFiles } from "./node-files.ts";
export { createOriginPlacer, type OriginPlacer } from "./places.ts";
export { probeConnection } from "./probe.ts";
export { resolveEnd } from "./resolve-end.ts";
export { engineFor, engineNames, type OracleSelection, parseSelection, parseSelections, type ProductSelection, type Selection } from "./selection.ts";
export { type RunOptions, runScenario } from "./run.ts";
export { traceConnection } from "./trace.ts";
