/** Calls of helpers: arguments against signatures, and what a call leaves behind. */
import { ProgramType } from "../context.ts";
import { loadsOnly, skbOnly, xdpOnly } from "../helpers/index.ts";
import { type MapShape, MapType } from "../maps/shape.ts";
import { checkAccess, Refusal } from "./access.ts";
import { type ArgumentKind, type Signature, signatures } from "./signatures.ts";
import { isWritten, type VerifierState, writeStack } from "./state.ts";
import { describeValue, isConstant, type Pointer, type Scalar, unknown, type Value } from "./value.ts";

/** The longest memory argument (BPF_MAX_VAR_SIZ). */
const sizeMax = 1n << 29n;

export interface CallContext {
  readonly type: ProgramType;
  freshId(): number;
}

/** What a call needs of the verifier beyond a new state. */
export interface CallEffect {
  readonly signature: Signature;
  /** Slot of the function that the helper calls back. */
  readonly callback: number | undefined;
  readonly map: MapShape | undefined;
}

export function signatureOf(id: number, type: ProgramType): Signature {
  const signature = signatures.get(id);
  const isOffered =
    type === ProgramType.xdp
      ? !skbOnly.includes(id)
      : !xdpOnly.includes(id) &&
        (type === ProgramType.schedCls || !skbOnly.includes(id) || loadsOnly.includes(id));
  if (signature === undefined || !isOffered) throw new Refusal(`no helper ${id} for this type of program`);
  return signature;
}

/** Checks the arguments and writes what the helper does to r0..r5 and memory. @throws Refusal */
export function callHelper(state: VerifierState, id: number, context: CallContext): CallEffect {
  const signature = signatureOf(id, context.type);
  const { registers } = state;
  let map: MapShape | undefined;
  let callback: number | undefined;
  signature.arguments.forEach((kind, i) => {
    const value = registers[i + 1];
    const fail = (wanted: string): Refusal =>
      new Refusal(`${signature.name}: r${i + 1} is ${describeValue(value)}, not ${wanted}`);
    if (value === undefined) throw new Refusal(`${signature.name}: r${i + 1} holds nothing`);
    if (kind === "map") map = mapArgument(value, signature, fail);
    else if (kind === "function") {
      if (value.kind !== "pointer" || value.to !== "function") throw fail("a function");
      callback = value.frame;
    } else checkArgument(state, kind, value, registers[i + 2], map, fail);
  });
  for (const [i, kind] of signature.arguments.entries())
    if (kind === "write") markWritten(state, registers[i + 1] as Pointer, registers[i + 2] as Scalar);
  if (signature.arguments.includes("record")) forgetRecord(state, registers[1] as Pointer);
  const size = (registers[2] as Scalar | undefined)?.max ?? 0n;
  for (let register = 0; register <= 5; register++) registers[register] = undefined;
  if (signature.changesPacket === true) forgetPacket(state);
  registers[0] = resultOf(signature, map, Number(size), context);
  return { signature, callback, map };
}

function mapArgument(value: Value, { maps }: Signature, fail: (wanted: string) => Refusal): MapShape {
  if (value?.kind !== "pointer" || value.to !== "map" || value.map === undefined || value.orNull)
    throw fail("a map");
  if (maps !== undefined && !maps.includes(value.map.type)) throw fail("a map of the type that it takes");
  return value.map;
}

function checkArgument(
  state: VerifierState,
  kind: ArgumentKind,
  value: Scalar | Pointer,
  next: Value,
  map: MapShape | undefined,
  fail: (wanted: string) => Refusal,
): void {
  switch (kind) {
    case "any":
      return;
    case "context":
      if (value.kind !== "pointer" || value.to !== "context" || value.min !== 0 || value.max !== 0)
        throw fail("the context");
      return;
    case "key":
    case "value":
      if (value.kind !== "pointer") throw fail("a pointer");
      checkRead(state, value, kind === "key" ? (map?.keySize ?? 0) : (map?.valueSize ?? 0));
      return;
    case "read":
    case "write":
    case "pointer-or-null": {
      const size = sizeArgument(next, fail);
      if (kind === "pointer-or-null" && value.kind === "scalar" && isConstant(value) && value.min === 0n)
        return;
      if (value.kind !== "pointer") throw fail("a pointer");
      if (size === 0) return;
      if (kind === "write") checkAccess(state, value, 0, size, true);
      else checkRead(state, value, size);
      return;
    }
    case "size":
    case "size+":
    case "constant-size":
      if (value.kind !== "scalar" || value.max > sizeMax) throw fail("a size with known bounds");
      if (kind === "size+" && value.min === 0n) throw fail("a size that cannot be zero");
      if (kind === "constant-size" && !isConstant(value)) throw fail("a constant size");
      return;
    case "record":
      if (value.kind !== "pointer" || value.to !== "memory" || value.orNull || value.min !== 0)
        throw fail("a reserved record");
      return;
    case "map":
    case "function":
      return;
  }
}

function sizeArgument(value: Value, fail: (wanted: string) => Refusal): number {
  if (value?.kind !== "scalar" || value.max > sizeMax) throw fail("memory of a size with known bounds");
  return Number(value.max);
}

/** Memory that a helper reads: of the stack, every byte must have been written. */
export function checkRead(state: VerifierState, pointer: Pointer, size: number): void {
  checkAccess(state, pointer, 0, size, false);
  if (pointer.to !== "stack") return;
  const frame = state.frames[pointer.frame ?? 0];
  if (frame === undefined || pointer.min !== pointer.max)
    throw new Refusal("a helper reads the stack at one known place");
  for (let at = pointer.min; at < pointer.min + size; at++)
    if (!isWritten(frame, at))
      throw new Refusal(`a helper would read the stack at ${at}, which was not written`);
}

function markWritten(state: VerifierState, pointer: Pointer, size: Scalar): void {
  if (pointer.to !== "stack") return;
  const frame = state.frames[pointer.frame ?? 0];
  if (frame === undefined || pointer.min !== pointer.max)
    throw new Refusal("a helper writes the stack at one known place");
  const certain = Number(size.min);
  for (let i = 0; i < Number(size.max); i++) {
    const at = pointer.min + i;
    if (i < certain || isWritten(frame, at)) writeStack(frame, at, 1, unknown);
    else frame.spills.delete((-at - 1) >> 3);
  }
}

function resultOf(
  { returns }: Signature,
  map: MapShape | undefined,
  size: number,
  { freshId }: CallContext,
): Value {
  const pointer = { kind: "pointer", min: 0, max: 0, id: freshId(), orNull: true } as const;
  switch (returns) {
    case "number":
      return unknown;
    case "memory-or-null":
      return { ...pointer, to: "memory", size };
    case "map-value-or-null": {
      if (map === undefined) return unknown;
      const isNested = map.type === MapType.arrayOfMaps || map.type === MapType.hashOfMaps;
      if (!isNested) return { ...pointer, to: "map-value", map };
      if (map.inner === undefined) throw new Refusal(`nothing is known of the maps inside ${map.name}`);
      return { ...pointer, to: "map", map: map.inner };
    }
  }
}

export function forgetPacket(state: VerifierState): void {
  state.mapValues((value) => (value.to.startsWith("packet") ? undefined : value));
  state.proven.clear();
}

function forgetRecord(state: VerifierState, record: Pointer): void {
  state.mapValues((value) => (value.to === "memory" && value.id === record.id ? undefined : value));
}
