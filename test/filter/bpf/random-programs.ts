/**
 * Random BPF programs that the kernel's verifier accepts: statements that keep every register a known number and every
 * stack slot written, so that any list of them is a program. Shrinks by dropping statements.
 */
import fc from "fast-check";
import {
  assemble,
  type Instruction,
  MapFlag,
  type MapShape,
  MapType,
} from "../../../src/filter/bpf/index.ts";

/** Maps that every program may use, by number. */
export const programMaps: readonly MapShape[] = [
  { name: "out", type: MapType.array, keySize: 4, valueSize: 80, maxEntries: 1, flags: 0 },
  { name: "array", type: MapType.array, keySize: 4, valueSize: 16, maxEntries: 4, flags: 0 },
  { name: "hash", type: MapType.hash, keySize: 8, valueSize: 16, maxEntries: 6, flags: 0 },
  { name: "lpm", type: MapType.lpmTrie, keySize: 8, valueSize: 8, maxEntries: 16, flags: MapFlag.noPrealloc },
];

/** A statement's lines; `skip` is how many statements a jump at its end may pass over. */
export interface Statement {
  readonly lines: readonly string[];
  readonly skip?: { readonly condition: string; readonly statements: number };
}

/** Registers that hold numbers throughout. Slots at -8..-64 hold numbers; -72 holds the context. */
const registers = ["%r0", "%r1", "%r2", "%r3", "%r4", "%r5", "%r6", "%r7", "%r8", "%r9"] as const;
const register = fc.constantFrom(...registers);
const contextSlot = -72;
const scratchSlot = -176;

const imm = fc.oneof(
  fc.integer({ min: -4, max: 70 }),
  fc.integer(),
  fc.constantFrom(0x7fff_ffff, -0x8000_0000, 0xffff, 255),
);
const wide = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(0n, 1n, 0xffff_ffffn, 0x8000_0000n, 1n << 63n, (1n << 64n) - 1n, 0x7fff_ffff_ffff_ffffn),
);
const hex = (value: bigint): string => `0x${value.toString(16)}`;

const suffix = fc.constantFrom("", "32");
const binary = ["add", "sub", "mul", "or", "and", "xor", "mov"] as const;
const divisions = ["div", "mod", "sdiv", "smod"] as const;
const shifts = ["lsh", "rsh", "arsh"] as const;

const arithmetic: fc.Arbitrary<Statement> = fc
  .oneof(
    fc
      .tuple(fc.constantFrom(...binary, ...divisions, ...shifts), suffix, register, register)
      .map(([op, bits, dst, src]) => `${op}${bits} ${dst}, ${src}`),
    fc
      .tuple(fc.constantFrom(...binary), suffix, register, imm)
      .map(([op, bits, dst, value]) => `${op}${bits} ${dst}, ${value}`),
    fc
      .tuple(fc.constantFrom(...divisions), suffix, register, imm)
      .map(([op, bits, dst, value]) => `${op}${bits} ${dst}, ${value === 0 ? 1 : value}`),
    fc.tuple(fc.constantFrom(...shifts), register, fc.nat(63)).map(([op, dst, by]) => `${op} ${dst}, ${by}`),
    fc
      .tuple(fc.constantFrom(...shifts), register, fc.nat(31))
      .map(([op, dst, by]) => `${op}32 ${dst}, ${by}`),
    fc.tuple(fc.constantFrom("neg", "neg32"), register).map(([op, dst]) => `${op} ${dst}`),
    fc
      .tuple(fc.constantFrom("le", "be", "swap"), fc.constantFrom(16, 32, 64), register)
      .map(([op, bits, dst]) => `${op}${bits} ${dst}`),
    fc
      .tuple(
        fc.constantFrom("movsx832", "movsx1632", "movsx864", "movsx1664", "movsx3264"),
        register,
        register,
      )
      .map(([op, dst, src]) => `${op} ${dst}, ${src}`),
    fc.tuple(register, wide).map(([dst, value]) => `lddw ${dst}, ${hex(value)}`),
  )
  .map((line) => ({ lines: [line] }));

