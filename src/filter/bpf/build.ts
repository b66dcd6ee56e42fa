/**
 * Programs written in TypeScript: what engines emit their BPF with. One method an instruction of RFC 9669, with the names
 * that the assembler has; jumps and local calls name labels, which may stand before or behind them.
 */
import { assert } from "../../base/index.ts";
import {
  AluOp,
  CallKind,
  Imm64Kind,
  InsnClass,
  type Instruction,
  JmpOp,
  loadImm64,
  MemMode,
  Opcode,
  registerCount,
  SourceBit,
} from "./insn.ts";
import { aluNames, atomicNames, jumpNames, sizeNames } from "./mnemonics.ts";

/** A register as an operand, where a number stands for an immediate. */
export interface Register {
  readonly register: number;
}

const register = (number: number): Register => ({ register: number });
export const r0: Register = register(0);
export const r1: Register = register(1);
export const r2: Register = register(2);
export const r3: Register = register(3);
export const r4: Register = register(4);
export const r5: Register = register(5);
export const r6: Register = register(6);
export const r7: Register = register(7);
export const r8: Register = register(8);
export const r9: Register = register(9);
/** The frame pointer: read only. */
export const r10: Register = register(10);

/** -2^31 to 2^32 - 1: a 32-bit immediate, which 64-bit instructions extend by its sign. */
export type Operand = Register | number;
export type AluName =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "or"
  | "and"
  | "lsh"
  | "rsh"
  | "mod"
  | "xor"
  | "mov"
  | "arsh";
export type JumpName =
  | "jeq"
  | "jgt"
  | "jge"
  | "jset"
  | "jne"
  | "jsgt"
  | "jsge"
  | "jlt"
  | "jle"
  | "jslt"
  | "jsle";
/** Bytes: 1, 2, 4, 8. */
export type SizeName = "b" | "h" | "w" | "dw";
export type AtomicName = "add" | "or" | "and" | "xor" | "xchg" | "cmpxchg";

interface Aim {
  readonly pc: number;
  readonly label: string;
  readonly field: "offset" | "imm";
}

type Draft = { -readonly [K in keyof Instruction]: Instruction[K] };

/** Collects instructions; every method answers the builder, so that calls chain. */
export class ProgramBuilder {
  readonly #drafts: Draft[] = [];
  readonly #labels = new Map<string, number>();
  readonly #aims: Aim[] = [];

