/** What the two file formats share: the packet object that is filled again and again, and errors with their offset. */
import { InputError, type IssueCode } from "../base/index.ts";
import type { CapturedPacket } from "./record.ts";

/** A format's own part of reading: takes complete records from `bytes[start..end)` and says where it stopped. */
export interface FormatReader {
  /** `offset` is that of `bytes[start]` in the file. Returns the end of the last complete record. */
  consume(bytes: Uint8Array, start: number, end: number, offset: number): number;
  /** Called where the file ends `size` bytes into a record that begins at `offset`. */
  cut(offset: number, size: number): InputError;
}

/** Largest record that is read: that of Wireshark (wiretap/pcapng.c, MAX_BLOCK_SIZE). */
export const recordBytesMax: number = 16 * 1024 * 1024;

export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function emptyPacket(): Mutable<CapturedPacket> {
  return {
    interfaceIndex: 0,
    linkType: 0,
    seconds: 0,
    nanoseconds: 0,
    bytes: new Uint8Array(0),
    start: 0,
    end: 0,
    originalLength: 0,
    offset: 0,
    optionsStart: 0,
    optionsEnd: 0,
    isLittleEndian: true,
  };
}

export function captureError(
  file: string,
  offset: number,
  message: string,
  code: IssueCode = "syntax",
): InputError {
  return new InputError([{ code, path: "", file, offset, message }]);
}

/** The same bytes as a plain array: `slice` of a Node Buffer is a view, where everybody else's is a copy. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
