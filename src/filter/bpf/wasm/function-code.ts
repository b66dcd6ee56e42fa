/** Code of one WebAssembly function as it is written: locals by what they hold, and the operations in plain words. */
import { framePointer } from "../insn.ts";
import { stackBytes } from "../limits.ts";
import { Arith, type Compare, putSigned, putSigned64, putUnsigned, Wasm } from "./encoder.ts";

type ArithPlace = (typeof Arith)[keyof typeof Arith];
type ComparePlace = (typeof Compare)[keyof typeof Compare];

/** Numbers of the locals. Registers r0..r9 are i64, r10 is known by `top`, the address behind the frame. */
export interface LocalNumbers {
  readonly registers: readonly number[];
  /** i32 */
  readonly top: number;
  /** i32: address of the frame's first byte. */
  readonly frame: number;
  readonly word: number;
  readonly wide: number;
}

/** Base register and distance, as instructions name memory. */
export interface MemoryOperand {
  readonly base: number;
  readonly offset: number;
}

export class FunctionCode {
  readonly bytes: number[] = [];
  readonly locals: LocalNumbers;

  constructor(locals: LocalNumbers) {
    this.locals = locals;
    this.get(locals.top).i32(stackBytes).arith32(Arith.sub).set(locals.frame);
  }

  op(...bytes: readonly number[]): this {
    for (const byte of bytes) this.bytes.push(byte);
    return this;
  }

  /** An instruction with a number: of a local, a function, a block. */
  with(opcode: number, number: number): this {
    this.bytes.push(opcode);
    putUnsigned(this.bytes, number);
    return this;
  }

  get(local: number): this {
    return this.with(Wasm.localGet, local);
  }

  set(local: number): this {
    return this.with(Wasm.localSet, local);
  }

  tee(local: number): this {
    return this.with(Wasm.localTee, local);
  }

  i32(value: number): this {
    this.bytes.push(Wasm.i32Const);
    putSigned(this.bytes, value);
    return this;
  }

  /** A number is one of 32 bits, extended by its sign. */
  i64(value: number | bigint): this {
    this.bytes.push(Wasm.i64Const);
    if (typeof value === "number") putSigned(this.bytes, value);
    else putSigned64(this.bytes, value);
    return this;
  }

  arith32(place: ArithPlace): this {
    return this.op(Wasm.i32Add + place);
  }

  arith64(place: ArithPlace): this {
    return this.op(Wasm.i64Add + place);
  }

  compare32(place: ComparePlace): this {
    return this.op(Wasm.i32Eq + place);
  }

  compare64(place: ComparePlace): this {
    return this.op(Wasm.i64Eq + place);
  }

  /** A register's 64 bits. */
  register(number: number): this {
    if (number === framePointer) return this.get(this.locals.top).op(Wasm.i64ExtendI32U);
    return this.get(this.#local(number));
  }

  /** A register's low half. */
  word(number: number): this {
    return number === framePointer
      ? this.get(this.locals.top)
      : this.get(this.#local(number)).op(Wasm.i32WrapI64);
  }

  /** From 64 bits on the stack. */
  setRegister(number: number): this {
    return this.set(this.#local(number));
  }

  /** From 32 bits on the stack: the upper half becomes zero. */
  setWord(number: number): this {
    return this.op(Wasm.i64ExtendI32U).set(this.#local(number));
  }

  /** The address of an operand as far as it is no constant; the rest is for the access itself, see `access`. */
  address(operand: MemoryOperand): this {
    if (operand.base === framePointer && operand.offset >= -stackBytes) return this.get(this.locals.frame);
    this.word(operand.base);
    return operand.offset < 0 ? this.i32(operand.offset).arith32(Arith.add) : this;
  }

  /** A load or store: its alignment is a hint that nothing here needs. */
  access(opcode: number, { base, offset }: MemoryOperand): this {
    const isFrame = base === framePointer && offset >= -stackBytes;
    return this.op(opcode).with(0, isFrame ? offset + stackBytes : Math.max(0, offset));
  }

  #local(register: number): number {
    return this.locals.registers[register] ?? 0;
  }
}
