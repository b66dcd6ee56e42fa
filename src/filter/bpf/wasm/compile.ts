/**
 * Programs to WebAssembly: a function of the program becomes one of the module, registers become locals, and the frame,
 * the packet, its context and the values of maps are bytes of one linear memory, at the addresses that the interpreter has
 * them at. Nothing checks an access but the linear memory's own end: what is compiled has been verified, and the memory
 * holds one node's BPF alone. Forward jumps, whatever their graph, leave blocks that are nested in each other; only
 * backward jumps go round an outer loop, through a table.
 *
 * Arguments of helpers and the result pass through the memory, where `BpfMemory.registers` lies. Left to the interpreter:
 * programs with callbacks, with the historical packet loads, or with tail calls out of a local function.
 */
import {
  AtomicOp,
  CallKind,
  Imm64Kind,
  InsnClass,
  type Instruction,
  MemMode,
  MemSize,
  Opcode,
} from "../insn.ts";
import { registersAt } from "../memory.ts";
import type { LinkedProgram } from "../program.ts";
import { signatures } from "../verifier/signatures.ts";
import { emitAlu, emitCondition } from "./arithmetic.ts";
import { type Block, blocksOf, isJump } from "./blocks.ts";
import { Arith, Compare, encodeModule, putUnsigned, Wasm, type WasmFunction, WasmType } from "./encoder.ts";
import { FunctionCode, type LocalNumbers, type MemoryOperand } from "./function-code.ts";
import { knownLookups } from "./known-lookups.ts";

const { i32, i64 } = WasmType;
const tailCallHelper = 12;
/** A local that only loops need, behind all others. */
const loopLocal = (locals: LocalNumbers): number => locals.wide + 1;

export interface CompiledProgram {
  readonly bytes: Uint8Array;
  /** Numbers of the helpers that it imports as `hNUMBER`: each takes the slot of its call. */
  readonly helpers: readonly number[];
  /** Words that name maps, whose lookups it imports as `mWORD`: each takes the key's address and the slot, gives the value's. */
  readonly maps: readonly number[];
}

/** Where a function's code is written, and what it may call: imports are the helpers, then the maps. */
interface Target {
  readonly program: LinkedProgram;
  /** Place among imports of a helper, and among the module's functions of a local one by its first slot. */
  readonly helpers: readonly number[];
  readonly functions: readonly number[];
  readonly maps: readonly number[];
  readonly lookups: ReadonlyMap<number, number>;
  readonly isMain: boolean;
}

/** `undefined`: the program is one for the interpreter. */
export function compileProgram(program: LinkedProgram): CompiledProgram | undefined {
  const { instructions } = program;
  const functions = localFunctions(instructions);
  const helpers = helpersOf(instructions);
  if (helpers === undefined || (functions.length > 1 && helpers.includes(tailCallHelper))) return undefined;
  const lookups = knownLookups(program);
  const maps = [...new Set(lookups.values())];
  const imports = [
    ...helpers.map((id) => ({
      name: `h${id}`,
      parameters: [i32],
      results: id === tailCallHelper ? [i32] : [],
    })),
    ...maps.map((map) => ({ name: `m${map}`, parameters: [i32, i32], results: [i32] })),
  ];
  const compiled = functions.map((entry, i) =>
    compileFunction({ program, helpers, functions, maps, lookups, isMain: i === 0 }, entry),
  );
  return { bytes: encodeModule(imports, compiled), helpers, maps };
}

/** First slots, the program's own first. */
function localFunctions(instructions: readonly Instruction[]): readonly number[] {
  const called = instructions.flatMap(({ opcode, src, imm }, pc) =>
    opcode === Opcode.call && src === CallKind.local ? [pc + 1 + imm] : [],
  );
  return [0, ...new Set(called.filter((entry) => entry !== 0))];
}

/** `undefined`: something in the program is for the interpreter alone. */
function helpersOf(instructions: readonly Instruction[]): readonly number[] | undefined {
  const helpers = new Set<number>();
  for (let pc = 0; pc < instructions.length; pc++) {
    const { opcode, src, imm } = instructions[pc] as Instruction;
    if (opcode === Opcode.lddw) {
      if (src === Imm64Kind.code) return undefined;
      pc++;
    } else if ((opcode & 7) === InsnClass.ld || opcode === Opcode.callRegister) return undefined;
    else if (opcode === Opcode.call) {
      if (src === CallKind.local && pc + 1 + imm !== 0) continue;
      if (src !== CallKind.helper || !signatures.has(imm)) return undefined;
      helpers.add(imm);
    }
  }
  return [...helpers].sort((a, b) => a - b);
}