const conditions = [
  "jeq",
  "jne",
  "jgt",
  "jge",
  "jlt",
  "jle",
  "jset",
  "jsgt",
  "jsge",
  "jslt",
  "jsle",
] as const;
const branch: fc.Arbitrary<Statement> = fc
  .tuple(
    fc.constantFrom(...conditions),
    suffix,
    register,
    fc.oneof(register, imm),
    fc.integer({ min: 1, max: 3 }),
  )
  .map(([op, bits, dst, operand, statements]) => ({
    lines: [],
    skip: { condition: `${op}${bits} ${dst}, ${operand}`, statements },
  }));

/** An address of `size` bytes in a slot, aligned. */
const slot = (size: number): fc.Arbitrary<string> =>
  fc.tuple(fc.nat(7), fc.nat(8 / size - 1)).map(([number, part]) => `[%r10${-8 - number * 8 + part * size}]`);
const sizes = [
  ["b", 1],
  ["h", 2],
  ["w", 4],
  ["dw", 8],
] as const;

const stack: fc.Arbitrary<Statement> = fc
  .constantFrom(...sizes)
  .chain(([name, size]) =>
    fc.oneof(
      fc.tuple(register, slot(size)).map(([dst, at]) => `ldx${name} ${dst}, ${at}`),
      fc.tuple(register, slot(size)).map(([src, at]) => `stx${name} ${at}, ${src}`),
      fc.tuple(imm, slot(size)).map(([value, at]) => `st${name} ${at}, ${value}`),
      ...(size < 8 ? [fc.tuple(register, slot(size)).map(([dst, at]) => `ldxs${name} ${dst}, ${at}`)] : []),
    ),
  )
  .map((line) => ({ lines: [line] }));

const atomicOperations = [
  "add",
  "or",
  "and",
  "xor",
  "fetch add",
  "fetch or",
  "fetch and",
  "fetch xor",
  "xchg",
  "cmpxchg",
] as const;
const atomic = (at: fc.Arbitrary<string>, bits: string): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom(...atomicOperations), register, at)
    .map(([op, src, where]) => `lock ${op}${bits} ${where}, ${src}`);
const stackAtomic: fc.Arbitrary<Statement> = fc
  .oneof(atomic(slot(8), ""), atomic(slot(4), "32"))
  .map((line) => ({ lines: [line] }));

/** After a call only r0 and r6..r9 hold what they did. */
const reload = ["mov %r1, 11", "mov %r2, -2", "mov32 %r3, 33", "mov %r4, 0", "lddw %r5, 0x1ffffffff"];

const mapValue: fc.Arbitrary<Statement> = fc
  .tuple(
    fc.constantFrom(1, 2),
    register.filter((one) => one !== "%r0" && Number(one.slice(2)) >= 6),
    fc.constantFrom(...sizes),
    fc.nat(15),
    fc.nat(4),
  )
  .chain(([map, src, [name, size], place, kind]) => {
    const at = Math.min(16 - size, place - (place % size));
    const use = [
      `stx${name} [%r0+${at}], ${src}`,
      `ldx${name} ${src}, [%r0+${at}]`,
      size >= 4 ? `lock add${size === 4 ? "32" : ""} [%r0+${at}], ${src}` : `st${name} [%r0+${at}], 77`,
      size >= 4
        ? `lock fetch xor${size === 4 ? "32" : ""} [%r0+${at}], ${src}`
        : `ldx${name} ${src}, [%r0+${at}]`,
      `st${name} [%r0+${at}], -5`,
    ][kind];
    return slot(8).map((key) => ({
      lines: [
        `lddw %r1, map ${map} 0`,
        "mov %r2, %r10",
        `add %r2, ${key.slice(5, -1)}`,
        ...(map === 1
          ? [
              "ldxw %r3, [%r2]",
              "and %r3, 7",
              `stxw [%r10${scratchSlot}], %r3`,
              "mov %r2, %r10",
              `add %r2, ${scratchSlot}`,
            ]
          : []),
        "call 1",
        "jeq %r0, 0, +1",
        use ?? "mov %r0, 0",
        "mov %r0, 5",
        ...reload,
      ],
    }));
  });

