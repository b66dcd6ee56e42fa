/** Programs written in TypeScript are those that the assembler makes of the same words. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  assemble,
  BpfMachine,
  BpfSpace,
  type JumpName,
  ProgramBuilder,
  type Register,
  r0,
  r1,
  r2,
  r3,
  r4,
  r5,
  r6,
  r10,
  type SizeName,
} from "../../../src/filter/bpf/index.ts";

const registerOf = (number: number): Register => ({ register: number });
const dst = fc.integer({ min: 0, max: 9 });
const operand = fc.oneof(
  fc.record({ register: fc.integer({ min: 0, max: 10 }) }),
  fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }),
);
const offset = fc.integer({ min: -0x8000, max: 0x7fff });
const size = fc.constantFrom<SizeName>("b", "h", "w", "dw");
const text = (value: Register | number): string =>
  typeof value === "number" ? String(value) : `%r${value.register}`;
const at = (base: number, by: number): string => `[%r${base}${by < 0 ? "" : "+"}${by}]`;

/** One instruction in both ways of writing it; jumps go to `end`. */
interface Written {
  readonly line: string;
  add(builder: ProgramBuilder): void;
}

const alu = fc
  .tuple(
    fc.constantFrom("add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "mod", "xor", "mov", "arsh"),
    fc.boolean(),
    dst,
    operand,
  )
  .map(
    ([name, is32, to, by]): Written => ({
      line: `${name}${is32 ? "32" : ""} %r${to}, ${text(by)}`,
      add: (builder) =>
        is32 ? builder.alu32(name, registerOf(to), by) : builder.alu(name, registerOf(to), by),
    }),
  );

const jump = fc
  .tuple(
    fc.constantFrom<JumpName>(
      "jeq",
      "jgt",
      "jge",
      "jset",
      "jne",
      "jsgt",
      "jsge",
      "jlt",
      "jle",
      "jslt",
      "jsle",
    ),
    fc.boolean(),
    dst,
    operand,
  )
  .map(
    ([name, is32, left, right]): Written => ({
      line: `${name}${is32 ? "32" : ""} %r${left}, ${text(right)}, end`,
      add: (builder) =>
        is32
          ? builder.jump32(name, registerOf(left), right, "end")
          : builder.jump(name, registerOf(left), right, "end"),
    }),
  );

const memory = fc.tuple(size, dst, dst, offset, operand, fc.boolean()).map(
  ([bytes, to, base, by, value, isLoad]): Written =>
    isLoad
      ? {
          line: `ldx${bytes} %r${to}, ${at(base, by)}`,
          add: (builder) => builder.load(bytes, registerOf(to), registerOf(base), by),
        }
      : {
          line: `st${typeof value === "number" ? "" : "x"}${bytes} ${at(base, by)}, ${text(value)}`,
          add: (builder) => builder.store(bytes, registerOf(base), by, value),
        },
);

const other = fc.constantFrom<Written>(
  { line: "neg %r3", add: (builder) => builder.neg(r3) },
  { line: "be16 %r5", add: (builder) => builder.bigEndian(r5, 16) },
  { line: "be64 %r5", add: (builder) => builder.bigEndian(r5, 64) },
  { line: "lddw %r4, 0x123456789abcdef0", add: (builder) => builder.loadConstant(r4, 0x123456789abcdef0n) },
  { line: "ja end", add: (builder) => builder.goto("end") },
  { line: "call 7", add: (builder) => builder.callHelper(7) },
  { line: "call local end", add: (builder) => builder.callLocal("end") },
  { line: "lock fetch add [%r10-8], %r2", add: (b) => b.atomic("add", "dw", r10, -8, r2, { fetch: true }) },
  { line: "lock xchg32 [%r10-8], %r2", add: (builder) => builder.atomic("xchg", "w", r10, -8, r2) },
);

describe("a program builder", () => {
  it("law: makes what the assembler makes of the same instructions", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(alu, jump, memory, other), { maxLength: 30 }), (written) => {
        const builder = new ProgramBuilder();
        for (const one of written) one.add(builder);
        const lines = [...written.map(({ line }) => line), "end:", "exit"];
        expect(builder.label("end").exit().build()).toEqual(assemble(lines.join("\n")));
      }),
      { numRuns: 500 },
    );
  });

  it("writes a filter of docs/programs.md instruction for instruction", () => {
    const builder = new ProgramBuilder()
      .load("w", r2, r1, 76)
      .load("w", r3, r1, 80)
      .mov(r4, r2)
      .alu("add", r4, 38)
      .jump("jgt", r4, r3, "pass")
      .load("h", r5, r2, 12)
      .jump("jne", r5, 0x0008, "pass")
      .load("b", r5, r2, 23)
      .jump("jne", r5, 6, "pass");
    for (const place of [36, 34])
      builder
        .load("h", r5, r2, place)
        .bigEndian(r5, 16)
        .jump("jeq", r5, 80, "pass")
        .jump("jeq", r5, 443, "pass");
    builder.mov(r0, 2).exit().label("pass").mov(r0, 0).exit();
    const file = join(import.meta.dirname, "../../../docs/examples/web-only.bpf");
    expect(builder.build()).toEqual(assemble(readFileSync(file, "utf8")));
  });

  it("calls functions of its own, before and behind", () => {
    const program = new ProgramBuilder()
      .mov(r1, 20)
      .callLocal("double")
      .mov(r6, r0)
      .alu("add", r6, 2)
      .mov(r0, r6)
      .exit()
      .label("double")
      .mov(r0, r1)
      .alu("add", r0, r1)
      .exit()
      .build();
    const space = new BpfSpace();
    const linked = space.program(space.loadProgram("calls", program));
    if (linked === undefined) throw new Error("not loaded");
    const machine = new BpfMachine({ memory: space.memory, helpers: new Map(), fuel: 100 });
    expect(machine.run(linked, 0, 0)).toMatchObject({ ok: true, low: 42 });
  });

  it.each([
    ["a label that is nowhere", () => new ProgramBuilder().goto("nowhere").build(), /no label nowhere/],
    ["a label twice", () => new ProgramBuilder().label("a").label("a"), /stands twice/],
    ["a register that is none", () => new ProgramBuilder().mov(registerOf(11), 0), /no r11/],
    ["too wide an immediate", () => new ProgramBuilder().mov(r0, 2 ** 32), /no 32-bit immediate/],
    ["too far an offset", () => new ProgramBuilder().load("w", r0, r1, 40_000), /no 16-bit offset/],
  ])("refuses %s", (_, build, message) => {
    expect(build).toThrow(message);
  });
});
