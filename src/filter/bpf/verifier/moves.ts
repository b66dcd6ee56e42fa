/** Immediates that mean nothing, and what MOV and MOVSX carry over. */
import { AluOp } from "../insn.ts";
import { Refusal } from "./access.ts";
import {
  constant,
  cut32,
  isConstant,
  type Pointer,
  range,
  type Scalar,
  u32Max,
  unknown,
  type Value,
} from "./value.ts";

export function checkImmediate(op: number, imm: number, is64: boolean): void {
  if ((op === AluOp.div || op === AluOp.mod) && imm === 0) throw new Refusal("division by zero");
  const isShift = op === AluOp.lsh || op === AluOp.rsh || op === AluOp.arsh;
  if (isShift && (imm < 0 || imm >= (is64 ? 64 : 32)))
    throw new Refusal(`shift by ${imm} of ${is64 ? 64 : 32} bits`);
}

export function moved(value: Scalar | Pointer, is64: boolean, bits: number): Value {
  if (value.kind === "pointer") {
    if (!is64 || bits !== 0) throw new Refusal("part of a pointer is moved");
    return value;
  }
  if (bits === 0) return is64 ? value : cut32(value);
  if (!isConstant(value)) {
    const isSmall = value.max < 1n << BigInt(bits - 1);
    return isSmall ? value : is64 ? unknown : range(0n, u32Max);
  }
  const extended = BigInt.asIntN(bits, value.min);
  return constant(is64 ? extended : BigInt.asUintN(32, extended));
}
