export type {
  ReplayCounts,
  ReplayDocument,
  ReplayFlowDocument,
  ReplayLookupDocument,
  ReplayPacketDocument,
  ReplayRuleDocument,
  ReplaySummaryDocument,
} from "./documents.ts";
export { type DumpPlace, DumpTarget } from "./dump-target.ts";
export { NetworkTarget } from "./network-target.ts";
export { type DumpedNode, type NodeTexts, readDumpedNode } from "./node-facts.ts";
export { type PacketJudgement, Replayer, type ReplayerOptions } from "./replayer.ts";
export type { ReplayTarget } from "./target.ts";
