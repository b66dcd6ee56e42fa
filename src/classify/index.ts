export { BatchDecider, type DecidedColumns } from "./batch.ts";
export type { ClassifiedCluster, ClassifiedEnd } from "./cluster.ts";
export { countSlice, type SliceCounts } from "./slice.ts";
export { buildVerdictTable, Decision, type TableSize, VerdictTable } from "./table.ts";
