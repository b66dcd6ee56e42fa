/**
 * A structural verifier: follows every way through a program and proves that registers and stack bytes are written
 * before they are read, that pointers keep their kind, that packet bytes were compared with the packet's end, that
 * what may be null was tested, and that the program ends. What it cannot prove it refuses, with the instruction and
 * what it knew; such a program may still run under the machine's guards. Equal states are followed once. Governing
 * source: Documentation/bpf/verifier.rst; it proves less than the kernel's (no known bits, no widening of loops).
 */
import { type ContextLayout, contextLayout, type ProgramType } from "../context.ts";
import { insnText } from "../disasm.ts";
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
} from "../insn.ts";
import { framesMax, stackBytes } from "../limits.ts";
import { MapFlag, type MapShape, MapType } from "../maps/shape.ts";
import { checkProgram, jumpTarget } from "../program.ts";
import { type AccessContext, checkAccess, load, Refusal, store } from "./access.ts";
import { negated, scalarResult } from "./arithmetic.ts";
import { assumeNumbers, assumePointer } from "./branches.ts";
import { type CallEffect, callHelper } from "./calls.ts";
import { unreachableSlot } from "./flow.ts";
import { checkImmediate, moved } from "./moves.ts";
import { newFrame, VerifierState } from "./state.ts";
import {
  constant,
  describeValue,
  isConstant,
  type Pointer,
  range,
  type Scalar,
  signedBounds,
  u32Max,
  unknown,
  type Value,
} from "./value.ts";

export interface Verdict {
  readonly ok: boolean;
  /** Instructions followed, over all ways. */
  readonly followed: number;
  /** Why it was refused. */
  readonly refusal?: {
    readonly pc: number;
    readonly text: string;
    readonly message: string;
    readonly registers: string;
  };
}

export interface VerifyOptions {
  readonly type: ProgramType;
  /** The maps that 64-bit loads name by number. */
  readonly maps: readonly MapShape[];
  /** Instructions to follow before giving up; default: the kernel's limit. */
  readonly followedMax?: number;
}

export function verifyProgram(instructions: readonly Instruction[], options: VerifyOptions): Verdict {
  const [problem] = checkProgram(instructions);
  if (problem !== undefined) return refused(instructions, problem.pc, problem.message, "", 0);
  const dead = unreachableSlot(instructions);
  if (dead !== undefined) return refused(instructions, dead, "no way through the program leads here", "", 0);
  return new Verifier(instructions, options).run();
}

function refused(
  instructions: readonly Instruction[],
  pc: number,
  message: string,
  registers: string,
  followed: number,
): Verdict {
  const instruction = instructions[pc];
  const text = instruction === undefined ? "" : insnText(instruction, instructions[pc + 1]?.imm ?? 0);
  return { ok: false, followed, refusal: { pc, text, message, registers } };
}

/** Work of the depth-first walk: a state to follow, or the end of everything that came from one. */
type Work = { readonly state: VerifierState } | { readonly done: string };

class Verifier {
  readonly #instructions: readonly Instruction[];
  readonly #options: VerifyOptions;
  readonly #layout: ContextLayout;
  readonly #work: Work[] = [];
  /** States met at jump targets: being followed, or followed to every end. */
  readonly #seen = new Map<string, "open" | "done">();
  readonly #targets: ReadonlySet<number>;
  /** Deepest stack of each function, by first slot. */
  readonly #depths = new Map<number, number>();
  #followed = 0;
  #nextId = 16;

