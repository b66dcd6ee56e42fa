/** The bpf_conformance suite's files, as far as they are here: assembled, encoded, run. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  assemble,
  BpfMachine,
  BpfMemory,
  checkProgram,
  decodeInstructions,
  disassemble,
  encodeInstructions,
  linkProgram,
} from "../../../src/filter/bpf/index.ts";
import { parseConformanceFile } from "./conformance-file.ts";

const folder = join(process.env["PODWIRE_SHARED"] ?? "../shared", "truth/bpf-conformance");
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".data")) : [];

describe.skipIf(files.length === 0)("bpf_conformance (skipped where the external truth is absent)", () => {
  it.each(files)("%s gives its result", (file) => {
    const { asm, memory: given, result } = parseConformanceFile(readFileSync(join(folder, file), "utf8"));
    const program = assemble(asm, file);
    expect(checkProgram(program)).toEqual([]);
    expect(assemble(disassemble(program).join("\n"))).toEqual(program);
    expect(decodeInstructions(encodeInstructions(program))).toEqual(program);
    const memory = new BpfMemory();
    const region = memory.allocate(given.length, { name: "the input", writable: true }) ?? 0;
    memory.bytes.set(given, memory.start(region));
    const machine = new BpfMachine({ memory, helpers: new Map([[5, (one) => one.setResult(0)]]) });
    const outcome = machine.run(linkProgram(file, program), memory.start(region), given.length);
    if (!outcome.ok) throw new Error(outcome.fault.message);
    const value = (BigInt(outcome.high >>> 0) << 32n) | BigInt(outcome.low >>> 0);
    expect(value).toBe(result);
  });
});
