/** Objects: what they define, and how damage and lies in them are told. */
import { describe, expect, it } from "vitest";
import {
  assemble,
  BpfMachine,
  BpfSpace,
  disassemble,
  encodeInstructions,
  loadObject,
  MapType,
  ProgramType,
  programTypeOf,
  readObject,
} from "../../../src/filter/bpf/index.ts";
import { type WrittenObject, writeElf } from "./elf-writer.ts";

const code = (text: string): Uint8Array => encodeInstructions(assemble(text));
const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const executable = 6;

/** `tc` calls `f` in `.text`, which reads global data; a legacy map; read-only data. */
const whole: WrittenObject = {
  sections: [
    { name: ".text", flags: executable, data: code("lddw %r1, 0x4\nldxw %r0, [%r1]\nadd %r0, %r2\nexit") },
    { name: "tc", flags: executable, data: code("mov %r2, 2\ncall local -1\nlddw %r1, 0x0\nexit") },
    { name: "maps", data: words(MapType.hash, 4, 8, 10, 0) },
    { name: ".rodata", data: words(11, 40) },
    { name: "license", data: new TextEncoder().encode("GPL\0") },
  ],
  symbols: [
    { name: "f", type: 2, section: 0, value: 0, size: 40 },
    { name: "entry", type: 2, section: 1, value: 0, size: 40 },
    { name: "flows", type: 1, section: 2, value: 0, size: 20 },
    { name: ".rodata", type: 3, section: 3, value: 0, size: 0 },
    { name: ".text", type: 3, section: 0, value: 0, size: 0 },
  ],
  relocations: [
    { section: 0, offset: 0, type: 1, symbol: 3 },
    { section: 1, offset: 8, type: 10, symbol: 4 },
    { section: 1, offset: 16, type: 1, symbol: 2 },
  ],
};

describe("an object", () => {
  it("gives its programs with the functions they call, its maps and its data", () => {
    const object = readObject(writeElf(whole), "whole.o");
    expect(object.license).toBe("GPL");
    expect(object.maps.map(({ shape }) => [shape.name, shape.type, shape.maxEntries])).toEqual([
      ["flows", MapType.hash, 10],
      [".rodata", MapType.array, 1],
    ]);
    expect(object.programs.map(({ name, section, type }) => [name, section, type])).toEqual([
      ["entry", "tc", ProgramType.schedCls],
    ]);
    expect(disassemble(object.programs[0]?.instructions ?? [])).toEqual([
      "mov %r2, 2",
      "call local +3",
      "lddw %r1, map 0 0",
      "exit",
      "lddw %r1, mapvalue 1 4",
      "ldxw %r0, [%r1]",
      "add %r0, %r2",
      "exit",
    ]);
    const space = new BpfSpace();
    const { programs } = loadObject(space, object);
    const linked = space.program(programs.get("entry") ?? -1);
    if (linked === undefined) throw new Error("not loaded");
    const machine = new BpfMachine({ memory: space.memory, helpers: new Map() });
    expect(machine.run(linked)).toEqual({ ok: true, low: 42, high: 0 });
  });

  it.each([
    ["tc", ProgramType.schedCls],
    ["tc/entry", ProgramType.schedCls],
    ["tcx/ingress", ProgramType.schedCls],
    ["classifier", ProgramType.schedCls],
    ["xdp", ProgramType.xdp],
    ["xdp.frags/x", ProgramType.xdp],
    ["xdp_prog", ProgramType.xdp],
    ["socket/http", ProgramType.socketFilter],
    ["cgroup_skb/ingress", ProgramType.cgroupSkb],
    ["kprobe/x", undefined],
    ["tcp", undefined],
  ])("section %s holds programs of type %s", (section, type) => {
    expect(programTypeOf(section)).toBe(type);
  });
});

