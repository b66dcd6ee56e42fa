/** Reading a helper's arguments out of registers: pointers are checked, wrong kinds of pointers stop the program. */

import { BpfStop } from "../fault.ts";
import type { BpfMap } from "../maps/shape.ts";
import type { PacketBuffer } from "../packet-buffer.ts";
import type { BpfMachine } from "../vm.ts";
import type { HelperEnvironment } from "./environment.ts";

export function mapArgument(machine: BpfMachine, register: number, { space }: HelperEnvironment): BpfMap {
  const map = space.mapOfHandle(machine.low(register), machine.high(register));
  if (map === undefined) throw new BpfStop("helper", `r${register} is no map`);
  return map;
}

/** The packet that a context register names. */
export function contextArgument(
  machine: BpfMachine,
  register: number,
  { packet }: HelperEnvironment,
): PacketBuffer {
  if (packet?.isContext(machine.low(register), machine.high(register)) !== true)
    throw new BpfStop("helper", `r${register} is no context`);
  return packet;
}

/** A 32-bit unsigned argument: the low word, as C's conversion takes it. */
export function u32(machine: BpfMachine, register: number): number {
  return machine.low(register) >>> 0;
}

/** Flags of 64 bits of which only `mask` may be set. */
export function hasOtherFlags(machine: BpfMachine, register: number, mask: number): boolean {
  return machine.high(register) !== 0 || (machine.low(register) & ~mask) !== 0;
}

/** Index of `size` bytes that a register points to; a size of zero takes whatever pointer. */
export function memoryArgument(machine: BpfMachine, register: number, size: number, isStore = false): number {
  return size === 0 ? 0 : machine.pointer(register, size, isStore);
}
