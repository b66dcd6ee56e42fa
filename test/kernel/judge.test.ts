/** The judge itself: what a real kernel does with packets that everybody knows the fate of, both backends, both ways. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RejectKind } from "../../src/filter/index.ts";
import { type KernelJudge, startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { icmpError, tcp, udp } from "../../src/packet/index.ts";
import { describeNeeding } from "../needs.ts";

const syn = (dst: string, dport: number) => ({
  from: "in0",
  bytes: tcp({ src: dst.includes(":") ? "fd00::1" : "10.0.0.1", dst, sport: 1000, dport, flags: 2 }),
});

const rules = `*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A FORWARD -p tcp --dport 80 -j MARK --set-xmark 0x4/0xffffffff
-A FORWARD -p tcp --dport 80 -j ACCEPT
-A FORWARD -p tcp --dport 81 -j REJECT --reject-with tcp-reset
-A FORWARD -p udp --dport 53 -j REJECT
COMMIT
`;

const combinations = (["legacy", "nft"] as const).flatMap((backend) =>
  (["c", "python"] as const).map((way) => ({ backend, way })),
);

describe.each(combinations)("on $backend by $way", ({ backend, way }) => {
  const needs = ["root", "tun", "iptables", "ipset", "conntrack", "ip"] as const;
  describeNeeding("the judge", needs, () => {
    let judge: KernelJudge;
    beforeAll(async () => {
      judge = await startKernelJudge({ backend, way, node: twoDeviceNode() });
      await judge.load({
        v4: `${rules}*nat\n-A POSTROUTING -p tcp -j MASQUERADE\nCOMMIT\n`,
        v6: rules.replace("-p udp --dport 53 -j REJECT", "-p tcp -j REJECT"),
      });
    });
    afterAll(async () => {
      await judge.close();
    });

    it("sees forwarded packets with device, mark and the bytes as they left", async () => {
      const [fate] = await judge.judge([syn("203.0.113.5", 80)]);
      expect(fate).toMatchObject({ verdict: "forwarded", output: { interface: "out0", mark: 4 } });
      expect([...(fate?.output?.bytes.subarray(12, 16) ?? [])]).toEqual([192, 0, 2, 1]); // masqueraded
    });

    it("tells rejections by kind, and drops", async () => {
      const fates = await judge.judge([
        syn("203.0.113.5", 81),
        { from: "in0", bytes: udp({ src: "10.0.0.1", dst: "203.0.113.5", sport: 9, dport: 53 }) },
        syn("203.0.113.5", 82),
        syn("2001:db8:5::5", 82),
      ]);
      expect(fates.map(({ verdict, rejectWith }) => [verdict, rejectWith])).toEqual([
        ["rejected", RejectKind.tcpReset],
        ["rejected", RejectKind.portUnreachable],
        ["dropped", undefined],
        ["rejected", RejectKind.portUnreachable],
      ]);
    });

    it("tells a forwarded ICMP error from a rejection", async () => {
      const request = syn("203.0.113.6", 80);
      const [first] = await judge.judge([request]);
      const error = icmpError(first?.output?.bytes ?? request.bytes, "203.0.113.9", 3, 3);
      const [fate] = await judge.judge([{ from: "out0", bytes: error }]);
      expect(fate).toMatchObject({ verdict: "forwarded", output: { interface: "in0" } });
    });

    it("sees what the node accepts, sends, and sends to itself", async () => {
      const own = { src: "192.0.2.1", sport: 7, dport: 53, identification: 9 };
      const fates = await judge.judge([
        syn("192.0.2.1", 99),
        syn("2001:db8::1", 99),
        { from: "inside", bytes: udp({ ...own, dst: "203.0.113.5" }) },
        { from: "inside", bytes: udp({ ...own, dst: "192.0.2.1" }) },
      ]);
      expect(fates.map(({ verdict, output }) => `${verdict} ${output?.interface}`)).toEqual([
        "delivered in0",
        "delivered in0",
        "forwarded out0",
        "delivered lo",
      ]);
    });

    it("handles a batch strictly in order: a reply is known once its request has passed", async () => {
      await judge.forgetFlows();
      const answer = (dport: number) => ({
        from: "out0",
        bytes: tcp({ src: "2001:db8:5::5", dst: "fd00::1", sport: 80, dport, flags: 0x12, ack: 1 }),
      });
      const fates = await judge.judge([answer(1000), syn("2001:db8:5::5", 80), answer(1000)]);
      expect(fates.map(({ verdict }) => verdict)).toEqual(["rejected", "forwarded", "forwarded"]);
      expect((await judge.connections(6)).filter((line) => line.includes("dport=80"))).toHaveLength(1);
    });

    it("counts per rule, and starts from zero with each load", async () => {
      await judge.load({ v4: rules });
      await judge.judge([syn("203.0.113.5", 80), syn("203.0.113.5", 80), syn("203.0.113.5", 82)]);
      const saved = await judge.save(4);
      expect(saved).toMatch(/^\[2:80\] -A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT$/m);
      expect(saved).toMatch(/^:FORWARD DROP \[1:40\]$/m);
    });

    it("says what the kernel refuses", async () => {
      const load = judge.load({ v4: "*filter\n-A FORWARD -m set --match-set none src -j ACCEPT\nCOMMIT\n" });
      await expect(load).rejects.toThrow(/refuses.*none/s);
    });
  });
});
