/**
 * Classic BPF: reading it as tcpdump and iptables write it, checking it, and translating it into BPF, as the kernel does
 * before it runs it. Governing sources: bpf(4) of BSD for the machine, include/uapi/linux/filter.h for Linux's extra
 * offsets, net/core/filter.c (bpf_check_classic, bpf_convert_filter) for what is refused and how it translates.
 */
import { InputError, type Issue } from "../../base/index.ts";
import type { ClassicInstruction } from "../datapath.ts";
import { AluOp, InsnClass, type Instruction, JmpOp, MemMode, MemSize, Opcode, SourceBit } from "./insn.ts";

export type { ClassicInstruction };

/** BPF_MAXINSNS, and the limit of xt_bpf. */
export const classicMax = 4096;
export const xtBpfMax = 64;

const ClassicClass = { ld: 0, ldx: 1, st: 2, stx: 3, alu: 4, jmp: 5, ret: 6, misc: 7 } as const;
const Mode = { imm: 0x00, abs: 0x20, ind: 0x40, mem: 0x60, len: 0x80, msh: 0xa0 } as const;
const memoryWords = 16;

/** SKF_AD_*: offsets of what the packet does not carry, from -0x1000. */
const extraBase = 0xffff_f000;
const Extra = {
  protocol: 0,
  pktType: 4,
  ifindex: 8,
  mark: 20,
  queue: 24,
  rxHash: 32,
  cpu: 36,
  xorX: 40,
  vlanTag: 44,
  vlanTagPresent: 48,
  random: 56,
  vlanTpid: 60,
} as const;

/** Registers of the translation: A is r0, X is r7, the context is kept in r6. */
const [accumulator, index, context, frame] = [0, 7, 6, 10] as const;

/** Where A is kept while it reads a header's length: below the scratch words. */
const spill = -4 * (memoryWords + 1);

/**
 * `tcpdump -ddd` (a count, then a line an instruction) and the bytecode of `iptables -m bpf` (the same, with commas).
 * @throws InputError with line and column.
 */
export function parseClassic(text: string, file = "classic BPF"): readonly ClassicInstruction[] {
  const isOneLine = text.trim().split("\n").length === 1 && text.includes(",");
  const parts: { readonly text: string; readonly line: number; readonly column: number }[] = [];
  let column = 1;
  for (const [i, part] of text.split(isOneLine ? "," : "\n").entries()) {
    if (part.trim() !== "")
      parts.push({ text: part.trim(), line: isOneLine ? 1 : i + 1, column: isOneLine ? column : 1 });
    column += part.length + 1;
  }
  const fail = (at: number, message: string): InputError => {
    const place = parts[at] ?? { line: 1, column: 1 };
    return new InputError([
      { code: "syntax", path: "", message, file, line: place.line, column: place.column },
    ]);
  };
  const count = Number(parts[0]?.text);
  if (!/^\d+$/.test(parts[0]?.text ?? "")) throw fail(0, "the number of instructions was expected");
  if (count !== parts.length - 1)
    throw fail(0, `${count} instructions are announced, ${parts.length - 1} follow`);
  return parts.slice(1).map((part, i) => {
    const words = part.text
      .split(/\s+/)
      .map((word) => (/^(\d+|0x[0-9a-f]+)$/i.test(word) ? Number(word) : Number.NaN));
    const [code = -1, jt = -1, jf = -1, k = -1] = words;
    const isGood = words.length === 4 && code <= 0xffff && jt <= 0xff && jf <= 0xff && k <= 0xffff_ffff;
    if (!isGood || words.some((word) => Number.isNaN(word)))
      throw fail(i + 1, `no instruction "code jt jf k": ${part.text}`);
    return { code, jt, jf, k };
  });
}

export function formatClassic(program: readonly ClassicInstruction[]): string {
  return `${[program.length, ...program.map(({ code, jt, jf, k }) => `${code} ${jt} ${jf} ${k}`)].join("\n")}\n`;
}

