/**
 * The BPF machine: an interpreter over linked programs. Untrusted programs run under three guards: every memory access
 * is bounds-checked in one place (`BpfMemory.locate`), fuel ends every run, and calls nest eight deep. What a guard
 * stops is a `fault`, never an exception of the caller's. Verified programs that run often are compiled, and then need no
 * guards (wasm/compile.ts); what they leave is the same. Governing sources: RFC 9669; kernel/bpf/core.c for what it
 * leaves to the implementation (tail calls, frames, limits of include/linux/bpf.h).
 */
import { assert } from "../../base/index.ts";
import { alu32, alu64, changeByteOrder, isTaken } from "./alu.ts";
import { BpfStop, type Fault, faultOf, type RunResult } from "./fault.ts";
import {
  AluOp,
  AtomicOp,
  framePointer,
  InsnClass,
  JmpOp,
  MemMode,
  MemSize,
  SourceBit,
  sizeBytes,
} from "./insn.ts";
import { defaultFuel, framesMax, keyBytesMax, stackBytes, tailCallsMax } from "./limits.ts";
import type { Helper, MachineOptions } from "./machine-options.ts";
import type { BpfMemory, Region } from "./memory.ts";
import type { LinkedProgram } from "./program.ts";
import { CompiledPrograms, type LookupImport } from "./wasm/execution.ts";
import { lookupHelper } from "./wasm/known-lookups.ts";

const frameTop = framePointer * 2;
const loadWord = InsnClass.ldx | MemMode.mem | MemSize.w;
const loadByte = InsnClass.ldx | MemMode.mem | MemSize.b;
const storeWord = InsnClass.stx | MemMode.mem | MemSize.w;
/** By opcode. */
const accessBytes = Uint8Array.from({ length: 256 }, (_, opcode) => sizeBytes(opcode));

export class BpfMachine {
  readonly memory: BpfMemory;
  readonly #helpers: ReadonlyMap<number, Helper>;
  readonly #loadPacket: MachineOptions["loadPacket"];
  readonly #fuelMax: number;
  readonly #stack: Region;
  readonly #stackTop: number;
  /** By frame: the caller's program, return slot and r6..r9. */
  readonly #callers: LinkedProgram[] = [];
  readonly #returns = new Int32Array(framesMax);
  readonly #saved = new Int32Array(framesMax * 8);
  #depth = 0;
  #fuel = 0;
  #tailCalls = 0;
  #program: LinkedProgram | undefined;
  #pc = 0;
  #next: LinkedProgram | undefined;
  #scratch = 0;
  readonly #compiled: CompiledPrograms | undefined;

