/** An object made by clang on the spot: loaded, run on captures and made-up frames, and held to the kernel. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import {
  createCaptureReader,
  LinkType,
  pcapHeader,
  pcapPacket,
  readCapture,
} from "../../src/capture/index.ts";
import {
  BpfRunner,
  BpfSpace,
  type Instruction,
  loadObject,
  type MapEntry,
  ProgramType,
  readObject,
  verifyProgram,
} from "../../src/filter/bpf/index.ts";
import { attachableProgram, createOriginPlacer, DumpTarget, Replayer } from "../../src/harness/index.ts";
import { type BpfJudge, startBpfJudge } from "../../src/harness/kernel/index.ts";
import { sctp, tcp, udp } from "../../src/packet/index.ts";
import { readU16 } from "../../src/wire/index.ts";
import { ip } from "../filter/node.ts";
import { describeNeeding } from "../needs.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";
const captures = join(process.env["PODWIRE_SHARED"] ?? "../shared", "captures");

/** Frames of Ethernet captures, as far as the kernel's test run takes them. */
function capturedFrames(): readonly Uint8Array[] {
  if (!existsSync(captures)) return [];
  const frames: Uint8Array[] = [];
  for (const name of readdirSync(captures)) {
    try {
      const { interfaces, records } = readCapture(readFileSync(join(captures, name)), name);
      for (const { bytes } of records)
        if (interfaces[0]?.linkType === 1 && bytes.length >= 34 && bytes.length <= 1500) frames.push(bytes);
    } catch {} // broken captures are others' business
  }
  return frames;
}

function madeFrames(): readonly Uint8Array[] {
  const random = createPrng(9);
  return Array.from({ length: 3000 }, () => {
    const ends = {
      src: ip(`10.${random.below(4)}.${random.below(3)}.${random.below(6)}`),
      dst: ip("10.9.9.9"),
      sport: 1024 + random.below(60_000),
      dport: random.pick([80, 81, 443, 53, 0, 65_535]),
    };
    const packet = random.pick([
      tcp({ ...ends, flags: 2 }),
      udp(ends),
      sctp({ ...ends, verificationTag: 1, chunks: [] }),
    ]);
    const cut = random.below(10) === 0 ? packet.subarray(0, 20 + random.below(6)) : packet;
    const frame = new Uint8Array(14 + cut.length);
    frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    frame.set(cut, 14);
    return frame;
  });
}

const word = (...bytes: readonly number[]): Uint8Array => Uint8Array.from(bytes);
const identities: readonly MapEntry[] = [
  { key: word(8, 0, 0, 0, 10, 0, 0, 0), value: word(7, 0, 0, 0) },
  { key: word(16, 0, 0, 0, 10, 1, 0, 0), value: word(8, 0, 0, 0) },
  { key: word(24, 0, 0, 0, 10, 1, 2, 0), value: word(9, 0, 0, 0) },
  { key: word(32, 0, 0, 0, 10, 1, 2, 5), value: word(7, 0, 0, 0) },
];
const policy: readonly MapEntry[] = [
  { key: word(7, 0, 0, 0, 0, 80, 6, 0), value: word(1, 0, 0, 0) },
  { key: word(7, 0, 0, 0, 0, 0, 17, 0), value: word(1, 0, 0, 0) },
  { key: word(8, 0, 0, 0, 1, 187, 6, 0), value: word(1, 0, 0, 0) },
  { key: word(9, 0, 0, 0, 0, 0, 132, 0), value: word(1, 0, 0, 0) },
  { key: word(9, 0, 0, 0, 0, 80, 132, 0), value: word(0, 0, 0, 0) },
  { key: word(2, 0, 0, 0, 0, 53, 17, 0), value: word(1, 0, 0, 0) },
];

const plain = (
  entries: readonly MapEntry[],
): readonly { readonly key: readonly number[]; readonly value: readonly number[] }[] =>
  entries.map(({ key, value }) => ({ key: [...key], value: [...value] }));

