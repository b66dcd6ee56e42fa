/** What the random search found once: each case alone, rules and packets, emulator and kernel side by side on both backends. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { compareCase } from "../../src/harness/fuzz/table-comparison.ts";
import { startTableJudge } from "../../src/harness/fuzz/table-judge.ts";
import type { JudgedPacket, JudgedTables, KernelJudge } from "../../src/harness/kernel/index.ts";
import { udp } from "../../src/packet/index.ts";
import { describeNeeding } from "../needs.ts";

interface Case extends JudgedTables {
  readonly title: string;
  readonly packets: readonly JudgedPacket[];
}

const cases: readonly Case[] = [
  {
    title: "masquerades as ::1 what the node sends to ::1",
    v6: "*nat\n-A OUTPUT -j REDIRECT\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n",
    packets: [
      { from: "inside", bytes: udp({ src: "2001:db8::1", dst: "fd00::1", sport: 1024, dport: 53 }) },
      { from: "inside", bytes: udp({ src: "2001:db8::1", dst: "2001:db8::1", sport: 1024, dport: 54 }) },
    ],
  },
];

describeNeeding("found by the search", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  const judges = new Map<string, KernelJudge>();
  const backends = ["legacy", "nft"] as const;

  beforeAll(async () => {
    for (const backend of backends) judges.set(backend, await startTableJudge(backend));
  });
  afterAll(async () => {
    for (const judge of judges.values()) await judge.close();
  });

  it.each(cases.map((one) => [one.title, one] as const))("%s", async (_, { packets, ...tables }) => {
    for (const [backend, judge] of judges) {
      await judge.load(tables);
      const fates = await judge.judge(packets);
      const judged = { tables, packets, fates, state: await judge.state() };
      const { compared, difference } = compareCase(judged, backend as (typeof backends)[number]);
      expect(`${backend}: ${difference?.text}`).toBe(`${backend}: undefined`);
      expect(compared).toBe(packets.length);
    }
  });
});
