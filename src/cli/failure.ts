/** How a run ends badly: exit codes and what is printed. No stack trace reaches a user unless `--debug`. */
import { readFileSync } from "node:fs";
import { CommanderError } from "commander";
import { formatIssue, InputError, type Issue } from "../base/index.ts";

export const ExitCode = {
  ok: 0,
  /** An expectation failed, a probe did not connect, an unexplained difference was found. */
  failed: 1,
  badInput: 2,
  internal: 3,
  /** As shells report a process ended by SIGINT. */
  interrupted: 130,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Prints an error for people and returns the exit code it means. */
export function reportFailure(error: unknown, debug: boolean): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.badInput;
  if (error instanceof InputError) {
    for (const issue of error.issues)
      process.stderr.write(`podwire: ${formatIssue(issue)}\n${caretFrame(issue)}`);
    if (debug) process.stderr.write(`${error.stack}\n`);
    return ExitCode.badInput;
  }
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`podwire: internal error: ${message}\n`);
  if (debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  else process.stderr.write("podwire: run again with --debug for the place; please report it\n");
  return ExitCode.internal;
}

/** The line with a caret under the column; empty when the place is not known or the file is gone. */
function caretFrame(issue: Issue): string {
  if (issue.file === undefined || issue.line === undefined) return "";
  try {
    const line = readFileSync(issue.file, "utf8").split("\n")[issue.line - 1];
    if (line === undefined) return "";
    // one column a character, and nothing that a terminal would act on
    const text = line.replaceAll("\t", " ").replace(/\p{Cc}/gu, "\ufffd");
    const gutter = `${issue.line} | `;
    const caret = issue.column === undefined ? "" : `${" ".repeat(gutter.length + issue.column - 1)}^\n`;
    return `${gutter}${text.slice(0, 200)}\n${issue.column !== undefined && issue.column <= 200 ? caret : ""}`;
  } catch {
    return "";
  }
}
