/** The machine, maps and helpers against the running kernel's, on random programs that its verifier accepts. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import { BpfRunner, BpfSpace, type MapEntry, ProgramType } from "../../src/filter/bpf/index.ts";
import { type BpfJudge, BpfRefusal, startBpfJudge } from "../../src/harness/kernel/index.ts";
import { tcp, udp } from "../../src/packet/index.ts";
import {
  programMaps,
  programOf,
  programText,
  seeds,
  statements,
  xdpStatements,
} from "../filter/bpf/random-programs.ts";
import { ip } from "../filter/node.ts";
import { describeNeeding } from "../needs.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";

function frame(packet: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(14 + packet.length);
  bytes.set([0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00]);
  bytes.set(packet, 14);
  return bytes;
}

const frames = [
  frame(tcp({ src: ip("10.0.0.1"), dst: ip("10.0.0.2"), sport: 1234, dport: 80, flags: 2, seq: 7 })),
  frame(
    udp({
      src: ip("10.1.2.3"),
      dst: ip("10.4.5.6"),
      sport: 53,
      dport: 5353,
      payload: new Uint8Array(90).fill(0xa7),
    }),
  ),
];

const sorted = (entries: readonly MapEntry[]): readonly string[] =>
  entries
    .map(({ key, value }) => `${Buffer.from(key).toString("hex")}=${Buffer.from(value).toString("hex")}`)
    .sort();

/** The new kernels replace values in full tries; those of AKS's nodes did not. */
const likeThisKernel = { refusesReplaceWhenFull: false };

describeNeeding("random BPF programs", ["root", "cc"], () => {
  let judge: BpfJudge;
  beforeAll(() => {
    judge = startBpfJudge();
  });
  afterAll(() => judge.close());

  /** Runs one program in both and compares all that it leaves. False: the verifier refuses it. */
  async function agrees(
    type: ProgramType,
    list: Parameters<typeof programText>[0],
    starts: readonly bigint[],
    packet: Uint8Array,
  ): Promise<boolean> {
    const program = programOf(list, starts);
    await judge.forget();
    for (const shape of programMaps) expect(await judge.createMap(shape)).toBeGreaterThanOrEqual(0);
    let number: number;
    try {
      number = await judge.load(type, program, 0);
    } catch (error) {
      if (error instanceof BpfRefusal) return false;
      throw error;
    }
    const isSkb = type === ProgramType.schedCls;
    const context = new Uint8Array(isSkb ? 192 : 0);
    if (isSkb) new DataView(context.buffer).setUint32(8, 0x1234, true);
    if (isSkb) new DataView(context.buffer).setUint32(48, 99, true);
    const theirs = await judge.run(number, packet, context);
    if (typeof theirs === "number") throw new Error(`test run failed: ${theirs}`);
    const space = new BpfSpace(likeThisKernel);
    for (const shape of programMaps) space.createMap(shape);
    const runner = new BpfRunner({ space, nowNs: () => 0, random: createPrng(1) });
    const linked = space.program(space.loadProgram("random", program));
    if (linked === undefined) throw new Error("no program");
    const values = isSkb ? { mark: 0x1234, cb: 99, protocol: 8 } : {};
    const outcome = runner.run(linked, type, packet, 14, values);
    expect(outcome.fault).toBeUndefined();
    expect((outcome.code ?? 0) >>> 0).toBe(theirs.code);
    const buffer = runner.packet(type);
    // a test run of XDP gives the metadata with the packet
    const ours = Buffer.concat([buffer.copyMeta(), buffer.copy()]);
    expect(ours.toString("hex")).toBe(Buffer.from(theirs.packet).toString("hex"));
    const view = new DataView(theirs.context.buffer);
    if (isSkb)
      for (const [name, at] of [
        ["mark", 8],
        ["priority", 32],
        ["cb", 48],
      ] as const)
        expect(`${name}=${buffer.get(name)}`).toBe(`${name}=${view.getUint32(at, true)}`);
    for (let map = 0; map < programMaps.length; map++)
      expect(sorted(space.map(map)?.entries() ?? [])).toEqual(sorted(await judge.entries(map)));
    return true;
  }

  it.each([
    { name: "tc", type: ProgramType.schedCls, list: statements, runs: 15_000 },
    { name: "XDP", type: ProgramType.xdp, list: xdpStatements, runs: 5_000 },
  ])(
    "of $name give the kernel's return value, packet, context and maps",
    { timeout: 3_000_000 },
    async ({ name, type, list, runs }) => {
      const numRuns = isSoak ? runs * 20 : runs;
      let ran = 0;
      await fc.assert(
        fc.asyncProperty(list, seeds, fc.constantFrom(...frames), async (one, starts, packet) => {
          if (await agrees(type, one, starts, packet)) ran++;
        }),
        { numRuns, seed: isSoak ? Date.now() : 20_262, reporter: report },
      );
      console.log(
        `${ran} random ${name} programs judged by the kernel, ${numRuns - ran} refused by its verifier`,
      );
      expect(ran).toBeGreaterThan(numRuns * 0.9);
    },
  );
});

function report(
  details: fc.RunDetails<[Parameters<typeof programText>[0], readonly bigint[], Uint8Array]>,
): void {
  if (!details.failed) return;
  const [list, starts] = details.counterexample ?? [[], []];
  throw new Error(`seed ${details.seed}\n${programText(list, starts)}\n${String(details.errorInstance)}`);
}
