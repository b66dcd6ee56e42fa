export { vendorKinds } from "../engine/registry.ts";
export { type Assertions, assertionsOf } from "./assertions.ts";
export { commonFamily, connectionAttempt, connectionBetween } from "./attempt.ts";
export {
  type BenchCase,
  type BenchOptions,
  type BenchSetup,
  benchCases,
  measureWalks,
  prepareBench,
  type WalkMeasure,
  walkRows,
} from "./bench.ts";
export {
  type DecideMeasure,
  type DecideOptions,
  type DecidePath,
  measureDecisions,
  type TableMeasure,
} from "./bench-decide.ts";
export {
  type BpfFile,
  type BpfFileProgram,
  checkInstructions,
  mapShapes,
  pickProgram,
  programTypeWords,
  readBpfFile,
} from "./bpf-file.ts";
export { type CapacityOptions, capacityProcessors, computeCapacity } from "./capacity.ts";
export { type CapturedRun, captureOf, captureScenario } from "./capture.ts";
export { type CellTable, type TableCell, tableCells } from "./cell-table.ts";
export { type ComposeOptions, compileCluster, type EmulatedCluster, emulate } from "./compose.ts";
export { computeDiff, divergencesOf, unexplained } from "./diff.ts";
export { documentJsonSchemas, documentNames } from "./document-schemas.ts";
export type * from "./documents.ts";
export { type DumpText, type DumpTexts, dumpFiles, readDump } from "./dump.ts";
export {
  endAddress,
  isSource,
  type SourceEnd,
  type TableEnd,
  type TablePort,
  tableEnds,
  tablePorts,
} from "./ends.ts";
export { describeEngines } from "./engines.ts";
export { type ClusterArbitraryOptions, clusterObjects, clusterOf } from "./fuzz/arbitraries.ts";
export { type CiliumArbitraryOptions, ciliumObjects } from "./fuzz/cilium-arbitraries.ts";
export {
  type CellDisagreement,
  type ClusterComparison,
  compareSides,
  compareWithOracle,
  type EngineCluster,
} from "./fuzz/cluster-comparison.ts";
export {
  type ClusterFinding,
  type ClusterSearchOptions,
  type ClusterSearchResult,
  type ComparedCluster,
  searchClusters,
} from "./fuzz/clusters.ts";
export { hasName, type WitnessScenario, type WitnessWords, witnessScenario } from "./fuzz/witness.ts";
export { clusterSize, generateCluster, generateObjects } from "./generate.ts";
export { LiveCluster } from "./live.ts";
export { manifestYaml } from "./manifest-yaml.ts";
export {
  computeMatrix,
  createJudge,
  diagnosticDocument,
  diagnosticText,
  type MatrixOptions,
  type Progress,
} from "./matrix.ts";
export type { LiveDocument } from "./netns/index.ts";
export { type NodeFiles, nodeFiles } from "./node-files.ts";
export { createOriginPlacer, type OriginPlacer } from "./places.ts";
export { probeConnection } from "./probe.ts";
export { type ClusterSize, type Profile, profileOf, profiles } from "./profiles.ts";
export {
  type AttachableProgram,
  attachableProgram,
  isListing,
  type NodeFolder,
  type ProgramFiles,
  programSelection,
} from "./program-source.ts";
export {
  type DumpedNode,
  type DumpPlace,
  DumpTarget,
  NetworkTarget,
  type NodeTexts,
  type PacketJudgement,
  type ReplayCounts,
  type ReplayDocument,
  Replayer,
  type ReplayerOptions,
  type ReplayFlowDocument,
  type ReplayLookupDocument,
  type ReplayPacketDocument,
  type ReplayRuleDocument,
  type ReplaySummaryDocument,
  type ReplayTarget,
  readDumpedNode,
} from "./replay/index.ts";
export { resolveEnd, resolveSource } from "./resolve-end.ts";
export { interleavedRounds, quantile, type RoundsMeasure, type RoundsOptions } from "./rounds.ts";
export { type RunOptions, runScenario } from "./run.ts";
export { type SelectedCluster, selectedCluster } from "./selected-cluster.ts";
export {
  type ExternalEngine,
  engineFor,
  engineNames,
  engineOf,
  isEngine,
  type OracleSelection,
  type ProductSelection,
  parseSelection,
  parseSelections,
  type Selection,
  selectEngine,
} from "./selection.ts";
export { retainedBytes } from "./table-bytes.ts";
export { traceConnection } from "./trace.ts";
export {
  createTrafficColumns,
  Traffic,
  type TrafficColumns,
  type TrafficOptions,
  type TrafficShape,
  trafficShapes,
} from "./traffic.ts";
