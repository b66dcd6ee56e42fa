/** Captures from files or standard input (`-`), a chunk at a time. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { InputError } from "../base/index.ts";
import { fileIssue, isSystemError, pause } from "./input.ts";

const chunkBytes = 1 << 18;

export interface OpenCapture {
  /** The first bytes of the file. */
  readonly head: Uint8Array;
  /** Infinity where it is not known: standard input. */
  readonly sizeBytes: number;
  /** The whole file; each chunk is good until the next. */
  chunks(): Iterable<Uint8Array>;
  readBytes(): number;
  close(): void;
}

/** @throws InputError when the file cannot be opened or read. */
export function openCapture(file: string): OpenCapture {
  const isPipe = file === "-";
  let descriptor = 0;
  try {
    if (!isPipe) descriptor = openSync(file, "r");
  } catch (error) {
    throw new InputError([fileIssue(file, error)]);
  }
  const read = (buffer: Uint8Array): number => {
    for (;;) {
      try {
        return readSync(descriptor, buffer, 0, buffer.length, null);
      } catch (error) {
        const code = isSystemError(error) ? error.code : undefined;
        if (isPipe && code === "EOF") return 0;
        if (!isPipe || code !== "EAGAIN") throw new InputError([fileIssue(file, error)]);
        pause(5); // nothing has come yet
      }
    }
  };
  const first = new Uint8Array(chunkBytes);
  const head = first.subarray(0, read(first));
  let total = head.length;
  return {
    head,
    sizeBytes: isPipe ? Number.POSITIVE_INFINITY : Math.max(fstatSync(descriptor).size, total),
    *chunks() {
      if (head.length > 0) yield head;
      const chunk = new Uint8Array(chunkBytes);
      for (let size = read(chunk); size > 0; size = read(chunk)) {
        total += size;
        yield chunk.subarray(0, size);
      }
    },
    readBytes: () => total,
    close: () => {
      if (!isPipe) closeSync(descriptor);
    },
  };
}
