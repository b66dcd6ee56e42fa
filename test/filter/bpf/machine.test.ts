/** The machine against arithmetic on whole numbers, and its guards against programs that mean harm. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  assemble,
  BpfMachine,
  BpfMemory,
  checkProgram,
  linkProgram,
  type RunResult,
} from "../../../src/filter/bpf/index.ts";

function run(
  text: string,
  options: { readonly fuel?: number; readonly input?: readonly number[] } = {},
): RunResult {
  const memory = new BpfMemory();
  const input = options.input ?? [];
  const region = memory.allocate(input.length, { name: "the input", writable: true }) ?? 0;
  memory.bytes.set(input, memory.start(region));
  const program = assemble(text);
  expect(checkProgram(program)).toEqual([]);
  const machine = new BpfMachine({
    memory,
    helpers: new Map(),
    ...(options.fuel === undefined ? {} : { fuel: options.fuel }),
  });
  return machine.run(linkProgram("test", program), memory.start(region), input.length);
}

function value(result: RunResult): bigint {
  if (!result.ok) throw new Error(result.fault.message);
  return (BigInt(result.high >>> 0) << 32n) | BigInt(result.low >>> 0);
}

const hex = (number: bigint): string => `0x${number.toString(16)}`;
const u64 = (number: bigint): bigint => BigInt.asUintN(64, number);
const s64 = (number: bigint): bigint => BigInt.asIntN(64, number);
const u32 = (number: bigint): bigint => BigInt.asUintN(32, number);
const s32 = (number: bigint): bigint => BigInt.asIntN(32, number);

/** Each operation over whole numbers, from RFC 9669's text. Operands are unsigned 64-bit numbers. */
const operations: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
  add: (a, b) => u64(a + b),
  sub: (a, b) => u64(a - b),
  mul: (a, b) => u64(a * b),
  div: (a, b) => (b === 0n ? 0n : a / b),
  mod: (a, b) => (b === 0n ? a : a % b),
  sdiv: (a, b) => (b === 0n ? 0n : u64(s64(a) / s64(b))),
  smod: (a, b) => (b === 0n ? a : u64(s64(a) % s64(b))),
  or: (a, b) => a | b,
  and: (a, b) => a & b,
  xor: (a, b) => a ^ b,
  lsh: (a, b) => u64(a << (b & 63n)),
  rsh: (a, b) => a >> (b & 63n),
  arsh: (a, b) => u64(s64(a) >> (b & 63n)),
  mov: (_a, b) => b,
  movsx864: (_a, b) => u64(BigInt.asIntN(8, b)),
  movsx1664: (_a, b) => u64(BigInt.asIntN(16, b)),
  movsx3264: (_a, b) => u64(BigInt.asIntN(32, b)),
  add32: (a, b) => u32(a + b),
  sub32: (a, b) => u32(a - b),
  mul32: (a, b) => u32(a * b),
  div32: (a, b) => (u32(b) === 0n ? 0n : u32(a) / u32(b)),
  mod32: (a, b) => (u32(b) === 0n ? u32(a) : u32(a) % u32(b)),
  sdiv32: (a, b) => (u32(b) === 0n ? 0n : u32(s32(a) / s32(b))),
  smod32: (a, b) => (u32(b) === 0n ? u32(a) : u32(s32(a) % s32(b))),
  or32: (a, b) => u32(a | b),
  and32: (a, b) => u32(a & b),
  xor32: (a, b) => u32(a ^ b),
  lsh32: (a, b) => u32(u32(a) << (b & 31n)),
  rsh32: (a, b) => u32(a) >> (b & 31n),
  arsh32: (a, b) => u32(s32(a) >> (b & 31n)),
  mov32: (_a, b) => u32(b),
  movsx832: (_a, b) => u32(BigInt.asIntN(8, b)),
  movsx1632: (_a, b) => u32(BigInt.asIntN(16, b)),
};

const comparisons: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  jeq: (a, b) => a === b,
  jne: (a, b) => a !== b,
  jgt: (a, b) => a > b,
  jge: (a, b) => a >= b,
  jlt: (a, b) => a < b,
  jle: (a, b) => a <= b,
  jset: (a, b) => (a & b) !== 0n,
  jsgt: (a, b) => s64(a) > s64(b),
  jsge: (a, b) => s64(a) >= s64(b),
  jslt: (a, b) => s64(a) < s64(b),
  jsle: (a, b) => s64(a) <= s64(b),
};

const edges = [0n, 1n, 2n, 0x7fn, 0x80n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 0x1_0000_0000n];
const number = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(
    ...edges,
    ...edges.map((edge) => u64(-edge)),
    1n << 63n,
    (1n << 63n) - 1n,
    (1n << 53n) + 1n,
  ),
);

