/** What a comparison tells of its operands, on the side where it holds. */
import { JmpOp } from "../insn.ts";
import { Refusal } from "./access.ts";
import { refine } from "./arithmetic.ts";
import type { VerifierState } from "./state.ts";
import { constant, describeValue, isConstant, type Pointer, type Scalar, u32Max } from "./value.ts";

const signedComparisons: readonly number[] = [JmpOp.jsgt, JmpOp.jsge, JmpOp.jslt, JmpOp.jsle];

/** Refines both operands where the comparison holds; false when it cannot. */
export function assumeNumbers(
  { registers }: VerifierState,
  op: number,
  dst: number,
  src: number,
  a: Scalar,
  b: Scalar,
  is64: boolean,
): boolean {
  if (op < 0) {
    const mask = is64 ? a.min & b.min : a.min & b.min & u32Max;
    return !(isConstant(a) && isConstant(b)) || mask === 0n; // not jset
  }
  if (!is64) {
    // known bounds carry over only when the upper halves are zero and no sign is in the way
    const small = (value: Scalar): boolean => value.max <= 0x7fff_ffffn;
    const isUnsigned = !signedComparisons.includes(op);
    if (!(isUnsigned ? a.max <= u32Max && b.max <= u32Max : small(a) && small(b))) return true;
  }
  const refined = refine(op, a, b);
  if (refined === undefined) return false;
  registers[dst] = refined[0];
  if (src >= 0 && src !== dst) registers[src] = refined[1];
  return true;
}

/** A packet pointer at or below the end proves the bytes before it, for all pointers of its origin. */
function provePacket(state: VerifierState, op: number, a: Pointer, b: Pointer): void {
  const isEnd = (value: Pointer): boolean =>
    value.to === "packet-end" ||
    (a.to === "packet-meta" && value.to === "packet") ||
    (b.to === "packet-meta" && value.to === "packet");
  const prove = (pointer: Pointer, gap: number): void => {
    const bytes = pointer.min + gap;
    if (bytes > (state.proven.get(pointer.id) ?? 0)) state.proven.set(pointer.id, bytes);
  };
  if (isEnd(b) && !isEnd(a)) {
    if (op === JmpOp.jle || op === JmpOp.jeq) prove(a, 0);
    if (op === JmpOp.jlt) prove(a, 1);
  }
  if (isEnd(a) && !isEnd(b)) {
    if (op === JmpOp.jge || op === JmpOp.jeq) prove(b, 0);
    if (op === JmpOp.jgt) prove(b, 1);
  }
}

/** What a comparison of pointers says on one side. */
export function assumePointer(
  state: VerifierState,
  op: number,
  a: Scalar | Pointer,
  b: Scalar | Pointer,
): boolean {
  const [pointer, other] = a.kind === "pointer" ? [a, b] : [b as Pointer, a];
  if (other.kind === "scalar") {
    if ((op !== JmpOp.jeq && op !== JmpOp.jne) || !isConstant(other) || other.min !== 0n)
      throw new Refusal(`${describeValue(pointer)} is compared with ${describeValue(other)}`);
    if (!pointer.orNull) return op === JmpOp.jne;
    state.mapValues((value) => {
      if (value.id !== pointer.id || !value.orNull) return value;
      return op === JmpOp.jeq ? constant(0n) : { ...value, orNull: false };
    });
    return true;
  }
  if (pointer.to === "packet-end" || other.to === "packet-end")
    provePacket(state, op, a as Pointer, b as Pointer);
  else if (pointer.to === "packet-meta" && other.to === "packet")
    provePacket(state, op, a as Pointer, b as Pointer);
  else if (op !== JmpOp.jeq && op !== JmpOp.jne && pointer.to !== other.to)
    throw new Refusal(`${describeValue(pointer)} is compared with ${describeValue(other)}`);
  return true;
}
