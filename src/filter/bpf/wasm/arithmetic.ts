/** Arithmetic, byte order and comparisons of BPF (RFC 9669, section 4) in WebAssembly's. */
import { AluOp, InsnClass, type Instruction, JmpOp, SourceBit } from "../insn.ts";
import { Arith, Compare, Wasm, WasmType } from "./encoder.ts";
import type { FunctionCode } from "./function-code.ts";

type ArithPlace = (typeof Arith)[keyof typeof Arith];
type ComparePlace = (typeof Compare)[keyof typeof Compare];

/** Shift counts are taken modulo the width in both. */
const plain: ReadonlyMap<number, ArithPlace> = new Map([
  [AluOp.add, Arith.add],
  [AluOp.sub, Arith.sub],
  [AluOp.mul, Arith.mul],
  [AluOp.or, Arith.or],
  [AluOp.and, Arith.and],
  [AluOp.lsh, Arith.shl],
  [AluOp.rsh, Arith.shrU],
  [AluOp.xor, Arith.xor],
  [AluOp.arsh, Arith.shrS],
]);

export function emitAlu(code: FunctionCode, instruction: Instruction): void {
  const { opcode, dst } = instruction;
  const is64 = (opcode & 7) === InsnClass.alu64;
  const op = opcode & 0xf0;
  switch (op) {
    case AluOp.end:
      emitByteOrder(code, instruction, is64);
      return;
    case AluOp.mov:
      emitMove(code, instruction, is64);
      return;
    case AluOp.neg:
      if (is64) code.i64(0).register(dst).arith64(Arith.sub).setRegister(dst);
      else code.i32(0).word(dst).arith32(Arith.sub).setWord(dst);
      return;
    case AluOp.div:
    case AluOp.mod:
      if (is64) emitDivision64(code, instruction);
      else emitDivision32(code, instruction);
      return;
    default: {
      const place = plain.get(op) ?? Arith.add;
      if (is64) operand64(code.register(dst), instruction).arith64(place).setRegister(dst);
      else operand32(code.word(dst), instruction).arith32(place).setWord(dst);
    }
  }
}

/** The source register or the immediate, extended by its sign. */
function operand64(code: FunctionCode, { opcode, src, imm }: Instruction): FunctionCode {
  return (opcode & SourceBit.reg) !== 0 ? code.register(src) : code.i64(imm);
}

function operand32(code: FunctionCode, { opcode, src, imm }: Instruction): FunctionCode {
  return (opcode & SourceBit.reg) !== 0 ? code.word(src) : code.i32(imm);
}

const extend64: ReadonlyMap<number, number> = new Map([
  [8, Wasm.i64Extend8S],
  [16, Wasm.i64Extend16S],
  [32, Wasm.i64Extend32S],
]);
const extend32: ReadonlyMap<number, number> = new Map([
  [8, Wasm.i32Extend8S],
  [16, Wasm.i32Extend16S],
]);

/** An offset is the width whose sign is extended. */
function emitMove(code: FunctionCode, instruction: Instruction, is64: boolean): void {
  const { dst, offset } = instruction;
  const extension = (is64 ? extend64 : extend32).get(offset);
  (is64 ? operand64 : operand32)(code, instruction);
  if (extension !== undefined) code.op(extension);
  if (is64) code.setRegister(dst);
  else code.setWord(dst);
}

/** By zero a quotient is zero and a remainder the dividend; the least number by -1 wraps, where WebAssembly traps. */
function emitDivision64(code: FunctionCode, instruction: Instruction): void {
  const { opcode, dst, offset } = instruction;
  const { wide } = code.locals;
  const isMod = (opcode & 0xf0) === AluOp.mod;
  const isSigned = offset === 1;
  operand64(code, instruction).tee(wide).op(Wasm.i64Eqz, Wasm.if, WasmType.i64);
  if (isMod) code.register(dst);
  else code.i64(0);
  code.op(Wasm.else);
  if (isSigned && !isMod) {
    code.get(wide).i64(-1).compare64(Compare.eq).op(Wasm.if, WasmType.i64);
    code.i64(0).register(dst).arith64(Arith.sub).op(Wasm.else);
  }
  code.register(dst).get(wide);
  code.arith64(isMod ? (isSigned ? Arith.remS : Arith.remU) : isSigned ? Arith.divS : Arith.divU);
  if (isSigned && !isMod) code.op(Wasm.end);
  code.op(Wasm.end).setRegister(dst);
}

