export { assemble } from "./asm.ts";
export { disassemble, insnText } from "./disasm.ts";
export { decodeInstructions, encodeInstructions, type Instruction, insnBytes } from "./insn.ts";
export {
  type BpfMap,
  Errno,
  type MapEntry,
  MapFlag,
  type MapRepr,
  type MapShape,
  MapType,
  UpdateFlag,
} from "./maps/shape.ts";
export { BpfMemory, MemoryFault } from "./memory.ts";
export { checkProgram, type LinkedProgram, linkProgram, type ProgramProblem } from "./program.ts";
export { BpfSpace, type SpaceOptions } from "./space.ts";
export { BpfMachine, BpfStop, type Fault, type FaultKind, type Helper, type RunResult } from "./vm.ts";
