export type {
  ReplayCounts,
  ReplayDocument,
  ReplayFlowDocument,
  ReplayPacketDocument,
  ReplayRuleDocument,
  ReplaySummaryDocument,
} from "./documents.ts";
export { type DumpPlace, DumpTarget } from "./dump-target.ts";
export { NetworkTarget, type ReplayTarget } from "./network-target.ts";
export { Replayer } from "./replayer.ts";
