/** Helpers on maps: lookups, changes, iteration and tail calls (kernel/bpf/helpers.c, kernel/bpf/core.c). */

import { BpfStop } from "../fault.ts";
import type { Helper } from "../machine-options.ts";
import { Errno, MapType } from "../maps/shape.ts";
import { SlotMap } from "../maps/slots.ts";
import type { BpfMachine } from "../vm.ts";
import { hasOtherFlags, mapArgument, u32 } from "./arguments.ts";
import type { HelperEnvironment } from "./environment.ts";

/** BPF_MAX_LOOPS. */
const loopsMax = 1 << 23;

export function mapHelpers(environment: HelperEnvironment): readonly (readonly [number, Helper])[] {
  const { space } = environment;
  return [
    [
      1,
      (machine) => {
        const map = mapArgument(machine, 1, environment);
        const key = machine.pointer(2, map.shape.keySize, false);
        const value = map.lookup(space.memory.bytes, key);
        if (environment.onLookup !== undefined) environment.onLookup(map, key, value);
        machine.setResult64(value | 0, 0);
      },
    ],
    [
      2,
      (machine) => {
        const map = mapArgument(machine, 1, environment);
        const key = machine.pointer(2, map.shape.keySize, false);
        const value = machine.pointer(3, map.shape.valueSize, false);
        const { bytes } = space.memory;
        const flags = machine.high(4) !== 0 ? 0x7fff_ffff : machine.low(4) >>> 0;
        const isFromUserOnly = map instanceof SlotMap || map.shape.type === MapType.arrayOfMaps;
        if (isFromUserOnly || map.shape.type === MapType.hashOfMaps) throw notForPrograms(map.shape.name);
        machine.setResult(map.update(bytes, key, bytes, value, flags));
      },
    ],
    [
      3,
      (machine) => {
        const map = mapArgument(machine, 1, environment);
        if (map instanceof SlotMap) throw notForPrograms(map.shape.name);
        machine.setResult(map.remove(space.memory.bytes, machine.pointer(2, map.shape.keySize, false)));
      },
    ],
    [12, (machine) => tailCall(machine, environment)],
    [164, (machine) => forEachElement(machine, environment)],
    [181, (machine) => loop(machine, environment)],
  ];
}

function notForPrograms(name: string): BpfStop {
  return new BpfStop("helper", `map ${name} cannot be changed by programs`);
}

/** Falls through when the slot is empty, out of range, or the chain too long; the kernel then leaves r0 undefined. */
function tailCall(machine: BpfMachine, environment: HelperEnvironment): void {
  const map = mapArgument(machine, 2, environment);
  if (!(map instanceof SlotMap)) throw new BpfStop("helper", "r2 is no program array");
  const number = map.at(u32(machine, 3));
  const program = number === undefined ? undefined : environment.space.program(number);
  if (program === undefined || !machine.tailCall(program)) machine.setResult(-Errno.ENOENT);
}

function callbackSlot(machine: BpfMachine, register: number, { space }: HelperEnvironment): number {
  const slot = space.codeOfHandle(machine.low(register), machine.high(register));
  if (slot === undefined) throw new BpfStop("helper", `r${register} is no function`);
  return slot;
}

function forEachElement(machine: BpfMachine, environment: HelperEnvironment): void {
  const map = mapArgument(machine, 1, environment);
  const slot = callbackSlot(machine, 2, environment);
  const context = [machine.low(3), machine.high(3)] as const;
  const handle = machine.low(1);
  if (hasOtherFlags(machine, 4, 0)) {
    machine.setResult(-Errno.EINVAL);
    return;
  }
  const { memory } = environment.space;
  let count = 0;
  for (const { key } of map.entries()) {
    const value = map.lookup(key, 0);
    if (value === 0) continue; // removed by an earlier call
    count++;
    const keyAt = machine.scratch(key.length);
    memory.bytes.set(key, keyAt);
    machine.callback(slot, handle, 0, keyAt, 0, value | 0, 0, ...context);
    if ((machine.low(0) | machine.high(0)) !== 0) break;
  }
  machine.setResult(count);
}

function loop(machine: BpfMachine, environment: HelperEnvironment): void {
  const rounds = u32(machine, 1);
  const slot = callbackSlot(machine, 2, environment);
  const context = [machine.low(3), machine.high(3)] as const;
  if (hasOtherFlags(machine, 4, 0)) {
    machine.setResult(-Errno.EINVAL);
    return;
  }
  if (rounds > loopsMax) {
    machine.setResult(-Errno.E2BIG);
    return;
  }
  let done = 0;
  while (done < rounds) {
    machine.callback(slot, done++, 0, ...context);
    if ((machine.low(0) | machine.high(0)) !== 0) break;
  }
  machine.setResult(done);
}
