/** Single questions to the kernel that random search seldom asks: eviction, the node's own packets. (A full table
 * cannot be asked for: the kernel has one nf_conntrack_max for all namespaces.) */
import { afterEach, expect, it } from "vitest";
import { formatEntry } from "../../src/filter/netfilter/index.ts";
import {
  EmulatedNode,
  type JudgedPacket,
  type JudgeOptions,
  type KernelJudge,
  startKernelJudge,
  twoDeviceNode,
} from "../../src/harness/kernel/index.ts";
import { icmpError, tcp, udp } from "../../src/packet/index.ts";
import { printPacket, TcpFlag } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";
import { compareConnections } from "./flows.ts";
import { ModelNode } from "./model-node.ts";

const { syn, ack, rst, fin, psh } = TcpFlag;

describeNeeding("conntrack and NAT", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  let judge: KernelJudge | undefined;
  afterEach(async () => {
    await judge?.close();
  });

  async function start(v4: string, options: Partial<JudgeOptions> = {}): Promise<KernelJudge> {
    judge = await startKernelJudge({ backend: "legacy", node: twoDeviceNode(), ...options });
    await judge.load({ v4 });
    return judge;
  }

  /** What came of each packet: `interface IP a > b: ...`, of the kernel and of the model. */
  async function both(
    kernel: KernelJudge,
    model: ModelNode,
    packets: readonly JudgedPacket[],
  ): Promise<{ readonly kernel: readonly string[]; readonly model: readonly string[] }> {
    const fates = await kernel.judge(packets);
    return {
      kernel: fates.map(({ verdict, output }) =>
        output === undefined ? verdict : `${verdict} ${output.interface} ${printPacket(output.bytes)}`,
      ),
      model: packets.map((packet) => {
        const fate = model.judge(packet);
        return fate.bytes.length === 0
          ? fate.verdict
          : `${fate.verdict} ${fate.interface} ${printPacket(fate.bytes)}`;
      }),
    };
  }

  it("evict a closing connection for a SYN with a higher sequence number, and no other", async () => {
    const rules = "*nat\n-A POSTROUTING -p tcp -j SNAT --to-source 198.51.100.1:2000\nCOMMIT\n";
    const kernel = await start(rules);
    const model = new ModelNode(rules, "");
    const open = (client: string, seq: number): JudgedPacket => ({
      from: "in0",
      bytes: tcp({ src: client, dst: "203.0.113.5", sport: 9, dport: 80, flags: syn, seq }),
    });
    const back = (flags: number, seq: number): JudgedPacket => ({
      from: "out0",
      bytes: tcp({ src: "203.0.113.5", dst: "198.51.100.1", sport: 80, dport: 2000, flags, seq, ack: 101 }),
    });
    const answers = await both(kernel, model, [
      open("10.0.0.1", 100),
      open("10.0.0.2", 200),
      back(syn | ack, 500),
      back(rst | ack, 501),
      open("10.0.0.3", 50),
      open("10.0.0.3", 300),
      open("10.0.0.4", 400),
    ]);
    expect(answers.model).toEqual(answers.kernel);
    expect(answers.kernel.map((line) => line.split(" ")[0])).toEqual([
      "forwarded",
      "dropped",
      "forwarded",
      "forwarded",
      "dropped",
      "forwarded",
      "dropped",
    ]);
    const lines = model.datapath.conntrack.list().map((entry) => formatEntry(entry, 0));
    expect(compareConnections(await kernel.connections(4), lines)).toEqual([]);
  });

  it("translate the node's own packets, and those that it sends to itself", async () => {
    const rules = `*nat
-A OUTPUT -d 203.0.113.5/32 -j DNAT --to-destination 10.0.0.9
-A OUTPUT -d 203.0.113.6/32 -p udp -j DNAT --to-destination 192.0.2.1:99
-A OUTPUT -d 203.0.113.7/32 -j REDIRECT
-A POSTROUTING -d 10.0.0.9/32 -j SNAT --to-source 192.0.2.77
-A INPUT -p udp -m udp --dport 53 -j SNAT --to-source 198.51.100.9
COMMIT
`;
    const kernel = await start(rules);
    const model = new ModelNode(rules, "");
    const own = (dst: string, dport: number): JudgedPacket => ({
      from: "inside",
      bytes: udp({ src: "192.0.2.1", dst, sport: 7, dport, identification: 5 }),
    });
    const answers = await both(kernel, model, [
      own("203.0.113.5", 80),
      own("203.0.113.6", 80),
      own("203.0.113.7", 80),
      own("203.0.113.8", 80),
      own("192.0.2.1", 53),
      { from: "in0", bytes: udp({ src: "10.0.0.9", dst: "192.0.2.77", sport: 80, dport: 7 }) },
      { from: "in0", bytes: udp({ src: "10.0.0.5", dst: "192.0.2.1", sport: 80, dport: 53 }) },
      {
        from: "in0",
        bytes: icmpError(udp({ src: "192.0.2.77", dst: "10.0.0.9", sport: 7, dport: 80 }), "10.0.0.9", 3, 3),
      },
    ]);
    expect(answers.model).toEqual(answers.kernel);
    const lines = model.datapath.conntrack.list().map((entry) => formatEntry(entry, 0));
    expect(compareConnections(await kernel.connections(4), lines)).toEqual([]);
  });

  it.each(["legacy", "nft"] as const)("close a connection that REJECT resets, on %s", async (backend) => {
    const rules = `*filter
-A FORWARD -p tcp -m tcp --tcp-flags PSH PSH -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate NEW -j MARK --set-mark 1
COMMIT
`;
    const kernel = await start(rules, { backend });
    const node = new EmulatedNode({ v4: rules }, backend);
    const ports = { sport: 1024, dport: 80 };
    const out = (flags: number, seq: number, payload: Uint8Array = new Uint8Array()): JudgedPacket => ({
      from: "in0",
      bytes: tcp({ src: "10.0.0.1", dst: "203.0.113.5", ...ports, flags, seq, ack: 501, payload }),
    });
    const back: JudgedPacket = {
      from: "out0",
      bytes: tcp({
        src: "203.0.113.5",
        dst: "10.0.0.1",
        sport: 80,
        dport: 1024,
        flags: syn | ack,
        seq: 500,
        ack: 2,
      }),
    };
    const packets = [
      out(syn, 1),
      back,
      out(ack, 2),
      out(ack | psh, 2, Uint8Array.of(1)),
      out(ack, 2),
      out(syn, 9000),
    ];
    for (const packet of packets) {
      const [fate] = await kernel.judge([packet]);
      const ours = node.judge(packet);
      const connections = node.datapath.conntrack.list().map((entry) => formatEntry(entry, node.clock.ns));
      expect(compareConnections(await kernel.connections(), connections)).toEqual([]);
      expect(ours.mark).toBe(fate?.output?.mark);
    }
  });

  it.each(["legacy", "nft"] as const)(
    "confirm a connection by an answer to the answer, on %s",
    async (backend) => {
      const rules = `*filter
-A INPUT -p tcp -s 10.0.0.255 -j REJECT --reject-with icmp-port-unreachable
-A OUTPUT -p tcp -m conntrack --ctstate NEW -j REJECT --reject-with tcp-reset
COMMIT
`;
      const kernel = await start(rules, { backend });
      const node = new EmulatedNode({ v4: rules }, backend);
      const packets = [ack, fin | ack].map((flags) => ({
        from: "inside",
        bytes: tcp({
          src: "192.0.2.1",
          dst: "10.0.0.255",
          sport: 1024,
          dport: 80,
          flags,
          seq: 1,
          ack: 1,
          identification: 3,
        }),
      }));
      for (const packet of packets) {
        const [fate] = await kernel.judge([packet]);
        expect(fate?.verdict).toBe("rejected");
        expect(node.judge(packet).verdict).toBe("answered");
        const connections = node.datapath.conntrack.list().map((entry) => formatEntry(entry, node.clock.ns));
        expect(connections).toHaveLength(1);
        expect(compareConnections(await kernel.connections(), connections)).toEqual([]);
      }
    },
  );

  it("send resets and ICMP errors about translated packets from the address that was asked", async () => {
    const rules = `*nat
-A PREROUTING -d 203.0.113.5/32 -j DNAT --to-destination 203.0.113.6
-A POSTROUTING -p tcp -j MASQUERADE
COMMIT
*filter
:OUTPUT DROP [0:0]
-A FORWARD -p tcp -m tcp --dport 80 -j REJECT --reject-with tcp-reset
-A FORWARD -d 203.0.113.6/32 -j REJECT
-A FORWARD -p tcp -m tcp --sport 81 -j REJECT --reject-with tcp-reset
-A FORWARD -p udp -m udp --sport 53 -j REJECT
-A OUTPUT -m conntrack --ctstate RELATED -j ACCEPT
COMMIT
`;
    const kernel = await start(rules);
    const model = new ModelNode(rules, "");
    const client = { src: "10.0.0.1", dst: "203.0.113.5", sport: 9 };
    const other = { src: "10.0.0.1", dst: "203.0.113.9", sport: 9 };
    const packets: readonly JudgedPacket[] = [
      { from: "in0", bytes: tcp({ ...client, dport: 80, flags: syn, seq: 5 }) },
      { from: "in0", bytes: udp({ ...client, dport: 53 }) },
      { from: "in0", bytes: tcp({ ...client, dport: 80, flags: syn, seq: 5 }) },
      { from: "in0", bytes: udp({ ...other, dport: 53 }) },
      { from: "out0", bytes: udp({ src: other.dst, dst: other.src, sport: 53, dport: 9 }) },
      { from: "in0", bytes: tcp({ ...other, dport: 81, flags: syn, seq: 5 }) },
      {
        from: "out0",
        bytes: tcp({
          src: other.dst,
          dst: "192.0.2.1",
          sport: 81,
          dport: 9,
          flags: syn | ack,
          seq: 7,
          ack: 6,
        }),
      },
      { from: "in0", bytes: tcp({ ...other, dport: 80, flags: ack, seq: 5, ack: 9 }) },
      { from: "in0", bytes: tcp({ ...other, dport: 80, flags: 0, seq: 5 }) },
    ];
    const fates = await kernel.judge(packets);
    const text = (bytes: Uint8Array): string =>
      `${printPacket(bytes)}${bytes[9] === 1 ? ` about ${printPacket(bytes.subarray(28))}` : ""}`;
    const ours = packets.map((packet) => {
      const { verdict, bytes, answers } = model.judge(packet);
      return [verdict, ...(bytes.length > 0 ? [text(bytes)] : []), ...answers.map(text)];
    });
    expect(ours).toEqual(
      fates.map(({ verdict, outputs }) => [verdict, ...outputs.map(({ bytes }) => text(bytes))]),
    );
    expect(ours[0]).toEqual([
      "rejected",
      expect.stringContaining("IP 203.0.113.5.80 > 10.0.0.1.9: Flags [R.]"),
    ]);
    expect(ours[1]?.[1]).toContain("about IP 10.0.0.1.9 > 203.0.113.5.53");
    expect(ours[4]?.[1]).toContain("about IP 203.0.113.9.53 > 10.0.0.1.9");
  });
});
