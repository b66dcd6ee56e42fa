/**
 * Cilium's programs in the running kernel: its verifier takes them, and on random packets and maps they do what they do in
 * our machine: same return code, packet, mark, connections.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { datapathPrograms } from "../../src/engine/cilium/programs/index.ts";
import { verifyProgram } from "../../src/filter/bpf/index.ts";
import type { BpfJudge } from "../../src/harness/kernel/index.ts";
import { everyVariant, LoneNode, loneTables } from "../engine/cilium/lone-node.ts";
import { outerPrefixes, placedPackets, randomPolicies, services } from "../engine/cilium/random-world.ts";
import { describeNeeding } from "../needs.ts";
import { KernelTwin, recordRuns, startTwinJudge } from "./bpf-twin.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";

describeNeeding("Cilium's programs", ["root", "cc"], () => {
  let judge: BpfJudge;
  let twin: KernelTwin;
  beforeAll(() => {
    judge = startTwinJudge();
    twin = new KernelTwin(judge);
  });
  afterAll(() => judge.close());

  it.each([...everyVariant])(
    "of %s do in the kernel what they do here",
    { timeout: 1_200_000 },
    async (name, variant) => {
      const [runs, codes] = [isSoak ? 2000 : 40, new Map<string, number>()];
      const entries = services();
      const world = fc.record({
        policyA: randomPolicies,
        policyB: randomPolicies,
        policyOfHost: randomPolicies,
        packets: fc.array(placedPackets, { minLength: 30, maxLength: 80 }),
      });
      let ran = 0;
      await fc.assert(
        fc.asyncProperty(world, async ({ packets, ...rawPolicies }) => {
          const options = { variant, ...rawPolicies, entries, prefixes: outerPrefixes };
          const logs = recordRuns(() => {
            const node = new LoneNode(options);
            for (const { spot, bytes, mark: value } of packets)
              node.pass(spot.hook, spot.index, bytes, value);
          }, "stands");
          const { problems, compared: count } = await twin.compare(logs);
          expect(problems).toEqual([]);
          ran += count;
          for (const step of logs.flatMap(({ steps }) => steps)) {
            if (step.kind !== "run") continue;
            const key = `${step.program} ${step.code}`;
            codes.set(key, (codes.get(key) ?? 0) + 1);
          }
        }),
        { numRuns: runs, endOnFailure: true, seed: isSoak ? Date.now() : 20_265 },
      );
      console.log(`${name}: ${ran} runs equal the kernel's: ${JSON.stringify([...codes].sort())}`);
      for (const program of ["cil_from_container", "cil_to_container"])
        for (const code of [0, 2]) expect(codes.get(`${program} ${code}`) ?? 0).toBeGreaterThan(30);
      expect(codes.get("cil_from_netdev 7") ?? 0).toBeGreaterThan(0);
      expect(codes.get("cil_from_container 7") ?? 0).toBeGreaterThan(5);
      if (!variant.hostFirewall) return;
      for (const program of ["cil_from_netdev", "cil_to_netdev"])
        for (const code of [0, 2]) expect(codes.get(`${program} ${code}`) ?? 0).toBeGreaterThan(5);
    },
  );
});

describeNeeding("our verifier", [], () => {
  // the longer ones take it longer than a run of all tests has for them; the kernel's verifier takes them above
  it.each([...everyVariant].filter(([, { hostFirewall }]) => isSoak || !hostFirewall))(
    "takes every program of %s",
    { timeout: 120_000 },
    (_, variant) => {
      const { maps, programs } = loneTables({ variant });
      expect(programs).toEqual(datapathPrograms(variant).programs);
      for (const { name, type, instructions } of programs)
        expect(verifyProgram(instructions, { type, maps }), name).toMatchObject({ ok: true });
    },
  );
});
