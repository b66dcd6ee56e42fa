/**
 * Programs as data and in the form that runs: instructions in columns, with what they name (maps, functions) resolved
 * to numbers. `checkProgram` refuses what no machine could run; what a program does is the verifier's business.
 * Governing sources: RFC 9669 (sections 3 to 5, reserved fields), kernel/bpf/verifier.c (check_subprogs, resolve_pseudo_ldimm64).
 */
import {
  AluOp,
  AtomicOp,
  CallKind,
  framePointer,
  Imm64Kind,
  InsnClass,
  type Instruction,
  JmpOp,
  MemMode,
  MemSize,
  Opcode,
  SourceBit,
} from "./insn.ts";

/** A program's columns; register numbers are doubled, because registers are word pairs. */
export interface LinkedProgram {
  readonly name: string;
  readonly instructions: readonly Instruction[];
  /** A verifier has taken it: it may be compiled, and run without the machine's guards. */
  readonly isVerified: boolean;
  readonly opcode: Uint8Array;
  readonly dst: Uint8Array;
  readonly src: Uint8Array;
  readonly offset: Int16Array;
  readonly imm: Int32Array;
}

export interface ProgramProblem {
  /** Slot. */
  readonly pc: number;
  readonly message: string;
}

/** A 64-bit load that names something: a map, a value in one, code. */
export interface NamedLoad {
  readonly pc: number;
  readonly kind: number;
  readonly low: number;
  readonly high: number;
}

/** The last form of a list of instructions and the words that its named loads got: nodes share it where these are equal. */
const linkedForms = new WeakMap<
  readonly Instruction[],
  { readonly words: readonly number[]; readonly program: LinkedProgram }
>();

/** Of frozen lists: every node asks for them again. */
const namedLoadsOf = new WeakMap<readonly Instruction[], readonly NamedLoad[]>();

/** `instructions` have been checked. `resolve` answers the word that a load which names something puts into its register. */
export function linkProgram(
  name: string,
  instructions: readonly Instruction[],
  resolve?: (load: NamedLoad) => number,
  isVerified = false,
): LinkedProgram {
  const words = resolve === undefined ? [] : namedLoads(instructions).map(resolve);
  const known = linkedForms.get(instructions);
  const isSame =
    known?.program.name === name &&
    known.program.isVerified === isVerified &&
    known.words.length === words.length &&
    known.words.every((word, i) => word === words[i]);
  if (known !== undefined && isSame) return known.program;
  const program = { ...columns(instructions, words), name, isVerified };
  if (Object.isFrozen(instructions)) linkedForms.set(instructions, { words, program });
  return program;
}

function namedLoads(instructions: readonly Instruction[]): readonly NamedLoad[] {
  const known = namedLoadsOf.get(instructions);
  if (known !== undefined) return known;
  const loads: NamedLoad[] = [];
  for (let pc = 0; pc < instructions.length; pc++) {
    const { opcode, src, imm } = instructions[pc] as Instruction;
    if (opcode !== Opcode.lddw) continue;
    const high = instructions[pc + 1]?.imm ?? 0;
    if (src !== Imm64Kind.value) loads.push({ pc, kind: src, low: imm, high });
    pc++;
  }
  if (Object.isFrozen(instructions)) namedLoadsOf.set(instructions, loads);
  return loads;
}

/** Without `words` for them, loads that name something keep what they name. */
function columns(
  instructions: readonly Instruction[],
  words: readonly number[],
): Omit<LinkedProgram, "name" | "isVerified"> {
  const count = instructions.length;
  const program = {
    instructions,
    opcode: new Uint8Array(count),
    dst: new Uint8Array(count),
    src: new Uint8Array(count),
    offset: new Int16Array(count),
    imm: new Int32Array(count),
  };
  let named = 0;
  for (let pc = 0; pc < count; pc++) {
    const { opcode, dst, src, offset, imm } = instructions[pc] as Instruction;
    program.opcode[pc] = opcode;
    program.dst[pc] = dst * 2;
    program.src[pc] = src * 2;
    program.offset[pc] = offset;
    program.imm[pc] = imm;
    if (opcode !== Opcode.lddw) continue;
    const word = src === Imm64Kind.value ? undefined : words[named++];
    if (word !== undefined) program.imm[pc] = word;
    program.imm[++pc] = word === undefined ? (instructions[pc]?.imm ?? 0) : 0;
  }
  return program;
}

/** The kernel's limit for privileged programs (BPF_COMPLEXITY_LIMIT_INSNS). */
export const instructionsMax = 1_000_000;

/** Frozen lists that are programs. */
const checkedForms = new WeakSet<readonly Instruction[]>();

