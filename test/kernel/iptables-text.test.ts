/**
 * The texts against the tools' own: what we print is what the kernel's iptables-save prints of the same rules, character by
 * character, on both backends; and likewise for ipset save.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { restoreIpsets, saveIpsets } from "../../src/filter/ipset/index.ts";
import { emptyTable, restoreRuleset, saveRuleset } from "../../src/filter/iptables/index.ts";
import { type KernelJudge, startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { ruleset, sets } from "../filter/arbitraries.ts";
import { rulesOfEveryKind } from "../filter/every-match.ts";
import { describeNeeding } from "../needs.ts";

const needs = ["root", "tun", "iptables", "ipset", "conntrack", "ip"] as const;
const soak = process.env.PODWIRE_SOAK !== undefined;

const setText = (family: 4 | 6): string =>
  [
    `create nets hash:net family ${family === 4 ? "inet" : "inet6"} counters timeout 0 skbinfo`,
    `create ports hash:ip,port family ${family === 4 ? "inet" : "inet6"}`,
    `create three hash:ip,port,net family ${family === 4 ? "inet" : "inet6"}`,
    "",
  ].join("\n");

/** Rules as people and agents write them, by table: spellings, orders, short forms, defaults. */
const written4: Readonly<Record<string, readonly string[]>> = {
  filter: [
    "-A FORWARD -p tcp -s 1.2.3.4 -d 10.0.0.0/8 -i eth0 -o eth1 -j ACCEPT",
    "-A FORWARD ! -s 1.2.3.4 ! -d 10.0.0.0/255.255.0.0 ! -i eth+ ! -o eth1 ! -p udp -f -j ACCEPT",
    "-A FORWARD -s 0.0.0.0/0 -i + -p all -j DROP",
    "-A FORWARD -s 1.1.1.1,2.2.2.0/24 -d 3.3.3.3,4.4.4.4 -j DROP",
    "-A FORWARD -s 10.1.2.3/8 -j DROP",
    "-A FORWARD -p TCP --dport=80 -j DROP",
    "-A FORWARD -p tcp --dport 80 --sport 1000:2000 ! --syn --tcp-option 8 -j DROP",
    "-A FORWARD -p tcp -m tcp --dport 0:65535 --syn -j DROP",
    "-A FORWARD -p tcp -m tcp ! --tcp-flags ALL NONE ! --tcp-option 3 -j DROP",
    "-A FORWARD -p tcp --dport :1024 -j DROP",
    "-A FORWARD -p udp --dport domain --sport 5: -j DROP",
    "-A FORWARD -p udp -m udp -j DROP",
    "-A FORWARD -p 47 -j DROP",
    "-A FORWARD -p 4 -j DROP",
    "-A FORWARD -p 200 -j DROP",
    "-A FORWARD -p sctp --dport 9 --chunk-types all DATA:IbE,INIT -j DROP",
    "-A FORWARD -p sctp ! --chunk-types any INIT,SACK,ABORT:t,SHUTDOWN_COMPLETE:T,HEARTBEAT -j DROP",
    "-A FORWARD -p sctp -m sctp ! --dport 9:20 --chunk-types only ALL -j DROP",
    "-A FORWARD -p sctp -m sctp --chunk-types any DATA:UBEI,RE_CONFIG,I_DATA,ASCONF,PAD -j DROP",
    "-A FORWARD -p icmp --icmp-type echo-request -j DROP",
    "-A FORWARD -p icmp ! --icmp-type 3/1 -j DROP",
    "-A FORWARD -p icmp --icmp-type any -j DROP",
    "-A FORWARD -p icmp -m icmp --icmp-type fragmentation-needed -j DROP",
    "-A FORWARD -p tcp -m multiport ! --dports http,53:60 -j DROP",
    "-A FORWARD -p tcp -m multiport --ports 80,443 -m multiport --sports 1:2 -j DROP",
    "-A FORWARD -m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 10.0.0.5 -j DROP",
    "-A FORWARD -m conntrack --ctstate new,RELATED,ESTABLISHED,INVALID,UNTRACKED,SNAT,DNAT -j DROP",
    "-A FORWARD -m conntrack --ctproto tcp ! --ctorigsrc 10.0.0.0/8 --ctorigdst 10.0.0.1 --ctreplsrc 1.1.1.1 ! --ctrepldst 1.1.1.0/24 --ctorigsrcport 1:2 ! --ctorigdstport 80 --ctreplsrcport 4 --ctrepldstport 5 --ctstatus NONE ! --ctexpire 10:20 --ctdir ORIGINAL -j DROP",
    "-A FORWARD -m conntrack ! --ctstatus EXPECTED,SEEN_REPLY,ASSURED,CONFIRMED --ctdir REPLY -j DROP",
    "-A FORWARD -m conntrack ! --ctstate NEW --ctexpire 5 -j DROP",
    "-A FORWARD -m state --state ESTABLISHED,RELATED -j DROP",
    "-A FORWARD -m mark ! --mark 5 -m connmark --mark 16/0xf0 -j DROP",
    "-A FORWARD -m connmark ! --mark 7 -j DROP",
    `-A FORWARD -m comment --comment "a b \\"c\\" 'd' \\\\ e" -j DROP`,
    '-A FORWARD -m comment --comment "" -j DROP',
    "-A FORWARD -m comment --comment ab -p tcp -m tcp --dport 1 -j DROP",
    "-A FORWARD -j DROP -m comment --comment cali:abc-_=/:., -p UDP --dport 5",
    "-A FORWARD -m addrtype --src-type LOCAL,UNICAST ! --dst-type BROADCAST --limit-iface-in -j DROP",
    "-A FORWARD -m set ! --match-set nets dst -m set --match-set ports src,dst -j DROP",
    "-A FORWARD -m set --match-set nets src --return-nomatch ! --update-counters ! --update-subcounters --packets-eq 5 ! --bytes-eq 6 -j DROP",
    "-A FORWARD -m set --match-set three src,dst,dst --packets-lt 5 --bytes-gt 6 -j DROP",
    "-A FORWARD -m mac ! --mac-source 00:11:22:AA:bb:cc -j DROP",
    "-A FORWARD -m length --length 10: -j DROP",
    "-A FORWARD -m ttl --ttl 5 -m ttl --ttl-gt 5 -m ttl --ttl-lt 9 -j DROP",
    "-A FORWARD -m tos --tos 0x10 -m tos ! --tos 0x10/0x3f -m tos --tos Minimize-Delay -j DROP",
    "-A FORWARD -m dscp --dscp 10 -m dscp --dscp-class EF -m dscp ! --dscp-class AF11 -j DROP",
    "-A FORWARD -p tcp -m ecn --ecn-tcp-cwr ! --ecn-tcp-ece --ecn-ip-ect 2 -j DROP",
    '-A FORWARD -m u32 --u32 "6&0xFF=1 && 4&0x1FFF=0 && 0>>22&0x3C@0>>24=3,5:7" -j DROP',
    '-A FORWARD -m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0" -j DROP',
    "-A FORWARD -m limit --limit 5/minute --limit-burst 7 -j DROP",
    "-A FORWARD -m limit -j DROP",
    "-A FORWARD -m limit --limit 90/minute -j LOG",
    "-A FORWARD -m limit --limit 10000/s --limit-burst 1 -j DROP",
    "-A FORWARD -m limit --limit 7/day -j DROP",
    "-A FORWARD -m hashlimit --hashlimit 5/s --hashlimit-mode srcip --hashlimit-name f4 -j DROP",
    "-A FORWARD -p tcp -m hashlimit --hashlimit-above 1000/min --hashlimit-mode dstip,srcport --hashlimit-name f2 --hashlimit-htable-size 100 --hashlimit-htable-max 150 --hashlimit-htable-expire 300 --hashlimit-htable-gcinterval 500 --hashlimit-srcmask 24 --hashlimit-dstmask 16 -j DROP",
    "-A FORWARD -m time --timestart 08:00 --timestop 17:30 --weekdays Mon,Tue --monthdays 1,2,3 -j DROP",
    "-A FORWARD -m time --datestart 2026-01-01T00:00:00 --datestop 2026-12-31 --contiguous --timestart 22:00:00 --timestop 06:00 -j DROP",
    "-A FORWARD -m time ! --weekdays Sat,Sun ! --monthdays 31 --kerneltz -j DROP",
    "-A FORWARD -m statistic --mode random --probability 0.3 -j DROP",
    "-A FORWARD -m statistic --mode random ! --probability 0.33333333349 -j DROP",
    "-A FORWARD -m statistic --mode nth ! --every 3 --packet 1 -j DROP",
    "-A FORWARD -m recent --set --rsource -j DROP",
    "-A FORWARD -m recent --rcheck --seconds 60 --hitcount 4 --name ssh --mask 255.255.255.0 --rdest -j DROP",
    "-A FORWARD -m recent --update --seconds 60 --reap --rttl --name ssh -j DROP",
    "-A FORWARD -m recent ! --remove --name ssh -j DROP",
    "-A FORWARD -m physdev ! --physdev-is-in --physdev-is-out ! --physdev-in a --physdev-out b --physdev-is-bridged -j DROP",
    "-A OUTPUT -m owner --uid-owner root ! --gid-owner 5-10 --socket-exists -j DROP",
    "-A FORWARD -m pkttype ! --pkt-type broadcast -j DROP",
    "-A FORWARD -m quota ! --quota 1000 -j DROP",
    "-A FORWARD -m connbytes ! --connbytes 10:20 --connbytes-dir both --connbytes-mode packets -j DROP",
    "-A FORWARD -p tcp -m tcpmss ! --mss 100:200 -j DROP",
    "-A FORWARD -j REJECT",
    "-A FORWARD -p tcp -j REJECT --reject-with tcp-rst",
    "-A FORWARD -j REJECT --reject-with port-unreach",
    "-A FORWARD -j MARK --set-mark 0x10/0xff",
    "-A FORWARD -j MARK --and-mark 0x10",
    "-A FORWARD -j MARK --xor-mark 0x10",
    "-A FORWARD -j CONNMARK --save-mark",
    "-A FORWARD -j CONNMARK --restore-mark --mask 0xff",
    "-A FORWARD -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0",
    "-A FORWARD -j CONNMARK --set-mark 0x5/0xf",
    "-A FORWARD -j CONNMARK --or-mark 0x5",
    '-A FORWARD -j LOG --log-prefix "a b: " --log-level debug --log-uid --log-tcp-sequence',
    "-A FORWARD -j LOG --log-level 4",
    '-A FORWARD -j NFLOG --nflog-group 3 --nflog-prefix "x y" --nflog-threshold 10',
    "-A FORWARD -j NFLOG --nflog-size 80",
    "-A FORWARD -j NFQUEUE --queue-balance 1:4 --queue-cpu-fanout --queue-bypass",
    "-A FORWARD -j NFQUEUE",
    "-A FORWARD -j SET --add-set nets src,dst --exist --timeout 60",
    "-A FORWARD -j SET --del-set ports src,dst",
    "-A FORWARD -j AUDIT --type accept",
    "-A FORWARD -g U",
    "-A FORWARD",
  ],
  raw: [
    "-A PREROUTING -m rpfilter --invert --validmark --loose --accept-local -j DROP",
    "-A PREROUTING -j TRACE",
    "-A PREROUTING -j NOTRACK",
    "-A PREROUTING -j CT --notrack",
    "-A PREROUTING -j CT --zone 5 --ctevents new,destroy",
    "-A PREROUTING -j CT --zone mark",
  ],
  mangle: [
    "-A FORWARD -j SET --map-set nets src --map-mark --map-prio",
    "-A FORWARD -j TTL --ttl-dec 5",
    "-A FORWARD -j DSCP --set-dscp-class EF",
    "-A FORWARD -j TOS --set-tos 0x10",
    "-A FORWARD -j TOS --and-tos 0x10",
    "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
    "-A PREROUTING -m socket --restore-skmark --nowildcard --transparent -j MARK --set-mark 0x200",
    "-A PREROUTING -p tcp -j TPROXY --on-ip 127.0.0.1 --tproxy-mark 0x5 --on-port 5",
    "-A PREROUTING -p udp -j TPROXY --on-port 5",
    "-A OUTPUT -m cgroup ! --cgroup 5",
    "-A POSTROUTING -j CLASSIFY --set-class 1:2",
    "-A POSTROUTING -p udp -j CHECKSUM --checksum-fill",
  ],
  nat: [
    "-A PREROUTING -p tcp -j DNAT --to 10.0.0.1:80",
    "-A PREROUTING -p udp -j DNAT --to-destination 10.0.0.1-10.0.0.5:80-90 --random --persistent",
    "-A PREROUTING -p udp -j DNAT --to-destination :80",
    "-A PREROUTING -p tcp -m tcp --dport 5000:5100 -j DNAT --to-destination 10.0.0.1:6000-6100/5000",
    "-A POSTROUTING -p tcp -j SNAT --to-source 10.0.0.1-10.0.0.4:1000-2000 --random --random-fully --persistent",
    "-A POSTROUTING -p tcp -j MASQUERADE --to-ports 1000-2000 --random",
    "-A POSTROUTING -j MASQUERADE --random-fully",
    "-A PREROUTING -p tcp -j REDIRECT --to-ports 80-90 --random",
    "-A PREROUTING -j NETMAP --to 10.0.0.0/24",
  ],
};

