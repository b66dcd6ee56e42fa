export { assemble } from "./asm.ts";
export { disassemble, insnText } from "./disasm.ts";
export { decodeInstructions, encodeInstructions, type Instruction, insnBytes } from "./insn.ts";
export { BpfMemory, MemoryFault } from "./memory.ts";
export { checkProgram, type LinkedProgram, linkProgram, type ProgramProblem } from "./program.ts";
export { BpfMachine, BpfStop, type Fault, type FaultKind, type Helper, type RunResult } from "./vm.ts";
