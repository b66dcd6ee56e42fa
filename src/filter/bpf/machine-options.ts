/** What a machine is made of, and what it runs helpers with. */
import type { BpfMemory } from "./memory.ts";
import type { BpfMachine } from "./vm.ts";
import type { LookupImport } from "./wasm/execution.ts";

/** What a program calls by number: reads r1..r5, sets r0 by `setResult`. */
export type Helper = (machine: BpfMachine) => void;

export interface MachineOptions {
  readonly memory: BpfMemory;
  readonly helpers: ReadonlyMap<number, Helper>;
  /** Instructions that one run may execute, tail calls and callbacks included. Default: the verifier's own limit. */
  readonly fuel?: number;
  /** Runs of a verified program before it is compiled, where no fuel is set. Default: it never is. */
  readonly compileAfter?: number;
  /** Lookups in a map, by the word that programs name it by, for programs that are compiled. Default: by helper 1. */
  readonly lookupOf?: (map: number) => LookupImport;
  /** For the historical packet loads: bytes at an offset, or `undefined` when they are not in the packet. */
  readonly loadPacket?: (offset: number, sizeBytes: number) => number | undefined;
}
