export { assemble } from "./asm.ts";
export {
  type AluName,
  type AtomicName,
  type JumpName,
  type Operand,
  ProgramBuilder,
  type Register,
  r0,
  r1,
  r2,
  r3,
  r4,
  r5,
  r6,
  r7,
  r8,
  r9,
  r10,
  type SizeName,
} from "./build.ts";
export {
  type ClassicInstruction,
  classicProblems,
  formatClassic,
  parseClassic,
  translateClassic,
  xtBpfMax,
} from "./classic.ts";
export { type ContextField, contextLayout, ProgramType } from "./context.ts";
export { BpfDatapath, linkBpf } from "./datapath.ts";
export { disassemble, insnText } from "./disasm.ts";
export { BpfStop, type Fault, type FaultKind, type RunResult } from "./fault.ts";
export type { OutputEvent, Redirect } from "./helpers/index.ts";
export { type HelperEnvironment, helpersFor } from "./helpers/index.ts";
export { decodeInstructions, encodeInstructions, type Instruction, insnBytes } from "./insn.ts";
export { kernelText } from "./kernel-text.ts";
export { type BpfLoadOp, type BpfMapOp, type BpfOp, type BpfPinOp, bpfOps } from "./loaded-tables.ts";
export { recordTable } from "./lookup-log.ts";
export type { Helper } from "./machine-options.ts";
export {
  type BpfMap,
  Errno,
  type FieldLayout,
  type MapEntry,
  MapFlag,
  type MapLayout,
  type MapRepr,
  type MapShape,
  MapType,
  type MissReason,
  type RecordLayout,
  UpdateFlag,
} from "./maps/shape.ts";
export { BpfMemory, MemoryFault } from "./memory.ts";
export { type LoadedObject, loadObject } from "./object/load.ts";
export type { MapDefinition } from "./object/map-definitions.ts";
export { type BpfObject, type ObjectProgram, programTypeOf, readObject } from "./object/object.ts";
export { type ContextValues, PacketBuffer } from "./packet-buffer.ts";
export { compileClassicProgram } from "./packet-program.ts";
export { checkProgram, type LinkedProgram, linkProgram, type ProgramProblem } from "./program.ts";
export { BpfRunner, type PacketOutcome, type RunnerOptions } from "./runner.ts";
export { BpfSpace, type SpaceOptions } from "./space.ts";
export {
  type AttachKind,
  type Attachment,
  type BpfTables,
  contentOf,
  noBpfTables,
  type ProgramRepr,
  tablesOfObject,
} from "./tables.ts";
export { bpfUsage, mapBytes } from "./usage.ts";
export { type Outcome, outcomeOf } from "./verdicts.ts";
export { type Signature, signatures } from "./verifier/signatures.ts";
export { type Verdict, type VerifyOptions, verifyProgram } from "./verifier/verify.ts";
export { BpfMachine } from "./vm.ts";
