/** Maps of every type against the kernel's, answer by answer; tail calls, callbacks and rings by programs of our own. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import {
  assemble,
  BpfRunner,
  BpfSpace,
  type MapEntry,
  MapFlag,
  type MapShape,
  MapType,
  ProgramType,
} from "../../src/filter/bpf/index.ts";
import { type BpfJudge, startBpfJudge } from "../../src/harness/kernel/index.ts";
import { describeNeeding } from "../needs.ts";

const shape = (type: MapShape["type"], fields: Partial<MapShape> = {}): MapShape => ({
  name: "m",
  type,
  keySize: 4,
  valueSize: 8,
  maxEntries: 4,
  flags: 0,
  ...fields,
});

const shapes: readonly MapShape[] = [
  shape(MapType.hash),
  shape(MapType.hash, { keySize: 7, valueSize: 3, maxEntries: 3 }),
  shape(MapType.hash, { flags: MapFlag.noPrealloc, maxEntries: 5 }),
  shape(MapType.array),
  shape(MapType.array, { valueSize: 5, maxEntries: 2 }),
  shape(MapType.percpuHash),
  shape(MapType.percpuArray),
  shape(MapType.lpmTrie, { keySize: 8, valueSize: 4, maxEntries: 5, flags: MapFlag.noPrealloc }),
  shape(MapType.lpmTrie, { keySize: 5, valueSize: 1, maxEntries: 3, flags: MapFlag.noPrealloc }),
];

interface Operation {
  readonly op: "update" | "remove" | "lookup";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly flags: number;
}

function keyOf({ type, keySize }: MapShape): fc.Arbitrary<Uint8Array> {
  const small = fc.uint8Array({ minLength: keySize, maxLength: keySize, max: 1 });
  if (type === MapType.array || type === MapType.percpuArray)
    return fc.nat(5).map((index) => Uint8Array.of(index, 0, 0, 0));
  if (type !== MapType.lpmTrie) return small;
  const data = fc.array(fc.constantFrom(0, 0x80, 0xc0, 0xff, 10), {
    minLength: keySize - 4,
    maxLength: keySize - 4,
  });
  return fc
    .tuple(fc.nat((keySize - 4) * 8 + 1), data)
    .map(([length, bytes]) => Uint8Array.of(length, 0, 0, 0, ...bytes));
}

const sequence = (one: MapShape): fc.Arbitrary<readonly Operation[]> =>
  fc.array(
    fc.record({
      op: fc.constantFrom("update", "update", "remove", "lookup"),
      key: keyOf(one),
      value: fc.uint8Array({ minLength: one.valueSize, maxLength: one.valueSize }),
      flags: fc.constantFrom(0, 0, 0, 1, 2, 3),
    }),
    { minLength: 1, maxLength: 25 },
  );

const sorted = (entries: readonly MapEntry[]): readonly string[] =>
  entries
    .map(({ key, value }) => `${Buffer.from(key).toString("hex")}=${Buffer.from(value).toString("hex")}`)
    .sort();

describeNeeding("BPF maps", ["root", "cc"], () => {
  let judge: BpfJudge;
  beforeAll(() => {
    judge = startBpfJudge();
  });
  afterAll(() => judge.close());

  it("answer every operation as the kernel's do", { timeout: 300_000 }, async () => {
    let answers = 0;
    for (const one of shapes)
      await fc.assert(
        fc.asyncProperty(sequence(one), async (list) => {
          await judge.forget();
          const number = await judge.createMap(one);
          expect(number).toBe(0);
          const space = new BpfSpace({ refusesReplaceWhenFull: false });
          const map = space.map(space.createMap(one));
          for (const { op, key, value, flags } of list) {
            answers++;
            if (op === "update")
              expect(map?.update(key, 0, value, 0, flags)).toBe(
                await judge.update(number, key, value, flags),
              );
            else if (op === "remove") expect(map?.remove(key, 0)).toBe(await judge.remove(number, key));
            else {
              const address = map?.lookup(key, 0) ?? 0;
              const ours =
                address === 0 ? undefined : space.memory.bytes.slice(address, address + one.valueSize);
              expect(ours).toEqual(await judge.lookup(number, key));
            }
          }
          expect(sorted(map?.entries() ?? [])).toEqual(sorted(await judge.entries(number)));
        }),
        { numRuns: 400, seed: 20_264 },
      );
    console.log(`${answers} answers of BPF maps compared with the kernel's`);
  });

  it("are refused in shapes that the kernel refuses", async () => {
    const types = Object.values(MapType).filter(
      (type) => type !== MapType.arrayOfMaps && type !== MapType.hashOfMaps,
    );
    const sizes = [0, 1, 4, 5, 8, 260, 261, 512];
    for (const type of types)
      for (const keySize of sizes)
        for (const valueSize of [0, 4, 8])
          for (const [maxEntries, flags] of [
            [0, 0],
            [1, 0],
            [4096, 0],
            [4096, 1],
          ] as const) {
            const one = shape(type, { keySize, valueSize, maxEntries, flags });
            await judge.forget();
            const theirs = await judge.createMap(one);
            let isRefused = false;
            try {
              new BpfSpace().createMap(one);
            } catch {
              isRefused = true;
            }
            expect(`${JSON.stringify(one)} ${isRefused}`).toBe(`${JSON.stringify(one)} ${theirs < 0}`);
          }
  });

  const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

  /** Runs `text` (and the programs that it may call by tail) in both; answers what both gave. */
  async function both(
    texts: readonly string[],
    maps: readonly MapShape[],
    fill: readonly (readonly [map: number, key: Uint8Array, value: Uint8Array])[] = [],
  ): Promise<{ readonly ours: number | undefined; readonly theirs: number }> {
    await judge.forget();
    const space = new BpfSpace({ refusesReplaceWhenFull: false });
    for (const one of maps) {
      const inner = one.inner === undefined ? -1 : maps.findIndex(({ name }) => name === one.inner?.name);
      expect(await judge.createMap(one, inner)).toBe(space.createMap(one));
    }
    const programs = texts.map((text) => assemble(text));
    for (const [i, program] of programs.entries()) {
      expect(await judge.load(ProgramType.schedCls, program)).toBe(i);
      space.loadProgram(`p${i}`, program);
    }
    for (const [map, key, value] of fill) {
      expect(await judge.update(map, key, value)).toBe(0);
      expect(space.map(map)?.update(key, 0, value, 0, 0)).toBe(0);
    }
    const theirs = await judge.run(0, new Uint8Array(60), new Uint8Array(192));
    if (typeof theirs === "number") throw new Error(`test run: ${theirs}`);
    const linked = space.program(0);
    if (linked === undefined) throw new Error("no program");
    const runner = new BpfRunner({ space, nowNs: () => 0, random: createPrng(1) });
    const outcome = runner.run(linked, ProgramType.schedCls, new Uint8Array(60), 14, {});
    expect(outcome.fault).toBeUndefined();
    for (const [i, one] of maps.entries())
      if (one.type === MapType.array || one.type === MapType.hash)
        expect(sorted(space.map(i)?.entries() ?? [])).toEqual(sorted(await judge.entries(i)));
    return { ours: outcome.code === undefined ? undefined : outcome.code >>> 0, theirs: theirs.code };
  }

  const progArray = shape(MapType.progArray, { name: "calls", valueSize: 4, maxEntries: 3 });
  const count = shape(MapType.array, { name: "count", valueSize: 8, maxEntries: 1 });

  it.each([
    [
      "a tail call",
      ["stxdw [%r10-8], %r1\nlddw %r2, map 0 0\nmov %r3, 1\ncall 12\nmov %r0, 5\nexit", "mov %r0, 77\nexit"],
    ],
    [
      "a tail call of an empty slot",
      ["lddw %r2, map 0 0\nmov %r3, 2\ncall 12\nmov %r0, 5\nexit", "mov %r0, 77\nexit"],
    ],
    [
      "a tail call out of range",
      ["lddw %r2, map 0 0\nlddw %r3, 0xffffffff\ncall 12\nmov %r0, 5\nexit", "mov %r0, 77\nexit"],
    ],
    [
      "tail calls up to the limit",
      [
        "lddw %r2, map 0 0\nmov %r3, 1\ncall 12\nmov %r0, 5\nexit",
        "mov %r6, %r1\nlddw %r1, mapvalue 1 0\nldxdw %r2, [%r1]\nadd %r2, 1\nstxdw [%r1], %r2\nmov %r1, %r6\nlddw %r2, map 0 0\nmov %r3, 1\ncall 12\nlddw %r1, mapvalue 1 0\nldxdw %r0, [%r1]\nexit",
      ],
    ],
  ])("%s goes where the kernel's goes", async (_, texts) => {
    const { ours, theirs } = await both(texts, [progArray, count], [[0, word(1), word(1)]]);
    expect(ours).toBe(theirs);
  });

  it("inside maps are found and written through as in the kernel", async () => {
    const inner = shape(MapType.array, { name: "inner", maxEntries: 2 });
    const outer = shape(MapType.arrayOfMaps, { name: "outer", valueSize: 4, maxEntries: 2, inner });
    const text =
      "stw [%r10-4], 1\nlddw %r1, map 1 0\nmov %r2, %r10\nadd %r2, -4\ncall 1\njne %r0, 0, +2\nmov %r0, 9\nexit\nmov %r1, %r0\nmov %r2, %r10\nadd %r2, -4\ncall 1\njne %r0, 0, +2\nmov %r0, 8\nexit\nstdw [%r0], 123\nldxdw %r0, [%r0]\nexit";
    const found = await both([text], [inner, outer], [[1, word(1), word(0)]]);
    expect(found.ours).toBe(found.theirs);
    expect(found.ours).toBe(123);
    const missing = await both([text], [inner, outer], [[1, word(0), word(0)]]);
    expect([missing.ours, missing.theirs]).toEqual([9, 9]);
  });

  it("of rings take records and answer as the kernel's", async () => {
    const ring = shape(MapType.ringbuf, { name: "ring", keySize: 0, valueSize: 0, maxEntries: 4096 });
    const output = (size: number, times: number): string =>
      `mov %r6, 0\nmov %r7, 0\nstdw [%r10-512], 7\n${Array.from({ length: 64 }, (_, i) => `stdw [%r10-${512 - i * 8}], ${i}`).join("\n")}\nL:\nlddw %r1, map 0 0\nmov %r2, %r10\nadd %r2, -512\nmov %r3, ${size}\nmov %r4, 0\ncall 130\nadd %r6, %r0\nadd %r7, 1\njlt %r7, ${times}, L\nlddw %r1, map 0 0\nmov %r2, 0\ncall 134\nlsh %r0, 8\nxor %r0, %r6\nexit`;
    for (const [size, times] of [
      [8, 3],
      [500, 7],
      [500, 12],
      [512, 8],
    ] as const) {
      const { ours, theirs } = await both([output(size, times)], [ring]);
      expect(`${size} x ${times}: ${ours}`).toBe(`${size} x ${times}: ${theirs}`);
    }
    const reserve =
      "lddw %r1, map 0 0\nmov %r2, 16\nmov %r3, 0\ncall 131\njne %r0, 0, +2\nmov %r0, 1\nexit\nstdw [%r0], 5\nmov %r1, %r0\nmov %r2, 0\ncall 133\nlddw %r1, map 0 0\nmov %r2, 3\ncall 134\nexit";
    const { ours, theirs } = await both([reserve], [ring]);
    expect(ours).toBe(theirs);
  });
});
