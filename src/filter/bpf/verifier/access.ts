/** Loads and stores through pointers of each kind: what must be proven, and what a load gives. */
import { type ContextLayout, ProgramType } from "../context.ts";
import { stackBytes } from "../limits.ts";
import { MapFlag } from "../maps/shape.ts";
import { readStack, type VerifierState, writeStack } from "./state.ts";
import { describeValue, type Pointer, range, type Scalar, unknown, type Value } from "./value.ts";

/** Why an instruction is refused; the verifier adds its place. */
export class Refusal extends Error {
  override readonly name = "Refusal";
}

export interface AccessContext {
  readonly type: ProgramType;
  readonly layout: ContextLayout;
}

/** Is memory of `size` bytes at `pointer + offset` good to read (or write)? @throws Refusal */
export function checkAccess(
  state: VerifierState,
  pointer: Pointer,
  offset: number,
  size: number,
  isStore: boolean,
): void {
  const [first, end] = [pointer.min + offset, pointer.max + offset + size];
  const what = `${isStore ? "store" : "load"} of ${size} byte${size === 1 ? "" : "s"}`;
  if (pointer.orNull)
    throw new Refusal(`${what} through a pointer that may be null (${describeValue(pointer)})`);
  switch (pointer.to) {
    case "stack":
      if (first < -stackBytes || end > 0)
        throw new Refusal(
          `${what} outside the stack, at ${first}${end - size === first ? "" : `..${end - size}`}`,
        );
      return;
    case "packet":
    case "packet-meta": {
      const proven = state.proven.get(pointer.id) ?? 0;
      if (first < 0 || end > proven)
        throw new Refusal(
          `${what} at byte ${end - size} of the packet, of which ${proven} bytes are proven to be there`,
        );
      return;
    }
    case "map-value":
    case "memory": {
      const length = pointer.map?.valueSize ?? pointer.size ?? 0;
      const name = pointer.map === undefined ? "the record" : `the value of map ${pointer.map.name}`;
      if (first < 0 || end > length)
        throw new Refusal(`${what} outside ${name}, at ${first}..${end - 1} of ${length} bytes`);
      if (isStore && pointer.map !== undefined && (pointer.map.flags & MapFlag.rdonlyProg) !== 0)
        throw new Refusal(`${what}: map ${pointer.map.name} is read-only`);
      return;
    }
    default:
      throw new Refusal(`${what} through ${describeValue(pointer)}`);
  }
}

/** What a load gives. @throws Refusal */
export function load(
  state: VerifierState,
  context: AccessContext,
  pointer: Pointer,
  offset: number,
  size: number,
  isSigned: boolean,
): Value {
  if (pointer.to === "context") return loadContext(state, context, pointer, offset, size);
  checkAccess(state, pointer, offset, size, false);
  if (pointer.to !== "stack") return loadedNumber(size, isSigned);
  const frame = state.frames[pointer.frame ?? 0];
  if (frame === undefined) throw new Refusal("load from the stack of a function that has returned");
  let value: Value = unknown;
  for (let at = pointer.min + offset; at <= pointer.max + offset; at++) {
    value = readStack(frame, at, size);
    if (value === undefined)
      throw new Refusal(
        `load of ${size} bytes of the stack at ${at} that were not written, or hold part of a pointer`,
      );
  }
  if (pointer.min !== pointer.max && value.kind === "pointer")
    throw new Refusal("load of a pointer from a stack slot that is not known");
  return size === 8 && pointer.min === pointer.max ? value : loadedNumber(size, isSigned);
}

function loadedNumber(size: number, isSigned: boolean): Scalar {
  return isSigned || size === 8 ? unknown : range(0n, (1n << BigInt(size * 8)) - 1n);
}

function loadContext(
  { proven }: VerifierState,
  { layout, type }: AccessContext,
  pointer: Pointer,
  offset: number,
  size: number,
): Value {
  const at = pointer.min + offset;
  const field = layout.fields.find((one) => at >= one.offset && at + size <= one.offset + one.size);
  if (pointer.min !== pointer.max || field === undefined || at % size !== 0)
    throw new Refusal(`load of ${size} bytes at offset ${at} of the context, where no field can be read so`);
  const isPointer = field.name === "data" || field.name === "data_end" || field.name === "data_meta";
  if (!isPointer) return loadedNumber(size, false);
  if (size !== 4 || type === ProgramType.socketFilter)
    throw new Refusal(`${field.name} can only be read whole, and not by a socket filter`);
  if (field.name === "data_end")
    return { kind: "pointer", to: "packet-end", min: 0, max: 0, id: 0, orNull: false };
  const id = field.name === "data" ? packetId : metaId;
  if (!proven.has(id)) proven.set(id, 0);
  return {
    kind: "pointer",
    to: field.name === "data" ? "packet" : "packet-meta",
    min: 0,
    max: 0,
    id,
    orNull: false,
  };
}

/** Ids of `data` and `data_meta` themselves: all loads of them agree. */
export const packetId = 1;
export const metaId = 2;

/** @throws Refusal */
export function store(
  state: VerifierState,
  { layout }: AccessContext,
  pointer: Pointer,
  offset: number,
  size: number,
  value: Value,
): void {
  if (value === undefined) throw new Refusal("store of a register that holds nothing");
  if (pointer.to === "context") {
    const at = pointer.min + offset;
    const isWritable =
      pointer.min === pointer.max && layout.writable.subarray(at, at + size).every((one) => one === 1);
    if (!isWritable || at < 0 || at + size > layout.sizeBytes || at % size !== 0)
      throw new Refusal(`store of ${size} bytes at offset ${at} of the context, which is not writable there`);
    if (value.kind === "pointer") throw new Refusal("store of a pointer to the context");
    return;
  }
  checkAccess(state, pointer, offset, size, true);
  if (pointer.to !== "stack") {
    if (value.kind === "pointer")
      throw new Refusal(`store of a pointer to ${pointer.to === "packet" ? "the packet" : "a map"}`);
    return;
  }
  const frame = state.frames[pointer.frame ?? 0];
  if (frame === undefined) throw new Refusal("store to the stack of a function that has returned");
  if (
    value.kind === "pointer" &&
    (size !== 8 || pointer.min !== pointer.max || (pointer.min + offset) % 8 !== 0)
  )
    throw new Refusal("a pointer is stored whole, to one aligned slot");
  if (pointer.min !== pointer.max) {
    // somewhere in a range: nothing kept whole there survives
    for (let at = pointer.min + offset; at <= pointer.max + offset; at++) {
      const written = frame.written.slice();
      writeStack(frame, at, size, unknown);
      frame.written.set(written);
    }
    return;
  }
  writeStack(frame, pointer.min + offset, size, value);
}
