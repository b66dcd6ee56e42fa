export { AssertionError, assert, unreachable } from "./assert.ts";
export {
  type Bits,
  bitWords,
  emptyBits,
  hasBit,
  hashBits,
  isNoBit,
  join,
  meet,
  sameBits,
  setBit,
  without,
} from "./bitset.ts";
export {
  createExplorer,
  type Exploration,
  type Explorer,
  type ExplorerOptions,
  type Outcome,
} from "./choices.ts";
export { formatIssue, InputError, type Issue, type IssueCode, type Place, usageError } from "./errors.ts";
export type { Origin, OriginRole, SourceRef } from "./origin.ts";
export { createPrng, hashText, type Prng } from "./prng.ts";
export {
  type AddressBlock,
  type AddressMap,
  type AddressTest,
  type DecisionAction,
  type DecisionChain,
  type DecisionRule,
  type HookChain,
  type MarkTest,
  type Questions,
  type ServiceRange,
  type Way,
  waysOfNode,
} from "./questions.ts";
