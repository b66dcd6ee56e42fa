/**
 * Assembler text to instructions, in the syntax of the bpf_conformance project's test files: one instruction a line,
 * `LABEL:` lines, `#` comments, jumps to labels or by distance (`+1`). The name `exit` stands for the first `exit` of
 * the text unless a label has it.
 */
import { InputError, type Issue } from "../../base/index.ts";
import { imm64Names } from "./disasm.ts";
import {
  AluOp,
  AtomicOp,
  CallKind,
  InsnClass,
  type Instruction,
  JmpOp,
  loadImm64,
  MemMode,
  MemSize,
  Opcode,
  SourceBit,
} from "./insn.ts";
import { aluNames, atomicNames, jumpNames, sizeNames } from "./mnemonics.ts";

/** @throws InputError with every fault's file, line and column. */
export function assemble(text: string, file = "assembler text"): readonly Instruction[] {
  const assembler = new Assembler(file);
  for (const [i, line] of text.split("\n").entries()) assembler.line(line, i + 1);
  return assembler.finish();
}

/** A fault of one operand; `finish` reports it with its place. */
class OperandError extends Error {}

interface Word {
  readonly text: string;
  readonly column: number;
}

type Draft = { -readonly [K in keyof Instruction]: Instruction[K] };
interface Reference {
  readonly pc: number;
  readonly label: Word;
  readonly line: number;
  readonly field: "offset" | "imm";
}

class Assembler {
  readonly #file: string;
  readonly #drafts: Draft[] = [];
  readonly #labels = new Map<string, number>();
  readonly #references: Reference[] = [];
  readonly #issues: Issue[] = [];
  #firstExit: number | undefined;
  #line = 0;

  constructor(file: string) {
    this.#file = file;
  }

