/**
 * Errors of a person's input as data: a closed code, a field path, a place, then prose.
 * All problems of one input are reported at once. Programmer errors use `assert`; strange packets are data
 * (`DecodeStatus`); what an engine cannot express is a `Diagnostic` of that engine.
 */

/** What kind of mistake an issue is; a closed list. */
export type IssueCode =
  | "missing-file"
  | "unreadable"
  | "syntax"
  | "invalid"
  | "required"
  | "forbidden"
  | "not-supported"
  | "duplicate"
  | "unknown-name"
  | "refused"
  | "too-large"
  | "usage";

/** Where something stands in an input. `line` and `column` count from 1, `offset` (bytes) from 0. */
export interface Place {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  readonly offset?: number;
}

/** One problem of an input, with its place. */
export interface Issue extends Place {
  readonly code: IssueCode;
  /** Field path in the API server's form (`spec.ingress[0].from[1].ipBlock.cidr`), or `""`. */
  readonly path: string;
  readonly message: string;
}

/** Bad input by a person; carries every problem found. The CLI prints each with its place and exits with 2. */
export class InputError extends Error {
  override readonly name = "InputError";
  readonly issues: readonly Issue[];
  constructor(issues: readonly Issue[]) {
    super(issues.map(formatIssue).join("\n"));
    this.issues = issues;
  }
}

/** `file:line:column: path: message`, leaving out what is not known. */
export function formatIssue(issue: Issue): string {
  let place = issue.file ?? "";
  if (issue.line !== undefined) place += `${place ? ":" : "line "}${issue.line}`;
  if (issue.line !== undefined && issue.column !== undefined) place += `:${issue.column}`;
  if (issue.line === undefined && issue.offset !== undefined)
    place += `${place ? ":" : ""}byte ${issue.offset}`;
  const path = issue.path ? `${issue.path}: ` : "";
  return `${place ? `${place}: ` : ""}${path}${issue.message}`;
}

/** Shorthand for an error about the command line or an API argument. */
export function usageError(message: string): InputError {
  return new InputError([{ code: "usage", path: "", message }]);
}