const mapChange: fc.Arbitrary<Statement> = fc
  .tuple(slot(8), fc.constantFrom(0, 0, 1, 2, 3), fc.boolean(), fc.nat(7), fc.nat(3))
  .map(([key, flags, isUpdate, keyByte, bits]) => ({
    lines: [
      // few different keys, so that they are met again
      `ldxdw %r3, ${key}`,
      `and %r3, ${bits}`,
      `add %r3, ${keyByte}`,
      `stxdw [%r10${scratchSlot}], %r3`,
      "lddw %r1, map 2 0",
      "mov %r2, %r10",
      `add %r2, ${scratchSlot}`,
      ...(isUpdate ? ["mov %r3, %r10", "add %r3, -64", `mov %r4, ${flags}`, "call 2"] : ["call 3"]),
      ...reload,
    ],
  }));

const prefixLookup: fc.Arbitrary<Statement> = fc
  .tuple(fc.integer({ min: 0, max: 33 }), wide, fc.boolean())
  .map(([length, address, isUpdate]) => ({
    lines: [
      `stw [%r10${scratchSlot}], ${length}`,
      `lddw %r3, ${hex(address & 0xffff_ffffn & 0x0703_000fn)}`,
      `stxw [%r10${scratchSlot + 4}], %r3`,
      "lddw %r1, map 3 0",
      "mov %r2, %r10",
      `add %r2, ${scratchSlot}`,
      ...(isUpdate
        ? ["mov %r3, %r10", "add %r3, -8", "mov %r4, 0", "call 2", "mov %r6, %r0"]
        : ["call 1", "mov %r6, 1", "jeq %r0, 0, +1", "ldxdw %r6, [%r0]", "mov %r0, 6"]),
      ...reload,
    ],
  }));

const slotOffset = fc.integer({ min: 1, max: 8 }).map((number) => -8 * number);
const packetCalls: fc.Arbitrary<Statement> = fc
  .record({
    kind: fc.constantFrom("load", "store", "relative", "l3", "l4", "diff", "pull", "tail"),
    offset: fc.oneof(fc.nat(64), fc.nat(200)),
    length: fc.constantFrom(1, 2, 4, 8),
    buffer: slotOffset,
    flags: fc.constantFrom(0, 0, 1, 2, 4, 0x12, 0x14, 0x22, 0x24, 0x62, 3, 0x10),
    from: imm,
    to: imm,
  })
  .map(({ kind, offset, length, buffer, flags, from, to }) => {
    const context = `ldxdw %r1, [%r10${contextSlot}]`;
    const pointer = (into: string): readonly string[] => [`mov ${into}, %r10`, `add ${into}, ${buffer}`];
    const calls: Readonly<Record<string, readonly string[]>> = {
      load: [context, `mov %r2, ${offset}`, ...pointer("%r3"), `mov %r4, ${length}`, "call 26"],
      store: [
        context,
        `mov %r2, ${offset}`,
        ...pointer("%r3"),
        `mov %r4, ${length}`,
        `mov %r5, ${flags & 3}`,
        "call 9",
      ],
      relative: [
        context,
        `mov %r2, ${offset}`,
        ...pointer("%r3"),
        `mov %r4, ${length}`,
        `mov %r5, ${flags & 3}`,
        "call 68",
      ],
      l3: [
        context,
        `mov %r2, ${offset}`,
        `mov %r3, ${(flags & 15) === 0 ? 0 : from}`,
        `mov %r4, ${to}`,
        `mov %r5, ${flags}`,
        "call 10",
      ],
      l4: [
        context,
        `mov %r2, ${offset}`,
        `mov %r3, ${(flags & 15) === 0 ? 0 : from}`,
        `mov %r4, ${to}`,
        `mov %r5, ${flags}`,
        "call 11",
      ],
      diff: [
        ...pointer("%r1"),
        `mov %r2, ${length & 4}`,
        "mov %r3, %r10",
        "add %r3, -16",
        `mov %r4, ${length & 12 || 4}`,
        `mov32 %r5, ${from}`,
        "call 28",
      ],
      pull: [context, `mov %r2, ${offset}`, "call 39"],
      tail: [context, `mov %r2, ${offset}`, "mov %r3, 0", "call 38"],
    };
    return { lines: [...(calls[kind] ?? []), "mov %r7, %r0", ...reload] };
  });

