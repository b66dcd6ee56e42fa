export { emptyTable } from "./apply.ts";
export { IptablesDatapath, linkIptables } from "./datapath.ts";
export { jumpDepthMax, type LinkedRuleset, linkRuleset } from "./link.ts";
export {
  type IpsetRestoreOp,
  type IptablesOp,
  type IptablesRestoreOp,
  type RuleCommand,
  sameRule,
} from "./ops.ts";
export { restoreRuleset } from "./restore.ts";
export {
  type AddrType,
  builtinChains,
  type Chain,
  CtStateBit,
  type IptablesTables,
  type Match,
  type NatRange,
  type Rule,
  type Ruleset,
  type Table,
  type TableName,
  type Target,
} from "./ruleset.ts";
export { matchText, ruleText, type SaveOptions, saveRuleset, targetText } from "./save.ts";