  /** The next instruction can be jumped to by this name. */
  label(name: string): this {
    assert(!this.#labels.has(name), `label ${name} stands twice`);
    this.#labels.set(name, this.#drafts.length);
    return this;
  }

  /** 64 bits: `dst = dst name operand`. */
  alu(name: AluName, dst: Register, operand: Operand): this {
    return this.#operate(InsnClass.alu64 | (aluNames.get(name) ?? 0), dst, operand);
  }

  /** 32 bits; the upper half becomes zero. */
  alu32(name: AluName, dst: Register, operand: Operand): this {
    return this.#operate(InsnClass.alu | (aluNames.get(name) ?? 0), dst, operand);
  }

  mov(dst: Register, operand: Operand): this {
    return this.alu("mov", dst, operand);
  }

  neg(dst: Register): this {
    return this.#put(InsnClass.alu64 | AluOp.neg, { dst: numberOf(dst) });
  }

  /** To network byte order (and back): 16, 32 or 64 bits; what is above becomes zero. */
  bigEndian(dst: Register, bits: 16 | 32 | 64): this {
    return this.#put(InsnClass.alu | AluOp.end | SourceBit.reg, { dst: numberOf(dst), imm: bits });
  }

  /** A 64-bit constant, -2^63 to 2^64 - 1. */
  loadConstant(dst: Register, value: bigint): this {
    const word = BigInt.asUintN(64, value);
    return this.#wide(dst, Number(word & 0xffffffffn), Number(word >> 32n), 0);
  }

  /** A map by its number in the program's tables. */
  loadMap(dst: Register, map: number): this {
    return this.#wide(dst, map, 0, Imm64Kind.map);
  }

  /** Address of a byte in the value of an array's first element. */
  loadMapValue(dst: Register, map: number, offset: number): this {
    return this.#wide(dst, map, offset, Imm64Kind.mapValue);
  }

  /** `dst = *(size *)(base + offset)`; -32,768 <= offset <= 32,767. */
  load(size: SizeName, dst: Register, base: Register, offset: number): this {
    const opcode = InsnClass.ldx | MemMode.mem | sizeOf(size);
    return this.#put(opcode, { dst: numberOf(dst), src: numberOf(base), offset: checkedOffset(offset) });
  }

  /** `*(size *)(base + offset) = value` */
  store(size: SizeName, base: Register, offset: number, value: Operand): this {
    const fields = { dst: numberOf(base), offset: checkedOffset(offset) };
    return typeof value === "number"
      ? this.#put(InsnClass.st | MemMode.mem | sizeOf(size), { ...fields, imm: checkedImm(value) })
      : this.#put(InsnClass.stx | MemMode.mem | sizeOf(size), { ...fields, src: numberOf(value) });
  }

  /** Atomic update of memory by `src`; `fetch` puts what was there into it (`cmpxchg`: into r0). */
  atomic(
    name: AtomicName,
    size: "w" | "dw",
    base: Register,
    offset: number,
    src: Register,
    options: { readonly fetch?: boolean } = {},
  ): this {
    const isExchange = name === "xchg" || name === "cmpxchg"; // their codes hold the fetch bit
    const imm = (atomicNames.get(name) ?? 0) | (options.fetch === true && !isExchange ? 1 : 0);
    return this.#put(InsnClass.stx | MemMode.atomic | sizeOf(size), {
      dst: numberOf(base),
      src: numberOf(src),
      offset: checkedOffset(offset),
      imm,
    });
  }

  /** Goes on at the label if `dst name operand`, compared in 64 bits. */
  jump(name: JumpName, dst: Register, operand: Operand, label: string): this {
    this.#aim(label, "offset");
    return this.#operate(InsnClass.jmp | (jumpNames.get(name) ?? 0), dst, operand);
  }

  /** Compared in 32 bits. */
  jump32(name: JumpName, dst: Register, operand: Operand, label: string): this {
    this.#aim(label, "offset");
    return this.#operate(InsnClass.jmp32 | (jumpNames.get(name) ?? 0), dst, operand);
  }

  goto(label: string): this {
    this.#aim(label, "offset");
    return this.#put(InsnClass.jmp | JmpOp.ja, {});
  }

  /** A helper by its number (linux/bpf.h, ___BPF_FUNC_MAPPER). */
  callHelper(number: number): this {
    return this.#put(Opcode.call, { imm: number });
  }

  /** A function of the same program, which begins at the label. */
  callLocal(label: string): this {
    this.#aim(label, "imm");
    return this.#put(Opcode.call, { src: CallKind.local });
  }

  exit(): this {
    return this.#put(Opcode.exit, {});
  }

  /** The finished program. Labels that nobody has set are a mistake of the caller's. */
  build(): readonly Instruction[] {
    const instructions = this.#drafts.map((draft) => ({ ...draft }));
    for (const { pc, label, field } of this.#aims) {
      const target = this.#labels.get(label);
      const instruction = instructions[pc];
      assert(target !== undefined && instruction !== undefined, `no label ${label}`);
      const distance = target - pc - 1;
      instruction[field] = field === "offset" ? checkedOffset(distance) : distance;
    }
    return Object.freeze(instructions);
  }

  #operate(opcode: number, dst: Register, operand: Operand): this {
    return typeof operand === "number"
      ? this.#put(opcode | SourceBit.imm, { dst: numberOf(dst), imm: checkedImm(operand) })
      : this.#put(opcode | SourceBit.reg, { dst: numberOf(dst), src: numberOf(operand) });
  }

  #wide(dst: Register, low: number, high: number, kind: number): this {
    this.#drafts.push(...loadImm64(numberOf(dst), low, high, kind).map((slot) => ({ ...slot })));
    return this;
  }

  #put(opcode: number, fields: Partial<Instruction>): this {
    this.#drafts.push({ opcode, dst: 0, src: 0, offset: 0, imm: 0, ...fields });
    return this;
  }

  #aim(label: string, field: Aim["field"]): void {
    this.#aims.push({ pc: this.#drafts.length, label, field });
  }
}

function numberOf({ register: number }: Register): number {
  assert(Number.isInteger(number) && number >= 0 && number < registerCount, `there is no r${number}`);
  return number;
}

function sizeOf(size: SizeName): number {
  return sizeNames.get(size) ?? 0;
}

function checkedOffset(offset: number): number {
  assert(Number.isInteger(offset) && offset >= -0x8000 && offset <= 0x7fff, `${offset} is no 16-bit offset`);
  return offset;
}

function checkedImm(value: number): number {
  assert(
    Number.isInteger(value) && value >= -0x8000_0000 && value <= 0xffff_ffff,
    `${value} is no 32-bit immediate`,
  );
  return value | 0;
}
