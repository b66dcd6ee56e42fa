/** Every match extension against the kernel's own, on both backends and families. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import { saveIpsets } from "../../src/filter/ipset/index.ts";
import { ruleText } from "../../src/filter/iptables/index.ts";
import { type KernelJudge, startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { sets } from "../filter/arbitraries.ts";
import { conditions } from "../filter/every-match.ts";
import { describeNeeding } from "../needs.ts";
import { duel, markingRules } from "./duel.ts";
import { conversation, packet } from "./random-packets.ts";

/** Conditions of both families, by the table and chain that they are asked in. */
const common: readonly string[] = [
  "-p tcp -m tcp --dport 80",
  "-p tcp -m tcp ! --dport 79:81",
  "-p tcp -m tcp --sport 1000: ! --dport 22",
  "-p tcp -m tcp --syn",
  "-p tcp -m tcp ! --syn",
  "-p tcp -m tcp --tcp-flags ALL NONE",
  "-p tcp -m tcp --tcp-flags SYN,ACK SYN --dport :80",
  "-p tcp -m tcp --tcp-option 2",
  "-p tcp -m tcp ! --tcp-option 8 --dport 80",
  "-p tcp -m tcpmss --mss 100:200",
  "-p tcp -m tcpmss ! --mss 1460",
  "-p tcp -m tcp",
  "-p udp -m udp",
  "-p udp -m udp --dport 53",
  "-p udp -m udp ! --sport 1000:5000",
  "-p udp -m udp --sport 53 --dport 53",
  "-p sctp -m sctp",
  "-p sctp -m sctp --dport 80",
  "-p sctp -m sctp ! --sport 80:443",
  "-p tcp -m multiport --dports 22,80,5000:65535",
  "-p tcp -m multiport ! --dports 22,80",
  "-p udp -m multiport --ports 53,80:81",
  "-p sctp -m multiport ! --sports 0:79,1000",
  "-p tcp",
  "! -p tcp",
  "-p 47",
  "! -p 17",
];

const chunkConditions: readonly string[] = [
  ...["any", "all", "only"].flatMap((mode) =>
    ["DATA", "INIT,DATA", "DATA:Be", "DATA:bE,SACK", "ABORT:t,SHUTDOWN_COMPLETE:T", "ALL", "NONE"].map(
      (list) => `-p sctp -m sctp --chunk-types ${mode} ${list}`,
    ),
  ),
  "-p sctp -m sctp ! --chunk-types any DATA,INIT",
  "-p sctp -m sctp ! --chunk-types all DATA:B",
  "-p sctp -m sctp ! --chunk-types only DATA,SACK,I_DATA,RE_CONFIG,FORWARD_TSN --dport 80",
];

const header: readonly string[] = [
  "-m length --length 40:60",
  "-m length ! --length 48",
  "-m tos --tos 0x10",
  "-m tos ! --tos 0x28/0x3f",
  "-m dscp --dscp 10",
  "-m dscp ! --dscp-class EF",
  "-m ecn --ecn-ip-ect 2",
  "-m ecn ! --ecn-ip-ect 3",
  "-p tcp -m ecn --ecn-tcp-cwr",
  "-p tcp -m ecn ! --ecn-tcp-ece --ecn-ip-ect 0",
  '-m u32 --u32 "0>>28=4:6 && 6&0xFF=0:64"',
  '-m u32 ! --u32 "4&0xFFFF=0:30000"',
  '-m u32 --u32 "0>>22&0x3C@0>>16=80,443,1000:2000"',
  '-m u32 --u32 "100=0:0xffffffff"',
  "-m pkttype --pkt-type unicast",
  "-m mac --mac-source 02:00:00:00:00:01",
  "-m mac ! --mac-source 02:00:00:00:00:01",
  "-m physdev --physdev-in in0",
  "-m physdev ! --physdev-in in0",
  "-m physdev ! --physdev-is-bridged ! --physdev-out x",
  "-m comment --comment x",
  "-m mark --mark 0x1/0x1",
  "-m mark ! --mark 0x3/0x6",
  "-m statistic --mode random --probability 1",
  "-m statistic --mode random ! --probability 1",
  "-m statistic --mode nth --every 3 --packet 1",
  "-m statistic --mode nth ! --every 4 --packet 0",
  "-i in0",
  "! -i out+",
];

