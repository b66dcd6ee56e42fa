/**
 * Basic blocks of one function of a program, in an order in which only loops jump backwards (reverse postorder): forward
 * jumps become structured code, whatever the graph looks like.
 */
import { type Instruction, JmpOp, Opcode } from "../insn.ts";
import { jumpTarget } from "../program.ts";

export interface Block {
  /** Slot of the first instruction. */
  readonly start: number;
  /** Slot behind the last. */
  readonly end: number;
  /** Places, in the order, of the blocks that its last instruction leads to; absent: none. */
  readonly taken?: number;
  readonly next?: number;
}

/** The first block is that of the entry. */
export function blocksOf(instructions: readonly Instruction[], entry: number): readonly Block[] {
  const leaders = leadersOf(instructions, entry);
  const ends = new Map<number, number>();
  const order: number[] = [];
  const seen = new Set<number>([entry]);
  // a depth-first walk; each entry is a block and how many of its successors have been followed
  const path: { readonly start: number; readonly successors: readonly number[]; followed: number }[] = [];
  const open = (start: number): void => {
    const end = endOf(instructions, leaders, start);
    ends.set(start, end);
    path.push({ start, successors: successorsOf(instructions, end), followed: 0 });
  };
  open(entry);
  for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
    const successor = top.successors[top.followed++];
    if (successor === undefined) {
      order.push(top.start);
      path.pop();
    } else if (!seen.has(successor)) {
      seen.add(successor);
      open(successor);
    }
  }
  order.reverse();
  const places = new Map(order.map((start, place) => [start, place]));
  return order.map((start) => {
    const end = ends.get(start) ?? start;
    const { taken, next } = wayOut(instructions, end);
    const at = (slot: number | undefined): number | undefined =>
      slot === undefined ? undefined : places.get(slot);
    const [takenAt, nextAt] = [at(taken), at(next)];
    return {
      start,
      end,
      ...(takenAt === undefined ? {} : { taken: takenAt }),
      ...(nextAt === undefined ? {} : { next: nextAt }),
    };
  });
}

/** Slots that a jump leads to, or that follow a condition. */
export function leadersOf(instructions: readonly Instruction[], entry: number): ReadonlySet<number> {
  const leaders = new Set([entry]);
  for (const [pc, instruction] of instructions.entries()) {
    if (!isJump(instruction)) continue;
    const target = jumpTarget(instruction, pc);
    if (target !== undefined) leaders.add(target);
    leaders.add(pc + 1);
  }
  return leaders;
}

function endOf(instructions: readonly Instruction[], leaders: ReadonlySet<number>, start: number): number {
  let pc = start;
  for (;;) {
    const instruction = instructions[pc] as Instruction;
    if (isJump(instruction) || instruction.opcode === Opcode.exit) return pc + 1;
    pc += instruction.opcode === Opcode.lddw ? 2 : 1;
    if (leaders.has(pc)) return pc;
  }
}

interface WayOut {
  readonly taken?: number | undefined;
  readonly next?: number | undefined;
}

/** Slots that follow a block which ends before `end`. */
function wayOut(instructions: readonly Instruction[], end: number): WayOut {
  const last = instructions[end - 1] as Instruction;
  if (last.opcode === Opcode.exit) return {};
  if (!isJump(last)) return { next: end };
  const target = jumpTarget(last, end - 1);
  return (last.opcode & 0xf0) === JmpOp.ja ? { next: target } : { taken: target, next: end };
}

/** What comes last in the walk stands first in the order: the block behind, so that it needs no jump. */
function successorsOf(instructions: readonly Instruction[], end: number): readonly number[] {
  const { taken, next } = wayOut(instructions, end);
  return [taken, next].filter((slot) => slot !== undefined);
}

export function isJump({ opcode }: Instruction): boolean {
  const insnClass = opcode & 7;
  const isOfClass = insnClass === 5 || insnClass === 6;
  return isOfClass && opcode !== Opcode.exit && opcode !== Opcode.call && opcode !== Opcode.callRegister;
}
