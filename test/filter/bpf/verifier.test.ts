/** What the verifier proves, what it refuses and how it says so; and that what it proves is true. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPrng } from "../../../src/base/index.ts";
import {
  assemble,
  BpfRunner,
  BpfSpace,
  checkProgram,
  type Instruction,
  type MapShape,
  MapType,
  ProgramType,
  type Verdict,
  verifyProgram,
} from "../../../src/filter/bpf/index.ts";
import { programMaps, programOf, seeds, statements } from "./random-programs.ts";

const maps: readonly MapShape[] = [
  { name: "hash", type: MapType.hash, keySize: 4, valueSize: 16, maxEntries: 8, flags: 0 },
  { name: "ring", type: MapType.ringbuf, keySize: 0, valueSize: 0, maxEntries: 4096, flags: 0 },
  { name: "rodata", type: MapType.array, keySize: 4, valueSize: 8, maxEntries: 1, flags: 0x80 },
];

function verify(text: string, type: ProgramType = ProgramType.schedCls): Verdict {
  return verifyProgram(assemble(text), { type, maps, followedMax: 20_000 });
}

const lookup = "stw [%r10-4], 1\nlddw %r1, map 0 0\nmov %r2, %r10\nadd %r2, -4\ncall 1\n";
const packet = "ldxw %r2, [%r1+76]\nldxw %r3, [%r1+80]\nmov %r4, %r2\nadd %r4, 14\n";

describe("the verifier accepts", () => {
  it.each([
    ["a constant", "mov %r0, 0\nexit"],
    ["a map value after a test for null", `${lookup}jeq %r0, 0, +1\nldxdw %r0, [%r0+8]\nmov %r0, 0\nexit`],
    ["a test for null the other way", `${lookup}jne %r0, 0, +2\nmov %r0, 0\nexit\nldxw %r0, [%r0+12]\nexit`],
    ["packet bytes below the end", `${packet}jgt %r4, %r3, +1\nldxb %r0, [%r2+13]\nmov %r0, 0\nexit`],
    [
      "packet bytes, compared the other way",
      `${packet}jge %r3, %r4, +2\nmov %r0, 0\nexit\nldxw %r0, [%r2+10]\nexit`,
    ],
    [
      "a bounded index into the packet",
      `${packet}jgt %r4, %r3, +8\nldxb %r5, [%r2]\nand %r5, 15\nlsh %r5, 2\nadd %r2, %r5\nmov %r4, %r2\nadd %r4, 4\njgt %r4, %r3, +1\nldxw %r0, [%r2]\nmov %r0, 0\nexit`,
    ],
    [
      "a bounded index into a map value",
      `ldxw %r6, [%r1+8]\n${lookup}jeq %r0, 0, +4\nand %r6, 1\nlsh %r6, 3\nadd %r0, %r6\nldxdw %r0, [%r0]\nmov %r0, 0\nexit`,
    ],
    ["a loop with a counter", "mov %r0, 0\nL:\nadd %r0, 1\njlt %r0, 100, L\nexit"],
    ["a number kept on the stack", "stdw [%r10-8], 5\nldxdw %r0, [%r10-8]\nexit"],
    ["a pointer kept on the stack", "stxdw [%r10-8], %r1\nldxdw %r2, [%r10-8]\nldxw %r0, [%r2+8]\nexit"],
    ["a function", "mov %r1, 3\ncall local f\nexit\nf:\nmov %r0, %r1\nexit"],
    [
      "a record that is submitted",
      "lddw %r1, map 1 0\nmov %r2, 8\nmov %r3, 0\ncall 131\njeq %r0, 0, +4\nstdw [%r0], 1\nmov %r1, %r0\nmov %r2, 0\ncall 132\nmov %r0, 0\nexit",
    ],
    ["global data", "lddw %r1, mapvalue 2 4\nldxw %r0, [%r1]\nexit"],
    [
      "an index checked by comparison",
      `ldxw %r6, [%r1+8]\n${lookup}jeq %r0, 0, +3\njgt %r6, 8, +2\nadd %r0, %r6\nldxdw %r0, [%r0]\nmov %r0, 0\nexit`,
    ],
    [
      "a callback",
      "mov %r1, 4\nlddw %r2, code +5 0\nmov %r3, %r10\nmov %r4, 0\ncall 181\nexit\nmov %r0, 0\nexit",
    ],
  ])("%s", (_, text) => {
    expect(verify(text).refusal).toBeUndefined();
  });
});

describe("the verifier refuses, with the instruction and the registers", () => {
  it.each([
    ["a register that holds nothing", "mov %r0, %r3\nexit", "mov %r0, %r3", "r3 holds nothing"],
    ["r0 unset at the end", "exit", "exit", "r0 holds nothing"],
    ["a pointer as result", "mov %r0, %r10\nexit", "exit", "returns stack"],
    ["a map value without a test", `${lookup}ldxw %r0, [%r0]\nexit`, "ldxw %r0, [%r0]", "may be null"],
    [
      "a byte behind a map value",
      `${lookup}jeq %r0, 0, +1\nldxdw %r0, [%r0+9]\nmov %r0, 0\nexit`,
      "ldxdw %r0, [%r0+9]",
      "outside the value of map hash",
    ],
    [
      "packet bytes without a comparison",
      `${packet}ldxb %r0, [%r2]\nexit`,
      "ldxb %r0, [%r2]",
      "0 bytes are proven",
    ],
    [
      "one byte more than was proven",
      `${packet}jgt %r4, %r3, +1\nldxb %r0, [%r2+14]\nmov %r0, 0\nexit`,
      "ldxb %r0, [%r2+14]",
      "14 bytes are proven",
    ],
    [
      "packet bytes on the wrong side",
      `${packet}jgt %r4, %r3, +2\nmov %r0, 0\nexit\nldxb %r0, [%r2]\nexit`,
      "ldxb %r0, [%r2]",
      "proven",
    ],
    [
      "packet pointers after a helper that may move the packet",
      `mov %r6, %r1\n${packet}jgt %r4, %r3, +5\nmov %r7, %r2\nmov %r1, %r6\nmov %r2, 0\ncall 39\nldxb %r0, [%r7]\nmov %r0, 0\nexit`,
      "ldxb %r0, [%r7]",
      "r7 holds nothing",
    ],
    ["stack bytes that were not written", "ldxdw %r0, [%r10-8]\nexit", "ldxdw %r0, [%r10-8]", "not written"],
    [
      "half a pointer",
      "stxdw [%r10-8], %r1\nldxw %r0, [%r10-8]\nexit",
      "ldxw %r0, [%r10-8]",
      "part of a pointer",
    ],
    ["the stack's end", "stdw [%r10-520], 0\nmov %r0, 0\nexit", "stdw [%r10-520], 0", "outside the stack"],
    [
      "a store to a field that is not writable",
      "stw [%r1+0], 1\nmov %r0, 0\nexit",
      "stw [%r1], 1",
      "not writable",
    ],
    ["a load between fields", "ldxh %r0, [%r1+87]\nexit", "ldxh %r0, [%r1+87]", "no field"],
    [
      "arithmetic on the context",
      "ldxw %r2, [%r1+8]\nadd %r1, %r2\nmov %r0, 0\nexit",
      "add %r1, %r2",
      "arithmetic on context",
    ],
    ["multiplying a pointer", "mul %r10, 2\nexit", "mul %r10, 2", "r10 is read-only"],
    ["an endless loop", "mov %r0, 0\nL:\njne %r10, 0, L\nexit", "jne %r10, 0, -1", "may never end"],
    [
      "a loop too long to follow",
      "mov %r0, 0\nL:\nadd %r0, 1\njlt %r0, 100000000, L\nexit",
      "",
      "instructions were followed",
    ],
    [
      "code that nothing reaches",
      "mov %r0, 0\nexit\nmov %r0, 1\nexit",
      "mov %r0, 1",
      "no way through the program",
    ],
    ["an unknown helper", "call 999\nexit", "call 999", "no helper 999"],
    [
      "a map of the wrong type",
      "lddw %r1, map 1 0\nmov %r2, %r10\nadd %r2, -4\nstw [%r10-4], 0\ncall 1\nmov %r0, 0\nexit",
      "call 1",
      "a map of the type",
    ],
    [
      "a key that was not written",
      "lddw %r1, map 0 0\nmov %r2, %r10\nadd %r2, -4\ncall 1\nmov %r0, 0\nexit",
      "call 1",
      "not written",
    ],
    [
      "read-only data written to",
      "lddw %r1, mapvalue 2 0\nstw [%r1], 1\nmov %r0, 0\nexit",
      "stw [%r1], 1",
      "read-only",
    ],
    [
      "a record that is kept",
      "lddw %r1, map 1 0\nmov %r2, 8\nmov %r3, 0\ncall 131\njeq %r0, 0, +0\nmov %r6, %r0\nmov %r0, 0\nexit",
      "exit",
      "neither submitted nor discarded",
    ],
    [
      "stacks too deep together",
      "stdw [%r10-400], 0\ncall local f\nexit\nf:\nstdw [%r10-200], 0\nmov %r0, 0\nexit",
      "",
      "stacks of nested functions",
    ],
    ["recursion", "call local f\nexit\nf:\ncall local f\nexit", "call local -1", "frames deep"],
    ["division by zero", "mov %r0, 1\ndiv %r0, 0\nexit", "div %r0, 0", "division by zero"],
    ["a shift too far", "mov %r0, 1\nlsh32 %r0, 32\nexit", "lsh32 %r0, 32", "shift by 32"],
  ])("%s", (_, text, instruction, message) => {
    const { ok, refusal } = verify(text);
    expect(ok).toBe(false);
    expect(refusal?.message).toContain(message);
    expect(refusal?.text).toContain(instruction);
  });

  it("names what it knew of the registers", () => {
    const { refusal } = verify(`${lookup}ldxw %r0, [%r0]\nexit`);
    expect(refusal).toEqual({
      pc: 6,
      text: "ldxw %r0, [%r0]",
      message: "load of 4 bytes through a pointer that may be null (map-value(hash) or null)",
      registers: "r0=map-value(hash) or null r10=stack",
    });
  });
});

describe("what is proven is true", () => {
  const insn = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        opcode: fc.constantFrom(
          0x61,
          0x69,
          0x71,
          0x79,
          0x81,
          0x62,
          0x63,
          0x6a,
          0x6b,
          0x72,
          0x73,
          0x7a,
          0x7b,
          0xdb,
          0xc3,
        ),
        dst: fc.nat(10),
        src: fc.nat(10),
        offset: fc.oneof(fc.integer({ min: -24, max: 24 }), fc.constantFrom(76, 80, 8, -512, -520)),
        imm: fc.constantFrom(0, 1, 0xf1, 0xe1, 0x41),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        opcode: fc.constantFrom(0x07, 0x0f, 0xb7, 0xbf, 0x57, 0x67, 0x77, 0x1f, 0x17, 0xb4, 0x0c, 0xaf),
        dst: fc.nat(9),
        src: fc.nat(10),
        offset: fc.constant(0),
        imm: fc.integer({ min: -20, max: 20 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        opcode: fc.constantFrom(0x15, 0x1d, 0x2d, 0x3d, 0x55, 0x5d, 0xad, 0xbd, 0xa5, 0x25, 0xc5, 0x65),
        dst: fc.nat(10),
        src: fc.nat(10),
        offset: fc.integer({ min: -3, max: 4 }),
        imm: fc.integer({ min: -2, max: 20 }),
      }),
    },
  );
  const clean = ({ opcode, dst, src, offset, imm }: Instruction): Instruction => {
    const isReg = (opcode & 7) >= 4 ? (opcode & 8) !== 0 : (opcode & 7) === 1 || (opcode & 7) === 3;
    const usesImm =
      (opcode & 7) === 1
        ? false
        : (opcode & 7) === 3
          ? (opcode & 0xe0) === 0xc0
          : !isReg || (opcode & 7) === 2;
    return { opcode, dst, src: isReg ? src : 0, offset, imm: usesImm ? imm : 0 };
  };
  const prologues = [
    "mov %r6, %r1\nmov %r7, 4\nmov %r0, 1\n",
    `mov %r6, %r1\nldxw %r7, [%r1+76]\nldxw %r8, [%r1+80]\nmov %r9, %r7\nadd %r9, 14\nmov %r0, 0\njgt %r9, %r8, +1\nldxb %r0, [%r7+2]\n`,
    `mov %r6, %r1\n${lookup}jne %r0, 0, +1\nexit\nmov %r7, %r0\nldxb %r8, [%r0]\nmov %r9, 3\n`,
  ].map((text) => assemble(`${text}mov %r3, 7\nstdw [%r10-16], 3\n`));

  it("random programs that it accepts touch nothing outside their memory", { timeout: 60_000 }, () => {
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...prologues),
        fc.array(insn, { maxLength: 7 }),
        fc.nat(60),
        (prologue, draws, size) => {
          const program = [...prologue, ...draws.map(clean), ...assemble("mov %r0, 0\nexit")];
          if (checkProgram(program).length > 0) return;
          if (!verifyProgram(program, { type: ProgramType.schedCls, maps, followedMax: 5000 }).ok) return;
          accepted++;
          const space = new BpfSpace();
          for (const map of maps) space.createMap(map);
          space.map(0)?.update(Uint8Array.of(1, 0, 0, 0), 0, new Uint8Array(16).fill(9), 0, 0);
          const linked = space.program(space.loadProgram("random", program));
          const runner = new BpfRunner({ space, nowNs: () => 0, random: createPrng(1), fuel: 100_000 });
          if (linked === undefined) throw new Error("no program");
          const { fault } = runner.run(linked, ProgramType.schedCls, new Uint8Array(size).fill(0x45), 0, {
            mark: 7,
          });
          expect(fault?.message).toBeUndefined();
        },
      ),
      { numRuns: 12_000, seed: 5 },
    );
    expect(accepted).toBeGreaterThan(1000);
  });

  it("programs that the kernel accepts are accepted", { timeout: 60_000 }, () => {
    for (const [list, starts] of fc.sample(fc.tuple(statements, seeds), { numRuns: 150, seed: 6 })) {
      const verdict = verifyProgram(programOf(list, starts), {
        type: ProgramType.schedCls,
        maps: programMaps,
      });
      expect(verdict.refusal).toBeUndefined();
    }
  });
});
