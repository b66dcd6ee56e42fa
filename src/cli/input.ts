/**
 * Reading what the user named: manifest files, directories (recursively, `*.yaml`, `*.yml`, `*.json`, in name order)
 * and `-` for standard input. All files that cannot be read are reported at once.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { InputError, type Issue } from "../base/index.ts";

export interface InputFile {
  readonly name: string;
  readonly text: string;
}

/** @throws InputError with code `missing-file` or `unreadable` for each name that cannot be read. */
export function readInputs(
  names: readonly string[],
  suffixes: readonly string[] = manifestSuffixes,
): InputFile[] {
  const issues: Issue[] = [];
  const files: InputFile[] = [];
  for (const name of names) {
    try {
      for (const path of listFiles(name, suffixes))
        files.push({
          name: path === "-" ? "<stdin>" : path,
          text: readFileSync(path === "-" ? 0 : path, "utf8"),
        });
    } catch (error) {
      issues.push(fileIssue(name, error));
    }
  }
  if (issues.length > 0) throw new InputError(issues);
  return files;
}

export const manifestSuffixes: readonly string[] = [".yaml", ".yml", ".json"];

function listFiles(name: string, suffixes: readonly string[]): string[] {
  if (name === "-" || !statSync(name).isDirectory()) return [name];
  const paths: string[] = [];
  for (const entry of readdirSync(name, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && suffixes.some((suffix) => entry.name.endsWith(suffix))) paths.push(path);
  }
  return paths.sort();
}

/** The issue for a failed file operation, in words without a stack. */
export function fileIssue(name: string, error: unknown): Issue {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOENT")
    return { code: "missing-file", path: "", file: name, message: "no such file or directory" };
  const reasons: Readonly<Record<string, string>> = {
    EACCES: "permission denied",
    EISDIR: "is a directory",
    ENOTDIR: "not a directory",
    ENOSPC: "no space left on device",
  };
  return {
    code: "unreadable",
    path: "",
    file: name,
    message: reasons[code] ?? (error instanceof Error ? error.message : String(error)),
  };
}