/** Every way in which the instructions are not a program; empty when they are. */
export function checkProgram(instructions: readonly Instruction[]): readonly ProgramProblem[] {
  if (checkedForms.has(instructions)) return [];
  const problems = programProblems(instructions);
  if (problems.length === 0 && Object.isFrozen(instructions)) checkedForms.add(instructions);
  return problems;
}

function programProblems(instructions: readonly Instruction[]): readonly ProgramProblem[] {
  const problems: ProgramProblem[] = [];
  if (instructions.length === 0) return [{ pc: 0, message: "the program is empty" }];
  if (instructions.length > instructionsMax)
    return [{ pc: 0, message: `more than ${instructionsMax} instructions` }];
  const isSecondHalf = new Uint8Array(instructions.length);
  for (let pc = 0; pc < instructions.length; pc++) {
    const instruction = instructions[pc] as Instruction;
    const message = instructionProblem(instruction) ?? wideProblem(instruction, instructions[pc + 1]);
    if (message !== undefined) problems.push({ pc, message });
    if (instruction.opcode === Opcode.lddw) isSecondHalf[++pc] = 1;
  }
  for (let pc = 0; pc < instructions.length; pc++) {
    if (isSecondHalf[pc] === 1) continue;
    const target = jumpTarget(instructions[pc] as Instruction, pc);
    if (target === undefined) continue;
    if (target < 0 || target >= instructions.length)
      problems.push({ pc, message: `jumps out of the program, to ${target}` });
    else if (isSecondHalf[target] === 1)
      problems.push({ pc, message: `jumps into the middle of a 64-bit load, to ${target}` });
  }
  const last = instructions[instructions.length - 1] as Instruction;
  if (isSecondHalf[instructions.length - 1] === 1 || !endsProgram(last))
    problems.push({ pc: instructions.length - 1, message: "the program runs past its last instruction" });
  return problems;
}

/** Slot that a jump, a call or a pointer to a local function leads to; `undefined` for other instructions. */
export function jumpTarget({ opcode, src, offset, imm }: Instruction, pc: number): number | undefined {
  const insnClass = opcode & 7;
  if (opcode === Opcode.lddw) return src === Imm64Kind.code ? pc + 1 + imm : undefined;
  if (insnClass !== InsnClass.jmp && insnClass !== InsnClass.jmp32) return undefined;
  if (opcode === Opcode.call) return src === CallKind.local ? pc + 1 + imm : undefined;
  if (opcode === Opcode.exit || opcode === Opcode.callRegister) return undefined;
  return pc + 1 + (opcode === Opcode.ja32 ? imm : offset);
}

function endsProgram({ opcode }: Instruction): boolean {
  return opcode === Opcode.exit || opcode === Opcode.ja || opcode === Opcode.ja32;
}

function wideProblem({ opcode }: Instruction, second: Instruction | undefined): string | undefined {
  if (opcode !== Opcode.lddw) return undefined;
  if (second === undefined) return "a 64-bit load lacks its second half";
  return second.opcode === 0 && second.dst === 0 && second.src === 0 && second.offset === 0
    ? undefined
    : "the second half of a 64-bit load has fields that must be zero";
}

/** What is wrong with one instruction by itself. */
function instructionProblem(instruction: Instruction): string | undefined {
  const { opcode, dst, src, offset, imm } = instruction;
  const hex = `opcode 0x${opcode.toString(16).padStart(2, "0")}`;
  const use = usedFields(instruction);
  if (use === undefined) return `${hex} is not an instruction`;
  if (use.dst ? dst > framePointer : dst !== 0)
    return use.dst ? `no register r${dst}` : `${hex} must have destination 0`;
  if (use.writesDst && dst === framePointer) return "r10 is read-only";
  if (use.src === "register" && src > framePointer) return `no register r${src}`;
  if (use.src === "none" && src !== 0) return `${hex} must have source 0`;
  if (!use.offset && offset !== 0) return `${hex} must have offset 0`;
  if (!use.imm && imm !== 0) return `${hex} must have immediate 0`;
  return use.problem;
}

interface UsedFields {
  readonly dst: boolean;
  readonly writesDst: boolean;
  readonly src: "register" | "kind" | "none";
  readonly offset: boolean;
  readonly imm: boolean;
  /** A field that is used has a value that means nothing. */
  readonly problem?: string | undefined;
}

/** `undefined`: there is no such opcode. */
function usedFields(instruction: Instruction): UsedFields | undefined {
  switch (instruction.opcode & 7) {
    case InsnClass.alu:
    case InsnClass.alu64:
      return aluFields(instruction);
    case InsnClass.jmp:
    case InsnClass.jmp32:
      return jumpFields(instruction);
    case InsnClass.ld:
      return loadFields(instruction);
    case InsnClass.ldx:
      return loadIndirectFields(instruction);
    default:
      return storeFields(instruction);
  }
}

