/**
 * Compiled programs of one machine: made when a verified program has run often enough to be worth it. A module is made once
 * for a linked program, whoever runs it; instances, over a memory each, share it.
 */
import type { BpfMemory } from "../memory.ts";
import type { LinkedProgram } from "../program.ts";
import { type CompiledProgram, compileProgram } from "./compile.ts";
import { type WasmModule, wasmEngine } from "./engine.ts";

/** Runs the program: r1, r2 (below 2^32) and the address behind the stack. The result is in r0; 1: another program goes on. */
export type Entry = (r1: number, r2: number, stackTop: number) => number;

/** A helper as compiled programs call it, with the slot of the call. 1: another program is to go on. */
type HelperImport = (pc: number) => number;
/** A map's lookup: address of the key, and the slot of the call, to the value's address, 0 for none. */
export type LookupImport = (keyAt: number, pc: number) => number;

/** Where a machine's compiled programs find what they call. */
export interface CompiledCalls {
  helper(id: number): HelperImport;
  lookup(map: number): LookupImport;
}

interface KnownModule {
  readonly module: WasmModule;
  readonly compiled: CompiledProgram;
}

/** `undefined` within: one for the interpreter. */
const modules = new WeakMap<LinkedProgram, { readonly known: KnownModule | undefined }>();

function moduleOf(program: LinkedProgram): KnownModule | undefined {
  let made = modules.get(program);
  if (made === undefined) {
    const compiled = compileProgram(program);
    made = {
      known: compiled && { module: new wasmEngine.Module(compiled.bytes), compiled },
    };
    modules.set(program, made);
  }
  return made.known;
}

export class CompiledPrograms {
  readonly #memory: BpfMemory;
  readonly #compileAfter: number;
  readonly #calls: CompiledCalls;
  readonly #entries = new Map<LinkedProgram, { runs: number; entry: Entry | undefined }>();

  constructor(memory: BpfMemory, compileAfter: number, calls: CompiledCalls) {
    this.#memory = memory;
    this.#compileAfter = compileAfter;
    this.#calls = calls;
  }

  /** For one more run, which begins now. `undefined`: the interpreter's. */
  entryOf(program: LinkedProgram): Entry | undefined {
    let known = this.#entries.get(program);
    if (known === undefined) {
      known = { runs: 0, entry: undefined };
      this.#entries.set(program, known);
    }
    if (known.runs <= this.#compileAfter && known.runs++ === this.#compileAfter && program.isVerified)
      known.entry = this.#instance(program);
    return known.entry;
  }

  #instance(program: LinkedProgram): Entry | undefined {
    const known = moduleOf(program);
    const memory = this.#memory.wasmMemory();
    if (known === undefined || memory === undefined) return undefined;
    const { module, compiled } = known;
    const calls = [
      ...compiled.helpers.map((id) => [`h${id}`, this.#calls.helper(id)]),
      ...compiled.maps.map((map) => [`m${map}`, this.#calls.lookup(map)]),
    ];
    const { exports } = new wasmEngine.Instance(module, { m: { memory, ...Object.fromEntries(calls) } });
    return (exports as { readonly run: Entry }).run;
  }
}