describe("objects that lie", () => {
  const said = (change: Partial<WrittenObject>): string => {
    try {
      readObject(writeElf({ ...whole, ...change }), "bad.o");
      return "read";
    } catch (error) {
      return (error as Error).message;
    }
  };
  const relocation = (
    section: number,
    offset: number,
    type: number,
    symbol: number,
  ): WrittenObject["relocations"] => [
    ...(whole.relocations ?? []).filter((one) => one.section !== section || one.offset !== offset),
    { section, offset, type, symbol },
  ];

  it.each([
    ["another machine", { machine: 62 }, "made for machine 62, not for BPF"],
    [
      "a relocation on an instruction that loads nothing",
      { relocations: relocation(1, 0, 1, 2) },
      "loads no address",
    ],
    ["a relocation of an unknown type", { relocations: relocation(1, 16, 77, 2) }, "relocation of type 77"],
    [
      "a load of a license",
      {
        symbols: [...(whole.symbols ?? []), { name: "l", type: 1, section: 4, value: 0, size: 4 }],
        relocations: relocation(1, 16, 1, 5),
      },
      "names l, which is no map or data",
    ],
    ["a symbol that does not exist", { relocations: relocation(1, 16, 1, 40) }, "no symbol 41"],
    [
      "a call that leads between functions",
      {
        relocations: [{ section: 1, offset: 8, type: 10, symbol: 5 }],
        symbols: [...(whole.symbols ?? []), { name: "x", type: 2, section: 0, value: 8, size: 8 }],
      },
      "read",
    ],
    [
      "a call that leads nowhere",
      {
        relocations: [{ section: 1, offset: 8, type: 10, symbol: 5 }],
        symbols: [...(whole.symbols ?? []), { name: "gone", type: 0, section: -1, value: 0, size: 0 }],
      },
      "calls gone, which is no function of this object",
    ],
    [
      "a function longer than its section",
      { symbols: [{ name: "entry", type: 2, section: 1, value: 0, size: 4096 }], relocations: [] },
      "cut short: 4096 bytes",
    ],
    [
      "a function of half an instruction",
      { symbols: [{ name: "entry", type: 2, section: 1, value: 0, size: 12 }], relocations: [] },
      "not made of whole instructions",
    ],
    [
      "a map past its section",
      {
        symbols: [{ name: "m", type: 1, section: 2, value: 8, size: 20 }, ...(whole.symbols ?? []).slice(1)],
      },
      "cut short: 20 bytes",
    ],
    [
      "a map of an unknown type",
      {
        sections: whole.sections.map((one) =>
          one.name === "maps" ? { ...one, data: words(99, 4, 8, 10, 0) } : one,
        ),
      },
      "map flows: map type 99 is not supported",
    ],
    [
      "maps in .maps without BTF",
      { sections: [...whole.sections, { name: ".maps", data: new Uint8Array(32) }] },
      "need the section .BTF",
    ],
  ])("%s", (_, change, message) => {
    expect(said(change as Partial<WrittenObject>)).toContain(message);
  });

  it("cut at every length end in a message with an offset, or in an object", () => {
    const bytes = writeElf(whole);
    for (let length = 0; length < bytes.length; length++) {
      try {
        readObject(bytes.subarray(0, length), "cut.o");
      } catch (error) {
        expect((error as Error).name, String(length)).toBe("InputError");
        expect((error as Error).message).toMatch(/^cut\.o:byte \d+: /);
      }
    }
  });
});

describe("programs that flood and stray", () => {
  const space = (): BpfSpace => new BpfSpace({ refusesReplaceWhenFull: true, memoryBytesMax: 1 << 20 });

  it("a map larger than the memory is refused before anything is made", () => {
    const small = space();
    expect(() =>
      small.createMap({
        name: "huge",
        type: MapType.array,
        keySize: 4,
        valueSize: 4096,
        maxEntries: 1_000_000,
        flags: 0,
      }),
    ).toThrow("map huge does not fit into the memory");
  });

  it("programs that name maps which are not there are refused", () => {
    expect(() => space().loadProgram("p", assemble("lddw %r1, map 7 0\nmov %r0, 0\nexit"))).toThrow(
      "names map 7",
    );
  });

  it("instructions that are none are refused with their text", () => {
    const bad = [{ opcode: 0xff, dst: 0, src: 0, offset: 0, imm: 0 }, ...assemble("exit")];
    expect(() => space().loadProgram("p", bad)).toThrow("p[0]: opcode 0xff is not an instruction");
  });
});
