export { CompositeDatapath, type DatapathPart } from "./composite.ts";
export {
  type ApplyResult,
  type ClassicInstruction,
  type Datapath,
  type FilterObserver,
  Hook,
  type HookEvent,
  type HookResults,
  hookName,
  type InterfaceAddress,
  type IptablesBackend,
  type LinkContext,
  type NodeFacts,
  type NodeInterface,
  type RuleDescription,
  type TableOp,
} from "./datapath.ts";
export { frontendChain, hostBlock, ownAddresses, type TranslatedFrontend } from "./frontend-chain.ts";
export { createHookResults } from "./results.ts";
export type { Evidence, StoreKind, StoreUsage } from "./usage.ts";
export { RedirectWay, RejectKind, Verdict, verdictName } from "./verdict.ts";