  constructor(instructions: readonly Instruction[], options: VerifyOptions) {
    this.#instructions = instructions;
    this.#options = options;
    this.#layout = contextLayout(options.type);
    this.#targets = new Set(
      instructions.flatMap((instruction, pc) => {
        const target = jumpTarget(instruction, pc);
        return target === undefined ? [] : [target];
      }),
    );
  }

  run(): Verdict {
    const context: Pointer = { kind: "pointer", to: "context", min: 0, max: 0, id: 0, orNull: false };
    this.#work.push({ state: new VerifierState(0, [newFrame(0, [undefined, context], -1, 0)], new Map()) });
    for (let next = this.#work.pop(); next !== undefined; next = this.#work.pop()) {
      if ("done" in next) {
        this.#seen.set(next.done, "done");
        continue;
      }
      const refusal = this.#follow(next.state);
      if (refusal !== undefined) return refusal;
    }
    return { ok: true, followed: this.#followed };
  }

  /** Follows one state to its end; other ways are put on the pile. */
  #follow(state: VerifierState): Verdict | undefined {
    const fail = (message: string): Verdict =>
      refused(this.#instructions, state.pc, message, state.describe(), this.#followed);
    try {
      for (;;) {
        if (this.#targets.has(state.pc)) {
          const key = state.key();
          const known = this.#seen.get(key);
          if (known === "open") return fail("a loop comes back with nothing changed: it may never end");
          if (known === "done") return undefined;
          this.#seen.set(key, "open");
          this.#work.push({ done: key });
        }
        if (++this.#followed > (this.#options.followedMax ?? 1_000_000))
          return fail(`more than ${this.#followed - 1} instructions were followed`);
        if (!this.#step(state)) return undefined;
      }
    } catch (error) {
      if (error instanceof Refusal) return fail(error.message);
      throw error;
    }
  }

  /** One instruction; false when this way has ended. */
  #step(state: VerifierState): boolean {
    const instruction = this.#instructions[state.pc] as Instruction;
    switch (instruction.opcode & 7) {
      case InsnClass.alu:
      case InsnClass.alu64:
        this.#alu(state, instruction);
        state.pc++;
        return true;
      case InsnClass.ld:
        this.#immediateOrPacket(state, instruction);
        return true;
      case InsnClass.ldx: {
        const pointer = this.#pointer(state, instruction.src);
        const isSigned = (instruction.opcode & 0xe0) === MemMode.memsx;
        const size = sizeBytes(instruction.opcode);
        this.#noteStack(state, pointer, instruction.offset);
        state.registers[instruction.dst] = load(
          state,
          this.#access(),
          pointer,
          instruction.offset,
          size,
          isSigned,
        );
        state.pc++;
        return true;
      }
      case InsnClass.st:
      case InsnClass.stx:
        this.#store(state, instruction);
        state.pc++;
        return true;
      default:
        return this.#jump(state, instruction);
    }
  }

  #access(): AccessContext {
    return { type: this.#options.type, layout: this.#layout };
  }

  #read(state: VerifierState, register: number): Scalar | Pointer {
    const value = state.registers[register];
    if (value === undefined) throw new Refusal(`r${register} holds nothing`);
    return value;
  }

  #pointer(state: VerifierState, register: number): Pointer {
    const value = this.#read(state, register);
    if (value.kind !== "pointer") throw new Refusal(`r${register} is ${describeValue(value)}, not a pointer`);
    return value;
  }

  #alu(state: VerifierState, { opcode, dst, src, offset, imm }: Instruction): void {
    const is64 = (opcode & 7) === InsnClass.alu64;
    const op = opcode & 0xf0;
    const { registers } = state;
    const isReg = (opcode & SourceBit.reg) !== 0 && op !== AluOp.end;
    const operand = isReg ? this.#read(state, src) : constant(BigInt(imm));
    if (!isReg) checkImmediate(op, imm, is64);
    if (op === AluOp.mov) {
      registers[dst] = moved(operand, is64, offset);
      return;
    }
    const target = this.#read(state, dst);
    if (target.kind === "pointer" || operand.kind === "pointer") {
      registers[dst] = this.#pointerArithmetic(state, op, is64, target, operand);
      return;
    }
    if (op === AluOp.neg) registers[dst] = scalarResult(AluOp.sub, constant(0n), target, is64, 0);
    else if (op === AluOp.end) registers[dst] = imm === 64 ? unknown : range(0n, (1n << BigInt(imm)) - 1n);
    else registers[dst] = scalarResult(op, target, operand, is64, offset);
  }

  #pointerArithmetic(
    state: VerifierState,
    op: number,
    is64: boolean,
    target: Scalar | Pointer,
    operand: Scalar | Pointer,
  ): Value {
    if (!is64) throw new Refusal("32-bit arithmetic on a pointer");
    if (target.kind === "pointer" && operand.kind === "pointer") {
      const isDistance = op === AluOp.sub && target.to === operand.to && target.to.startsWith("packet");
      if (isDistance) return unknown;
      throw new Refusal(`arithmetic on two pointers, ${describeValue(target)} and ${describeValue(operand)}`);
    }
    const [pointer, number] =
      target.kind === "pointer" ? [target, operand as Scalar] : [operand as Pointer, target];
    if (op !== AluOp.add && (op !== AluOp.sub || target.kind !== "pointer"))
      throw new Refusal(`arithmetic on ${describeValue(pointer)} other than adding a number`);
    if (pointer.orNull)
      throw new Refusal(`arithmetic on a pointer that may be null (${describeValue(pointer)})`);
    return this.#moved(state, pointer, number, op === AluOp.sub);
  }

  #moved(state: VerifierState, pointer: Pointer, number: Scalar, isSub: boolean): Pointer {
    const movable: readonly Pointer["to"][] = ["stack", "packet", "packet-meta", "map-value", "memory"];
    const isFixed = isConstant(number);
    if (!movable.includes(pointer.to) && !(pointer.to === "context" && isFixed))
      throw new Refusal(`arithmetic on ${describeValue(pointer)}`);
    const bounds = signedBounds(number);
    const limit = 1n << 29n;
    if (bounds === undefined || bounds[0] < -limit || bounds[1] > limit)
      throw new Refusal(`a pointer is moved by ${describeValue(number)}, whose bounds are not known`);
    const [low, high] = isSub
      ? [-Number(bounds[1]), -Number(bounds[0])]
      : [Number(bounds[0]), Number(bounds[1])];
    if (!pointer.to.startsWith("packet") || isFixed)
      return { ...pointer, min: pointer.min + low, max: pointer.max + high };
    // a new origin: what is proven behind it is for comparisons with it to say
    if (pointer.min + low < 0) throw new Refusal(`a packet pointer may move before the packet, by ${low}`);
    const id = this.#nextId++;
    state.proven.set(id, 0);
    return { ...pointer, min: 0, max: 0, id };
  }

  #immediateOrPacket(state: VerifierState, { opcode, dst, src, imm }: Instruction): void {
    const { registers } = state;
    if (opcode !== Opcode.lddw) {
      const context = registers[6];
      if (context?.kind !== "pointer" || context.to !== "context")
        throw new Refusal("a packet load needs the context in r6");
      if ((opcode & 0xe0) === MemMode.ind) this.#read(state, src);
      for (let register = 1; register <= 5; register++) registers[register] = undefined;
      registers[0] = range(0n, u32Max);
      state.pc++;
      return;
    }
    const high = this.#instructions[state.pc + 1]?.imm ?? 0;
    registers[dst] = this.#imm64(state.pc, src, imm, high);
    state.pc += 2;
  }

  #imm64(pc: number, kind: number, low: number, high: number): Value {
    if (kind === Imm64Kind.value) return constant((BigInt(high) << 32n) | BigInt(low >>> 0));
    const pointer = { kind: "pointer", min: 0, max: 0, id: 0, orNull: false } as const;
    if (kind === Imm64Kind.code) return { ...pointer, to: "function", frame: pc + 1 + low };
    const map = this.#options.maps[low];
    if (map === undefined || kind === Imm64Kind.variable) throw new Refusal(`there is no map ${low}`);
    if (kind === Imm64Kind.map || kind === Imm64Kind.mapIndex) return { ...pointer, to: "map", map };
    if (map.type !== MapType.array || map.maxEntries !== 1 || high < 0 || high >= map.valueSize)
      throw new Refusal(`map ${map.name} has no byte ${high} to point to`);
    return { ...pointer, to: "map-value", map, min: high, max: high };
  }

  #store(state: VerifierState, { opcode, dst, src, offset, imm }: Instruction): void {
    const pointer = this.#pointer(state, dst);
    const size = sizeBytes(opcode);
    if ((opcode & 0xe0) !== MemMode.atomic) {
      const value = (opcode & 7) === InsnClass.stx ? this.#read(state, src) : constant(BigInt(imm));
      store(state, this.#access(), pointer, offset, size, value);
      this.#noteStack(state, pointer, offset);
      return;
    }
    if (this.#read(state, src).kind === "pointer") throw new Refusal("an atomic operation with a pointer");
    if (pointer.to !== "stack" && pointer.to !== "map-value" && pointer.to !== "memory")
      throw new Refusal(`an atomic operation on ${describeValue(pointer)}`);
    if (load(state, this.#access(), pointer, offset, size, false)?.kind !== "scalar")
      throw new Refusal("an atomic operation on a pointer in memory");
    checkAccess(state, pointer, offset, size, true);
    store(state, this.#access(), pointer, offset, size, unknown);
    const fetched = size === 4 ? range(0n, u32Max) : unknown;
    if (imm === AtomicOp.cmpxchg) {
      if (this.#read(state, 0).kind === "pointer")
        throw new Refusal("an exchange that compares with a pointer");
      state.registers[0] = fetched;
    } else if ((imm & AtomicOp.fetch) !== 0) state.registers[src] = fetched;
  }

  /** Remembers how deep a function's stack goes. */
  #noteStack(state: VerifierState, pointer: Pointer, offset: number): void {
    if (pointer.to !== "stack") return;
    const frame = state.frames[pointer.frame ?? 0];
    if (frame === undefined) return;
    const depth = -(pointer.min + offset);
    if (depth <= (this.#depths.get(frame.entry) ?? 0)) return;
    this.#depths.set(frame.entry, depth);
    const together = state.frames.reduce(
      (sum, { entry }) => sum + roundedDepth(this.#depths.get(entry) ?? 0),
      0,
    );
    if (together > stackBytes)
      throw new Refusal(
        `the stacks of nested functions take ${together} bytes; at most ${stackBytes} are allowed together`,
      );
  }

  #jump(state: VerifierState, instruction: Instruction): boolean {
    switch (instruction.opcode & 0xf0) {
      case JmpOp.ja:
        state.pc = jumpTarget(instruction, state.pc) ?? 0;
        return true;
      case JmpOp.exit:
        return this.#exit(state);
      case JmpOp.call:
        this.#call(state, instruction);
        return true;
      default:
        return this.#branch(state, instruction);
    }
  }

  #exit(state: VerifierState): boolean {
    const { frames } = state;
    const { returnTo } = state.frame;
    if (returnTo < 0) {
      const result = this.#read(state, 0);
      if (result.kind === "pointer") throw new Refusal(`returns ${describeValue(result)}, not a number`);
      if (returnTo === -1 && holdsRecord(state))
        throw new Refusal("ends with a record that was neither submitted nor discarded");
      return false;
    }
    // a function may give back whatever its caller can use, or nothing
    const result = state.registers[0];
    if (result?.kind === "pointer" && result.to === "stack")
      throw new Refusal("a function returns a pointer to its stack");
    const gone = frames.length - 1;
    frames.pop();
    state.mapValues((value) => (value.to === "stack" && value.frame === gone ? undefined : value));
    state.registers[0] = result;
    for (let register = 1; register <= 5; register++) state.registers[register] = undefined;
    state.pc = returnTo;
    return true;
  }

  #call(state: VerifierState, { opcode, src, imm }: Instruction): void {
    if (opcode !== Opcode.call) throw new Refusal("a call by register");
    if (src === CallKind.kfunc) throw new Refusal("a call of a kernel function");
    if (src === CallKind.local) {
      const entry = state.pc + 1 + imm;
      this.#enter(state, state.registers.slice(0, 6), state.pc + 1, entry);
      return;
    }
    const before = state.copy();
    const freshId = (): number => this.#nextId++;
    const effect = callHelper(state, imm, { type: this.#options.type, freshId });
    if (effect.callback !== undefined) this.#pushCallback(before, state, effect);
    state.pc++;
  }

  #enter(state: VerifierState, registers: readonly Value[], returnTo: number, entry: number): void {
    const { frames } = state;
    if (frames.length >= framesMax) throw new Refusal(`calls nest more than ${framesMax} frames deep`);
    frames.push(newFrame(frames.length, [undefined, ...registers.slice(1)], returnTo, entry));
    state.pc = entry;
  }

  /** The function is followed once with arguments that stand for all calls; the caller's stack may change under it. */
  #pushCallback(before: VerifierState, after: VerifierState, { signature, callback, map }: CallEffect): void {
    const given = before.registers[3];
    const pointer = { kind: "pointer", min: 0, max: 0, id: 0, orNull: false } as const;
    const mapPointer: Value = map === undefined ? undefined : { ...pointer, to: "map", map };
    const value: Value = map === undefined ? undefined : { ...pointer, to: "map-value", map };
    const key: Value = map === undefined ? undefined : { ...pointer, to: "map-value", map: keyShape(map) };
    const standIns = { map: mapPointer, key, value, number: range(0n, u32Max), "context-argument": given };
    const values = (signature.callback ?? []).map((kind) => standIns[kind]);
    if (given?.kind === "pointer" && given.to === "stack")
      for (const state of [before, after])
        for (const frame of state.frames)
          for (const slot of frame.spills.keys()) frame.spills.set(slot, unknown);
    this.#enter(before, [undefined, ...values], -2, callback ?? 0);
    this.#work.push({ state: before });
  }

  #branch(state: VerifierState, instruction: Instruction): boolean {
    const { opcode, dst, src, imm } = instruction;
    const isReg = (opcode & SourceBit.reg) !== 0;
    const is64 = (opcode & 7) === InsnClass.jmp;
    const [a, b] = [this.#read(state, dst), isReg ? this.#read(state, src) : constant(BigInt(imm))];
    const target = jumpTarget(instruction, state.pc) ?? 0;
    const taken = state.copy(target);
    const sides: readonly (readonly [VerifierState, number])[] = [
      [taken, opcode & 0xf0],
      [state, negated(opcode)],
    ];
    const possible = sides.map(([side, op]) => {
      if (a.kind === "scalar" && b.kind === "scalar")
        return assumeNumbers(side, op, dst, isReg ? src : -1, a, b, is64);
      if (!is64) throw new Refusal("a 32-bit comparison with a pointer");
      return assumePointer(side, op, a, b);
    });
    const [isTaken, isNot] = possible;
    if (isTaken === true && isNot === true) this.#work.push({ state: taken });
    if (isNot === true) {
      state.pc++;
      return true;
    }
    if (isTaken !== true) return false; // neither can hold: this way is not real
    this.#work.push({ state: taken });
    return false;
  }
}

function holdsRecord({ frames }: VerifierState): boolean {
  const isRecord = (value: Value): boolean =>
    value?.kind === "pointer" && value.to === "memory" && !value.orNull;
  return frames.some(
    ({ registers, spills }) => registers.some(isRecord) || [...spills.values()].some(isRecord),
  );
}

/** Stacks are counted in words of 32 bytes, at least one (check_max_stack_depth). */
function roundedDepth(depth: number): number {
  return Math.max(32, Math.ceil(depth / 32) * 32);
}

function keyShape(map: MapShape): MapShape {
  return { ...map, name: `${map.name}'s keys`, valueSize: map.keySize, flags: MapFlag.rdonlyProg };
}