/** @throws InputError with every instruction that the kernel's checker refuses. */
export function translateClassic(
  program: readonly ClassicInstruction[],
  name = "classic BPF",
): readonly Instruction[] {
  const issues: Issue[] = classicProblems(program).map(({ at, message }) => ({
    code: "invalid",
    path: `${name}[${at}]`,
    message,
  }));
  if (issues.length > 0) throw new InputError(issues);
  const blocks = program.map((instruction) => translate(instruction));
  const starts: number[] = [];
  let next = prologue.length;
  for (const block of blocks) {
    starts.push(next);
    next += block.length;
  }
  const out: Instruction[] = [...prologue];
  blocks.forEach((block, i) => {
    for (const { jumpTo, ...instruction } of block) {
      const target = jumpTo === undefined ? undefined : starts[i + 1 + jumpTo];
      out.push(target === undefined ? instruction : { ...instruction, offset: target - out.length - 1 });
    }
  });
  return out;
}

/** `jumpTo`: classic instructions to skip. */
type Draft = Instruction & { readonly jumpTo?: number };

const make = (opcode: number, dst: number, src: number, offset: number, imm: number): Draft => ({
  opcode,
  dst,
  src,
  offset,
  imm: imm | 0,
});
const aluImm = (op: AluOp, dst: number, imm: number): Draft => make(InsnClass.alu | op, dst, 0, 0, imm);
const aluReg = (op: AluOp, dst: number, src: number): Draft =>
  make(InsnClass.alu | op | SourceBit.reg, dst, src, 0, 0);
const exit: Draft = make(Opcode.exit, 0, 0, 0, 0);
const loadContext = (offset: number): Draft =>
  make(InsnClass.ldx | MemMode.mem | MemSize.w, accumulator, context, offset, 0);
const hostOrder: Draft = make(InsnClass.alu | AluOp.end | SourceBit.reg, accumulator, 0, 0, 16);
const call = (helper: number): Draft => make(Opcode.call, 0, 0, 0, helper);

const prologue: readonly Draft[] = [
  make(InsnClass.alu64 | AluOp.mov | SourceBit.reg, context, 1, 0, 0),
  aluImm(AluOp.mov, accumulator, 0),
  aluImm(AluOp.mov, index, 0),
];

/** Offset of a scratch word in the frame. */
const scratch = (word: number): number => -4 * (memoryWords - word);

function translate({ code, jt, jf, k }: ClassicInstruction): readonly Draft[] {
  switch (code & 7) {
    case ClassicClass.ld:
      return translateLoad(code, k);
    case ClassicClass.ldx:
      return translateIndexLoad(code, k);
    case ClassicClass.st:
    case ClassicClass.stx: {
      const src = (code & 7) === ClassicClass.st ? accumulator : index;
      return [make(InsnClass.stx | MemMode.mem | MemSize.w, frame, src, scratch(k), 0)];
    }
    case ClassicClass.alu:
      return translateAlu(code, k);
    case ClassicClass.jmp:
      return translateJump(code, jt, jf, k);
    case ClassicClass.ret:
      return (code & 0x18) === 0x10 ? [exit] : [aluImm(AluOp.mov, accumulator, k), exit];
    default:
      return (code & 0xf8) === 0x80
        ? [aluReg(AluOp.mov, accumulator, index)]
        : [aluReg(AluOp.mov, index, accumulator)];
  }
}

function translateLoad(code: number, k: number): readonly Draft[] {
  const size = code & 0x18;
  switch (code & 0xe0) {
    case Mode.imm:
      return [aluImm(AluOp.mov, accumulator, k)];
    case Mode.mem:
      return [make(InsnClass.ldx | MemMode.mem | MemSize.w, accumulator, frame, scratch(k), 0)];
    case Mode.len:
      return [loadContext(0)];
    case Mode.ind:
      return [make(InsnClass.ld | MemMode.ind | size, 0, index, 0, k)];
    default:
      return k >= extraBase
        ? (extraLoad(k - extraBase) ?? [])
        : [make(InsnClass.ld | MemMode.abs | size, 0, 0, 0, k)];
  }
}