function aluFields({ opcode, offset, imm }: Instruction): UsedFields | undefined {
  const op = opcode & 0xf0;
  const is64 = (opcode & 7) === InsnClass.alu64;
  const isReg = (opcode & SourceBit.reg) !== 0;
  const base = { dst: true, writesDst: true, offset: false } as const;
  if (op > AluOp.end) return undefined;
  if (op === AluOp.end) {
    if (is64 && isReg) return undefined;
    const isWidth = imm === 16 || imm === 32 || imm === 64;
    return { ...base, src: "none", imm: true, problem: isWidth ? undefined : `no byte order of ${imm} bits` };
  }
  if (op === AluOp.neg) return isReg ? undefined : { ...base, src: "none", imm: false };
  const fields = { ...base, src: isReg ? ("register" as const) : ("none" as const), imm: !isReg };
  if (op === AluOp.div || op === AluOp.mod) {
    const problem = offset !== 0 && offset !== 1 ? `no division of kind ${offset}` : undefined;
    return { ...fields, offset: true, problem };
  }
  if (op === AluOp.mov && isReg) {
    const isExtension = offset === 8 || offset === 16 || (is64 && offset === 32);
    const problem = offset === 0 || isExtension ? undefined : `no sign extension of ${offset} bits`;
    return { ...fields, offset: true, problem };
  }
  return fields;
}

function jumpFields({ opcode, src }: Instruction): UsedFields | undefined {
  const op = opcode & 0xf0;
  const is32 = (opcode & 7) === InsnClass.jmp32;
  const isReg = (opcode & SourceBit.reg) !== 0;
  const none = { dst: false, writesDst: false, src: "none", offset: false, imm: false } as const;
  switch (op) {
    case JmpOp.ja:
      if (isReg) return undefined;
      return is32 ? { ...none, imm: true } : { ...none, offset: true };
    case JmpOp.exit:
      return is32 || isReg ? undefined : none;
    case JmpOp.call:
      if (is32) return undefined;
      if (isReg) return { ...none, dst: true };
      return {
        ...none,
        src: "kind",
        imm: true,
        problem: src > CallKind.kfunc ? `no call of kind ${src}` : undefined,
      };
    default:
      if (op > JmpOp.jsle) return undefined;
      return { dst: true, writesDst: false, src: isReg ? "register" : "none", offset: true, imm: !isReg };
  }
}

function loadFields({ opcode, src }: Instruction): UsedFields | undefined {
  if (opcode === Opcode.lddw)
    return {
      dst: true,
      writesDst: true,
      src: "kind",
      offset: false,
      imm: true,
      problem: src > Imm64Kind.mapIndexValue ? `no 64-bit load of kind ${src}` : undefined,
    };
  const mode = opcode & 0xe0;
  if ((mode !== MemMode.abs && mode !== MemMode.ind) || (opcode & 0x18) === MemSize.dw) return undefined;
  return {
    dst: false,
    writesDst: false,
    src: mode === MemMode.ind ? "register" : "none",
    offset: false,
    imm: true,
  };
}

function loadIndirectFields({ opcode }: Instruction): UsedFields | undefined {
  const mode = opcode & 0xe0;
  const isSigned = mode === MemMode.memsx && (opcode & 0x18) !== MemSize.dw;
  if (mode !== MemMode.mem && !isSigned) return undefined;
  return { dst: true, writesDst: true, src: "register", offset: true, imm: false };
}

function storeFields({ opcode, src, imm }: Instruction): UsedFields | undefined {
  const mode = opcode & 0xe0;
  const isStx = (opcode & 7) === InsnClass.stx;
  const base = { dst: true, writesDst: false, offset: true } as const;
  if (mode === MemMode.mem) return { ...base, src: isStx ? "register" : "none", imm: !isStx };
  const size = opcode & 0x18;
  if (mode !== MemMode.atomic || !isStx || (size !== MemSize.w && size !== MemSize.dw)) return undefined;
  const fetches = (imm & AtomicOp.fetch) !== 0;
  const problem = !isAtomicOperation(imm)
    ? `no atomic operation 0x${(imm >>> 0).toString(16)}`
    : fetches && imm !== AtomicOp.cmpxchg && src === framePointer
      ? "r10 is read-only"
      : undefined;
  return { ...base, src: "register", imm: true, problem };
}

function isAtomicOperation(imm: number): boolean {
  if (imm === AtomicOp.xchg || imm === AtomicOp.cmpxchg) return true;
  const plain = imm & ~AtomicOp.fetch;
  return plain === AtomicOp.add || plain === AtomicOp.or || plain === AtomicOp.and || plain === AtomicOp.xor;
}