function emitDivision32(code: FunctionCode, instruction: Instruction): void {
  const { opcode, dst, offset } = instruction;
  const { word } = code.locals;
  const isMod = (opcode & 0xf0) === AluOp.mod;
  const isSigned = offset === 1;
  operand32(code, instruction).tee(word).op(Wasm.i32Eqz, Wasm.if, WasmType.i32);
  if (isMod) code.word(dst);
  else code.i32(0);
  code.op(Wasm.else);
  if (isSigned && !isMod) {
    code.get(word).i32(-1).compare32(Compare.eq).op(Wasm.if, WasmType.i32);
    code.i32(0).word(dst).arith32(Arith.sub).op(Wasm.else);
  }
  code.word(dst).get(word);
  code.arith32(isMod ? (isSigned ? Arith.remS : Arith.remU) : isSigned ? Arith.divS : Arith.divU);
  if (isSigned && !isMod) code.op(Wasm.end);
  code.op(Wasm.end).setWord(dst);
}

/** The machine is little-endian: to that order a number is cut, to the other (or by a swap) its bytes are reversed. */
function emitByteOrder(code: FunctionCode, { opcode, dst, imm }: Instruction, isAlu64: boolean): void {
  const swaps = isAlu64 || (opcode & SourceBit.reg) !== 0;
  const { word, wide } = code.locals;
  if (!swaps) {
    if (imm === 64) return;
    code.word(dst);
    if (imm === 16) code.i32(0xffff).arith32(Arith.and);
    code.setWord(dst);
    return;
  }
  if (imm === 64) {
    // bytes of each pair, pairs of each word, then the words
    code.register(dst).set(wide);
    for (const [mask, bits] of [
      [0x00ff_00ff_00ff_00ffn, 8],
      [0x0000_ffff_0000_ffffn, 16],
    ] as const) {
      code.get(wide).i64(mask).arith64(Arith.and).i64(bits).arith64(Arith.shl);
      code.get(wide).i64(bits).arith64(Arith.shrU).i64(mask).arith64(Arith.and);
      code.arith64(Arith.or).set(wide);
    }
    code.get(wide).i64(32).arith64(Arith.rotl).setRegister(dst);
    return;
  }
  code.word(dst).set(word);
  code.get(word).i32(8).arith32(Arith.rotl).i32(0x00ff_00ff).arith32(Arith.and);
  code.get(word).i32(24).arith32(Arith.rotl).i32(0xff00_ff00).arith32(Arith.and);
  code.arith32(Arith.or);
  if (imm === 16) code.i32(16).arith32(Arith.shrU);
  code.setWord(dst);
}

const comparisons: ReadonlyMap<number, ComparePlace> = new Map([
  [JmpOp.jeq, Compare.eq],
  [JmpOp.jne, Compare.ne],
  [JmpOp.jgt, Compare.gtU],
  [JmpOp.jge, Compare.geU],
  [JmpOp.jlt, Compare.ltU],
  [JmpOp.jle, Compare.leU],
  [JmpOp.jsgt, Compare.gtS],
  [JmpOp.jsge, Compare.geS],
  [JmpOp.jslt, Compare.ltS],
  [JmpOp.jsle, Compare.leS],
]);

/** Leaves 1 on the stack where the jump is taken, 0 where it is not. */
export function emitCondition(code: FunctionCode, instruction: Instruction): void {
  const { opcode, dst } = instruction;
  const place = comparisons.get(opcode & 0xf0);
  if ((opcode & 7) === InsnClass.jmp) {
    operand64(code.register(dst), instruction);
    if (place === undefined) code.arith64(Arith.and).i64(0).compare64(Compare.ne);
    else code.compare64(place);
  } else {
    operand32(code.word(dst), instruction);
    if (place === undefined) code.arith32(Arith.and).i32(0).compare32(Compare.ne);
    else code.compare32(place);
  }
}
