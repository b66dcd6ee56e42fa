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

interface KnownModule {
  readonly module: WasmModule;
  readonly helpers: CompiledProgram["helpers"];
}

/** `undefined` within: one for the interpreter. */
const modules = new WeakMap<LinkedProgram, { readonly known: KnownModule | undefined }>();

function moduleOf(program: LinkedProgram): KnownModule | undefined {
  let made = modules.get(program);
  if (made === undefined) {
    const compiled = compileProgram(program);
    made = {
      known: compiled && { module: new wasmEngine.Module(compiled.module), helpers: compiled.helpers },
    };
    modules.set(program, made);
  }
  return made.known;
}

export class CompiledPrograms {
  readonly #memory: BpfMemory;
  readonly #compileAfter: number;
  readonly #helperOf: (id: number) => HelperImport;
  readonly #entries = new Map<LinkedProgram, { runs: number; entry: Entry | undefined }>();

  constructor(memory: BpfMemory, compileAfter: number, helperOf: (id: number) => HelperImport) {
    this.#memory = memory;
    this.#compileAfter = compileAfter;
    this.#helperOf = helperOf;
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
    const memory = known && this.#memory.wasmMemory();
    if (memory === undefined) return undefined;
    const helpers = known?.helpers.map((id) => [`h${id}`, this.#helperOf(id)]) ?? [];
    const imports = { m: { memory, ...Object.fromEntries(helpers) } };
    const { exports } = new wasmEngine.Instance((known as KnownModule).module, imports);
    return (exports as { readonly run: Entry }).run;
  }
}