/** Offsets of `data` and `data_end` in the context. */
type PacketPointers = readonly [data: number, end: number];
const skbPointers: PacketPointers = [76, 80];
const xdpPointers: PacketPointers = [0, 4];

const directAccess = ([data, end]: PacketPointers): fc.Arbitrary<Statement> =>
  fc
    .tuple(fc.nat(60), fc.constantFrom(...sizes), fc.boolean(), fc.constantFrom("%r6", "%r7", "%r8", "%r9"))
    .map(([offset, [name, size], isStore, target]) => ({
      lines: [
        `ldxdw %r1, [%r10${contextSlot}]`,
        `ldxw %r2, [%r1+${data}]`,
        `ldxw %r3, [%r1+${end}]`,
        "mov %r4, %r2",
        `add %r4, ${offset + size}`,
        "jgt %r4, %r3, +1",
        isStore ? `stx${name} [%r2+${offset}], ${target}` : `ldx${name} ${target}, [%r2+${offset}]`,
        ...reload,
      ],
    }));

const contextFields: fc.Arbitrary<Statement> = fc
  .tuple(fc.constantFrom(0, 8, 16, 32, 48, 52, 64), fc.constantFrom("%r6", "%r7"), fc.boolean())
  .map(([offset, target, isStore]) => ({
    lines: [
      `ldxdw %r1, [%r10${contextSlot}]`,
      isStore && offset !== 0 && offset !== 16
        ? `stxw [%r1+${offset}], ${target}`
        : `ldxw ${target}, [%r1+${offset}]`,
      "mov %r1, 3",
    ],
  }));

const xdpCalls: fc.Arbitrary<Statement> = fc
  .record({
    kind: fc.constantFrom("head", "tail", "meta", "load", "store", "length", "diff"),
    by: fc.oneof(fc.integer({ min: -40, max: 40 }), fc.integer({ min: -300, max: 300 })),
    offset: fc.nat(120),
    length: fc.constantFrom(1, 2, 4, 8),
    buffer: slotOffset,
  })
  .map(({ kind, by, offset, length, buffer }) => {
    const context = `ldxdw %r1, [%r10${contextSlot}]`;
    const pointer = ["mov %r3, %r10", `add %r3, ${buffer}`];
    const calls: Readonly<Record<string, readonly string[]>> = {
      head: [context, `mov %r2, ${by}`, "call 44"],
      tail: [context, `mov %r2, ${by}`, "call 65"],
      meta: [context, `mov %r2, ${by % 44}`, "call 54"],
      load: [context, `mov %r2, ${offset}`, ...pointer, `mov %r4, ${length}`, "call 189"],
      store: [context, `mov %r2, ${offset}`, ...pointer, `mov %r4, ${length}`, "call 190"],
      length: [context, "call 188"],
      diff: [
        "mov %r1, %r10",
        "add %r1, -32",
        "mov %r2, 8",
        "mov %r3, %r10",
        "add %r3, -16",
        "mov %r4, 4",
        `mov32 %r5, ${by}`,
        "call 28",
      ],
    };
    return { lines: [...(calls[kind] ?? []), "mov %r7, %r0", ...reload] };
  });

