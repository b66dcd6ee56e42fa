/**
 * Instructions as the kernel and bpftool print them (`bpftool prog dump xlated`, the verifier's log). Governing source:
 * kernel/bpf/disasm.c (print_bpf_insn). Maps stand by their place (`map[id:2]`), helpers by name and number. What the
 * verifier rewrites when it loads a program is not rewritten here: this is the program as it is given to the kernel.
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
  Opcode,
  SourceBit,
  sizeBytes,
} from "./insn.ts";
import { signatures } from "./verifier/signatures.ts";
import { formatHex64 } from "./word64.ts";

/** One line an instruction, numbered by slot; the second slot of a 64-bit load has no line of its own. */
export function kernelText(instructions: readonly Instruction[]): readonly string[] {
  const lines: string[] = [];
  for (let pc = 0; pc < instructions.length; pc++) {
    const instruction = instructions[pc] as Instruction;
    const code = instruction.opcode.toString(16).padStart(2, "0");
    const text = statement(instruction, instructions[pc + 1]?.imm ?? 0);
    lines.push(`${String(pc).padStart(4)}: (${code}) ${text}`);
    if (instruction.opcode === Opcode.lddw) pc++;
  }
  return lines;
}

function statement(instruction: Instruction, high: number): string {
  switch (instruction.opcode & 7) {
    case InsnClass.alu:
    case InsnClass.alu64:
      return aluStatement(instruction);
    case InsnClass.jmp:
    case InsnClass.jmp32:
      return jumpStatement(instruction);
    case InsnClass.ld:
      return loadStatement(instruction, high);
    case InsnClass.ldx: {
      const { opcode, dst, src, offset } = instruction;
      const sign = (opcode & 0xe0) === MemMode.memsx ? "s" : "u";
      return `r${dst} = ${memory(sign, opcode, src, offset)}`;
    }
    default:
      return storeStatement(instruction);
  }
}

const aluOperators: Readonly<Record<number, string>> = {
  [AluOp.add]: "+=",
  [AluOp.sub]: "-=",
  [AluOp.mul]: "*=",
  [AluOp.div]: "/=",
  [AluOp.or]: "|=",
  [AluOp.and]: "&=",
  [AluOp.lsh]: "<<=",
  [AluOp.rsh]: ">>=",
  [AluOp.mod]: "%=",
  [AluOp.xor]: "^=",
  [AluOp.mov]: "=",
  [AluOp.arsh]: "s>>=",
};

function aluStatement({ opcode, dst, src, offset, imm }: Instruction): string {
  const op = opcode & 0xf0;
  const is64 = (opcode & 7) === InsnClass.alu64;
  const isReg = (opcode & SourceBit.reg) !== 0;
  const letter = is64 ? "r" : "w";
  if (op === AluOp.end) return `r${dst} = ${is64 ? "bswap" : isReg ? "be" : "le"}${imm} r${dst}`;
  if (op === AluOp.neg) return `${letter}${dst} = -${letter}${dst}`;
  const isSigned = (op === AluOp.div || op === AluOp.mod) && offset === 1;
  const operator = `${isSigned ? "s" : ""}${aluOperators[op] ?? "?"}`;
  if (!isReg) return `${letter}${dst} ${operator} ${imm}`;
  const extension = op === AluOp.mov && offset !== 0 ? `(s${offset})` : "";
  return `${letter}${dst} ${operator} ${extension}${letter}${src}`;
}

const jumpOperators: Readonly<Record<number, string>> = {
  [JmpOp.jeq]: "==",
  [JmpOp.jgt]: ">",
  [JmpOp.jge]: ">=",
  [JmpOp.jset]: "&",
  [JmpOp.jne]: "!=",
  [JmpOp.jsgt]: "s>",
  [JmpOp.jsge]: "s>=",
  [JmpOp.jlt]: "<",
  [JmpOp.jle]: "<=",
  [JmpOp.jslt]: "s<",
  [JmpOp.jsle]: "s<=",
};

const signed = (value: number): string => (value < 0 ? String(value) : `+${value}`);

function jumpStatement({ opcode, dst, src, offset, imm }: Instruction): string {
  const is32 = (opcode & 7) === InsnClass.jmp32;
  const isReg = (opcode & SourceBit.reg) !== 0;
  switch (opcode & 0xf0) {
    case JmpOp.ja:
      return is32 ? `gotol pc${signed(imm)}` : `goto pc${signed(offset)}`;
    case JmpOp.exit:
      return "exit";
    case JmpOp.call:
      if (isReg) return `callx r${dst}`;
      if (src === CallKind.local) return `call pc${signed(imm)}`;
      return src === CallKind.kfunc ? `call kernel-function#${imm}` : `call ${helperName(imm)}#${imm}`;
    default: {
      const letter = is32 ? "w" : "r";
      const operand = isReg ? `${letter}${src}` : `0x${(imm >>> 0).toString(16)}`;
      return `if ${letter}${dst} ${jumpOperators[opcode & 0xf0] ?? "?"} ${operand} goto pc${signed(offset)}`;
    }
  }
}

function helperName(id: number): string {
  const { name } = signatures.get(id) ?? {};
  return name === undefined ? "unknown" : `bpf_${name}`;
}

function loadStatement({ opcode, dst, src, imm }: Instruction, high: number): string {
  const size = `u${8 * sizeBytes(opcode)}`;
  switch (opcode & 0xe0) {
    case MemMode.abs:
      return `r0 = *(${size} *)skb[${imm}]`;
    case MemMode.ind:
      return `r0 = *(${size} *)skb[r${src} + ${imm}]`;
    default:
      if (src === Imm64Kind.map) return `r${dst} = map[id:${imm}]`;
      if (src === Imm64Kind.mapValue) return `r${dst} = map[id:${imm}][0]+${high}`;
      if (src === Imm64Kind.code) return `r${dst} = subprog[${signed(imm)}]`;
      return `r${dst} = ${formatHex64(imm, high)}`;
  }
}

function memory(sign: "u" | "s", opcode: number, base: number, offset: number): string {
  return `*(${sign}${8 * sizeBytes(opcode)} *)(r${base} ${signed(offset)})`;
}

const fetchNames: Readonly<Record<number, string>> = {
  [AtomicOp.add]: "add",
  [AtomicOp.or]: "or",
  [AtomicOp.and]: "and",
  [AtomicOp.xor]: "xor",
};

function storeStatement({ opcode, dst, src, offset, imm }: Instruction): string {
  const at = memory("u", opcode, dst, offset);
  if ((opcode & 7) === InsnClass.st) return `${at} = ${imm}`;
  if ((opcode & 0xe0) !== MemMode.atomic) return `${at} = r${src}`;
  const place = at.slice(1);
  const width = sizeBytes(opcode) === 8 ? "64" : "";
  if (imm === AtomicOp.xchg) return `r${src} = atomic${width}_xchg(${place}, r${src})`;
  if (imm === AtomicOp.cmpxchg) return `r0 = atomic${width}_cmpxchg(${place}, r0, r${src})`;
  const op = imm & ~AtomicOp.fetch;
  if ((imm & AtomicOp.fetch) === 0) return `lock ${at} ${aluOperators[op] ?? "?"} r${src}`;
  return `r${src} = atomic${width}_fetch_${fetchNames[op] ?? "?"}(${place}, r${src})`;
}
