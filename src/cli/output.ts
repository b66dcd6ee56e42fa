/**
 * Where results go: standard output or files. Files are written beside their final name and renamed, so that nobody
 * ever reads half of one.
 */
import { closeSync, mkdirSync, openSync, renameSync, statSync, unlinkSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { InputError, usageError } from "../base/index.ts";
import { fileIssue, isSystemError, pause } from "./input.ts";

export type Format = "text" | "json" | "jsonl" | "junit" | "md" | "csv";

export const formats: readonly Format[] = ["text", "json", "jsonl", "junit", "md", "csv"];

export interface OutputTarget {
  readonly format: Format;
  /** `undefined`: standard output. */
  readonly file: string | undefined;
}

/** Parses `fmt` or `fmt=file`, repeatable; at most one may go to standard output. */
export function parseOutputs(values: readonly string[], allowed: readonly Format[]): readonly OutputTarget[] {
  if (values.length === 0) return [{ format: "text", file: undefined }];
  const targets = values.map((value): OutputTarget => {
    const equals = value.indexOf("=");
    const name = equals < 0 ? value : value.slice(0, equals);
    const format = allowed.find((f) => f === name);
    if (format === undefined)
      throw usageError(`unknown output format ${name}; known here: ${allowed.join(", ")}`);
    const file = equals < 0 ? undefined : value.slice(equals + 1);
    if (file === "") throw usageError(`no file named in --output ${value}`);
    return { format, file };
  });
  if (targets.filter((target) => target.file === undefined).length > 1)
    throw usageError("only one --output can go to standard output; give the others a file: fmt=FILE");
  return targets;
}

/** Writes the pieces to the target. @throws InputError when the file cannot be written. */
export function writeOutput(target: OutputTarget, pieces: Iterable<string | Uint8Array>): void {
  if (target.file === undefined) {
    for (const piece of inBlocks(pieces)) writeAll(1, piece);
    return;
  }
  writeFileAtomically(target.file, pieces);
}

/**
 * Writes to a temporary name in the same directory, then renames. Directories are made as needed.
 * @throws InputError when the file cannot be written; nothing is left behind then.
 */
export function writeFileAtomically(file: string, pieces: Iterable<string | Uint8Array>): void {
  const temporary = `${file}.${process.pid}.tmp`;
  let descriptor: number | undefined;
  let isThere = false;
  try {
    makeFolder(dirname(file));
    descriptor = openSync(temporary, "w");
    isThere = true;
    for (const piece of inBlocks(pieces)) writeAll(descriptor, piece);
    closeSync(descriptor);
    descriptor = undefined;
    renameSync(temporary, file);
  } catch (error) {
    if (descriptor !== undefined) closeSync(descriptor);
    if (isThere) unlinkSync(temporary);
    if (error instanceof InputError || !isSystemError(error)) throw error;
    throw new InputError([fileIssue(file, error)]);
  }
}

/**
 * As `mkdir -p`. Not `recursive: true`: below a directory that takes none (`/proc`), where mkdir answers ENOENT though
 * the parent is there, Node 20 tries for ever.
 */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    const code = isSystemError(error) ? error.code : undefined;
    if (code === "EEXIST" || code === "EISDIR") {
      if (!statSync(folder).isDirectory()) throw error;
      return;
    }
    const parent = dirname(folder);
    if (code !== "ENOENT" || parent === folder || statSync(parent, { throwIfNoEntry: false }) !== undefined)
      throw error;
    makeFolder(parent);
    mkdirSync(folder);
  }
}

/** A target that is written while the work goes on. */
export interface OpenOutput {
  write(piece: string | Uint8Array): void;
  /** What was written so far is there for readers. */
  flush(): void;
  /** The file gets its name. */
  close(): void;
  /** Nothing is left behind. */
  abandon(): void;
}

/** As `writeOutput`, piece by piece. @throws InputError when the file cannot be written, and from then on. */
export function openOutput({ file }: Pick<OutputTarget, "file">): OpenOutput {
  if (file === undefined) {
    const { write, flush } = blockWriter(1);
    return { write, flush, close: flush, abandon() {} };
  }
  const temporary = `${file}.${process.pid}.tmp`;
  let failure: InputError | undefined;
  const attempt = <T>(action: () => T): T => {
    if (failure !== undefined) throw failure; // a piece is missing
    try {
      return action();
    } catch (error) {
      if (!isSystemError(error)) throw error;
      failure = new InputError([fileIssue(file, error)]);
      throw failure;
    }
  };
  const descriptor = attempt(() => {
    makeFolder(dirname(file));
    return openSync(temporary, "w");
  });
  if (unfinished.size === 0) process.once("exit", removeUnfinished);
  unfinished.add(temporary);
  const blocks = blockWriter(descriptor);
  let isOpen = true;
  return {
    write: (piece) => attempt(() => blocks.write(piece)),
    flush: () => attempt(blocks.flush),
    close: () =>
      attempt(() => {
        blocks.flush();
        closeSync(descriptor);
        isOpen = false;
        renameSync(temporary, file);
        unfinished.delete(temporary);
      }),
    abandon() {
      if (!isOpen) return;
      isOpen = false;
      closeSync(descriptor);
      unlinkSync(temporary);
      unfinished.delete(temporary);
    },
  };
}

/** Temporary names in use: a process that exits in the midst of its work (a closed pipe, a second Ctrl-C) leaves none. */
const unfinished = new Set<string>();

function removeUnfinished(): void {
  for (const file of unfinished) unlinkSync(file);
}

/** Gathers small pieces, as `inBlocks` does. */
function blockWriter(descriptor: number): Pick<OpenOutput, "write" | "flush"> {
  let texts = "";
  let parts: Uint8Array[] = [];
  let size = 0;
  const flush = (): void => {
    if (texts !== "") writeAll(descriptor, texts);
    if (size > 0) writeAll(descriptor, Buffer.concat(parts));
    texts = "";
    parts = [];
    size = 0;
  };
  return {
    write(piece) {
      if (typeof piece === "string") {
        if (size > 0) flush();
        texts += piece;
      } else {
        if (texts !== "") flush();
        parts.push(piece);
        size += piece.length;
      }
      if (texts.length + size >= blockCharacters) flush();
    },
    flush,
  };
}

const blockCharacters = 1 << 16;

/** Small texts together: a document comes in a piece a value, and a system call each would cost more than the value. */
function* inBlocks(pieces: Iterable<string | Uint8Array>): Iterable<string | Uint8Array> {
  let block = "";
  for (const piece of pieces) {
    if (typeof piece === "string") {
      block += piece;
      if (block.length < blockCharacters) continue;
    }
    if (block !== "") yield block;
    block = "";
    if (typeof piece !== "string") yield piece;
  }
  if (block !== "") yield block;
}

/** Writes a whole piece, waiting when a pipe is full. */
function writeAll(descriptor: number, piece: string | Uint8Array): void {
  const bytes = typeof piece === "string" ? Buffer.from(piece) : piece;
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(descriptor, bytes, written);
    } catch (error) {
      const code = isSystemError(error) ? error.code : "";
      if (code === "EPIPE") process.exit(0); // the reader has seen enough (`| head`)
      if (code !== "EAGAIN") throw error;
      pause(5);
    }
  }
}