function compileFunction(target: Target, entry: number): WasmFunction {
  const blocks = blocksOf(target.program.instructions, entry);
  const locals = localsOf(target.isMain);
  const code = new FunctionCode(locals);
  if (target.isMain)
    for (const register of [1, 2])
      code
        .get(register - 1)
        .op(Wasm.i64ExtendI32U)
        .setRegister(register);
  const labels = labelsOf(blocks);
  openBlocks(code, labels);
  let passed = 0;
  for (const [place, block] of blocks.entries()) {
    if (labels.numbers.has(place)) {
      code.op(Wasm.end);
      passed++;
    }
    emitBlock(code, target, block);
    emitWayOut(code, target, block, place, passed, labels);
  }
  if (labels.heads.length > 0) code.op(Wasm.end);
  code.op(Wasm.unreachable);
  const parameters = target.isMain ? [i32, i32, i32] : [i64, i64, i64, i64, i64, i32];
  const declared = target.isMain
    ? [...Array.from({ length: 10 }, () => i64), i32, i32, i64, i32]
    : [...Array.from({ length: 5 }, () => i64), i32, i32, i64, i32];
  return { parameters, results: [target.isMain ? i32 : i64], locals: declared, code: code.bytes };
}

/** The program takes r1 and r2 as words, a local function r1 to r5; both then the address behind their frame. */
function localsOf(isMain: boolean): LocalNumbers {
  return isMain
    ? { registers: [3, 4, 5, 6, 7, 8, 9, 10, 11, 12], top: 2, frame: 13, word: 14, wide: 15 }
    : { registers: [6, 0, 1, 2, 3, 4, 7, 8, 9, 10], top: 5, frame: 11, word: 12, wide: 13 };
}

/** Where code jumps to. */
interface Labels {
  /** Numbers of the labels of blocks, by place, in the order in which they stand. */
  readonly numbers: ReadonlyMap<number, number>;
  /** Places where loops begin. */
  readonly heads: readonly number[];
}

function labelsOf(blocks: readonly Block[]): Labels {
  const [forward, heads] = [new Set<number>(), new Set<number>()];
  for (const [place, { taken, next }] of blocks.entries())
    for (const target of [taken, next]) {
      if (target === undefined) continue;
      if (target <= place) heads.add(target);
      else if (target > place + 1 || target === taken) forward.add(target);
    }
  if (heads.size > 0) for (const place of [0, ...heads]) forward.add(place);
  const sorted = (places: ReadonlySet<number>): readonly number[] => [...places].sort((a, b) => a - b);
  return { numbers: new Map(sorted(forward).map((place, i) => [place, i])), heads: sorted(heads) };
}

/** A block for each label, which ends where the label's code begins; loops come in through a table at the top. */
function openBlocks(code: FunctionCode, { numbers, heads }: Labels): void {
  if (heads.length > 0) code.op(Wasm.loop, WasmType.nothing);
  for (const _ of numbers) code.op(Wasm.block, WasmType.nothing);
  if (heads.length === 0) return;
  code.get(loopLocal(code.locals)).with(Wasm.brTable, heads.length + 1);
  for (const place of [0, ...heads, 0]) putUnsigned(code.bytes, numbers.get(place) ?? 0);
}

/** `passed`: how many labels stand at this block or before. */
function emitWayOut(
  code: FunctionCode,
  { program }: Target,
  { end, taken, next }: Block,
  place: number,
  passed: number,
  { numbers, heads }: Labels,
): void {
  const goto = (target: number, isConditional: boolean): void => {
    if (target > place) {
      code.with(isConditional ? Wasm.brIf : Wasm.br, (numbers.get(target) ?? 0) - passed);
      return;
    }
    if (isConditional) code.op(Wasm.if, WasmType.nothing);
    code.i32(heads.indexOf(target) + 1).set(loopLocal(code.locals));
    code.with(Wasm.br, numbers.size - passed + (isConditional ? 1 : 0));
    if (isConditional) code.op(Wasm.end);
  };
  if (taken !== undefined && taken !== next) {
    emitCondition(code, program.instructions[end - 1] as Instruction);
    goto(taken, true);
  }
  if (next !== undefined && next !== place + 1) goto(next, false);
}

/** The instructions of a block without the jump at its end. */
function emitBlock(code: FunctionCode, target: Target, { start, end }: Block): void {
  const { instructions, imm } = target.program;
  for (let pc = start; pc < end; pc++) {
    const instruction = instructions[pc] as Instruction;
    switch (instruction.opcode & 7) {
      case InsnClass.alu:
      case InsnClass.alu64:
        emitAlu(code, instruction);
        break;
      case InsnClass.ld:
        code
          .i64((BigInt(imm[pc + 1] ?? 0) << 32n) | BigInt((imm[pc] ?? 0) >>> 0))
          .setRegister(instruction.dst);
        pc++;
        break;
      case InsnClass.ldx:
        emitLoad(code, instruction);
        break;
      case InsnClass.st:
      case InsnClass.stx:
        emitStore(code, instruction);
        break;
      default:
        if (instruction.opcode === Opcode.exit) emitExit(code, target);
        else if (!isJump(instruction)) emitCall(code, target, instruction, pc);
    }
  }
}