const family4: readonly string[] = [
  "-s 10.0.0.0/24",
  "! -d 203.0.113.128/25",
  "-m ttl --ttl-eq 64",
  "-m ttl ! --ttl-eq 64",
  "-m ttl --ttl-lt 64",
  "-m ttl --ttl-gt 64",
  "-m iprange --src-range 10.0.0.1-10.0.0.9",
  "-m iprange ! --src-range 10.0.0.2-10.0.1.254 --dst-range 192.0.2.0-203.0.113.100",
  "-m addrtype --dst-type LOCAL",
  "-m addrtype ! --dst-type LOCAL --src-type UNICAST",
  "-m addrtype --dst-type UNICAST,LOCAL",
  "-m addrtype --dst-type LOCAL --limit-iface-in",
  "-m rpfilter",
  "-m rpfilter --invert",
  "-m rpfilter --loose --validmark",
  "-p icmp -m icmp --icmp-type 8",
  "-p icmp -m icmp ! --icmp-type 3/1",
  "-p icmp -m icmp --icmp-type any",
  "-p icmp -m icmp --icmp-type time-exceeded",
  "-f",
  "! -f",
];

const family6: readonly string[] = [
  "-s fd00::/64",
  "! -d 2001:db8:5::/48",
  "-m hl --hl-eq 64",
  "-m hl --hl-lt 64",
  "-m hl --hl-gt 64",
  "-m iprange --src-range fd00::1-fd00::9",
  "-m iprange ! --dst-range 2001:db8:5::-2001:db8:5::100",
  "-m addrtype --dst-type LOCAL",
  "-m addrtype --dst-type UNICAST",
  "-m addrtype ! --dst-type MULTICAST --src-type UNICAST",
  "-m rpfilter",
  "-m rpfilter --invert",
  "-m rpfilter --loose",
  "-p icmpv6 -m icmp6 --icmpv6-type echo-request",
  "-p icmpv6 -m icmp6 ! --icmpv6-type 1/3",
  "-p icmpv6 -m icmp6 --icmpv6-type 1",
];

const connection: readonly string[] = [
  "-m conntrack --ctstate NEW",
  "-m conntrack ! --ctstate NEW,ESTABLISHED",
  "-m state --state ESTABLISHED,RELATED",
  "-m state ! --state INVALID",
  "-m conntrack --ctproto tcp",
  "-m conntrack ! --ctproto udp",
  "-m conntrack --ctstatus NONE",
  "-m conntrack --ctstatus CONFIRMED",
  "-m conntrack ! --ctstatus SEEN_REPLY",
  "-m conntrack --ctstatus ASSURED,EXPECTED",
  "-m conntrack --ctdir ORIGINAL",
  "-m conntrack --ctdir REPLY",
  "-m conntrack --ctorigdstport 80",
  "-m conntrack ! --ctorigsrcport 1:1000",
  "-m conntrack --ctreplsrcport 53:80 --ctdir REPLY",
  "-m conntrack --ctrepldstport 1000 --ctstate NEW,ESTABLISHED",
  "-m conntrack --ctstate INVALID --ctdir REPLY",
  "-m conntrack --ctexpire 0",
  "-m conntrack ! --ctexpire 1:100",
  "-m connmark --mark 0x0",
  "-m connmark ! --mark 0x1/0xff",
  "-m connbytes --connbytes 1 --connbytes-dir both --connbytes-mode packets",
  "-m connbytes ! --connbytes 0:60 --connbytes-dir original --connbytes-mode bytes",
  "-m connbytes --connbytes 30:60 --connbytes-dir reply --connbytes-mode avgpkt",
];

const connection4 = [
  "-m conntrack --ctorigsrc 10.0.0.0/24",
  "-m conntrack ! --ctorigdst 203.0.113.5",
  "-m conntrack --ctreplsrc 203.0.113.0/24",
  "-m conntrack --ctrepldst 10.0.0.1 --ctorigsrc 10.0.0.1",
];

const needs = ["root", "tun", "iptables", "ipset", "conntrack", "ip"] as const;
const soak = process.env.PODWIRE_SOAK !== undefined;

