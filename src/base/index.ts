export { AssertionError, assert, unreachable } from "./assert.ts";
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