  line(raw: string, number: number): void {
    this.#line = number;
    const words = splitWords(raw.replace(/[#;].*$/, ""));
    const [head, ...operands] = words;
    if (head === undefined) return;
    if (head.text.endsWith(":")) {
      const label = head.text.slice(0, -1);
      if (this.#labels.has(label)) this.#fail(head, `label ${label} stands twice`);
      else this.#labels.set(label, this.#drafts.length);
      if (operands[0] !== undefined) this.#fail(operands[0], "an instruction stands on a line of its own");
      return;
    }
    if (head.text === "exit" && this.#firstExit === undefined) this.#firstExit = this.#drafts.length;
    try {
      this.#drafts.push(...this.#instruction(head, operands));
    } catch (error) {
      if (!(error instanceof OperandError)) throw error;
      this.#fail(operands.find((word) => error.message.endsWith(word.text)) ?? head, error.message);
      this.#drafts.push({ opcode: Opcode.exit, dst: 0, src: 0, offset: 0, imm: 0 });
    }
  }

  finish(): readonly Instruction[] {
    const exit = this.#firstExit;
    for (const { pc, label, line, field } of this.#references) {
      this.#line = line;
      const target = this.#labels.get(label.text) ?? (label.text === "exit" ? exit : undefined);
      const draft = this.#drafts[pc];
      if (target === undefined || draft === undefined) this.#fail(label, `no label ${label.text}`);
      else if (field === "offset" && Math.abs(target - pc - 1) > 0x7fff)
        this.#fail(label, `label ${label.text} is too far for a jump of 16 bits`);
      else draft[field] = target - pc - 1;
    }
    if (this.#issues.length > 0) throw new InputError(this.#issues);
    return this.#drafts;
  }

  #fail({ column }: Word, message: string): void {
    this.#issues.push({ code: "syntax", path: "", message, file: this.#file, line: this.#line, column });
  }

  #instruction(head: Word, operands: readonly Word[]): readonly Draft[] {
    const name = head.text;
    if (name === "lddw") return wideLoad(operands);
    if (name === "lock") return [atomic(operands)];
    if (name === "exit") return [draft(Opcode.exit, expect(operands, 0, name))];
    if (name === "call") return [this.#call(operands)];
    const jump = name === "ja" || name === "ja32" ? JmpOp.ja : jumpNames.get(name.replace(/32$/, ""));
    if (jump !== undefined) return [this.#jump(name, jump, operands)];
    const made = aluInstruction(name, operands) ?? memoryInstruction(name, operands);
    if (made === undefined) throw new OperandError(`no such instruction: ${name}`);
    return [made];
  }

  #jump(name: string, op: JmpOp, operands: readonly Word[]): Draft {
    const is32 = name.endsWith("32");
    const insnClass = is32 ? InsnClass.jmp32 : InsnClass.jmp;
    if (op === JmpOp.ja) {
      const [target] = expect(operands, 1, name);
      const made = draft(insnClass | op);
      this.#aim(made, target as Word, is32 ? "imm" : "offset");
      return made;
    }
    const [dst, operand, target] = expect(operands, 3, name) as [Word, Word, Word];
    const made = withOperand(insnClass | op, readRegister(dst), operand);
    this.#aim(made, target, "offset");
    return made;
  }

  #call(operands: readonly Word[]): Draft {
    const [mode, target] =
      operands.length === 1 ? ["helper", operands[0] as Word] : [operands[0]?.text, operands[1]];
    if (target === undefined || operands.length > 2) throw new OperandError("call takes a kind and a target");
    const made = draft(Opcode.call);
    switch (mode) {
      case "helper":
        if (target.text.startsWith("%")) return draft(Opcode.callRegister, [], { dst: readRegister(target) });
        made.imm = readImm32(target);
        return made;
      case "local":
        made.src = CallKind.local;
        this.#aim(made, target, "imm");
        return made;
      case "runtime":
        made.src = CallKind.kfunc;
        made.imm = readImm32(target);
        return made;
      default:
        throw new OperandError(`calls are helper, local or runtime, not ${mode}`);
    }
  }

  /** A distance is taken as it is, a label later. */
  #aim(made: Draft, target: Word, field: "offset" | "imm"): void {
    if (/^[+-]\d/.test(target.text))
      made[field] = field === "offset" ? readOffset(target.text) : readImm32(target);
    else this.#references.push({ pc: this.#drafts.length, label: target, line: this.#line, field });
  }
}

function splitWords(line: string): readonly Word[] {
  return [...line.matchAll(/[^\s,]+/g)].map((match) => ({ text: match[0], column: match.index + 1 }));
}

function expect(operands: readonly Word[], count: number, name: string): readonly Word[] {
  if (operands.length !== count)
    throw new OperandError(`${name} takes ${count} operand${count === 1 ? "" : "s"}, not ${operands.length}`);
  return operands;
}

function draft(opcode: number, _operands: readonly Word[] = [], fields: Partial<Draft> = {}): Draft {
  return { opcode, dst: 0, src: 0, offset: 0, imm: 0, ...fields };
}

function withOperand(opcode: number, dst: number, operand: Word): Draft {
  return operand.text.startsWith("%")
    ? draft(opcode | SourceBit.reg, [], { dst, src: readRegister(operand) })
    : draft(opcode, [], { dst, imm: readImm32(operand) });
}

function wideLoad(operands: readonly Word[]): readonly [Draft, Draft] {
  const [dst, value, which, offset] = operands;
  if (dst === undefined || value === undefined) throw new OperandError("lddw takes a register and a value");
  const kind = imm64Names.get(value.text);
  if (kind !== undefined) {
    expect(operands, 4, `lddw with ${value.text}`);
    const [first, second] = loadImm64(
      readRegister(dst),
      readImm32(which as Word),
      readImm32(offset as Word),
      kind,
    );
    return [{ ...first }, { ...second }];
  }
  expect(operands, 2, "lddw");
  if (!/^-?(0[xX][0-9a-fA-F]+|\d+)$/.test(value.text)) throw new OperandError(`no number: ${value.text}`);
  const magnitude = BigInt(value.text.replace("-", ""));
  if (magnitude >> 64n !== 0n) throw new OperandError(`more than 64 bits: ${value.text}`);
  const bits = BigInt.asUintN(64, value.text.startsWith("-") ? -magnitude : magnitude);
  const [first, second] = loadImm64(readRegister(dst), Number(bits & 0xffff_ffffn), Number(bits >> 32n));
  return [{ ...first }, { ...second }];
}

function aluInstruction(name: string, operands: readonly Word[]): Draft | undefined {
  const order = /^(le|be|swap|bswap)(16|32|64)$/.exec(name);
  if (order !== null) {
    const [, kind, width] = order;
    const opcode =
      AluOp.end |
      (kind === "le" ? InsnClass.alu : kind === "be" ? InsnClass.alu | SourceBit.reg : InsnClass.alu64);
    const [dst] = expect(operands, 1, name);
    return draft(opcode, [], { dst: readRegister(dst as Word), imm: Number(width) });
  }
  const extension = /^movsx(8|16|32)(32|64)$/.exec(name);
  const plain = extension !== null ? "mov" : name.replace(/(32|64)$/, "").replace(/^s(div|mod)$/, "$1");
  const op = aluNames.get(plain);
  if (op === undefined) return undefined;
  const is32 = extension !== null ? extension[2] === "32" : name.endsWith("32");
  const opcode = op | (is32 ? InsnClass.alu : InsnClass.alu64);
  if (op === AluOp.neg) {
    const [dst] = expect(operands, 1, name);
    return draft(opcode, [], { dst: readRegister(dst as Word) });
  }
  const [dst, operand] = expect(operands, 2, name) as [Word, Word];
  const made = withOperand(opcode, readRegister(dst), operand);
  if (extension !== null) made.offset = Number(extension[1]);
  else if (/^s(div|mod)/.test(name)) made.offset = 1;
  return made;
}

function memoryInstruction(name: string, operands: readonly Word[]): Draft | undefined {
  const match = /^(ldabs|ldind|ldxs|ldx|stx|st)(b|h|w|dw)$/.exec(name);
  const size = sizeNames.get(match?.[2] ?? "");
  if (match === null || size === undefined) return undefined;
  const kind = match[1];
  if (kind === "ldabs") {
    const [imm] = expect(operands, 1, name);
    return draft(InsnClass.ld | MemMode.abs | size, [], { imm: readImm32(imm as Word) });
  }
  const [first, second] = expect(operands, 2, name) as [Word, Word];
  switch (kind) {
    case "ldind":
      return draft(InsnClass.ld | MemMode.ind | size, [], {
        src: readRegister(first),
        imm: readImm32(second),
      });
    case "ldx":
    case "ldxs": {
      const { register, offset } = readAddress(second);
      const mode = kind === "ldx" ? MemMode.mem : MemMode.memsx;
      return draft(InsnClass.ldx | mode | size, [], { dst: readRegister(first), src: register, offset });
    }
    default: {
      const { register, offset } = readAddress(first);
      const fields = { dst: register, offset };
      return kind === "st"
        ? draft(InsnClass.st | MemMode.mem | size, [], { ...fields, imm: readImm32(second) })
        : draft(InsnClass.stx | MemMode.mem | size, [], { ...fields, src: readRegister(second) });
    }
  }
}

function atomic(operands: readonly Word[]): Draft {
  const fetches = operands[0]?.text === "fetch";
  const [name, address, source] = expect(fetches ? operands.slice(1) : operands, 3, "lock") as [
    Word,
    Word,
    Word,
  ];
  const op = atomicNames.get(name.text.replace(/32$/, ""));
  if (op === undefined) throw new OperandError(`no atomic operation: ${name.text}`);
  const { register, offset } = readAddress(address);
  const size = name.text.endsWith("32") ? MemSize.w : MemSize.dw;
  return draft(InsnClass.stx | MemMode.atomic | size, [], {
    dst: register,
    src: readRegister(source),
    offset,
    imm: fetches ? op | AtomicOp.fetch : op,
  });
}

/** Register numbers to 15 can be written: what is none is refused later, with the instruction. */
function readRegister({ text }: Word): number {
  const match = /^%r(\d|1[0-5])$/.exec(text);
  if (match === null) throw new OperandError(`no register: ${text}`);
  return Number(match[1]);
}

function readAddress({ text }: Word): { readonly register: number; readonly offset: number } {
  const match = /^\[(%r\d+)([+-](?:0[xX][0-9a-fA-F]+|\d+))?\]$/.exec(text);
  if (match === null) throw new OperandError(`no address of the form [%r1+2]: ${text}`);
  return {
    register: readRegister({ text: match[1] ?? "", column: 0 }),
    offset: match[2] === undefined ? 0 : readOffset(match[2], text),
  };
}

function readNumber(text: string): number | undefined {
  const match = /^([+-]?)(0[xX][0-9a-fA-F]+|\d+)$/.exec(text);
  if (match === null) return undefined;
  return match[1] === "-" ? -Number(match[2]) : Number(match[2]);
}

function readOffset(text: string, whole = text): number {
  const value = readNumber(text);
  const isHex = /0[xX]/.test(text);
  if (value === undefined || value < -0x8000 || value > (isHex ? 0xffff : 0x7fff))
    throw new OperandError(`no offset of 16 bits: ${whole}`);
  return (value << 16) >> 16;
}

/** Decimal is signed; hexadecimal may use all 32 bits. */
function readImm32({ text }: Word): number {
  const value = readNumber(text);
  const isHex = /0[xX]/.test(text);
  if (value === undefined || value < -0x8000_0000 || value > (isHex ? 0xffff_ffff : 0x7fff_ffff))
    throw new OperandError(`no immediate of 32 bits: ${text}`);
  return value | 0;
}
