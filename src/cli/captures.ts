/** Capture files from disk, a chunk at a time. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { InputError } from "../base/index.ts";
import { fileIssue } from "./input.ts";

const chunkBytes = 1 << 18;

export interface OpenCapture {
  /** The first bytes of the file. */
  readonly head: Uint8Array;
  readonly sizeBytes: number;
  /** The whole file; each chunk is good until the next. */
  chunks(): Iterable<Uint8Array>;
  readBytes(): number;
  close(): void;
}

/** @throws InputError when the file cannot be opened or read. */
export function openCapture(file: string): OpenCapture {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (error) {
    throw new InputError([fileIssue(file, error)]);
  }
  const read = (buffer: Uint8Array): number => {
    try {
      return readSync(descriptor, buffer, 0, buffer.length, null);
    } catch (error) {
      throw new InputError([fileIssue(file, error)]);
    }
  };
  const first = new Uint8Array(chunkBytes);
  const head = first.subarray(0, read(first));
  let total = head.length;
  return {
    head,
    sizeBytes: Math.max(fstatSync(descriptor).size, total),
    *chunks() {
      if (head.length > 0) yield head;
      const chunk = new Uint8Array(chunkBytes);
      for (let size = read(chunk); size > 0; size = read(chunk)) {
        total += size;
        yield chunk.subarray(0, size);
      }
    },
    readBytes: () => total,
    close: () => closeSync(descriptor),
  };
}
