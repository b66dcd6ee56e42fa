export { emptyTable } from "./apply.ts";
export { RuleCounters } from "./counters.ts";
export { IptablesDatapath, linkIptables } from "./datapath.ts";
export { jumpDepthMax, type LinkedRuleset, linkRuleset } from "./link.ts";
export type { AddrType, Match, MatchOf } from "./match.ts";
export { CtStateBit } from "./match.ts";
export {
  type IpsetRestoreOp,
  type IptablesOp,
  type IptablesRestoreOp,
  type RuleCommand,
  sameRule,
} from "./ops.ts";
export { restoreRuleset } from "./restore.ts";
export {
  builtinChains,
  type Chain,
  type IptablesTables,
  type Rule,
  type Ruleset,
  type Table,
  type TableName,
} from "./ruleset.ts";
export { matchText, ruleText, type SaveOptions, saveRuleset, targetText } from "./save.ts";
export type { NatRange, Target } from "./target.ts";
export { iptablesUsage, tableSize } from "./usage.ts";
