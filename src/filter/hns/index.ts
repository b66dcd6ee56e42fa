export {
  type AclAction,
  type AclAddress,
  type AclConditions,
  type AclDirection,
  type AclPolicy,
  type AclPorts,
  type AclRuleType,
  anyAcl,
  type TierAcl,
  type TierRule,
} from "./acl.ts";
export { AclList, type OrderedAcl } from "./acl-list.ts";
export { HnsDatapath, linkHns } from "./datapath.ts";
export {
  type HnsLoadBalancer,
  type LbDistribution,
  LbFlag,
  LbPortFlag,
  type LbPortMapping,
} from "./load-balancer.ts";
export { type HnsOp, hnsOps } from "./ops.ts";
export { type HnsInput, restoreHns } from "./restore.ts";
export { aclSettings, saveHns } from "./save.ts";
export { HnsSets } from "./sets.ts";
export type { FlowsOnChange, HnsEndpoint, HnsNetwork, HnsTables, SetPolicy } from "./tables.ts";
export { hnsUsage } from "./usage.ts";
