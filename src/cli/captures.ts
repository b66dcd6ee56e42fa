/** Captures from files or standard input (`-`), a chunk at a time. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { InputError } from "../base/index.ts";
import { fileIssue } from "./input.ts";

const chunkBytes = 1 << 18;
const stdinName = "<stdin>";

export interface OpenCapture {
  /** For errors. */
  readonly name: string;
  /** Packets may still be on their way: what is known of them should not wait for more. */
  readonly isLive: boolean;
  /** The first bytes of the file. */
  readonly head: Uint8Array;
  /** Infinity where it is not known: standard input. */
  readonly sizeBytes: number;
  /** The whole capture; each chunk is good until the next. */
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  readBytes(): number;
  /** Also ends what waits for the next chunk. */
  close(): void;
}

/** @throws InputError when the capture cannot be opened or read. */
export function openCapture(file: string): Promise<OpenCapture> {
  return file === "-" ? openStandardInput() : Promise.resolve(openFile(file));
}

function openFile(file: string): OpenCapture {
  const attempt = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw new InputError([fileIssue(file, error)]);
    }
  };
  const descriptor = attempt(() => openSync(file, "r"));
  let isOpen = true;
  const close = (): void => {
    if (isOpen) closeSync(descriptor);
    isOpen = false;
  };
  const read = (buffer: Uint8Array): number => attempt(() => readSync(descriptor, buffer));
  const first = new Uint8Array(chunkBytes);
  let total = 0;
  try {
    total = read(first);
  } catch (error) {
    close();
    throw error;
  }
  const head = first.subarray(0, total);
  return {
    name: file,
    isLive: false,
    head,
    sizeBytes: Math.max(fstatSync(descriptor).size, total),
    *chunks() {
      if (head.length > 0) yield head;
      const chunk = new Uint8Array(chunkBytes);
      while (isOpen) {
        const size = read(chunk);
        if (size === 0) return;
        total += size;
        yield chunk.subarray(0, size);
      }
    },
    readBytes: () => total,
    close,
  };
}

/** Waits where the other side of a pipe has nothing yet; `close` ends the waiting. */
async function openStandardInput(): Promise<OpenCapture> {
  const { stdin } = process;
  const source = stdin[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let isClosed = false;
  let total = 0;
  const next = async (): Promise<Uint8Array | undefined> => {
    try {
      const { value, done } = await source.next();
      if (done === true) return undefined;
      total += value.length;
      return value;
    } catch (error) {
      if (isClosed) return undefined;
      throw new InputError([fileIssue(stdinName, error)]);
    }
  };
  const head = await next();
  return {
    name: stdinName,
    isLive: true,
    head: head ?? new Uint8Array(0),
    sizeBytes: Number.POSITIVE_INFINITY,
    async *chunks() {
      for (let chunk = head; chunk !== undefined; chunk = await next()) yield chunk;
    },
    readBytes: () => total,
    close() {
      isClosed = true;
      stdin.destroy();
    },
  };
}