const written6: Readonly<Record<string, readonly string[]>> = {
  filter: [
    "-A FORWARD -p tcp -s 2001:db8::1 -d fd00::/8 -i eth0 -o eth1 -j ACCEPT",
    "-A FORWARD -p icmpv6 --icmpv6-type echo-request -j DROP",
    "-A FORWARD -p 58 -m icmpv6 ! --icmpv6-type no-route -j DROP",
    "-A FORWARD -m hl --hl-eq 5 -m hl --hl-lt 4 -m hl --hl-gt 3 -m hl ! --hl-eq 5 -j DROP",
    "-A FORWARD -m iprange --src-range fd00::1-fd00::9 -j DROP",
    "-A FORWARD -m conntrack --ctorigsrc fd00::/8 --ctrepldst fd00::1 -j DROP",
    "-A FORWARD -m recent --set --name x -j DROP",
    "-A FORWARD -m hashlimit --hashlimit-upto 5/sec --hashlimit-mode srcip --hashlimit-srcmask 64 --hashlimit-name v6 -j DROP",
    "-A FORWARD -m addrtype --dst-type LOCAL -j DROP",
    "-A FORWARD -m set --match-set nets src -j DROP",
    "-A FORWARD -j REJECT",
    "-A FORWARD -j REJECT --reject-with adm-prohibited",
    "-A FORWARD -j REJECT --reject-with icmp6-policy-fail",
    "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
    "-A FORWARD -p mobility-header -j DROP",
  ],
  raw: ["-A PREROUTING -m rpfilter --loose --invert -j DROP"],
  mangle: ["-A FORWARD -j HL --hl-set 5"],
  nat: [
    "-A PREROUTING -p tcp -j DNAT --to-destination [fd00::1-fd00::5]:80-90",
    "-A PREROUTING -j DNAT --to-destination fd00::1",
    "-A PREROUTING -j DNAT --to-destination ::1-::2",
    "-A PREROUTING -p tcp -j DNAT --to-destination :80",
    "-A POSTROUTING -j SNAT --to-source fd00::1-fd00::4",
    "-A POSTROUTING -j MASQUERADE",
    "-A PREROUTING -j NETMAP --to fd00::/64",
  ],
};