describe("arithmetic equals that of whole numbers", () => {
  it.each(Object.entries(operations))("%s", (name, expected) => {
    fc.assert(
      fc.property(number, number, (a, b) => {
        const text = `lddw %r1, ${hex(a)}\nlddw %r2, ${hex(b)}\n${name} %r1, %r2\nmov %r0, %r1\nexit`;
        expect(value(run(text))).toBe(expected(a, b));
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it.each(Object.entries(operations).filter(([name]) => !name.startsWith("movsx")))(
    "%s with an immediate, which is sign-extended",
    (name, expected) => {
      fc.assert(
        fc.property(number, fc.integer(), (a, imm) => {
          const text = `lddw %r0, ${hex(a)}\n${name} %r0, ${imm}\nexit`;
          expect(value(run(text))).toBe(expected(a, u64(BigInt(imm))));
        }),
        { numRuns: 100, seed: 2 },
      );
    },
  );

  it.each(Object.entries(comparisons))("%s, and its 32-bit form", (name, expected) => {
    fc.assert(
      fc.property(number, number, (a, b) => {
        const load = `lddw %r1, ${hex(a)}\nlddw %r2, ${hex(b)}\nmov %r0, 1\n`;
        expect(value(run(`${load}${name} %r1, %r2, +1\nmov %r0, 0\nexit`))).toBe(expected(a, b) ? 1n : 0n);
        const is32 = name.startsWith("js") && name !== "jset";
        const cut = (x: bigint): bigint => (is32 ? u64(s32(x)) : u32(x));
        expect(value(run(`${load}${name}32 %r1, %r2, +1\nmov %r0, 0\nexit`))).toBe(
          expected(cut(a), cut(b)) ? 1n : 0n,
        );
      }),
      { numRuns: 200, seed: 3 },
    );
  });
});

describe("guards", () => {
  const faultOf = (text: string, options: Parameters<typeof run>[1] = {}): string => {
    const result = run(text, options);
    return result.ok ? "none" : `${result.fault.kind} at ${result.fault.pc}: ${result.fault.message}`;
  };

  it.each([
    [
      "a null pointer",
      "mov %r1, 0\nldxb %r0, [%r1]\nexit",
      "load of 1 byte at 0x0 is outside the program's memory",
    ],
    [
      "a wild pointer",
      "lddw %r1, 0xffffffffffffff00\nstxdw [%r1], %r1\nexit",
      "store of 8 bytes at 0xffffffffffffff00",
    ],
    ["an address past 4 GiB", "lddw %r1, 0x100001000\nldxb %r0, [%r1]\nexit", "at 0x100001000 is outside"],
    ["the byte behind the input", "ldxb %r0, [%r1+4]\nexit", "outside the input (offset 4 of 4)"],
    ["a word over the input's end", "ldxw %r0, [%r1+1]\nexit", "outside the input (offset 1 of 4)"],
    ["the byte before the input", "ldxb %r0, [%r1-1]\nexit", "outside"],
    ["the stack below its frame", "stxb [%r10-513], %r1\nexit", "outside the stack"],
    ["the stack above its frame", "stxb [%r10], %r1\nexit", "outside the program's memory"],
  ])("%s is out of reach", (_, text, message) => {
    const fault = faultOf(text, { input: [1, 2, 3, 4] });
    expect(fault).toContain("memory at");
    expect(fault).toContain(message);
  });

  it("a loop without end runs out of fuel", () => {
    expect(faultOf("L:\nja L\nexit", { fuel: 1000 })).toBe("fuel at 0: stopped after 1000 instructions");
  });

  it("calls nest eight frames deep and no deeper", () => {
    const nest = (count: number): string =>
      `mov %r1, ${count}\ncall local f\nexit\nf:\nmov %r0, %r1\njeq %r1, 0, exit2\nsub %r1, 1\ncall local f\nexit2:\nexit`;
    expect(value(run(nest(6)))).toBe(0n);
    expect(faultOf(nest(7))).toContain("call-depth");
  });

  it("a function sees its caller's stack by pointer, and its own is fresh and gone afterwards", () => {
    const text = `
      stdw [%r10-8], 7
      mov %r1, %r10
      call local f
      ldxdw %r0, [%r10-8]
      exit
      f:
      ldxdw %r2, [%r10-8]
      ldxdw %r3, [%r1-8]
      add %r3, %r2
      add %r3, 1
      stxdw [%r1-8], %r3
      stdw [%r10-8], 99
      exit`;
    expect(value(run(text))).toBe(8n);
  });

  it("an unknown helper, a kernel function and a packet load without a packet stop the program", () => {
    expect(faultOf("call 4242\nexit")).toContain("no helper 4242");
    expect(faultOf("call runtime 7\nexit")).toContain("kernel functions");
    expect(faultOf("ldabsb 0\nexit")).toContain("without a packet");
  });

  it("never throws and always ends, whatever the program", () => {
    const instruction = fc.record({
      opcode: fc.nat(255),
      dst: fc.nat(10),
      src: fc.nat(10),
      offset: fc.integer({ min: -12, max: 12 }),
      imm: fc.oneof(fc.integer({ min: -3, max: 40 }), fc.integer()),
    });
    let ran = 0;
    fc.assert(
      fc.property(fc.array(instruction, { minLength: 1, maxLength: 24 }), (draws) => {
        const program = draws.filter((one) => checkProgram([one, exit]).length === 0);
        const whole = [...program, exit];
        if (checkProgram(whole).length > 0) return;
        ran++;
        const memory = new BpfMemory();
        const machine = new BpfMachine({ memory, helpers: new Map(), fuel: 2000 });
        machine.run(linkProgram("random", whole));
      }),
      { numRuns: 3000, seed: 4 },
    );
    expect(ran).toBeGreaterThan(300);
  });
});

const exit = { opcode: 0x95, dst: 0, src: 0, offset: 0, imm: 0 };