  constructor(options: MachineOptions) {
    this.memory = options.memory;
    this.#helpers = options.helpers;
    this.#loadPacket = options.loadPacket;
    this.#fuelMax = options.fuel ?? defaultFuel;
    const stack = this.memory.allocate(framesMax * stackBytes, { name: "the stack", writable: true });
    assert(stack !== undefined, "a memory has room for a stack");
    this.#stack = stack;
    this.#stackTop = this.memory.end(stack);
    if (options.compileAfter !== undefined && options.fuel === undefined)
      this.#compiled = new CompiledPrograms(this.memory, options.compileAfter, {
        helper: (id) => this.#importOf(this.#helper(id)),
        lookup: (map) => options.lookupOf?.(map) ?? this.#lookupBy(map),
      });
  }

  /** Word pairs: r0 is [0] and [1]. */
  get registers(): Int32Array {
    return this.memory.registers;
  }

  /** Runs a program from its first instruction with r1 and r2 given (addresses or numbers below 2^32). */
  run(program: LinkedProgram, r1 = 0, r2 = 0): RunResult {
    const fault = this.start(program, r1, r2);
    return fault === undefined ? { ok: true, low: this.low(0), high: this.high(0) } : { ok: false, fault };
  }

  /** As `run`, with the result left in r0. `isWatched`: the interpreter alone runs. */
  start(program: LinkedProgram, r1: number, r2: number, isWatched = false): Fault | undefined {
    this.#fuel = this.#fuelMax;
    this.#tailCalls = 0;
    this.#depth = 0;
    this.#next = undefined;
    try {
      if (this.#compiled === undefined || isWatched) this.#interpret(program, r1, r2);
      else this.#runCompiled(this.#compiled, program, r1, r2);
    } catch (error) {
      return faultOf(error, this.#program?.name ?? "", this.#pc);
    }
    return undefined;
  }

  #interpret(program: LinkedProgram, r1: number, r2: number): void {
    const { registers } = this;
    registers.fill(0);
    registers[2] = r1;
    registers[4] = r2;
    this.#enterFrame();
    this.#execute(program, 0);
  }

  /** What is not compiled is interpreted, and everything that it calls by the tail. */
  #runCompiled(compiled: CompiledPrograms, program: LinkedProgram, r1: number, r2: number): void {
    let next: LinkedProgram | undefined = program;
    let first = r1;
    let second = r2;
    do {
      const entry = compiled.entryOf(next);
      if (entry === undefined) {
        this.#interpret(next, first, second);
        return;
      }
      this.#program = next;
      this.#next = undefined;
      this.memory.setBounds(this.#stack, this.#stackTop - framesMax * stackBytes, this.#stackTop);
      entry(first, second, this.#stackTop);
      next = this.#next;
      first = this.low(1);
      second = this.low(2);
    } while (next !== undefined);
  }

  /** Instructions executed by the last run, if it was interpreted. */
  get executed(): number {
    return this.#fuelMax - Math.max(0, this.#fuel);
  }

  /** Low word of an argument register. */
  low(register: number): number {
    return this.registers[register * 2]!;
  }

  high(register: number): number {
    return this.registers[register * 2 + 1]!;
  }

  /** Sets r0 to a signed number of 32 bits (errno values are negative). */
  setResult(value: number): void {
    this.registers[0] = value;
    this.registers[1] = value >> 31;
  }

  setResult64(low: number, high: number): void {
    this.registers[0] = low;
    this.registers[1] = high;
  }

  /** Index in `memory.bytes` of `size` bytes that a register points to. @throws MemoryFault */
  pointer(register: number, size: number, isStore: boolean): number {
    return this.memory.locate(this.low(register), this.high(register), size, isStore);
  }

  /** For helpers: the program that runs when the helper returns, instead of this one. False: the limit is met. */
  tailCall(program: LinkedProgram): boolean {
    if (this.#tailCalls >= tailCallsMax) return false;
    this.#tailCalls++;
    this.#next = program;
    return true;
  }

  /** For helpers: runs a function of the current program to its end. Arguments are word pairs for r1..r4; r0 is kept for the caller to read. */
  callback(entry: number, ...argumentWords: readonly number[]): void {
    const program = this.#program;
    assert(program !== undefined, "callbacks come from a running program");
    const pc = this.#pc;
    this.#enterCall(program, pc);
    argumentWords.forEach((word, i) => {
      this.registers[2 + i] = word;
    });
    this.#execute(program, entry);
    this.#program = program;
    this.#pc = pc;
  }

  /** For helpers: address of memory that a callback may read, valid until the next call. */
  scratch(size: number): number {
    if (this.#scratch === 0 || size > keyBytesMax) {
      const region = this.memory.allocate(keyBytesMax, { name: "a callback's key", writable: false });
      if (region === undefined || size > keyBytesMax) throw new BpfStop("helper", "no room for a key");
      this.#scratch = this.memory.start(region);
    }
    return this.#scratch;
  }

  /** A fresh stack below the current frame; the program cannot reach below it. */
  #enterFrame(): void {
    const top = this.#stackTop - this.#depth * stackBytes;
    this.memory.bytes.fill(0, top - stackBytes, top);
    this.memory.setBounds(this.#stack, top - stackBytes, this.#stackTop);
    this.registers[frameTop] = top;
    this.registers[frameTop + 1] = 0;
  }

  #enterCall(program: LinkedProgram, returnTo: number): void {
    if (this.#depth + 1 >= framesMax)
      throw new BpfStop("call-depth", `calls nest more than ${framesMax} frames deep`);
    this.#callers[this.#depth] = program;
    this.#returns[this.#depth] = returnTo;
    this.#saved.set(this.registers.subarray(12, 20), this.#depth * 8);
    this.#depth++;
    this.#enterFrame();
  }

  #leaveCall(): void {
    this.#depth--;
    this.registers.set(this.#saved.subarray(this.#depth * 8, this.#depth * 8 + 8), 12);
    const top = this.#stackTop - this.#depth * stackBytes;
    this.memory.setBounds(this.#stack, top - stackBytes, this.#stackTop);
    this.registers[frameTop] = top;
  }

  /**
   * Runs until the frame it was entered in exits. What programs do most is done here and not in the functions that know
   * every case: moves, sums, equality, and memory of the frame, which needs no look-up (nothing writes r10).
   */
  #execute(program: LinkedProgram, entry: number): void {
    const { memory } = this;
    const floor = this.#depth;
    let { opcode, dst, src, offset, imm } = program;
    let { bytes, view, registers } = memory;
    let fuel = this.#fuel;
    this.#program = program;
    let pc = entry;
    for (;;) {
      if (--fuel < 0) {
        this.#note(pc, fuel);
        throw new BpfStop("fuel", `stopped after ${this.#fuelMax} instructions`);
      }
      const op = opcode[pc]!;
      const d = dst[pc]!;
      const s = src[pc]!;
      switch (op & 7) {
        case InsnClass.alu64: {
          const kind = op & 0xf0;
          const isReg = (op & SourceBit.reg) !== 0;
          const low = isReg ? registers[s]! : imm[pc]!;
          const high = isReg ? registers[s + 1]! : low >> 31;
          if (kind === AluOp.mov && offset[pc] === 0) {
            registers[d] = low;
            registers[d + 1] = high;
          } else if (kind === AluOp.add) {
            const sum = (registers[d]! >>> 0) + (low >>> 0);
            registers[d] = sum;
            registers[d + 1] = registers[d + 1]! + high + (sum > 0xffff_ffff ? 1 : 0);
          } else if (kind === AluOp.end) changeByteOrder(registers, op, d, imm[pc]!, true);
          else alu64(registers, op, d, low, high, offset[pc]!);
          pc++;
          break;
        }
        case InsnClass.alu:
          if ((op & 0xf0) === AluOp.end) changeByteOrder(registers, op, d, imm[pc]!, false);
          else alu32(registers, op, d, (op & SourceBit.reg) !== 0 ? registers[s]! : imm[pc]!, offset[pc]!);
          pc++;
          break;
        case InsnClass.ldx: {
          const off = offset[pc]!;
          let at: number;
          if (s === frameTop && off >= -stackBytes && off + accessBytes[op]! <= 0) at = registers[s]! + off;
          else {
            this.#note(pc, fuel);
            at = this.#locate(s, off, accessBytes[op]!, false);
          }
          if (op === loadWord) {
            registers[d] = view.getInt32(at, true);
            registers[d + 1] = 0;
          } else if (op === loadByte) {
            registers[d] = bytes[at]!;
            registers[d + 1] = 0;
          } else this.#load(op, d, at);
          pc++;
          break;
        }
        case InsnClass.st:
        case InsnClass.stx: {
          const off = offset[pc]!;
          let at: number;
          if (d === frameTop && off >= -stackBytes && off + accessBytes[op]! <= 0) at = registers[d]! + off;
          else {
            this.#note(pc, fuel);
            at = this.#locate(d, off, accessBytes[op]!, true);
          }
          if (op === storeWord) view.setInt32(at, registers[s]!, true);
          else if ((op & 0xe0) === MemMode.atomic) this.#atomic(op, imm[pc]!, at, s);
          else if ((op & 7) === InsnClass.stx) this.#store(op, at, registers[s]!, registers[s + 1]!);
          else this.#store(op, at, imm[pc]!, imm[pc]! >> 31);
          pc++;
          break;
        }
        case InsnClass.ld:
          this.#note(pc, fuel);
          if ((op & 0xe0) === MemMode.imm) {
            registers[d] = imm[pc]!;
            registers[d + 1] = imm[pc + 1]!;
            pc += 2;
          } else if (this.#loadFromPacket(op, s, imm[pc]!)) pc++;
          else {
            this.setResult(0); // the packet is too short: the program ends with 0
            this.#unwind(floor);
            return;
          }
          break;
        default: {
          const kind = op & 0xf0;
          if (kind === JmpOp.exit) {
            this.#fuel = fuel;
            if (this.#depth === floor) {
              if (floor > 0) this.#leaveCall();
              return;
            }
            this.#leaveCall();
            program = this.#callers[this.#depth]!;
            ({ opcode, dst, src, offset, imm } = program);
            this.#program = program;
            pc = this.#returns[this.#depth]!;
          } else if (kind === JmpOp.call) {
            this.#note(pc, fuel);
            if (s === 2) {
              this.#enterCall(program, pc + 1);
              pc += 1 + imm[pc]!;
              break;
            }
            this.#callHelper((op & SourceBit.reg) !== 0 ? registers[d]! : imm[pc]!, s);
            fuel = this.#fuel; // of callbacks
            ({ bytes, view, registers } = memory); // which may have grown
            pc++;
            if (this.#next !== undefined) {
              program = this.#next;
              this.#next = undefined;
              ({ opcode, dst, src, offset, imm } = program);
              this.#program = program;
              pc = 0;
            }
          } else if (kind === JmpOp.ja) {
            pc += 1 + ((op & 7) === InsnClass.jmp32 ? imm[pc]! : offset[pc]!);
          } else {
            const isReg = (op & SourceBit.reg) !== 0;
            const is64 = (op & 7) === InsnClass.jmp;
            const bLow = isReg ? registers[s]! : imm[pc]!;
            const bHigh = is64 ? (isReg ? registers[s + 1]! : bLow >> 31) : bLow >> 31;
            const aLow = registers[d]!;
            const aHigh = is64 ? registers[d + 1]! : aLow >> 31;
            const isMet =
              kind === JmpOp.jeq || kind === JmpOp.jne
                ? (aLow === bLow && aHigh === bHigh) === (kind === JmpOp.jeq)
                : isTaken(op, aLow, aHigh, bLow, bHigh);
            pc += isMet ? 1 + offset[pc]! : 1;
          }
        }
      }
    }
  }

  /** Before anything that may stop the run, or look at how far it is. */
  #note(pc: number, fuel: number): void {
    this.#pc = pc;
    this.#fuel = fuel;
  }

  /** Where an access by a register lies. @throws MemoryFault */
  #locate(register: number, offset: number, size: number, isStore: boolean): number {
    const { registers } = this;
    const base = (registers[register]! >>> 0) + offset;
    const carry = base < 0 ? -1 : base > 0xffff_ffff ? 1 : 0;
    return this.memory.locate(base | 0, (registers[register + 1]! + carry) | 0, size, isStore);
  }

  /** Ends every frame down to the one that `#execute` was entered in. */
  #unwind(floor: number): void {
    while (this.#depth > floor) this.#leaveCall();
    if (floor > 0) this.#leaveCall();
  }

  #load(op: number, d: number, at: number): void {
    const { registers } = this;
    const { bytes, view } = this.memory;
    const isSigned = (op & 0xe0) === MemMode.memsx;
    let low: number;
    switch (op & 0x18) {
      case MemSize.dw:
        registers[d] = view.getInt32(at, true);
        registers[d + 1] = view.getInt32(at + 4, true);
        return;
      case MemSize.w:
        low = view.getInt32(at, true);
        break;
      case MemSize.h:
        low = isSigned ? view.getInt16(at, true) : view.getUint16(at, true);
        break;
      default:
        low = isSigned ? view.getInt8(at) : bytes[at]!;
    }
    registers[d] = low;
    registers[d + 1] = isSigned ? low >> 31 : 0;
  }

  #store(op: number, at: number, low: number, high: number): void {
    const { bytes, view } = this.memory;
    switch (op & 0x18) {
      case MemSize.dw:
        view.setInt32(at, low, true);
        view.setInt32(at + 4, high, true);
        return;
      case MemSize.w:
        view.setInt32(at, low, true);
        return;
      case MemSize.h:
        view.setInt16(at, low, true);
        return;
      default:
        bytes[at] = low;
    }
  }

  /** One processor: an atomic operation is a load, a computation and a store. */
  #atomic(op: number, operation: number, at: number, s: number): void {
    const { registers } = this;
    const { view } = this.memory;
    const is64 = (op & 0x18) === MemSize.dw;
    const [oldLow, oldHigh] = [view.getInt32(at, true), is64 ? view.getInt32(at + 4, true) : 0];
    let [low, high] = [registers[s]!, registers[s + 1]!];
    let fetchInto = (operation & AtomicOp.fetch) !== 0 ? s : -1;
    switch (operation & ~AtomicOp.fetch) {
      case AtomicOp.add: {
        const sum = (oldLow >>> 0) + (low >>> 0);
        high = oldHigh + high + (sum > 0xffff_ffff ? 1 : 0);
        low = sum | 0;
        break;
      }
      case AtomicOp.or:
        [low, high] = [oldLow | low, oldHigh | high];
        break;
      case AtomicOp.and:
        [low, high] = [oldLow & low, oldHigh & high];
        break;
      case AtomicOp.xor:
        [low, high] = [oldLow ^ low, oldHigh ^ high];
        break;
      case AtomicOp.cmpxchg & ~AtomicOp.fetch: {
        const isEqual = oldLow === registers[0] && (!is64 || oldHigh === registers[1]);
        if (!isEqual) [low, high] = [oldLow, oldHigh];
        fetchInto = 0;
        break;
      }
      default: // xchg stores its operand
    }
    view.setInt32(at, low, true);
    if (is64) view.setInt32(at + 4, high, true);
    if (fetchInto < 0) return;
    registers[fetchInto] = oldLow;
    registers[fetchInto + 1] = oldHigh;
  }

  /** False: the bytes are not in the packet. */
  #loadFromPacket(op: number, s: number, imm: number): boolean {
    if (this.#loadPacket === undefined)
      throw new BpfStop("no-packet", "packet load in a program without a packet");
    const at = (op & 0xe0) === MemMode.ind ? (imm + this.registers[s]!) | 0 : imm;
    const value = this.#loadPacket(at, sizeBytes(op));
    if (value === undefined) return false;
    this.registers[0] = value;
    this.registers[1] = 0;
    return true;
  }

  #callHelper(id: number, sourceField: number): void {
    if (sourceField !== 0) throw new BpfStop("helper", "calls of kernel functions are not supported");
    this.#helper(id)(this);
  }

  #importOf(helper: Helper): (pc: number) => number {
    return (pc) => {
      this.#pc = pc;
      helper(this);
      return this.#next === undefined ? 0 : 1;
    };
  }

  #lookupBy(map: number): LookupImport {
    const lookup = this.#importOf(this.#helper(lookupHelper));
    return (keyAt, pc) => {
      this.registers.set([map, 0, keyAt, 0], 2);
      lookup(pc);
      return this.low(0);
    };
  }

  #helper(id: number): Helper {
    return (
      this.#helpers.get(id) ??
      (() => {
        throw new BpfStop("helper", `no helper ${id}`);
      })
    );
  }
}