/** Rules alone, by table: chains' lines hold the kernel's counters, and it keeps tables that were emptied. */
function rulesOf(text: string): readonly string[] {
  let table = "";
  return text.split("\n").flatMap((line) => {
    if (line.startsWith("*")) table = line;
    return line.startsWith("-A") ? [`${table} ${line}`] : [];
  });
}

/** iptables-nft lists a range up to 65535 as the negation of what lies below it, and the other way round. */
function sameAsNft(line: string): string {
  return line
    .replaceAll(/! --([sd])port 0:(\d+)/g, (_, side, below) => `--${side}port ${Number(below) + 1}:65535`)
    .replaceAll(/! --([sd])port (\d+):65535/g, (_, side, from) => `--${side}port 0:${Number(from) - 1}`);
}

describe.each(["legacy", "nft"] as const)("on %s", (backend) => {
  describeNeeding("texts are the tools' own", needs, () => {
    let judge: KernelJudge;
    beforeAll(async () => {
      judge = await startKernelJudge({ backend, node: twoDeviceNode() });
    });
    afterAll(async () => {
      await judge.close();
    });

    /** The kernel's listing of the rules that `text` makes. */
    async function listing(text: string, family: 4 | 6, setsText: string): Promise<readonly string[]> {
      await judge.load({ [family === 4 ? "v4" : "v6"]: text, sets: setsText });
      const saved = await judge.save(family);
      return rulesOf(saved.replaceAll(/^\[\d+:\d+\] /gm, ""));
    }

    const tables = ([4, 6] as const).flatMap((family) =>
      Object.entries(family === 4 ? written4 : written6).map(([name, rules]) => ({ family, name, rules })),
    );

    it.each(tables)(
      "as they are written by hand: table $name of IPv$family",
      async ({ family, name, rules }) => {
        const text = `*${name}\n:U - [0:0]\n${rules.join("\n")}\nCOMMIT\n`;
        const ours = saveRuleset(restoreRuleset(text, "t", family));
        expect(await listing(text, family, setText(family))).toEqual(rulesOf(ours));
        expect(await listing(ours, family, setText(family))).toEqual(rulesOf(ours));
      },
    );

    it.each([4, 6] as const)("of random rules (IPv%i)", async (family) => {
      await fc.assert(
        fc.asyncProperty(ruleset(family), sets(family), async (rules, all) => {
          const text = saveRuleset(rules);
          const canonical = (lines: readonly string[]): readonly string[] =>
            backend === "nft" ? lines.map(sameAsNft) : lines;
          const listed = await listing(text, family, saveIpsets(all.values()));
          expect(canonical(listed)).toEqual(canonical(rulesOf(text)));
        }),
        { numRuns: soak ? 400 : 40, seed: 11, endOnFailure: true },
      );
    });

    it.each([4, 6] as const)("of random rules of every kind (IPv%i)", async (family) => {
      await fc.assert(
        fc.asyncProperty(rulesOfEveryKind(family), sets(family), async (rules, all) => {
          const chains = [...emptyTable("filter").chains, { name: "U", rules }];
          const text = saveRuleset({ family, tables: { filter: { name: "filter", chains } } });
          expect(await listing(text, family, saveIpsets(all.values()))).toEqual(rulesOf(text));
        }),
        { numRuns: soak ? 400 : 40, seed: 11, endOnFailure: true },
      );
    });

    it.each([4, 6] as const)("of random sets (IPv%i)", async (family) => {
      await fc.assert(
        fc.asyncProperty(sets(family), async (all) => {
          await judge.load({ sets: saveIpsets(all.values()) });
          const { stdout } = await judge.run("ipset", ["save"]);
          expect(saveIpsets(restoreIpsets(stdout, "kernel").values())).toBe(saveIpsets(all.values()));
        }),
        { numRuns: soak ? 400 : 40, seed: 11, endOnFailure: true },
      );
    });

    it("of sets as they are written by hand", async () => {
      const text = `create a1 hash:net timeout 100 counters comment skbinfo maxelem 99 hashsize 64
create a2 hash:ip netmask 24 timeout 0
create a3 hash:ip,port
create a4 hash:ip,port,ip counters
create a5 hash:ip,port,net family inet6
create a6 hash:net,iface
create a7 hash:net,port
create a9 bitmap:ip range 10.0.0.0/24 timeout 400
create a10 bitmap:port range 100-200 counters
create a11 bitmap:ip range 10.0.0.0-10.0.255.255 netmask 24
create a12 iphash hashsize 5000
create a20 hash:ip family inet6 netmask 64
create a8 list:set size 12 timeout 50 counters comment
add a1 10.0.0.0/8 timeout 55 packets 3 bytes 44 comment "hello world" skbmark 0x11/0xff skbprio 1:2 skbqueue 7
add a1 10.1.0.0/16 nomatch timeout 0
add a1 192.168.0.0-192.168.1.5
add a2 10.0.0.5-10.0.2.9
add a2 10.1.0.0/22
add a3 10.0.0.1,tcp:80-82
add a3 10.0.0.0/30,udp:53
add a3 10.0.0.1,icmp:echo-request
add a3 10.0.0.1,icmp:3/1
add a3 10.0.0.1,47:0
add a3 10.0.0.1,53
add a4 10.0.0.1,80,10.0.0.2 packets 1
add a5 fd00::1,tcp:80,fd00::/64
add a5 fd00::1,icmpv6:echo-request,fd00::/64
add a6 10.0.0.0/8,eth0
add a6 10.0.0.0/9,eth0 nomatch
add a7 10.0.0.0/8,tcp:80-81 nomatch
add a7 10.0.0.0/8,vrrp:0
add a9 10.0.0.4-10.0.0.6
add a9 10.0.0.128/29
add a10 150-152
add a10 tcp:160
add a11 10.0.1.7
add a12 1.2.3.4
add a20 fd00::1
add a8 a3
add a8 a2 timeout 77
del a3 10.0.0.1,tcp:80-81
`;
      await judge.load({ sets: text });
      const { stdout } = await judge.run("ipset", ["save"]);
      const sorted = (saved: string): readonly string[] =>
        saved
          .replaceAll(/ bucketsize \d+ initval \w+/g, "")
          .replaceAll(/ timeout (\d+)/g, (_, left) => ` timeout ${Math.ceil(Number(left) / 5) * 5}`)
          .trimEnd()
          .split("\n")
          .sort();
      expect(sorted(saveIpsets(restoreIpsets(text, "t").values()))).toEqual(sorted(stdout));
    });
  });
});
