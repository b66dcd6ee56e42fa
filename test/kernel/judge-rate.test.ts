/**
 * The judge's rate: packets given and fates read by this process, beside the injector's own loop over the same packet in
 * the same namespace, which has no pipe, no decoding and nobody to tell. Best of interleaved rounds on both sides.
 */
import { expect, it } from "vitest";
import { startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { udp } from "../../src/packet/index.ts";
import { describeNeeding } from "../needs.ts";

const needs = ["root", "tun", "iptables", "ipset", "conntrack", "ip"] as const;
const rounds = 9;
const packets = 10_000;

const packet = {
  from: "in0",
  bytes: udp({ src: "10.0.0.1", dst: "203.0.113.5", sport: 1000, dport: 53 }),
};
const given = Array.from({ length: packets }, () => packet);

const rules = { forwarded: "-A FORWARD -p udp -m udp --dport 53 -j ACCEPT", dropped: "" };

describeNeeding("the judge's rate", needs, () => {
  it.each(
    (["legacy", "nft"] as const).flatMap((backend) =>
      (["forwarded", "dropped"] as const).map((verdict) => ({ backend, verdict })),
    ),
  )("is at least half of the injector's own loop: $verdict on $backend", async ({ backend, verdict }) => {
    const judge = await startKernelJudge({ backend, node: twoDeviceNode(), way: "c" });
    try {
      await judge.load({ v4: `*filter\n:FORWARD DROP [0:0]\n${rules[verdict]}\nCOMMIT\n` });
      let [loop, ours] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
      for (let round = 0; round < rounds; round++) {
        loop = Math.min(loop, await judge.measure(packet, packets));
        const started = process.hrtime.bigint();
        const fates = await judge.judge(given);
        ours = Math.min(ours, Number(process.hrtime.bigint() - started) / packets);
        expect(fates.every((fate) => fate.verdict === verdict)).toBe(true);
      }
      const rate = (ns: number): string =>
        `${(ns / 1000).toFixed(2)} us a packet (${Math.round(1e6 / ns)} k/s)`;
      process.stdout.write(
        `  ${backend}, ${verdict}: the injector's own loop ${rate(loop)}, the judge ${rate(ours)}; best of ${rounds}\n`,
      );
      expect(ours).toBeLessThan(2 * loop);
    } finally {
      await judge.close();
    }
  });
});
