/**
 * Reading what the user named: manifest files, directories (recursively, `*.yaml`, `*.yml`, `*.json`, in name order)
 * and `-` for standard input. All files that cannot be read are reported at once.
 */
import { readdirSync, readFileSync, readSync, statSync } from "node:fs";
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
      for (const path of listFiles(name, suffixes)) {
        try {
          files.push(readInput(path));
        } catch (error) {
          issues.push(fileIssue(path, error));
        }
      }
    } catch (error) {
      issues.push(fileIssue(name, error));
    }
  }
  if (issues.length > 0) throw new InputError(issues);
  return files;
}

/** One file, or standard input for `-`. @throws what the file system says; see `fileIssue`. */
export function readInput(name: string): InputFile {
  return name === "-" ? { name: "<stdin>", text: readStdin() } : { name, text: readFileSync(name, "utf8") };
}

export const manifestSuffixes: readonly string[] = [".yaml", ".yml", ".json"];

/** Files below a directory in name order; links to files count, links to directories are not followed. */
function listFiles(name: string, suffixes: readonly string[]): string[] {
  if (name === "-" || !statSync(name).isDirectory()) return [name];
  const paths: string[] = [];
  for (const entry of readdirSync(name, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!suffixes.some((suffix) => entry.name.endsWith(suffix))) continue;
    if (entry.isFile() || (entry.isSymbolicLink() && statSync(path).isFile())) paths.push(path);
  }
  return paths.sort();
}

/** Standard input to its end; waits where the other side of a pipe has nothing yet. */
function readStdin(): string {
  const pieces: Buffer[] = [];
  const buffer = Buffer.alloc(1 << 16);
  for (;;) {
    try {
      const size = readSync(0, buffer);
      if (size === 0) return Buffer.concat(pieces).toString("utf8");
      pieces.push(Buffer.from(buffer.subarray(0, size)));
    } catch (error) {
      if (!isSystemError(error)) throw error;
      if (error.code === "EOF") return Buffer.concat(pieces).toString("utf8");
      if (error.code !== "EAGAIN") throw error;
      pause(5);
    }
  }
}

/** Blocks this thread: for descriptors that are not ready, where all work is synchronous. */
export function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error && typeof error.code === "string";
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EISDIR: "is a directory",
  ENOTDIR: "not a directory",
  EEXIST: "is there already and no directory",
  ENOSPC: "no space left on device",
  EROFS: "read-only file system",
  ELOOP: "too many levels of symbolic links",
  ENAMETOOLONG: "file name too long",
  ERR_STRING_TOO_LONG: "too large to read at once",
};

/** The issue for a failed file operation, in words without a stack; names the path that failed where that is known. */
export function fileIssue(name: string, error: unknown): Issue {
  const code = isSystemError(error) ? (error.code ?? "") : "";
  const failed =
    isSystemError(error) && (error.syscall === "scandir" || error.syscall === "stat")
      ? error.path
      : undefined;
  return {
    code: code === "ENOENT" ? "missing-file" : "unreadable",
    path: "",
    file: failed ?? name,
    message: reasons[code] ?? (error instanceof Error ? error.message : String(error)),
  };
}
