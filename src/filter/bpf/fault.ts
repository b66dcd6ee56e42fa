/** How a run of a program ends: with a result, or stopped by one of the machine's guards. */
import { MemoryFault } from "./memory.ts";
import { wasmEngine } from "./wasm/engine.ts";

export type FaultKind = "memory" | "fuel" | "call-depth" | "helper" | "instruction" | "no-packet";

export interface Fault {
  readonly kind: FaultKind;
  readonly program: string;
  /** Slot of the instruction. */
  readonly pc: number;
  readonly message: string;
}

export type RunResult =
  | { readonly ok: true; readonly low: number; readonly high: number }
  | { readonly ok: false; readonly fault: Fault };

/** Thrown by helpers and by the machine itself; `run` makes a fault of it. */
export class BpfStop extends Error {
  override readonly name = "BpfStop";
  readonly kind: FaultKind;
  constructor(kind: FaultKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** What stopped a run, as data. @throws whatever else was thrown */
export function faultOf(error: unknown, program: string, pc: number): Fault {
  const place = { program, pc };
  if (error instanceof BpfStop) return { ...place, kind: error.kind, message: error.message };
  if (error instanceof MemoryFault || error instanceof wasmEngine.RuntimeError)
    return { ...place, kind: "memory", message: error.message };
  throw error;
}
