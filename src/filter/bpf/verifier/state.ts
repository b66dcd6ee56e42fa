/** One state of the verifier: registers and stacks of the frames that are open, and what is proven of packets. */
import { framePointer, registerCount } from "../insn.ts";
import { stackBytes } from "../limits.ts";
import { describeValue, type Pointer, unknown, type Value } from "./value.ts";

export interface Frame {
  readonly registers: Value[];
  /** Values of eight bytes kept whole, by slot (0 is the topmost: bytes -8..-1). */
  readonly spills: Map<number, Value>;
  /** Bytes written, a bit each: of slot n (bytes -8n-8..-8n-1), bit i is byte -8n-1-i. */
  readonly written: Uint8Array;
  /** Slot to return to; -1 of the program itself; -2 of a callback. */
  readonly returnTo: number;
  /** First slot of the function, to add up stacks. */
  readonly entry: number;
}

export class VerifierState {
  pc: number;
  readonly frames: Frame[];
  /** Bytes behind a packet pointer's id that a comparison with the packet's end has proven. */
  readonly proven: Map<number, number>;

  constructor(pc: number, frames: Frame[], proven: Map<number, number>) {
    this.pc = pc;
    this.frames = frames;
    this.proven = proven;
  }

  get frame(): Frame {
    return this.frames[this.frames.length - 1] as Frame;
  }

  get registers(): Value[] {
    return this.frame.registers;
  }

  copy(pc: number = this.pc): VerifierState {
    const frames = this.frames.map((frame) => ({
      ...frame,
      registers: [...frame.registers],
      spills: new Map(frame.spills),
      written: frame.written.slice(),
    }));
    return new VerifierState(pc, frames, new Map(this.proven));
  }

  /** Replaces every value that `change` answers another for, in registers and stacks of all frames. */
  mapValues(change: (value: Pointer) => Value): void {
    for (const { registers, spills } of this.frames) {
      registers.forEach((value, i) => {
        if (value?.kind === "pointer") registers[i] = change(value);
      });
      for (const [slot, value] of spills) if (value?.kind === "pointer") spills.set(slot, change(value));
    }
  }

  /** Equal states have equal keys. Ids are renamed in order of appearance. */
  key(): string {
    const names = new Map<number, number>();
    const name = (id: number): number => {
      const known = names.get(id) ?? names.size;
      names.set(id, known);
      return known;
    };
    const one = (value: Value): string =>
      value === undefined || value.kind === "scalar"
        ? describeValue(value)
        : `${describeValue(value)}#${value.id === 0 ? 0 : name(value.id)}~${this.proven.get(value.id) ?? 0}`;
    const frames = this.frames.map(({ registers, spills, written, returnTo }) => {
      const kept = [...spills].sort(([a], [b]) => a - b).map(([slot, value]) => `${slot}:${one(value)}`);
      return `${returnTo}|${registers.map(one)}|${kept}|${written}`;
    });
    return `${this.pc}\n${frames.join("\n")}`;
  }

  /** The register file in one line, without registers that hold nothing. */
  describe(): string {
    const known = this.registers.flatMap((value, i) =>
      value === undefined ? [] : [`r${i}=${describeValue(value)}`],
    );
    return known.join(" ");
  }
}

export function newFrame(
  frameNumber: number,
  registers: readonly Value[],
  returnTo: number,
  entry: number,
): Frame {
  const file: Value[] = Array.from({ length: registerCount }, (_, i) => registers[i]);
  file[framePointer] = {
    kind: "pointer",
    to: "stack",
    min: 0,
    max: 0,
    id: 0,
    orNull: false,
    frame: frameNumber,
  };
  return { registers: file, spills: new Map(), written: new Uint8Array(stackBytes / 8), returnTo, entry };
}

/** Is the byte at a (negative) distance from the frame's top written? */
export function isWritten({ written }: Frame, at: number): boolean {
  const byte = -at - 1;
  return (written[byte >> 3]! & (1 << (byte & 7))) !== 0;
}

/** A store to the stack: `at` is the (negative) distance from the frame's top. */
export function writeStack(frame: Frame, at: number, size: number, value: Value): void {
  for (let i = at; i < at + size; i++) {
    const byte = -i - 1;
    frame.written[byte >> 3]! |= 1 << (byte & 7);
    frame.spills.delete(byte >> 3);
  }
  if (isWholeSlot(at, size)) frame.spills.set((-at - 8) / 8, value);
}

/** A load from the stack; `undefined` when some of its bytes were never written, or are part of a pointer. */
export function readStack(frame: Frame, at: number, size: number): Value {
  for (let i = at; i < at + size; i++) if (!isWritten(frame, i)) return undefined;
  if (isWholeSlot(at, size)) return frame.spills.get((-at - 8) / 8) ?? unknown;
  for (let i = at; i < at + size; i++)
    if (frame.spills.get((-i - 1) >> 3)?.kind === "pointer") return undefined;
  return unknown;
}

function isWholeSlot(at: number, size: number): boolean {
  return size === 8 && at % 8 === 0;
}
