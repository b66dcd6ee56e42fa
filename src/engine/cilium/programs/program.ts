/** A whole program put together: both families side by side, what neither handles, and the drops at its end. */
import { type Instruction, r0, r1 } from "../../../filter/bpf/index.ts";
import {
  Emission,
  emitStart,
  type FamilyEmission,
  type ProgramSide,
  type ProgramVariant,
  TcCode,
} from "./emission.ts";
import { emitDrops } from "./notify.ts";
import { Reason } from "./reasons.ts";

/** `emit` ends every way of a packet: at the label `pass`, at a drop's or by itself. */
export function emitProgram(
  variant: ProgramVariant,
  side: ProgramSide,
  emit: (e: FamilyEmission) => void,
): readonly Instruction[] {
  const emission = new Emission(variant, side);
  const { b } = emission;
  emitStart(emission);
  emit(emission.of(4));
  b.label("v6 start");
  emit(emission.of(6));
  b.label("other protocol");
  if (side === "pod" || variant.hostFirewall) b.jump("jne", r1, 0x0608, emission.drop(Reason.unknownNetwork)); // ARP passes
  b.label("pass").mov(r0, TcCode.ok).exit();
  emitDrops(emission);
  return b.build();
}