/** `undefined`: not supported. */
function extraLoad(which: number): readonly Draft[] | undefined {
  switch (which) {
    case Extra.protocol:
      return [loadContext(16), hostOrder];
    case Extra.pktType:
      return [loadContext(4)];
    case Extra.ifindex:
      return [loadContext(40)];
    case Extra.mark:
      return [loadContext(8)];
    case Extra.queue:
      return [loadContext(12)];
    case Extra.rxHash:
      return [loadContext(68)];
    case Extra.cpu:
      return [call(8)];
    case Extra.random:
      return [call(7)];
    case Extra.xorX:
      return [aluReg(AluOp.xor, accumulator, index)];
    case Extra.vlanTag:
      return [loadContext(24)];
    case Extra.vlanTagPresent:
      return [loadContext(20)];
    case Extra.vlanTpid:
      return [loadContext(28), hostOrder];
    default:
      return undefined;
  }
}

function translateIndexLoad(code: number, k: number): readonly Draft[] {
  switch (code & 0xe0) {
    case Mode.imm:
      return [aluImm(AluOp.mov, index, k)];
    case Mode.mem:
      return [make(InsnClass.ldx | MemMode.mem | MemSize.w, index, frame, scratch(k), 0)];
    case Mode.len:
      return [make(InsnClass.ldx | MemMode.mem | MemSize.w, index, context, 0, 0)];
    default: // four times the low half of a byte: an IPv4 header's length
      return [
        make(InsnClass.stx | MemMode.mem | MemSize.w, frame, accumulator, spill, 0),
        make(InsnClass.ld | MemMode.abs | MemSize.b, 0, 0, 0, k),
        aluImm(AluOp.and, accumulator, 15),
        aluImm(AluOp.lsh, accumulator, 2),
        aluReg(AluOp.mov, index, accumulator),
        make(InsnClass.ldx | MemMode.mem | MemSize.w, accumulator, frame, spill, 0),
      ];
  }
}

function translateAlu(code: number, k: number): readonly Draft[] {
  const op = (code & 0xf0) as AluOp;
  if (op === AluOp.neg) return [aluImm(AluOp.neg, accumulator, 0)];
  if ((code & SourceBit.reg) === 0) return [aluImm(op, accumulator, k)];
  const compute = aluReg(op, accumulator, index);
  if (op !== AluOp.div && op !== AluOp.mod) return [compute];
  // division by an X of zero ends the program with 0
  return [
    make(InsnClass.jmp32 | JmpOp.jne, index, 0, 2, 0),
    aluImm(AluOp.mov, accumulator, 0),
    exit,
    compute,
  ];
}

function translateJump(code: number, jt: number, jf: number, k: number): readonly Draft[] {
  const op = code & 0xf0;
  const always = (jumpTo: number): Draft => ({ ...make(Opcode.ja, 0, 0, 0, 0), jumpTo });
  if (op === JmpOp.ja) return [always(k)];
  const compare =
    (code & SourceBit.reg) !== 0
      ? make(InsnClass.jmp32 | op | SourceBit.reg, accumulator, index, 0, 0)
      : make(InsnClass.jmp32 | op, accumulator, 0, 0, k);
  return [{ ...compare, jumpTo: jt }, always(jf)];
}

interface ClassicProblem {
  readonly at: number;
  readonly message: string;
}

/** What bpf_check_classic refuses. */
export function classicProblems(program: readonly ClassicInstruction[]): readonly ClassicProblem[] {
  if (program.length === 0 || program.length > classicMax)
    return [{ at: 0, message: `a program has 1 to ${classicMax} instructions, not ${program.length}` }];
  const problems: ClassicProblem[] = [];
  program.forEach((instruction, at) => {
    const message = classicProblem(instruction, at, program.length);
    if (message !== undefined) problems.push({ at, message });
  });
  const last = program[program.length - 1] as ClassicInstruction;
  if ((last.code & 7) !== ClassicClass.ret)
    problems.push({ at: program.length - 1, message: "the last instruction does not return" });
  return problems.length > 0 ? problems : unwrittenLoads(program);
}