/** The frames as a capture, replayed by the object: what it drops must be what the kernel's run of it dropped. */
function replayProblems(
  object: Uint8Array,
  frames: readonly Uint8Array[],
  codes: readonly number[],
): readonly string[] {
  const maps = {
    name: "maps",
    text: JSON.stringify({ identities: plain(identities), policy: plain(policy) }),
  };
  const program = { file: "policy.o", bytes: object, section: undefined, maps, isUnverified: false };
  const tables = { bpf: attachableProgram({ ...program, hook: undefined }).on("+") };
  const place = {
    node: "node",
    inInterface: "eth0",
    outInterface: "eth0",
    hook: undefined,
    families: [4, 6] as const,
  };
  const nothing = { addresses: [], interfaces: [], routes: [] };
  const replayer = new Replayer(new DumpTarget(tables, place, nothing, 1), createOriginPlacer([]));
  const problems: string[] = [];
  let judged = 0;
  const reader = createCaptureReader("frames", {
    packet(packet) {
      const { index, disposition, line, verdict } = replayer.replay(packet);
      // a test run leaves VLAN tags in the frame, where a node's interface has taken them off
      const isTagged = [0x8100, 0x88a8].includes(readU16(packet.bytes, packet.start + 12));
      if (isTagged || ["copy", "not-ip", "malformed"].includes(disposition)) return;
      judged++;
      const isDropped = disposition.startsWith("denied");
      if (isDropped !== (codes[index] !== 0))
        problems.push(`${line}: ${verdict} ${disposition}, the kernel's run answered ${codes[index]}`);
    },
  });
  reader.push(pcapHeader(LinkType.ethernet));
  for (const [i, bytes] of frames.entries())
    reader.push(pcapPacket({ interfaceIndex: 0, seconds: 2 * i, nanoseconds: 0, bytes }));
  reader.end();
  if (judged < 1000) problems.push(`only ${judged} packets were judged`);
  return problems.slice(0, 10);
}

