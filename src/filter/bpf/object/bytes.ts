/** Reading structures out of untrusted bytes: what is not there is an InputError with its offset, never an exception of another kind. */
import { InputError } from "../../../base/index.ts";

export class ByteReader {
  readonly bytes: Uint8Array;
  readonly file: string;
  /** Offset of `bytes` in the file, for messages. */
  readonly base: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, file: string, base = 0) {
    this.bytes = bytes;
    this.file = file;
    this.base = base;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(at: number): number {
    this.#need(at, 1);
    return this.#view.getUint8(at);
  }

  u16(at: number): number {
    this.#need(at, 2);
    return this.#view.getUint16(at, true);
  }

  u32(at: number): number {
    this.#need(at, 4);
    return this.#view.getUint32(at, true);
  }

  /** A 64-bit number that must be a safe integer, as all offsets and sizes of a real file are. */
  u64(at: number): number {
    const high = this.u32(at + 4);
    if (high > 0x1f_ffff) throw this.fail(at, "a 64-bit number is out of range");
    return high * 0x1_0000_0000 + this.u32(at);
  }

  slice(at: number, size: number): Uint8Array {
    this.#need(at, size);
    return this.bytes.subarray(at, at + size);
  }

  /** Text up to the next zero byte. */
  text(at: number): string {
    this.#need(at, 1);
    const end = this.bytes.indexOf(0, at);
    if (end < 0) throw this.fail(at, "a string does not end");
    return new TextDecoder().decode(this.bytes.subarray(at, end));
  }

  fail(at: number, message: string): InputError {
    return new InputError([{ code: "invalid", path: "", message, file: this.file, offset: this.base + at }]);
  }

  #need(at: number, size: number): void {
    if (!(at >= 0 && size >= 0 && at + size <= this.bytes.length))
      throw this.fail(
        Math.min(Math.max(0, at), this.bytes.length),
        `cut short: ${size} bytes are needed here`,
      );
  }
}
