/** Which instructions some way through a program leads to, whatever its conditions. */
import { type Instruction, Opcode } from "../insn.ts";
import { jumpTarget } from "../program.ts";

/** The first slot that nothing reaches. */
export function unreachableSlot(instructions: readonly Instruction[]): number | undefined {
  const seen = new Uint8Array(instructions.length);
  const pending = [0];
  for (let pc = pending.pop(); pc !== undefined; pc = pending.pop()) {
    if (seen[pc] === 1) continue;
    seen[pc] = 1;
    const instruction = instructions[pc] as Instruction;
    const isWide = instruction.opcode === Opcode.lddw;
    if (isWide) seen[pc + 1] = 1;
    const target = jumpTarget(instruction, pc);
    if (target !== undefined) pending.push(target);
    const { opcode } = instruction;
    if (opcode !== Opcode.exit && opcode !== Opcode.ja && opcode !== Opcode.ja32)
      pending.push(pc + (isWide ? 2 : 1));
  }
  const dead = seen.indexOf(0);
  return dead < 0 ? undefined : dead;
}
