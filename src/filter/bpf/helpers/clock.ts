/** Helpers that ask for time, randomness and the processor. All of them are a function of the run's seed and virtual clock. */
import type { Helper } from "../machine-options.ts";
import { memoryArgument, u32 } from "./arguments.ts";
import type { HelperEnvironment } from "./environment.ts";

/** CONFIG_HZ=250, and jiffies start five minutes before they wrap at 32 bits. */
const nsPerJiffy = 4_000_000;
const initialJiffies = 0x1_0000_0000 - 300 * 250;

export function clockHelpers({ nowNs, random }: HelperEnvironment): readonly (readonly [number, Helper])[] {
  const time: Helper = (machine) => setNumber(machine, nowNs());
  return [
    [5, time],
    [125, time],
    [160, time],
    [118, (machine) => setNumber(machine, initialJiffies + Math.floor(nowNs() / nsPerJiffy))],
    [7, (machine) => machine.setResult64(random.nextU32() | 0, 0)],
    [8, (machine) => machine.setResult(0)],
    [42, (machine) => machine.setResult(0)], // get_numa_node_id
    [122, (machine) => machine.setResult64(1, 0)], // get_netns_cookie
    [
      182,
      (machine) => {
        const size = u32(machine, 2);
        const first = memoryArgument(machine, 1, size);
        const { bytes } = machine.memory;
        let order = 0;
        for (let i = 0; i < size && order === 0; i++) {
          const other = machine.memory.locate(machine.low(3) + i, machine.high(3), 1, false);
          order = bytes[first + i]! - bytes[other]!;
          if (bytes[first + i] === 0) break;
        }
        machine.setResult(order);
      },
    ],
  ];
}

function setNumber(machine: Parameters<Helper>[0], value: number): void {
  machine.setResult64(value | 0, Math.floor(value / 0x1_0000_0000) | 0);
}