function classicProblem(
  { code, jt, jf, k }: ClassicInstruction,
  at: number,
  count: number,
): string | undefined {
  if (!knownCodes.has(code)) return `no instruction has code 0x${code.toString(16)}`;
  const insnClass = code & 7;
  const mode = code & 0xe0;
  if (insnClass === ClassicClass.alu && (code & SourceBit.reg) === 0) {
    const op = code & 0xf0;
    if ((op === AluOp.div || op === AluOp.mod) && k === 0) return "division by zero";
    if ((op === AluOp.lsh || op === AluOp.rsh) && k >= 32) return `shift by ${k} of 32 bits`;
  }
  const usesMemory =
    insnClass === ClassicClass.st || insnClass === ClassicClass.stx || (insnClass <= 1 && mode === Mode.mem);
  if (usesMemory && k >= memoryWords) return `there is no scratch word ${k}`;
  if (
    insnClass === ClassicClass.ld &&
    mode === Mode.abs &&
    k >= extraBase &&
    extraLoad(k - extraBase) === undefined
  )
    return `the extra offset ${k - extraBase} is not supported`;
  if (insnClass !== ClassicClass.jmp) return undefined;
  const isAlways = (code & 0xf0) === JmpOp.ja;
  const farthest = at + 1 + (isAlways ? k : Math.max(jt, jf));
  return farthest >= count ? `jumps out of the program, to ${farthest}` : undefined;
}

/** Scratch words must be written on every way before they are read (check_load_and_stores). */
function unwrittenLoads(program: readonly ClassicInstruction[]): readonly ClassicProblem[] {
  const written = new Uint32Array(program.length + 1).fill(0xffff);
  written[0] = 0;
  const problems: ClassicProblem[] = [];
  program.forEach(({ code, jt, jf, k }, at) => {
    let here = written[at]!;
    const insnClass = code & 7;
    if (insnClass === ClassicClass.st || insnClass === ClassicClass.stx) here |= 1 << k;
    if (insnClass <= 1 && (code & 0xe0) === Mode.mem && (here & (1 << k)) === 0)
      problems.push({ at, message: `scratch word ${k} is read before it is written` });
    if (insnClass === ClassicClass.ret) return;
    const targets = insnClass !== ClassicClass.jmp ? [0] : (code & 0xf0) === JmpOp.ja ? [k] : [jt, jf];
    for (const target of targets) written[at + 1 + target]! &= here;
  });
  return problems;
}

/** Every code that classic BPF has. */
const knownCodes: ReadonlySet<number> = new Set([
  ...[0x00, 0x80].flatMap((mode) => [ClassicClass.ld | mode, ClassicClass.ldx | mode]),
  ...[Mode.abs, Mode.ind].flatMap((mode) =>
    [MemSize.w, MemSize.h, MemSize.b].map((size) => ClassicClass.ld | mode | size),
  ),
  ClassicClass.ld | Mode.mem,
  ClassicClass.ldx | Mode.mem,
  ClassicClass.ldx | Mode.msh | MemSize.b,
  ClassicClass.st,
  ClassicClass.stx,
  ...[
    AluOp.add,
    AluOp.sub,
    AluOp.mul,
    AluOp.div,
    AluOp.or,
    AluOp.and,
    AluOp.lsh,
    AluOp.rsh,
    AluOp.mod,
    AluOp.xor,
  ].flatMap((op) => [ClassicClass.alu | op, ClassicClass.alu | op | SourceBit.reg]),
  ClassicClass.alu | AluOp.neg,
  ClassicClass.jmp | JmpOp.ja,
  ...[JmpOp.jeq, JmpOp.jgt, JmpOp.jge, JmpOp.jset].flatMap((op) => [
    ClassicClass.jmp | op,
    ClassicClass.jmp | op | SourceBit.reg,
  ]),
  ClassicClass.ret,
  ClassicClass.ret | 0x10,
  ClassicClass.misc,
  ClassicClass.misc | 0x80,
]);
