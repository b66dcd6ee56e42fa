/** Map lookups whose map the code itself names: nearly all. They need no search for the map when they run. */
import { AtomicOp, Imm64Kind, InsnClass, type Instruction, MemMode, Opcode } from "../insn.ts";
import type { LinkedProgram } from "../program.ts";
import { leadersOf } from "./blocks.ts";

export const lookupHelper = 1;

/** By the slot of the call, the word that names the map: where r1 has it since the beginning of the block. */
export function knownLookups({ instructions, imm }: LinkedProgram): ReadonlyMap<number, number> {
  const leaders = leadersOf(instructions, 0);
  const known = new Map<number, number>();
  let map: number | undefined;
  for (let pc = 0; pc < instructions.length; pc++) {
    const instruction = instructions[pc] as Instruction;
    const { opcode, dst, src } = instruction;
    if (leaders.has(pc)) map = undefined;
    if (opcode === Opcode.lddw) {
      if (dst === 1) map = src === Imm64Kind.map || src === Imm64Kind.mapIndex ? imm[pc]! : undefined;
      pc++;
    } else if (opcode === Opcode.call || opcode === Opcode.exit) {
      if (map !== undefined && opcode === Opcode.call && src === 0 && instruction.imm === lookupHelper)
        known.set(pc, map);
      map = undefined;
    } else if (writesTo(instruction) === 1) map = undefined;
  }
  return known;
}

/** Register that an instruction other than a call changes, -1: none. An exchange changes r0 too. */
function writesTo({ opcode, dst, src, imm }: Instruction): number {
  switch (opcode & 7) {
    case InsnClass.alu:
    case InsnClass.alu64:
    case InsnClass.ldx:
      return dst;
    case InsnClass.stx:
      return (opcode & 0xe0) === MemMode.atomic && (imm & AtomicOp.fetch) !== 0 ? src : -1;
    default:
      return -1;
  }
}
