/** Classic BPF, translated, against the kernel's socket filters and tcpdump's own reading of captures. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import { readCapture } from "../../src/capture/index.ts";
import {
  BpfRunner,
  BpfSpace,
  type ClassicInstruction,
  classicProblems,
  formatClassic,
  ProgramType,
  parseClassic,
  translateClassic,
} from "../../src/filter/bpf/index.ts";
import { type BpfJudge, BpfRefusal, startBpfJudge } from "../../src/harness/kernel/index.ts";
import { describeNeeding } from "../needs.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";

/** What the filter answers for data that it sees from its first byte on. */
function answer(program: readonly ClassicInstruction[], data: Uint8Array, networkOffset = 0): number {
  const space = new BpfSpace();
  const linked = space.program(space.loadProgram("filter", translateClassic(program)));
  if (linked === undefined) throw new Error("no program");
  const runner = new BpfRunner({ space, nowNs: () => 0, random: createPrng(1) });
  const outcome = runner.run(linked, ProgramType.socketFilter, data, networkOffset, {});
  if (outcome.fault !== undefined) throw new Error(outcome.fault.message);
  return (outcome.code ?? 0) >>> 0;
}

const k = fc.oneof(fc.nat(40), fc.nat(0xffff_ffff), fc.constantFrom(0x8000_0000, 0xffff_ffff, 0x7fff_ffff));
const offset = fc.oneof(fc.nat(70), fc.nat(70), fc.constantFrom(0x7fff_ffff, 0xffe0_0000));
const insn = (
  code: fc.Arbitrary<number>,
  operand: fc.Arbitrary<number> = fc.constant(0),
): fc.Arbitrary<ClassicInstruction> =>
  fc.tuple(code, operand).map(([one, value]) => ({ code: one, jt: 0, jf: 0, k: value }));
const codes = (...list: readonly number[]): fc.Arbitrary<number> => fc.constantFrom(...list);

const step: fc.Arbitrary<ClassicInstruction> = fc.oneof(
  { weight: 2, arbitrary: insn(codes(0x00, 0x01), k) },
  { weight: 4, arbitrary: insn(codes(0x20, 0x28, 0x30), offset) },
  { weight: 3, arbitrary: insn(codes(0x40, 0x48, 0x50), offset) },
  { weight: 1, arbitrary: insn(codes(0xb1), offset) },
  { weight: 1, arbitrary: insn(codes(0x80, 0x81)) },
  { weight: 2, arbitrary: insn(codes(0x02, 0x03), fc.nat(17)) },
  { weight: 2, arbitrary: insn(codes(0x60, 0x61), fc.nat(17)) },
  { weight: 4, arbitrary: insn(codes(0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x94, 0xa4), k) },
  { weight: 2, arbitrary: insn(codes(0x64, 0x74), fc.nat(33)) },
  { weight: 3, arbitrary: insn(codes(0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0x9c, 0xac)) },
  { weight: 1, arbitrary: insn(codes(0x84)) },
  { weight: 2, arbitrary: insn(codes(0x07, 0x87)) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(codes(0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d), fc.nat(4), fc.nat(4), k)
      .map(([code, jt, jf, value]) => ({ code, jt, jf, k: value })),
  },
  { weight: 1, arbitrary: insn(codes(0x05), fc.nat(4)) },
);

/** Ends by returning A, small enough to be seen in a datagram's length. */
const program = fc
  .array(step, { maxLength: 20 })
  .map((steps): readonly ClassicInstruction[] => [
    ...steps,
    { code: 0x54, jt: 0, jf: 0, k: 63 },
    { code: 0x16, jt: 0, jf: 0, k: 0 },
  ]);

describeNeeding("random classic filters", ["root", "cc"], () => {
  let judge: BpfJudge;
  beforeAll(() => {
    judge = startBpfJudge();
  });
  afterAll(() => judge.close());

  it("are refused and answer as the kernel's", { timeout: 600_000 }, async () => {
    let accepted = 0;
    let passed = 0;
    await fc.assert(
      fc.asyncProperty(program, fc.uint8Array({ minLength: 1, maxLength: 80 }), async (filter, data) => {
        expect(parseClassic(formatClassic(filter))).toEqual(filter);
        const problems = classicProblems(filter);
        let theirs: number | undefined;
        try {
          theirs = await judge.classic(filter, data);
        } catch (error) {
          if (!(error instanceof BpfRefusal)) throw error;
          expect(problems).not.toEqual([]);
          return;
        }
        expect(problems).toEqual([]);
        accepted++;
        const ours = Math.min(answer(filter, data), data.length);
        if (ours > 0) passed++;
        expect(ours === 0 ? undefined : ours).toBe(theirs);
      }),
      { numRuns: isSoak ? 200_000 : 10_000, seed: isSoak ? Date.now() : 20_263 },
    );
    console.log(
      `${accepted} random classic filters judged by the kernel, ${passed} of them passed their datagram`,
    );
    expect(passed).toBeGreaterThan(500);
  });
});

const shared = process.env["PODWIRE_SHARED"] ?? "../shared";
const capture = join(shared, "captures/ripv1v2.pcap");

describeNeeding("filters that tcpdump compiles", ["tcpdump"], () => {
  it
    .skipIf(!existsSync(capture))
    .each([
      "udp",
      "udp port 520 and ip[8] < 3",
      "ip and not host 10.0.0.2",
      "greater 100",
      "ether multicast",
      "ip6 or (udp[8:1] = 2)",
      "ip[0] & 0xf != 5 or len > 60",
    ])("pick the packets that tcpdump picks: %s", (expression) => {
    const compiled = execFileSync("tcpdump", ["-ddd", "-y", "EN10MB", expression], { encoding: "utf8" });
    const filter = parseClassic(compiled);
    const list = spawnSync("tcpdump", ["-nr", capture, "-tt", "--number", expression], { encoding: "utf8" });
    const wanted = list.stdout.split("\n").filter(Boolean).length;
    const { records } = readCapture(readFileSync(capture), capture);
    expect(records.filter(({ bytes }) => answer(filter, bytes, 14) > 0).length).toBe(wanted);
    expect(records.length).toBeGreaterThan(wanted - 1);
  });
});
