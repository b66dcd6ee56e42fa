/** What the random search found once: each case alone, rules and packets, emulator and kernel side by side on both backends. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { compareCase } from "../../src/harness/fuzz/table-comparison.ts";
import { startTableJudge } from "../../src/harness/fuzz/table-judge.ts";
import type { JudgedPacket, JudgedTables, KernelJudge } from "../../src/harness/kernel/index.ts";
import { icmpError, ipPacket, tcp, udp } from "../../src/packet/index.ts";
import { TcpFlag, type TcpOption } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";

interface Case extends JudgedTables {
  readonly title: string;
  readonly packets: readonly JudgedPacket[];
}

const node = "2001:db8::1";
/** Hosts behind either device. */
const behind = { in0: "fd00::3", out0: "2001:db8:5::80" } as const;

const esp = (src: string, dst: string, size: number): Uint8Array =>
  ipPacket({ src, dst, identification: 1, protocol: 50, payload: new Uint8Array(size) });

/** Both ends of a connection at once. */
const itself = { src: "10.0.0.1", dst: "10.0.0.1", sport: 443, dport: 443, identification: 1 };

const cases: readonly Case[] = [
  {
    title: "looks for ::1, where a packet is translated to it, behind the device that it came by",
    v6: "*nat\n-A PREROUTING -j DNAT --to-destination ::1\nCOMMIT\n",
    packets: (["in0", "out0"] as const).map((from) => ({
      from,
      bytes: udp({ src: behind[from], dst: "2001:db8:7::1", sport: 53, dport: 1024 }),
    })),
  },
  {
    title: "drops an ICMP error that is translated to ::1",
    v6: "*nat\n-A OUTPUT -j REDIRECT\nCOMMIT\n*filter\n-A INPUT\nCOMMIT\n",
    packets: [
      { from: "inside", bytes: udp({ src: node, dst: behind.out0, sport: 5000, dport: 443 }) },
      {
        from: "in0",
        bytes: icmpError(udp({ src: behind.out0, dst: node, sport: 443, dport: 5000 }), behind.in0, 1, 1),
      },
    ],
  },
  {
    title: "lowers segment sizes, adds the option where there is none, and never raises one",
    v4: "*mangle\n-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000\nCOMMIT\n",
    v6: "*mangle\n-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\nCOMMIT\n",
    packets: [
      { src: "10.0.0.1", dst: "203.0.113.1" },
      { src: "fd00::1", dst: "2001:db8:5::1" },
    ].flatMap((ends) =>
      [
        [],
        [{ kind: "mss", bytes: 1000 }],
        [{ kind: "nop" }, { kind: "nop" }, { kind: "mss", bytes: 8960 }],
      ].map((options, i) => ({
        from: "in0",
        bytes: tcp({
          ...ends,
          sport: 2000 + i,
          dport: 80,
          flags: TcpFlag.syn,
          options: options as TcpOption[],
        }),
      })),
    ),
  },
  ...[
    "-j CONNMARK --restore-mark",
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate INVALID",
    "-m conntrack --ctstatus NONE",
    "-m conntrack --ctstatus CONFIRMED",
    "-m conntrack --ctdir ORIGINAL",
    "-m conntrack ! --ctproto 6",
    "-m conntrack --ctexpire 0",
    "-m conntrack --ctorigsrc 0.0.0.0/8",
    "-m conntrack --ctorigdstport 0",
    "-m connbytes --connbytes 0: --connbytes-mode packets --connbytes-dir both",
    "-m connmark --mark 5",
    "-m connmark ! --mark 5",
    "-j CT --zone 2",
    "-j CT --notrack",
  ].map((asked) => ({
    title: `takes what target CT has looked at for a connection without addresses: ${asked}`,
    v4: `*raw
-A PREROUTING -i in0 -j CT --zone 1
-A PREROUTING ${asked}
-A PREROUTING -j CONNMARK --set-mark 5
-A PREROUTING -j MARK --set-mark 7
-A PREROUTING -j CONNMARK --restore-mark
COMMIT
*filter
-A FORWARD -m conntrack --ctstate UNTRACKED -j DROP
COMMIT
`,
    packets: [1, 1, 2].map((sport) => ({
      from: "in0",
      bytes: udp({ src: "10.0.0.1", dst: "203.0.113.1", sport, dport: 53 }),
    })),
  })),
  ...["--zone", "--zone-orig", "--zone-reply"].map((option) => ({
    title: `takes for the zone the mark at the time of the lookup: ${option}`,
    v4: `*raw
-A PREROUTING -j CT ${option} mark
-A PREROUTING -i in0 -j MARK --set-mark 0x10001
COMMIT
*filter
-A FORWARD -m conntrack --ctstate ESTABLISHED -j MARK --set-mark 9
COMMIT
`,
    packets: [
      { from: "in0", bytes: udp({ src: "10.0.0.1", dst: "203.0.113.1", sport: 5, dport: 53 }) },
      { from: "out0", bytes: udp({ src: "203.0.113.1", dst: "10.0.0.1", sport: 53, dport: 5 }) },
    ],
  })),
  ...[
    { chain: "OUTPUT", kinds: ["icmp-host-prohibited", "icmp6-reject-route"] },
    { chain: "INPUT", kinds: ["icmp-host-prohibited", "icmp6-reject-route"] },
  ].map(({ chain, kinds: [kind4, kind6] }) => ({
    title: `answers from loopback what is redirected to it and rejected in ${chain}`,
    v4: `*nat
-A OUTPUT -j REDIRECT
-A PREROUTING -i out0 -j DNAT --to-destination 127.0.0.1
COMMIT
*filter
-A ${chain} ! -p icmp -j REJECT --reject-with ${kind4}
-A OUTPUT -s 127.0.0.1
-A OUTPUT -s 192.0.2.1
COMMIT
`,
    v6: `*nat
-A OUTPUT -j REDIRECT
COMMIT
*filter
-A ${chain} ! -p icmpv6 -j REJECT --reject-with ${kind6}
-A OUTPUT -s ::1
-A OUTPUT -s ${node}
COMMIT
`,
    packets: [
      { from: "inside", bytes: udp({ src: "192.0.2.1", dst: "10.0.0.1", sport: 5, dport: 53 }) },
      { from: "out0", bytes: udp({ src: "203.0.113.1", dst: "192.0.2.1", sport: 5, dport: 53 }) },
      { from: "inside", bytes: udp({ src: node, dst: "2001:db8:5::1", sport: 5, dport: 53 }) },
    ],
  })),
  {
    title: "goes through a rule that asks a cut packet for chunks that it lacks, and drops it",
    v4: ["", "! "]
      .flatMap((not, i) => [
        `-A FORWARD -p sctp -m sctp --dport ${i} ${not}--chunk-types any INIT -m mark --mark 1 -j DROP`,
        `-A FORWARD -p sctp -m sctp --dport ${i} ${not}--chunk-types all INIT -j SET --add-set seen src`,
        `-A FORWARD -p sctp -m sctp --dport ${i} ${not}--chunk-types only INIT -j ACCEPT`,
      ])
      .join("\n")
      .replace(/^/, "*filter\n")
      .concat("\nCOMMIT\n"),
    v6: "*filter\n-A FORWARD -p sctp -m sctp ! --chunk-types any INIT -j ACCEPT\nCOMMIT\n",
    sets: "create seen hash:ip\n",
    packets: [
      { src: "10.0.0.1", dst: "203.0.113.1", dport: 0 },
      { src: "10.0.0.1", dst: "203.0.113.1", dport: 1 },
      { src: "fd00::1", dst: "2001:db8:5::1", dport: 1 },
    ].map(({ dport, ...ends }) => ({
      from: "in0",
      bytes: ipPacket({
        ...ends,
        identification: 1,
        protocol: 132,
        payload: Uint8Array.of(0, 9, 0, dport, ...Array(9).fill(0)),
      }),
    })),
  },
  ...[
    [TcpFlag.ack, TcpFlag.syn | TcpFlag.ack, TcpFlag.ack],
    [TcpFlag.syn, TcpFlag.syn | TcpFlag.ack, TcpFlag.ack, TcpFlag.fin | TcpFlag.ack],
    [TcpFlag.syn, TcpFlag.syn, TcpFlag.rst | TcpFlag.ack],
  ].map((flags) => ({
    title: `takes every packet but the first of a connection with itself for a reply: flags ${flags}`,
    v4: "*filter\n-A FORWARD -m conntrack --ctdir REPLY --ctstate ESTABLISHED -j MARK --set-mark 1\nCOMMIT\n",
    packets: [
      ...flags.map((one, i) => tcp({ ...itself, flags: one, seq: 500 + Math.min(i, 1), ack: 501 })),
      udp(itself),
      udp(itself),
    ].map((bytes) => ({ from: "in0", bytes })),
  })),
  ...["-j CT --notrack", "-j CT --zone 1", "-m conntrack --ctstate INVALID -j CT --zone 1"].map((asked) => ({
    title: `decides nothing about the node's answer to an untracked packet: ${asked}`,
    v4: `*raw
-A PREROUTING -j CT --notrack
-A OUTPUT ${asked}
-A OUTPUT -m connmark --mark 0
COMMIT
*filter
-A FORWARD -p udp -j REJECT
-A OUTPUT -m conntrack --ctstate UNTRACKED
-A OUTPUT -m conntrack --ctstate INVALID -j DROP
COMMIT
`,
    packets: [
      { from: "in0", bytes: udp({ src: "10.0.0.1", dst: "203.0.113.1", sport: 5, dport: 53 }) },
      { from: "in0", bytes: udp({ src: "10.0.0.1", dst: "203.0.113.1", sport: 5, dport: 53, ttl: 1 }) },
    ],
  })),
  {
    title: "looks up again over loopback what was INVALID when the node sent it",
    v4: "*raw\n-A OUTPUT -j CT --zone 3\n-A PREROUTING -j CT --zone 2\n-A PREROUTING -m connmark --mark 0\nCOMMIT\n",
    v6: "*raw\n-A PREROUTING -j CT --zone 2\n-A PREROUTING -m connmark --mark 0\nCOMMIT\n*filter\n-A OUTPUT -p tcp -m tcp ! --tcp-flags RST RST -j REJECT --reject-with tcp-reset\nCOMMIT\n",
    packets: [
      { from: "inside", bytes: tcp({ src: "192.0.2.1", dst: "192.0.2.1", sport: 7, dport: 8, flags: 0 }) },
      {
        from: "inside",
        bytes: tcp({ src: "192.0.2.1", dst: "192.0.2.1", sport: 7, dport: 8, flags: TcpFlag.syn }),
      },
      { from: "inside", bytes: tcp({ src: node, dst: "2001:db8:5::80", sport: 7, dport: 8, flags: 0 }) },
    ],
  },
  {
    title: "drops in table nat what a match cannot judge",
    v4: "*nat\n-A OUTPUT -m hashlimit --hashlimit-upto 1/hour --hashlimit-mode dstport --hashlimit-name n\nCOMMIT\n",
    v6: "*nat\n-A POSTROUTING -m hashlimit --hashlimit-upto 1/hour --hashlimit-mode srcport --hashlimit-name n -j ACCEPT\nCOMMIT\n",
    packets: [
      { from: "inside", bytes: esp("192.0.2.1", "198.51.100.2", 1) },
      { from: "inside", bytes: esp("192.0.2.1", "198.51.100.2", 4) },
      { from: "out0", bytes: esp("2001:db8:5::80", "fd00::3", 0) },
    ],
  },
  {
    title: "masquerades as ::1 what the node sends to ::1",
    v6: "*nat\n-A OUTPUT -j REDIRECT\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n",
    packets: [
      { from: "inside", bytes: udp({ src: node, dst: "fd00::1", sport: 1024, dport: 53 }) },
      { from: "inside", bytes: udp({ src: node, dst: node, sport: 1024, dport: 54 }) },
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
