/** Helpers that call functions of the program back (the kernel takes these only with BTF, so they are not held to it). */
import { describe, expect, it } from "vitest";
import { createPrng } from "../../../src/base/index.ts";
import {
  assemble,
  BpfRunner,
  BpfSpace,
  type MapShape,
  MapType,
  ProgramType,
} from "../../../src/filter/bpf/index.ts";

const elements: MapShape = {
  name: "elements",
  type: MapType.array,
  keySize: 4,
  valueSize: 8,
  maxEntries: 3,
  flags: 0,
};

function run(text: string): {
  readonly code: number | undefined;
  readonly fault: string | undefined;
  readonly space: BpfSpace;
} {
  const space = new BpfSpace();
  space.createMap(elements);
  for (const index of [0, 1, 2])
    space
      .map(0)
      ?.update(Uint8Array.of(index, 0, 0, 0), 0, Uint8Array.of(index + 3, 0, 0, 0, 0, 0, 0, 0), 0, 0);
  const linked = space.program(space.loadProgram("test", assemble(text)));
  if (linked === undefined) throw new Error("no program");
  const runner = new BpfRunner({ space, nowNs: () => 0, random: createPrng(1), fuel: 10_000 });
  const { code, fault } = runner.run(linked, ProgramType.schedCls, new Uint8Array(60), 14, {});
  return { code, fault: fault?.message, space };
}

/** `call` with a callback that adds its first argument to the number that r2 points to, and stops past 6. */
const loop = (rounds: string, flags: number): string => `
  stdw [%r10-8], 0
  lddw %r1, ${rounds}
  lddw %r2, code +8 0
  mov %r3, %r10
  add %r3, -8
  mov %r4, ${flags}
  call 181
  mov %r7, %r0
  ldxdw %r0, [%r10-8]
  ja +7
  ldxdw %r3, [%r2]
  add %r3, %r1
  stxdw [%r2], %r3
  mov %r0, 0
  jle %r1, 6, +1
  mov %r0, 1
  exit
  lsh %r0, 8
  or %r0, %r7
  exit`;

describe("bpf_loop", () => {
  it("calls with 0, 1, 2... until the function says stop, and answers how often", () => {
    expect(run(loop("4", 0)).code).toBe(((0 + 1 + 2 + 3) << 8) | 4);
    expect(run(loop("100", 0)).code).toBe((28 << 8) | 8); // 0 + ... + 7, stopped by the eighth call
  });

  it("refuses flags and more rounds than the kernel's limit", () => {
    expect(run(loop("4", 1)).code).toBe(-22);
    expect(run(loop("0x1000000", 0)).code).toBe(-7);
  });

  it("cannot outlast the fuel", () => {
    const forever =
      "mov %r1, 8000000\nlddw %r2, code +5 0\nmov %r3, 0\nmov %r4, 0\ncall 181\nexit\nmov %r0, 0\nexit";
    expect(run(forever).fault).toBe("stopped after 10000 instructions");
  });

  it("needs a function", () => {
    expect(run("mov %r1, 1\nmov %r2, 7\nmov %r3, 0\nmov %r4, 0\ncall 181\nexit").fault).toBe(
      "r2 is no function",
    );
  });
});

describe("bpf_for_each_map_elem", () => {
  it("gives each element's key and value, which the function may change in place", () => {
    const { code, space } = run(`
      stdw [%r10-8], 0
      lddw %r1, map 0 0
      lddw %r2, code +7 0
      mov %r3, %r10
      add %r3, -8
      mov %r4, 0
      call 164
      ldxdw %r0, [%r10-8]
      exit
      ldxw %r6, [%r2]
      ldxdw %r5, [%r4]
      add %r5, %r6
      stxdw [%r4], %r5
      ldxdw %r5, [%r3]
      add %r5, 100
      stxdw [%r3], %r5
      mov %r0, 0
      exit`);
    expect(code).toBe(0 + 1 + 2); // the keys, summed through the context
    expect(
      space
        .map(0)
        ?.entries()
        .map(({ value }) => value[0]),
    ).toEqual([103, 104, 105]);
  });
});