const localCall: fc.Arbitrary<Statement> = fc
  .constantFrom("f", "g")
  .map((name) => ({ lines: ["mov %r1, %r6", "mov %r2, %r7", `call local ${name}`, ...reload] }));

const common = [
  { weight: 12, arbitrary: arithmetic },
  { weight: 5, arbitrary: branch },
  { weight: 5, arbitrary: stack },
  { weight: 3, arbitrary: stackAtomic },
  { weight: 3, arbitrary: mapValue },
  { weight: 3, arbitrary: mapChange },
  { weight: 2, arbitrary: prefixLookup },
  { weight: 1, arbitrary: localCall },
];

/** Of programs on socket buffers (tc). */
export const statements: fc.Arbitrary<readonly Statement[]> = fc.array(
  fc.oneof(
    ...common,
    { weight: 4, arbitrary: packetCalls },
    { weight: 3, arbitrary: directAccess(skbPointers) },
    { weight: 2, arbitrary: contextFields },
  ),
  { maxLength: 28 },
);

/** Of XDP programs. */
export const xdpStatements: fc.Arbitrary<readonly Statement[]> = fc.array(
  fc.oneof(
    ...common,
    { weight: 6, arbitrary: xdpCalls },
    { weight: 4, arbitrary: directAccess(xdpPointers) },
  ),
  { maxLength: 28 },
);

/** Starting values of r6..r9. */
export const seeds: fc.Arbitrary<readonly bigint[]> = fc.tuple(wide, wide, wide, wide);

const functions = `
f:
mov %r0, %r1
mul %r0, %r2
xor %r0, 0x55
stxdw [%r10-8], %r0
mov %r1, %r10
add %r1, -8
call local g
exit
g:
mov %r0, 1
jlt %r2, 9, +2
mov %r6, %r2
mov %r0, %r6
exit`;

/** The program's text: start values, the statements, then all registers into map 0 and a digest into r0. */
export function programText(list: readonly Statement[], starts: readonly bigint[]): string {
  const lines = [`stxdw [%r10${contextSlot}], %r1`];
  for (const [i, value] of starts.entries()) lines.push(`lddw %r${6 + i}, ${hex(value)}`);
  lines.push("mov %r1, %r6", "mov %r2, %r7", "call local f"); // code that nothing calls is refused
  for (let number = 1; number <= 8; number++) lines.push(`stxdw [%r10${-8 * number}], %r${6 + (number % 4)}`);
  lines.push(`stdw [%r10${scratchSlot}], 0`, "mov %r0, 1", ...reload);
  list.forEach(({ lines: own, skip }, i) => {
    lines.push(`s${i}:`, ...own);
    if (skip !== undefined)
      lines.push(`${skip.condition}, s${Math.min(list.length, i + 1 + skip.statements)}`);
  });
  lines.push(`s${list.length}:`);
  for (let number = 0; number < 10; number++) lines.push(`stxdw [%r10${-80 - 8 * number}], %r${number}`);
  lines.push(
    `stw [%r10${scratchSlot}], 0`,
    "lddw %r1, map 0 0",
    "mov %r2, %r10",
    `add %r2, ${scratchSlot}`,
    "call 1",
    "jne %r0, 0, +1",
    "exit",
  );
  for (let number = 0; number < 10; number++)
    lines.push(`ldxdw %r1, [%r10${-80 - 8 * number}]`, `stxdw [%r0+${8 * number}], %r1`, "xor %r6, %r1");
  lines.push("mov %r0, %r6", "exit", functions);
  return lines.join("\n");
}

export function programOf(list: readonly Statement[], starts: readonly bigint[]): readonly Instruction[] {
  return assemble(programText(list, starts));
}
