/**
 * Arithmetic of BPF on a register file of word pairs: register `n` is `registers[2n]` (low) and `registers[2n + 1]`
 * (high). Governing source: RFC 9669, section 4. 32-bit results clear the high word; division by zero gives zero and
 * remainder by zero the dividend; shift counts are taken modulo the width.
 */
import { AluOp, JmpOp, SourceBit } from "./insn.ts";
import { divide64, divideSigned64, multiply64, result, swapBytes32 } from "./word64.ts";

/** 64-bit: `d` is the index of the destination's low word; the operand is `low`, `high`. */
export function alu64(
  registers: Int32Array,
  op: number,
  d: number,
  low: number,
  high: number,
  offset: number,
): void {
  const aLow = registers[d]!;
  const aHigh = registers[d + 1]!;
  switch (op & 0xf0) {
    case AluOp.mov:
      moveExtended(registers, d, low, high, offset);
      return;
    case AluOp.add: {
      const sum = (aLow >>> 0) + (low >>> 0);
      registers[d] = sum;
      registers[d + 1] = aHigh + high + (sum > 0xffff_ffff ? 1 : 0);
      return;
    }
    case AluOp.sub:
      registers[d] = aLow - low;
      registers[d + 1] = aHigh - high - (aLow >>> 0 < low >>> 0 ? 1 : 0);
      return;
    case AluOp.and:
      registers[d] = aLow & low;
      registers[d + 1] = aHigh & high;
      return;
    case AluOp.or:
      registers[d] = aLow | low;
      registers[d + 1] = aHigh | high;
      return;
    case AluOp.xor:
      registers[d] = aLow ^ low;
      registers[d + 1] = aHigh ^ high;
      return;
    case AluOp.lsh:
    case AluOp.rsh:
    case AluOp.arsh:
      shift64(registers, op & 0xf0, d, low & 63);
      return;
    case AluOp.neg:
      registers[d] = -aLow;
      registers[d + 1] = ~aHigh + (aLow === 0 ? 1 : 0);
      return;
    case AluOp.mul:
      multiply64(aLow, aHigh, low, high);
      break;
    case AluOp.div:
    case AluOp.mod: {
      const isMod = (op & 0xf0) === AluOp.mod;
      if ((low | high) === 0) {
        if (isMod) return;
        registers[d] = 0;
        registers[d + 1] = 0;
        return;
      }
      (offset === 1 ? divideSigned64 : divide64)(aLow, aHigh, low, high, isMod);
      break;
    }
  }
  registers[d] = result.low;
  registers[d + 1] = result.high;
}

/** MOV and, with an offset of 8, 16 or 32, MOVSX. */
function moveExtended(registers: Int32Array, d: number, low: number, high: number, bits: number): void {
  const word = bits === 8 ? (low << 24) >> 24 : bits === 16 ? (low << 16) >> 16 : low;
  registers[d] = word;
  registers[d + 1] = bits === 0 ? high : word >> 31;
}

function shift64(registers: Int32Array, op: number, d: number, count: number): void {
  const low = registers[d]!;
  const high = registers[d + 1]!;
  if (count === 0) return;
  if (op === AluOp.lsh) {
    registers[d] = count < 32 ? low << count : 0;
    registers[d + 1] = count < 32 ? (high << count) | (low >>> (32 - count)) : low << (count - 32);
    return;
  }
  const isSigned = op === AluOp.arsh;
  registers[d] =
    count < 32
      ? (low >>> count) | (high << (32 - count))
      : isSigned
        ? high >> (count - 32)
        : high >>> (count - 32);
  registers[d + 1] = count < 32 ? (isSigned ? high >> count : high >>> count) : isSigned ? high >> 31 : 0;
}

/** 32-bit: the operand is `b`; the destination's high word becomes zero. */
export function alu32(registers: Int32Array, op: number, d: number, b: number, offset: number): void {
  registers[d] = word32(op & 0xf0, registers[d]!, b, offset);
  registers[d + 1] = 0;
}

function word32(op: number, a: number, b: number, offset: number): number {
  switch (op) {
    case AluOp.mov:
      return offset === 8 ? (b << 24) >> 24 : offset === 16 ? (b << 16) >> 16 : b;
    case AluOp.add:
      return a + b;
    case AluOp.sub:
      return a - b;
    case AluOp.and:
      return a & b;
    case AluOp.or:
      return a | b;
    case AluOp.xor:
      return a ^ b;
    case AluOp.lsh:
      return a << (b & 31);
    case AluOp.rsh:
      return a >>> (b & 31);
    case AluOp.arsh:
      return a >> (b & 31);
    case AluOp.neg:
      return -a;
    case AluOp.mul:
      return Math.imul(a, b);
    case AluOp.div:
      if (b === 0) return 0;
      return offset === 1 ? a / b : (a >>> 0) / (b >>> 0);
    default: // mod
      if (b === 0) return a;
      return offset === 1 ? a % b : (a >>> 0) % (b >>> 0);
  }
}

/**
 * Byte order: of the ALU class, to little or big endian (the machine is little-endian); of the ALU64 class, an
 * unconditional swap. `width` is 16, 32 or 64; narrower results are zero-extended.
 */
export function changeByteOrder(
  registers: Int32Array,
  opcode: number,
  d: number,
  width: number,
  isAlu64: boolean,
): void {
  const swaps = isAlu64 || (opcode & SourceBit.reg) !== 0;
  const low = registers[d]!;
  if (width === 64) {
    if (!swaps) return;
    registers[d] = swapBytes32(registers[d + 1]!);
    registers[d + 1] = swapBytes32(low);
    return;
  }
  const word = swaps ? swapBytes32(low) : low;
  registers[d] = width === 32 ? word : swaps ? word >>> 16 : word & 0xffff;
  registers[d + 1] = 0;
}

/** Is a conditional jump taken? Operand words are those of the width: for 32 bits pass zero as high words. */
export function isTaken(op: number, aLow: number, aHigh: number, bLow: number, bHigh: number): boolean {
  switch (op & 0xf0) {
    case JmpOp.jeq:
      return aLow === bLow && aHigh === bHigh;
    case JmpOp.jne:
      return aLow !== bLow || aHigh !== bHigh;
    case JmpOp.jset:
      return ((aLow & bLow) | (aHigh & bHigh)) !== 0;
    case JmpOp.jgt:
      return isBelow(bLow, bHigh, aLow, aHigh);
    case JmpOp.jge:
      return !isBelow(aLow, aHigh, bLow, bHigh);
    case JmpOp.jlt:
      return isBelow(aLow, aHigh, bLow, bHigh);
    case JmpOp.jle:
      return !isBelow(bLow, bHigh, aLow, aHigh);
    case JmpOp.jsgt:
      return isLess(bLow, bHigh, aLow, aHigh);
    case JmpOp.jsge:
      return !isLess(aLow, aHigh, bLow, bHigh);
    case JmpOp.jslt:
      return isLess(aLow, aHigh, bLow, bHigh);
    default: // jsle
      return !isLess(bLow, bHigh, aLow, aHigh);
  }
}

function isBelow(aLow: number, aHigh: number, bLow: number, bHigh: number): boolean {
  return aHigh === bHigh ? aLow >>> 0 < bLow >>> 0 : aHigh >>> 0 < bHigh >>> 0;
}

function isLess(aLow: number, aHigh: number, bLow: number, bHigh: number): boolean {
  return aHigh === bHigh ? aLow >>> 0 < bLow >>> 0 : aHigh < bHigh;
}
