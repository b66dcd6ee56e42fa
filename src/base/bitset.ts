/** Sets of small numbers as bits of 32-bit words. Sets that meet have equally many words. */

export type Bits = Uint32Array;

export function bitWords(size: number): number {
  return (size + 31) >>> 5;
}

export function emptyBits(size: number): Bits {
  return new Uint32Array(bitWords(size));
}

export function setBit(bits: Bits, index: number): void {
  bits[index >>> 5]! |= 1 << (index & 31);
}

export function hasBit(bits: Bits, index: number): boolean {
  return ((bits[index >>> 5]! >>> (index & 31)) & 1) === 1;
}

export function isNoBit(bits: Bits): boolean {
  for (let i = 0; i < bits.length; i++) if (bits[i] !== 0) return false;
  return true;
}

/** What both hold, as a new set; `undefined` when that is nothing. */
export function meet(a: Bits, b: Bits): Bits | undefined {
  const out = new Uint32Array(a.length);
  let seen = 0;
  for (let i = 0; i < a.length; i++) seen |= out[i] = a[i]! & b[i]!;
  return seen === 0 ? undefined : out;
}

/** What `a` holds and `b` does not, as a new set; `undefined` when that is nothing. */
export function without(a: Bits, b: Bits): Bits | undefined {
  const out = new Uint32Array(a.length);
  let seen = 0;
  for (let i = 0; i < a.length; i++) seen |= out[i] = a[i]! & ~b[i]!;
  return seen === 0 ? undefined : out;
}

/** Adds what `more` holds to `to`. */
export function join(to: Bits, more: Bits): void {
  for (let i = 0; i < to.length; i++) to[i]! |= more[i]!;
}

export function sameBits(a: Bits, b: Bits): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** 32 bits that equal sets share. */
export function hashBits(bits: Bits): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bits.length; i++) {
    hash = Math.imul(hash ^ bits[i]!, 0x01000193);
    hash ^= hash >>> 15;
  }
  return hash >>> 0;
}
