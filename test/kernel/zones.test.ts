/** Conntrack zones against the kernel: whole, of one direction, from the mark. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import { formatEntry } from "../../src/filter/netfilter/index.ts";
import { type KernelJudge, startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { icmpError, udp } from "../../src/packet/index.ts";
import { describeNeeding } from "../needs.ts";
import { compareConnections, stateRules } from "./flows.ts";
import { ModelNode } from "./model-node.ts";

const zones = ["--zone 3", "--zone 4", "--zone-orig 3", "--zone-reply 3", "--zone-orig 4", "--zone mark"];

describeNeeding("conntrack zones", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  let judge: KernelJudge;
  beforeAll(async () => {
    judge = await startKernelJudge({ backend: "legacy", node: twoDeviceNode() });
  });
  afterAll(async () => {
    await judge.close();
  });

  it("keep flows apart as the kernel does", { timeout: 60_000 }, async () => {
    const random = createPrng(Number(process.env["PODWIRE_SEED"] ?? 1));
    for (let i = 0; i < 60; i++) {
      const raw = [
        `-A PREROUTING -i in0 -s 10.0.0.1 -j CT ${random.pick(zones)}`,
        `-A PREROUTING -i in0 -s 10.0.0.2 -j CT ${random.pick(zones)}`,
        `-A PREROUTING -i out0 -p udp -m udp --dport 2000 -j CT ${random.pick(zones)}`,
        `-A PREROUTING -i out0 -p icmp -j CT ${random.pick(zones)}`,
      ].filter(() => random.below(3) > 0);
      const marks = "-A PREROUTING -p udp -m udp --dport 2001 -j MARK --set-xmark 0x3/0xffffffff\n";
      const rules = `*raw\n:PREROUTING ACCEPT [0:0]\n${marks}${raw.join("\n")}\nCOMMIT\n${stateRules}`;
      await judge.load({ v4: rules });
      const model = new ModelNode(rules, "");
      const packets = Array.from({ length: 25 }, () => {
        const client = { src: random.pick(["10.0.0.1", "10.0.0.2"]), sport: 2000 + random.below(2) };
        const server = { dst: "203.0.113.5", dport: random.pick([53, 2001]) };
        const request = udp({ ...client, ...server });
        const reply = udp({ src: server.dst, dst: client.src, sport: server.dport, dport: client.sport });
        return random.pick([
          { from: "in0", bytes: request },
          { from: "in0", bytes: request },
          { from: "out0", bytes: reply },
          { from: "out0", bytes: icmpError(request, "203.0.113.9", 3, 3) },
        ]);
      });
      const fates = await judge.judge(packets);
      const kernel = fates.map(({ verdict, output }) => `${verdict} ${output?.mark ?? 0}`);
      const ours = packets
        .map((packet) => model.judge(packet))
        .map(({ verdict, mark }) => `${verdict} ${mark}`);
      expect(ours, rules).toEqual(kernel);
      const lines = model.datapath.conntrack.list().map((entry) => formatEntry(entry, 0));
      expect(compareConnections(await judge.connections(4), lines), rules).toEqual([]);
    }
  });
});