describeNeeding("an object of clang's", ["root", "cc", "clang"], () => {
  const folder = mkdtempSync(join(tmpdir(), "podwire-bpf-"));
  let judge: BpfJudge;
  let bytes: Uint8Array;
  beforeAll(() => {
    const object = join(folder, "policy.o");
    const source = join(import.meta.dirname, "policy.c");
    const include = execFileSync("cc", ["-print-multiarch"], { encoding: "utf8" }).trim();
    execFileSync("clang", [
      "-O2",
      "-g",
      "-target",
      "bpf",
      `-I/usr/include/${include}`,
      "-c",
      source,
      "-o",
      object,
    ]);
    bytes = Uint8Array.from(readFileSync(object));
    judge = startBpfJudge();
  });
  afterAll(async () => {
    await judge.close();
    rmSync(folder, { recursive: true });
  });

  it("verifies, decides as in the kernel on every packet, and costs what is printed", {
    timeout: 120_000,
  }, async () => {
    const object = readObject(bytes, "policy.o");
    const [program] = object.programs;
    if (program === undefined) throw new Error("no program");
    const shapes = object.maps.map(({ shape }) => shape);
    expect(
      verifyProgram(program.instructions, { type: ProgramType.schedCls, maps: shapes }).refusal,
    ).toBeUndefined();

    const space = new BpfSpace();
    const loaded = loadObject(space, object);
    const number = (name: string): number => loaded.maps.get(name) ?? -1;
    await judge.forget();
    for (const { shape, content } of object.maps) {
      const made = await judge.createMap(shape);
      expect(made).toBeGreaterThanOrEqual(0);
      if (content !== undefined) expect(await judge.update(made, word(0, 0, 0, 0), content)).toBe(0);
    }
    for (const [name, entries] of [
      ["identities", identities],
      ["policy", policy],
    ] as const)
      for (const { key, value } of entries) {
        expect(space.map(number(name))?.update(key, 0, value, 0, 0)).toBe(0);
        expect(await judge.update(number(name), key, value)).toBe(0);
      }
    const kernel = await judge.load(ProgramType.schedCls, program.instructions as readonly Instruction[]);
    const linked = space.program(loaded.programs.get(program.name) ?? -1);
    if (linked === undefined) throw new Error("not loaded");
    const runner = new BpfRunner({ space, nowNs: () => 0, random: createPrng(1) });
    const frames = [...madeFrames(), ...capturedFrames()];
    const seen = { pass: 0, drop: 0 };
    const codes: number[] = [];
    for (const frame of frames) {
      const theirs = await judge.run(kernel, frame, new Uint8Array(192));
      if (typeof theirs === "number") throw new Error(`test run: ${theirs}`);
      const ours = runner.run(linked, ProgramType.schedCls, frame, 14, {});
      expect(ours.fault).toBeUndefined();
      expect(ours.code).toBe(theirs.code);
      expect(runner.packet(ProgramType.schedCls).get("mark")).toBe(
        new DataView(theirs.context.buffer).getUint32(8, true),
      );
      seen[ours.code === 0 ? "pass" : "drop"]++;
      codes.push(theirs.code);
    }
    expect(space.map(number("counters"))?.entries()).toEqual(await judge.entries(number("counters")));
    expect(seen.pass).toBeGreaterThan(300);
    expect(seen.drop).toBeGreaterThan(300);

    expect(replayProblems(bytes, frames, codes)).toEqual([]);

    // cost of one packet, in turns: the kernel's own measure of a JIT-compiled run, and ours in the built package
    const frame = frames[0] as Uint8Array;
    const entries = JSON.stringify({ identities: plain(identities), policy: plain(policy) });
    const [kernelNs, ourNs]: [number[], number[]] = [[], []];
    for (let round = 0; round < 7; round++) {
      const theirs = await judge.run(kernel, frame, new Uint8Array(192), 200_000);
      if (typeof theirs !== "number") kernelNs.push(theirs.nsPerRun);
      const script = join(import.meta.dirname, "policy-cost.mjs");
      const args = [script, join(folder, "policy.o"), Buffer.from(frame).toString("hex"), "50000"];
      ourNs.push(Number(execFileSync(process.execPath, args, { encoding: "utf8", input: entries })));
    }
    const spread = (list: readonly number[]): string =>
      `${Math.min(...list).toFixed(0)} ns at best of 7 (${Math.max(...list).toFixed(0)} at worst)`;
    console.log(
      `one packet of policy.c, ${runner.executed(ProgramType.schedCls)} instructions and 3 map look-ups: kernel, JIT-compiled, by BPF_PROG_TEST_RUN ${spread(kernelNs)}; interpreter with packet set-up ${spread(ourNs)}; ratio of the best ${(Math.min(...ourNs) / Math.min(...kernelNs)).toFixed(1)}; ${frames.length} packets compared (${seen.pass} pass, ${seen.drop} drop)`,
    );
  });

  it("survives being damaged: mutated objects and programs end in an answer", {
    timeout: 600_000,
  }, () => {
    const random = createPrng(11);
    const rounds = isSoak ? 1_000_000 : 25_000;
    const counts = { read: 0, refused: 0, verified: 0, unproven: 0 };
    const work = bytes.slice();
    for (let round = 0; round < rounds; round++) {
      work.set(bytes);
      for (let i = 1 + random.below(6); i > 0; i--) work[random.below(work.length)] = random.below(256);
      const cut = random.below(8) === 0 ? work.subarray(0, random.below(work.length)) : work;
      try {
        readObject(cut, "mutated.o");
        counts.read++;
      } catch (error) {
        expect((error as Error).name).toBe("InputError");
        counts.refused++;
      }
    }
    const object = readObject(bytes, "policy.o");
    const original = object.programs[0]?.instructions ?? [];
    const maps = object.maps.map(({ shape }) => shape);
    for (let round = 0; round < rounds; round++) {
      const instructions = original.slice();
      for (let i = 1 + random.below(4); i > 0; i--) {
        const place = random.below(instructions.length);
        const insn = instructions[place] as Instruction;
        const change = [
          { opcode: random.below(256) },
          { dst: random.below(11) },
          { src: random.below(11) },
          { offset: random.below(64) - 32 },
          { imm: random.below(1 << 30) - (1 << 29) },
        ][random.below(5)];
        instructions[place] = { ...insn, ...change };
      }
      const { ok } = verifyProgram(instructions, { type: ProgramType.schedCls, maps, followedMax: 2000 });
      counts[ok ? "verified" : "unproven"]++;
    }
    console.log(
      `${2 * rounds} mutated inputs: ${counts.read} objects read, ${counts.refused} refused; ${counts.verified} programs verified, ${counts.unproven} not`,
    );
    expect(counts.read).toBeGreaterThan(1000);
    expect(counts.refused).toBeGreaterThan(1000);
    expect(counts.verified).toBeGreaterThan(500);
  });
});
