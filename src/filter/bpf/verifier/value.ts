/**
 * What the verifier knows of a register: nothing, a number within bounds, or a pointer of a kind with bounds of its
 * offset. Bounds are of unsigned 64-bit numbers. Governing source: kernel/bpf/verifier.c (struct bpf_reg_state), of which
 * this is a plain reading: ranges, no known bits.
 */
import type { MapShape } from "../maps/shape.ts";

export const u64Max: bigint = (1n << 64n) - 1n;
export const u32Max = 0xffff_ffffn;
const s64Min = 1n << 63n;

export interface Scalar {
  readonly kind: "scalar";
  readonly min: bigint;
  readonly max: bigint;
}

export type PointerTo =
  | "context"
  | "stack"
  | "packet"
  | "packet-meta"
  | "packet-end"
  | "map"
  | "map-value"
  | "memory"
  | "function";

export interface Pointer {
  readonly kind: "pointer";
  readonly to: PointerTo;
  /** Bounds of the distance from the object's start (stack: from the frame's top). */
  readonly min: number;
  readonly max: number;
  /** Equal for pointers that are null, or have proven bytes, together. */
  readonly id: number;
  readonly orNull: boolean;
  /** Of maps and their values. */
  readonly map?: MapShape;
  /** Bytes of memory got from a ring buffer. */
  readonly size?: number;
  /** Frame of a stack pointer; slot of a function. */
  readonly frame?: number;
}

/** `undefined`: nothing was written, or a call has taken it. */
export type Value = Scalar | Pointer | undefined;

export const unknown: Scalar = { kind: "scalar", min: 0n, max: u64Max };

export function constant(value: bigint): Scalar {
  const number = BigInt.asUintN(64, value);
  return { kind: "scalar", min: number, max: number };
}

export function range(min: bigint, max: bigint): Scalar {
  return min === 0n && max === u64Max ? unknown : { kind: "scalar", min, max };
}

export function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

export function greatest(a: bigint, b: bigint): bigint {
  return b < a ? a : b;
}

export function isConstant(value: Scalar): boolean {
  return value.min === value.max;
}

/** The bounds as signed numbers, or `undefined` where the range wraps round the sign. */
export function signedBounds({ min, max }: Scalar): readonly [bigint, bigint] | undefined {
  if (min < s64Min && max >= s64Min) return undefined;
  return [BigInt.asIntN(64, min), BigInt.asIntN(64, max)];
}

/** A number known to be unsigned and 32 bits wide. */
export function cut32(value: Scalar): Scalar {
  if (value.max <= u32Max) return value;
  return isConstant(value) ? constant(BigInt.asUintN(32, value.min)) : range(0n, u32Max);
}

export function describeValue(value: Value): string {
  if (value === undefined) return "?";
  if (value.kind === "scalar") {
    if (isConstant(value)) return String(BigInt.asIntN(64, value.min));
    return value.min === 0n && value.max === u64Max ? "number" : `number ${value.min}..${value.max}`;
  }
  const { to, min, max, orNull, map, frame } = value;
  const place = min === max ? (min === 0 ? "" : `${min > 0 ? "+" : ""}${min}`) : `+${min}..${max}`;
  const name = map === undefined ? to : `${to}(${map.name})`;
  return `${name}${frame === undefined || frame === 0 ? "" : `[${frame}]`}${place}${orNull ? " or null" : ""}`;
}
