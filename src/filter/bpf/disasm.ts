/**
 * Instructions to assembler text. Law: `assemble(disassemble(p)) = p` for every checked program. Jumps are written as
 * distances in slots, as the instructions hold them.
 */
import {
  AluOp,
  AtomicOp,
  CallKind,
  Imm64Kind,
  InsnClass,
  type Instruction,
  JmpOp,
  MemMode,
  MemSize,
  Opcode,
  SourceBit,
} from "./insn.ts";
import { aluNames, atomicNames, jumpNames, nameOf, sizeNames } from "./mnemonics.ts";
import { formatHex64 } from "./word64.ts";

/** One line a slot pair or slot, without a line break at the end. */
export function disassemble(instructions: readonly Instruction[]): readonly string[] {
  const lines: string[] = [];
  for (let pc = 0; pc < instructions.length; pc++) {
    const instruction = instructions[pc] as Instruction;
    lines.push(insnText(instruction, instructions[pc + 1]?.imm ?? 0));
    if (instruction.opcode === Opcode.lddw) pc++;
  }
  return lines;
}

/** Text of one instruction; `high` is the immediate of a 64-bit load's second slot. Unknown opcodes become `.byte`. */
export function insnText(instruction: Instruction, high = 0): string {
  try {
    switch (instruction.opcode & 7) {
      case InsnClass.alu:
      case InsnClass.alu64:
        return aluText(instruction);
      case InsnClass.jmp:
      case InsnClass.jmp32:
        return jumpText(instruction);
      case InsnClass.ld:
        return loadText(instruction, high);
      default:
        return memoryText(instruction);
    }
  } catch (error) {
    if (error instanceof RangeError) return `.byte 0x${instruction.opcode.toString(16).padStart(2, "0")}`;
    throw error;
  }
}

const register = (number: number): string => `%r${number}`;
const distance = (slots: number): string => (slots < 0 ? String(slots) : `+${slots}`);

function aluText({ opcode, dst, src, offset, imm }: Instruction): string {
  const op = opcode & 0xf0;
  const is64 = (opcode & 7) === InsnClass.alu64;
  const isReg = (opcode & SourceBit.reg) !== 0;
  const suffix = is64 ? "" : "32";
  if (op === AluOp.end) return `${is64 ? "swap" : isReg ? "be" : "le"}${imm} ${register(dst)}`;
  if (op === AluOp.neg) return `neg${suffix} ${register(dst)}`;
  const operand = isReg ? register(src) : String(imm);
  if (op === AluOp.mov && offset !== 0)
    return `movsx${offset}${is64 ? "64" : "32"} ${register(dst)}, ${operand}`;
  const isSigned = (op === AluOp.div || op === AluOp.mod) && offset === 1;
  return `${isSigned ? "s" : ""}${nameOf(aluNames, op)}${suffix} ${register(dst)}, ${operand}`;
}

function jumpText({ opcode, dst, src, offset, imm }: Instruction): string {
  const is32 = (opcode & 7) === InsnClass.jmp32;
  const isReg = (opcode & SourceBit.reg) !== 0;
  switch (opcode & 0xf0) {
    case JmpOp.ja:
      return is32 ? `ja32 ${distance(imm)}` : `ja ${distance(offset)}`;
    case JmpOp.exit:
      return "exit";
    case JmpOp.call:
      if (isReg) return `call helper ${register(dst)}`;
      if (src === CallKind.local) return `call local ${distance(imm)}`;
      return src === CallKind.kfunc ? `call runtime ${imm}` : `call ${imm}`;
    default: {
      const name = `${nameOf(jumpNames, opcode & 0xf0)}${is32 ? "32" : ""}`;
      return `${name} ${register(dst)}, ${isReg ? register(src) : imm}, ${distance(offset)}`;
    }
  }
}

function loadText({ opcode, dst, src, imm }: Instruction, high: number): string {
  if (opcode === Opcode.lddw) {
    const name = `lddw ${register(dst)}, `;
    if (src === Imm64Kind.value) return `${name}${formatHex64(imm, high)}`;
    return `${name}${nameOf(imm64Names, src)} ${imm} ${high}`;
  }
  const size = nameOf(sizeNames, opcode & 0x18);
  return (opcode & 0xe0) === MemMode.abs ? `ldabs${size} ${imm}` : `ldind${size} ${register(src)}, ${imm}`;
}

/** What a 64-bit load may name; two numbers follow (which, and an offset in it). */
export const imm64Names: ReadonlyMap<string, number> = new Map([
  ["map", Imm64Kind.map],
  ["mapvalue", Imm64Kind.mapValue],
  ["variable", Imm64Kind.variable],
  ["code", Imm64Kind.code],
  ["mapindex", Imm64Kind.mapIndex],
  ["mapindexvalue", Imm64Kind.mapIndexValue],
]);

function memoryText({ opcode, dst, src, offset, imm }: Instruction): string {
  const size = nameOf(sizeNames, opcode & 0x18);
  const mode = opcode & 0xe0;
  const at = (base: number): string => `[${register(base)}${offset === 0 ? "" : distance(offset)}]`;
  switch (opcode & 7) {
    case InsnClass.ldx:
      return `ldx${mode === MemMode.memsx ? "s" : ""}${size} ${register(dst)}, ${at(src)}`;
    case InsnClass.st:
      return `st${size} ${at(dst)}, ${imm}`;
    default: {
      if (mode !== MemMode.atomic) return `stx${size} ${at(dst)}, ${register(src)}`;
      const isExchange = imm === AtomicOp.xchg || imm === AtomicOp.cmpxchg;
      const fetch = !isExchange && (imm & AtomicOp.fetch) !== 0 ? "fetch " : "";
      const name = nameOf(atomicNames, isExchange ? imm : imm & ~AtomicOp.fetch);
      const width = (opcode & 0x18) === MemSize.dw ? "" : "32";
      return `lock ${fetch}${name}${width} ${at(dst)}, ${register(src)}`;
    }
  }
}
