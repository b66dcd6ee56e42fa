/** Compiled programs leave what interpreted ones leave: results, packets, contexts, maps. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPrng } from "../../../src/base/index.ts";
import {
  assemble,
  BpfMachine,
  BpfMemory,
  BpfRunner,
  BpfSpace,
  type Instruction,
  linkProgram,
  ProgramType,
  verifyProgram,
} from "../../../src/filter/bpf/index.ts";
import { compileProgram } from "../../../src/filter/bpf/wasm/compile.ts";
import { parseConformanceFile } from "./conformance-file.ts";
import { programMaps, programOf, seeds, statements, xdpStatements } from "./random-programs.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";
const folder = join(process.env["PODWIRE_SHARED"] ?? "../shared", "truth/bpf-conformance");
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".data")) : [];

/** Of a program that is handed some bytes. */
function resultOf(program: readonly Instruction[], given: Uint8Array): bigint {
  const memory = new BpfMemory();
  const region = memory.allocate(given.length, { name: "the input", writable: true }) ?? 0;
  memory.bytes.set(given, memory.start(region));
  const linked = linkProgram("test", program, undefined, true);
  expect(compileProgram(linked)).toBeDefined();
  const machine = new BpfMachine({
    memory,
    helpers: new Map([[5, (one) => one.setResult(0)]]),
    compileAfter: 0,
  });
  const outcome = machine.run(linked, memory.start(region), given.length);
  if (!outcome.ok) throw new Error(outcome.fault.message);
  expect(machine.executed).toBe(0); // nothing was interpreted
  return (BigInt(outcome.high >>> 0) << 32n) | BigInt(outcome.low >>> 0);
}

describe.skipIf(files.length === 0)("bpf_conformance, compiled (skipped without the external truth)", () => {
  it.each(files)("%s gives its result", (file) => {
    const { asm, memory, result } = parseConformanceFile(readFileSync(join(folder, file), "utf8"));
    expect(resultOf(assemble(asm, file), memory)).toBe(result);
  });
});

const packet = Uint8Array.from({ length: 90 }, (_, i) => (i * 37) & 0xff);

/** All that some runs of a program leave, one after another over the same maps. */
function leftBy(program: readonly Instruction[], type: ProgramType, compileAfter: number): string {
  const space = new BpfSpace({ refusesReplaceWhenFull: false });
  for (const shape of programMaps) space.createMap(shape);
  const number = space.loadProgram("random", program, undefined, true);
  const linked = space.program(number);
  if (linked === undefined) throw new Error("no program");
  const runner = new BpfRunner({ space, nowNs: () => 5, random: createPrng(1), compileAfter });
  const left: unknown[] = [];
  for (let round = 0; round < 3; round++) {
    const values = type === ProgramType.xdp ? {} : { mark: 0x1234 + round, cb: 99, protocol: 8 };
    const { code, fault, events, redirects } = runner.run(linked, type, packet, 14, values);
    const buffer = runner.packet(type);
    const context = space.memory.bytes.slice(buffer.contextAt, buffer.contextAt + 24);
    left.push([code, fault, events, redirects, buffer.copyMeta(), buffer.copy(), context]);
  }
  left.push(programMaps.map((_, map) => space.map(map)?.entries()));
  return JSON.stringify(left, (_, value) => (value instanceof Uint8Array ? [...value].join() : value));
}

describe("a random verified program", () => {
  it.each([
    { name: "tc", type: ProgramType.schedCls, list: statements, runs: 120 },
    { name: "XDP", type: ProgramType.xdp, list: xdpStatements, runs: 60 },
  ])("of $name leaves compiled what it leaves interpreted", ({ type, list, runs }) => {
    let verified = 0;
    const numRuns = isSoak ? runs * 200 : runs;
    fc.assert(
      fc.property(list, seeds, (one, starts) => {
        const program = programOf(one, starts);
        if (!verifyProgram(program, { type, maps: programMaps }).ok) return;
        verified++;
        expect(leftBy(program, type, 1)).toBe(leftBy(program, type, Number.POSITIVE_INFINITY));
      }),
      { numRuns, seed: isSoak ? Date.now() : 20_271 },
    );
    expect(verified).toBeGreaterThan(numRuns * 0.8);
  });
});

describe("any graph of jumps", () => {
  /** Blocks that jump wherever they like, loops into the middle of loops among them, until a counter ends them. */
  const graph = fc.integer({ min: 2, max: 12 }).chain((count) =>
    fc.array(
      fc.record({
        taken: fc.nat(count - 1),
        next: fc.nat(count - 1),
        mask: fc.integer({ min: 1, max: 255 }),
        is32: fc.boolean(),
      }),
      { minLength: count, maxLength: count },
    ),
  );

  it("is followed compiled as it is interpreted", () => {
    fc.assert(
      fc.property(graph, fc.nat(1000), (blocks, start) => {
        const lines = blocks.flatMap(({ taken, next, mask, is32 }, i) => [
          `b${i}:`,
          "mul %r0, 31",
          `xor %r0, ${i + 7}`,
          "sub %r9, 1",
          "jeq %r9, 0, end",
          `jset${is32 ? "32" : ""} %r0, ${mask}, b${taken}`,
          `ja b${next}`,
        ]);
        const text = [`mov %r0, ${start}`, "mov %r9, 200", ...lines, "end:", "exit"].join("\n");
        const program = assemble(text);
        const memory = new BpfMemory();
        const machine = new BpfMachine({ memory, helpers: new Map() });
        const interpreted = machine.run(linkProgram("test", program));
        if (!interpreted.ok) throw new Error(interpreted.fault.message);
        const result = (BigInt(interpreted.high >>> 0) << 32n) | BigInt(interpreted.low >>> 0);
        expect(resultOf(program, new Uint8Array())).toBe(result);
      }),
      { numRuns: isSoak ? 20_000 : 150, seed: isSoak ? Date.now() : 20_273 },
    );
  });
});

describe("programs for the interpreter", () => {
  it.each([
    ["a callback", "lddw %r2, code +2 0\ncall 181\nexit\nexit"],
    ["a historical packet load", "ldabsb 0\nexit"],
    ["a helper that nobody knows", "call 9999\nexit"],
  ])("are those with %s", (_, text) => {
    const program = assemble(text);
    expect(compileProgram(linkProgram("test", program, undefined, true))).toBeUndefined();
  });

  it("are those that no verifier has taken, and those that run seldom", () => {
    const machine = (compileAfter: number): BpfMachine =>
      new BpfMachine({ memory: new BpfMemory(), helpers: new Map(), compileAfter });
    const program = assemble("mov %r0, 3\nexit");
    const [verified, other] = [true, false].map((is) => linkProgram("test", program, undefined, is));
    if (verified === undefined || other === undefined) throw new Error("no program");
    const executed = (one: BpfMachine, linked: typeof verified): readonly number[] =>
      [1, 2, 3].map(() => {
        expect(one.run(linked)).toEqual({ ok: true, low: 3, high: 0 });
        return one.executed;
      });
    expect(executed(machine(1), verified)).toEqual([2, 0, 0]);
    expect(executed(machine(1), other)).toEqual([2, 2, 2]);
  });
});