describe.each(["legacy", "nft"] as const)("on %s", (backend) => {
  describeNeeding("match extensions agree with the kernel", needs, () => {
    let judge: KernelJudge;
    beforeAll(async () => {
      const sysctls = { "net/netfilter/nf_conntrack_acct": 1 };
      judge = await startKernelJudge({ backend, node: twoDeviceNode(), sysctls });
    });
    afterAll(async () => {
      await judge.close();
    });

    const groups = [
      { title: "ports and protocols", family: 4, table: "raw", conditions: common, draw: packet },
      { title: "ports and protocols", family: 6, table: "raw", conditions: common, draw: packet },
      { title: "sctp chunks", family: 4, table: "raw", conditions: chunkConditions, draw: packet },
      { title: "header fields", family: 4, table: "mangle", conditions: header, draw: packet },
      { title: "header fields", family: 6, table: "mangle", conditions: header, draw: packet },
      { title: "what only IPv4 has", family: 4, table: "raw", conditions: family4, draw: packet },
      { title: "what only IPv6 has", family: 6, table: "raw", conditions: family6, draw: packet },
      { title: "connections", family: 4, table: "mangle", conditions: connection, draw: conversation },
      { title: "connections", family: 6, table: "mangle", conditions: connection, draw: conversation },
      {
        title: "connections' addresses",
        family: 4,
        table: "mangle",
        conditions: connection4,
        draw: conversation,
      },
    ] as const;

    it.each(groups)("$title (IPv$family)", async ({ title, family, table, conditions, draw }) => {
      const random = createPrng(7).fork(`${title} ${family}`);
      const packets = Array.from({ length: 600 }, () => draw(random, family));
      const rules = markingRules(table, "PREROUTING", conditions);
      const tables = family === 4 ? { v4: rules } : { v6: rules };
      expect((await duel(judge, tables, packets, conditions)).slice(0, 4)).toEqual([]);
    });

    it.each([4, 6] as const)("targets that end or report (IPv%i)", async (family) => {
      const conditions = ["-p tcp -m tcp --dport 443", "-m socket", "-m mark ! --mark 0x4/0x4"];
      const rules = `${markingRules("mangle", "PREROUTING", conditions).replace("COMMIT\n", "")}-A PREROUTING -p udp -m udp --dport 53 -j TPROXY --on-port 5 --tproxy-mark 0x8/0x8
-A PREROUTING -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 9
-A PREROUTING -p tcp -m tcp --dport 443 -j NFQUEUE --queue-num 9 --queue-bypass
-A PREROUTING -j ${family === 4 ? "TTL --ttl-inc" : "HL --hl-inc"} 3
-A PREROUTING -j TOS --set-tos 0x10/0x3f
-A FORWARD -m tos --tos 0x10/0x3f -m ${family === 4 ? "ttl --ttl-gt" : "hl --hl-gt"} 64 -j MARK --or-mark 0x10
-A FORWARD -j NFLOG --nflog-group 3
COMMIT
`;
      const random = createPrng(13);
      const packets = Array.from({ length: 400 }, () => packet(random, family));
      const tables = family === 4 ? { v4: rules } : { v6: rules };
      expect((await duel(judge, tables, packets, conditions)).slice(0, 4)).toEqual([]);
    });

    it.each([4, 6] as const)("random conditions of every kind (IPv%i)", async (family) => {
      const conditionText = conditions(family, true).map((matches) =>
        ruleText("X", { matches, target: undefined }, family).slice("-A X".length).trim(),
      );
      const manyConditions = fc.array(conditionText, { minLength: 20, maxLength: 31 });
      await fc.assert(
        fc.asyncProperty(manyConditions, sets(family), fc.nat(), async (list, all, seed) => {
          const random = createPrng(seed);
          const packets = Array.from({ length: 200 }, (_, i) =>
            i % 3 === 0 ? conversation(random, family) : packet(random, family),
          );
          const rules = markingRules("mangle", "PREROUTING", list);
          const tables = { [family === 4 ? "v4" : "v6"]: rules, sets: saveIpsets(all.values()) };
          expect((await duel(judge, tables, packets, list)).slice(0, 4)).toEqual([]);
        }),
        { numRuns: soak ? 400 : 25, seed: 3, endOnFailure: true },
      );
    });
  });
});