const loads: ReadonlyMap<number, number> = new Map([
  [MemMode.mem | MemSize.b, Wasm.i64Load8U],
  [MemMode.mem | MemSize.h, Wasm.i64Load16U],
  [MemMode.mem | MemSize.w, Wasm.i64Load32U],
  [MemMode.mem | MemSize.dw, Wasm.i64Load],
  [MemMode.memsx | MemSize.b, Wasm.i64Load8S],
  [MemMode.memsx | MemSize.h, Wasm.i64Load16S],
  [MemMode.memsx | MemSize.w, Wasm.i64Load32S],
]);
const stores: ReadonlyMap<number, number> = new Map([
  [MemSize.b, Wasm.i64Store8],
  [MemSize.h, Wasm.i64Store16],
  [MemSize.w, Wasm.i64Store32],
  [MemSize.dw, Wasm.i64Store],
]);

function emitLoad(code: FunctionCode, { opcode, dst, src, offset }: Instruction): void {
  const operand = { base: src, offset };
  code
    .address(operand)
    .access(loads.get(opcode & 0xf8) ?? Wasm.i64Load, operand)
    .setRegister(dst);
}

function emitStore(code: FunctionCode, instruction: Instruction): void {
  const { opcode, dst, src, offset, imm } = instruction;
  const operand = { base: dst, offset };
  if ((opcode & 0xe0) === MemMode.atomic) {
    emitAtomic(code, instruction, operand);
    return;
  }
  code.address(operand);
  if ((opcode & 7) === InsnClass.stx) code.register(src);
  else code.i64(imm);
  code.access(stores.get(opcode & 0x18) ?? Wasm.i64Store, operand);
}

const atomicArith: ReadonlyMap<number, (typeof Arith)[keyof typeof Arith]> = new Map([
  [AtomicOp.add, Arith.add],
  [AtomicOp.or, Arith.or],
  [AtomicOp.and, Arith.and],
  [AtomicOp.xor, Arith.xor],
]);

/** One processor: a load, a computation and a store. */
function emitAtomic(code: FunctionCode, { opcode, src, imm }: Instruction, operand: MemoryOperand): void {
  const is64 = (opcode & 0x18) === MemSize.dw;
  const { wide } = code.locals;
  const [load, store] = is64 ? [Wasm.i64Load, Wasm.i64Store] : [Wasm.i64Load32U, Wasm.i64Store32];
  code.address(operand).access(load, operand).set(wide).address(operand);
  if (imm === AtomicOp.cmpxchg) {
    code.register(src).get(wide).get(wide).register(0);
    if (!is64) code.i64(0xffff_ffffn).arith64(Arith.and);
    code.compare64(Compare.eq).op(Wasm.select);
  } else {
    const place = atomicArith.get(imm & ~AtomicOp.fetch);
    if (place === undefined) code.register(src);
    else code.get(wide).register(src).arith64(place);
  }
  code.access(store, operand);
  if (imm === AtomicOp.cmpxchg) code.get(wide).setRegister(0);
  else if ((imm & AtomicOp.fetch) !== 0) code.get(wide).setRegister(src);
}

/** The result of a program goes where helpers' do; 0 says that it has ended. */
function emitExit(code: FunctionCode, { isMain }: Target): void {
  if (isMain) code.i32(0).register(0).access(Wasm.i64Store, registerSlot(0)).i32(0);
  else code.register(0);
  code.op(Wasm.return);
}

/** Of an access at address 0. */
const registerSlot = (register: number): MemoryOperand => ({ base: 0, offset: registersAt + register * 8 });

function emitCall(code: FunctionCode, target: Target, { src, imm }: Instruction, pc: number): void {
  const { helpers, functions, maps, lookups } = target;
  if (src === CallKind.local) {
    for (let register = 1; register <= 5; register++) code.register(register);
    const place = helpers.length + maps.length + functions.indexOf(pc + 1 + imm);
    code.get(code.locals.frame).with(Wasm.call, place);
    code.setRegister(0);
    return;
  }
  const map = lookups.get(pc);
  if (map !== undefined) {
    code
      .word(2)
      .i32(pc)
      .with(Wasm.call, helpers.length + maps.indexOf(map))
      .setWord(0);
    return;
  }
  for (let register = 1; register <= (signatures.get(imm)?.arguments.length ?? 0); register++)
    code.i32(0).register(register).access(Wasm.i64Store, registerSlot(register));
  code.i32(pc).with(Wasm.call, helpers.indexOf(imm));
  if (imm === tailCallHelper) code.op(Wasm.if, WasmType.nothing).i32(1).op(Wasm.return, Wasm.end); // another program goes on
  code.i32(0).access(Wasm.i64Load, registerSlot(0)).setRegister(0);
}
