/**
 * Checked windows over bytes, big-endian as on the wire, and the one result type of every parser here.
 * A parser never throws: what cannot be read is a `WireFault`, a closed list.
 */

export type WireFault =
  | "truncated" // the bytes end before a header or a stated length does
  | "bad-version"
  | "bad-length" // a length field contradicts itself or the header's minimum
  | "bad-type"; // a field that selects a format holds a value of another protocol

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly fault: WireFault };

export function parsed<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

export function fault<T>(kind: WireFault): Parsed<T> {
  return { ok: false, fault: kind };
}

export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Words of an address from bytes: one for IPv4, four for IPv6. */
export function readWords(bytes: Uint8Array, at: number, count: number): number[] {
  const words: number[] = [];
  for (let i = 0; i < count; i++) words.push(readU32(bytes, at + 4 * i));
  return words;
}

export function writeWords(bytes: Uint8Array, at: number, words: readonly number[]): void {
  for (let i = 0; i < words.length; i++) writeU32(bytes, at + 4 * i, words[i]!);
}

/** `length` rounded up to a multiple of four. */
export function pad4(length: number): number {
  return (length + 3) & ~3;
}

export const emptyBytes: Uint8Array = new Uint8Array(0);
