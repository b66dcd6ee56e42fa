/** Classic programs as iptables rules use them (xt_bpf): they see the packet from its network header on. */
import { createPrng } from "../../base/index.ts";
import { type PacketBatch, rowBytes } from "../../packet/index.ts";
import { type ClassicInstruction, translateClassic } from "./classic.ts";
import { ProgramType } from "./context.ts";
import { BpfRunner } from "./runner.ts";
import { BpfSpace } from "./space.ts";

/** What the program answers for a row: 0 is no match. @throws InputError for a program that the kernel refuses. */
export function compileClassicProgram(
  program: readonly ClassicInstruction[],
): (batch: PacketBatch, row: number) => number {
  const space = new BpfSpace();
  const linked = space.program(space.loadProgram("xt_bpf", translateClassic(program, "xt_bpf")));
  const runner = new BpfRunner({ space, nowNs: () => 0, random: createPrng(1) });
  return (batch, row) => {
    if (linked === undefined) return 0;
    const context = { mark: batch.state.mark[row]!, protocol: batch.family[row] === 6 ? 0xdd86 : 0x0008 };
    const { code } = runner.run(linked, ProgramType.socketFilter, rowBytes(batch, row), 0, context);
    return (code ?? 0) >>> 0;
  };
}
