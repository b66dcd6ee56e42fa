/** Bounds of results of arithmetic, and what a comparison tells of its operands. */
import { AluOp, JmpOp } from "../insn.ts";
import {
  constant,
  cut32,
  greatest,
  isConstant,
  least,
  range,
  type Scalar,
  signedBounds,
  u32Max,
  u64Max,
  unknown,
} from "./value.ts";

/** The result of `a op b`; 32-bit results are zero-extended. `offset` 1 makes divisions signed. */
export function scalarResult(op: number, a: Scalar, b: Scalar, is64: boolean, offset: number): Scalar {
  const [x, y] = is64 ? [a, b] : [cut32(a), cut32(b)];
  const bits = is64 ? 64 : 32;
  if (isConstant(x) && isConstant(y)) return constant(exact(op, x.min, y.min, bits, offset));
  const top = is64 ? u64Max : u32Max;
  const result = bounds(op, x, y, top, bits, offset);
  return result ?? (is64 ? unknown : range(0n, u32Max));
}

/** `undefined`: nothing is known. */
function bounds(
  op: number,
  x: Scalar,
  y: Scalar,
  top: bigint,
  bits: number,
  offset: number,
): Scalar | undefined {
  switch (op & 0xf0) {
    case AluOp.add:
      return x.max + y.max <= top ? range(x.min + y.min, x.max + y.max) : undefined;
    case AluOp.sub:
      return x.min >= y.max ? range(x.min - y.max, x.max - y.min) : undefined;
    case AluOp.mul:
      return x.max * y.max <= top ? range(x.min * y.min, x.max * y.max) : undefined;
    case AluOp.and:
      return range(0n, least(x.max, y.max));
    case AluOp.or:
    case AluOp.xor: {
      const highest = greatest(x.max, y.max);
      const filled = (1n << BigInt(highest.toString(2).length)) - 1n;
      return range((op & 0xf0) === AluOp.or ? greatest(x.min, y.min) : 0n, least(filled, top));
    }
    case AluOp.lsh:
      return isConstant(y) && x.max << (y.min % BigInt(bits)) <= top
        ? range(x.min << (y.min % BigInt(bits)), x.max << (y.min % BigInt(bits)))
        : undefined;
    case AluOp.rsh:
      return isConstant(y)
        ? range(x.min >> (y.min % BigInt(bits)), x.max >> (y.min % BigInt(bits)))
        : range(0n, x.max);
    case AluOp.div:
      if (offset === 1) return undefined;
      return y.min > 0n ? range(x.min / y.max, x.max / y.min) : range(0n, x.max);
    case AluOp.mod:
      if (offset === 1) return undefined;
      return y.min > 0n ? range(0n, least(x.max, y.max - 1n)) : range(0n, x.max);
    default:
      return undefined;
  }
}

function exact(op: number, a: bigint, b: bigint, bits: number, offset: number): bigint {
  const cut = (value: bigint): bigint => BigInt.asUintN(bits, value);
  const signed = (value: bigint): bigint => BigInt.asIntN(bits, value);
  const count = b & BigInt(bits - 1);
  switch (op & 0xf0) {
    case AluOp.add:
      return cut(a + b);
    case AluOp.sub:
      return cut(a - b);
    case AluOp.mul:
      return cut(a * b);
    case AluOp.and:
      return a & b;
    case AluOp.or:
      return a | b;
    case AluOp.xor:
      return a ^ b;
    case AluOp.lsh:
      return cut(a << count);
    case AluOp.rsh:
      return a >> count;
    case AluOp.arsh:
      return cut(signed(a) >> count);
    case AluOp.div:
      return b === 0n ? 0n : offset === 1 ? cut(signed(a) / signed(b)) : a / b;
    default: // mod
      return b === 0n ? a : offset === 1 ? cut(signed(a) % signed(b)) : a % b;
  }
}

/** Bounds of `a` and `b` where the comparison holds; `undefined` where it cannot. */
export function refine(op: number, a: Scalar, b: Scalar): readonly [Scalar, Scalar] | undefined {
  switch (op & 0xf0) {
    case JmpOp.jeq: {
      const min = greatest(a.min, b.min);
      const max = least(a.max, b.max);
      return min > max ? undefined : [range(min, max), range(min, max)];
    }
    case JmpOp.jne:
      if (isConstant(a) && isConstant(b)) return a.min === b.min ? undefined : [a, b];
      return [without(a, b), without(b, a)];
    case JmpOp.jset:
      return isConstant(a) && isConstant(b) && (a.min & b.min) === 0n ? undefined : [a, b];
    case JmpOp.jgt:
      return swap(below(b, a, 1n));
    case JmpOp.jge:
      return swap(below(b, a, 0n));
    case JmpOp.jlt:
      return below(a, b, 1n);
    case JmpOp.jle:
      return below(a, b, 0n);
    default:
      return refineSigned(op & 0xf0, a, b);
  }
}

function swap(pair: readonly [Scalar, Scalar] | undefined): readonly [Scalar, Scalar] | undefined {
  return pair === undefined ? undefined : [pair[1], pair[0]];
}

/** `a + gap <= b`. */
function below(a: Scalar, b: Scalar, gap: bigint): readonly [Scalar, Scalar] | undefined {
  const aMax = least(a.max, b.max - gap);
  const bMin = greatest(b.min, a.min + gap);
  return aMax < a.min || bMin > b.max ? undefined : [range(a.min, aMax), range(bMin, b.max)];
}

/** A number that is not the other's, where that is an edge of its range. */
function without(a: Scalar, b: Scalar): Scalar {
  if (!isConstant(b) || isConstant(a)) return a;
  if (a.min === b.min) return range(a.min + 1n, a.max);
  return a.max === b.min ? range(a.min, a.max - 1n) : a;
}

/** Ranges on one side of the sign compare as unsigned ones do; a comparison with such a one tells the sign. */
function refineSigned(op: number, a: Scalar, b: Scalar): readonly [Scalar, Scalar] | undefined {
  const [x, y] = [signedBounds(a), signedBounds(b)];
  const isUpper = op === JmpOp.jsgt || op === JmpOp.jsge;
  const gap = op === JmpOp.jsgt || op === JmpOp.jslt ? 1n : 0n;
  if (x !== undefined && y !== undefined) {
    const [low, high] = isUpper ? [y, x] : [x, y];
    if (low[0] + gap > high[1]) return undefined;
    if (x[0] >= 0n === y[0] >= 0n) return isUpper ? swap(below(b, a, gap)) : below(a, b, gap);
    return [a, b];
  }
  const half = 1n << 63n;
  // unknown >= something not negative: the unknown one is not negative, and at least that
  if (x === undefined && y !== undefined && isUpper && y[0] + gap >= 0n)
    return a.min > half - 1n ? undefined : [range(greatest(a.min, y[0] + gap), half - 1n), b];
  return [a, b];
}

/** The comparison that holds where `op` does not. */
export function negated(op: number): number {
  const opposites = new Map<number, number>([
    [JmpOp.jeq, JmpOp.jne],
    [JmpOp.jne, JmpOp.jeq],
    [JmpOp.jgt, JmpOp.jle],
    [JmpOp.jle, JmpOp.jgt],
    [JmpOp.jge, JmpOp.jlt],
    [JmpOp.jlt, JmpOp.jge],
    [JmpOp.jsgt, JmpOp.jsle],
    [JmpOp.jsle, JmpOp.jsgt],
    [JmpOp.jsge, JmpOp.jslt],
    [JmpOp.jslt, JmpOp.jsge],
  ]);
  return opposites.get(op & 0xf0) ?? -1;
}
