/** The part of the WebAssembly JavaScript interface that is used here: the language's library does not declare it. */

export interface WasmMemory {
  /** Another one after every growth: the one before has lost its bytes. */
  readonly buffer: ArrayBuffer;
  /** Adds pages of 64 KiB. @throws RangeError */
  grow(pages: number): number;
}

export interface WasmModule {
  readonly [Symbol.toStringTag]: string;
}

type Imports = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

interface WasmEngine {
  readonly Memory: new (limits: { readonly initial: number; readonly maximum: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (module: WasmModule, imports: Imports) => { readonly exports: unknown };
  readonly RuntimeError: new () => Error;
}

export const wasmEngine: WasmEngine = (globalThis as unknown as { readonly WebAssembly: WasmEngine })
  .WebAssembly;

export const wasmPageBytes = 0x1_0000;
