/**
 * Names of BPF instructions, shared by the assembler and the disassembler: the syntax of the bpf_conformance project's
 * test files, with forms of our own for what those do not have (loads that name maps, packet loads).
 */
import { AluOp, AtomicOp, JmpOp, MemSize } from "./insn.ts";

/** Two operands; `32` behind the name is the 32-bit form. */
export const aluNames: ReadonlyMap<string, AluOp> = new Map([
  ["add", AluOp.add],
  ["sub", AluOp.sub],
  ["mul", AluOp.mul],
  ["div", AluOp.div],
  ["or", AluOp.or],
  ["and", AluOp.and],
  ["lsh", AluOp.lsh],
  ["rsh", AluOp.rsh],
  ["neg", AluOp.neg],
  ["mod", AluOp.mod],
  ["xor", AluOp.xor],
  ["mov", AluOp.mov],
  ["arsh", AluOp.arsh],
]);

export const jumpNames: ReadonlyMap<string, JmpOp> = new Map([
  ["jeq", JmpOp.jeq],
  ["jgt", JmpOp.jgt],
  ["jge", JmpOp.jge],
  ["jset", JmpOp.jset],
  ["jne", JmpOp.jne],
  ["jsgt", JmpOp.jsgt],
  ["jsge", JmpOp.jsge],
  ["jlt", JmpOp.jlt],
  ["jle", JmpOp.jle],
  ["jslt", JmpOp.jslt],
  ["jsle", JmpOp.jsle],
]);

export const sizeNames: ReadonlyMap<string, MemSize> = new Map([
  ["b", MemSize.b],
  ["h", MemSize.h],
  ["w", MemSize.w],
  ["dw", MemSize.dw],
]);

export const atomicNames: ReadonlyMap<string, number> = new Map([
  ["add", AtomicOp.add],
  ["or", AtomicOp.or],
  ["and", AtomicOp.and],
  ["xor", AtomicOp.xor],
  ["xchg", AtomicOp.xchg],
  ["cmpxchg", AtomicOp.cmpxchg],
]);

/** Name of a value in one of the tables above. @throws RangeError for a value that is not in it. */
export function nameOf(names: ReadonlyMap<string, number>, value: number): string {
  for (const [name, one] of names) if (one === value) return name;
  throw new RangeError(`no name for 0x${value.toString(16)}`);
}
