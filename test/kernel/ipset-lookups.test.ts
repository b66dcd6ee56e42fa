/** Sets of every type against the kernel's, both families and backends; what the SET target and time do to them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import { saveIpsets } from "../../src/filter/ipset/index.ts";
import {
  EmulatedNode,
  type KernelJudge,
  startKernelJudge,
  twoDeviceNode,
} from "../../src/harness/kernel/index.ts";
import { describeNeeding } from "../needs.ts";
import { duel, markingRules } from "./duel.ts";
import { conversation, packet } from "./random-packets.ts";

const needs = ["root", "tun", "iptables", "ipset", "conntrack", "ip"] as const;

const sets4 = `create ip hash:ip counters
create ip24 hash:ip netmask 24
create net hash:net counters
create ipport hash:ip,port
create netport hash:net,port
create ipportip hash:ip,port,ip
create ipportnet hash:ip,port,net
create netiface hash:net,iface
create bitip bitmap:ip range 10.0.0.0-10.0.1.255
create bitport bitmap:port range 0-1000
create list list:set
add ip 10.0.0.1
add ip 203.0.113.5
add ip24 10.0.1.0
add ip24 203.0.113.9
add net 10.0.0.0/8
add net 10.0.0.0/24 nomatch
add net 10.0.0.8/29
add net 203.0.113.0/25
add ipport 10.0.0.1,tcp:80
add ipport 10.0.0.1,udp:53-80
add ipport 203.0.113.5,tcp:80
add ipport 203.0.113.5,sctp:80
add ipport 203.0.113.5,icmp:echo-request
add ipport 10.0.0.9,gre:0
add netport 10.0.0.0/8,tcp:80
add netport 10.0.0.0/30,tcp:80 nomatch
add netport 203.0.113.0/24,icmp:8/0
add netport 203.0.113.0/24,udp:53
add ipportip 10.0.0.1,tcp:80,203.0.113.5
add ipportip 10.0.0.1,udp:53,203.0.113.5
add ipportnet 10.0.0.1,tcp:80,203.0.113.0/24
add ipportnet 10.0.0.1,tcp:80,203.0.113.200 nomatch
add ipportnet 10.0.0.9,udp:53,128.0.0.0/1
add netiface 10.0.0.0/8,in0
add netiface 10.0.0.0/31,in0 nomatch
add netiface 203.0.113.0/24,out0
add bitip 10.0.0.1-10.0.0.9
add bitip 10.0.1.255
add bitport 80-81
add bitport 1000
add list ip24
add list net
add list ipport
`;

const sets6 = `create ip hash:ip family inet6
create ip64 hash:ip family inet6 netmask 64
create net hash:net family inet6
create ipport hash:ip,port family inet6
create ipportnet hash:ip,port,net family inet6
create netiface hash:net,iface family inet6
create bitport bitmap:port range 0-1000
create list list:set
add ip fd00::1
add ip64 fd00:1::
add net fd00::/16
add net fd00::/64 nomatch
add net 2001:db8:5::/48
add ipport fd00::1,tcp:80
add ipport 2001:db8:5::5,icmpv6:echo-request
add ipport 2001:db8:5::5,udp:53
add ipportnet fd00::1,tcp:80,2001:db8::/32
add ipportnet fd00::9,udp:53,2001:db8:5::5
add netiface fd00::/16,in0
add bitport 53
add list net
add list ipport
`;

const twoWays = ["src,src", "src,dst", "dst,src", "dst,dst"];

const conditions4: readonly string[] = [
  ...["ip", "ip24", "net", "bitip", "list"].flatMap((set) =>
    ["src", "dst"].map((flags) => `${set} ${flags}`),
  ),
  ...["ipport", "netport", "list"].flatMap((set) => twoWays.map((flags) => `${set} ${flags}`)),
].map((text) => `-m set --match-set ${text}`);

const more4: readonly string[] = [
  ...["ipportip", "ipportnet"].flatMap((set) =>
    ["src,src,dst", "src,dst,dst", "dst,src,src"].map((flags) => `--match-set ${set} ${flags}`),
  ),
  ...twoWays.map((flags) => `--match-set netiface ${flags}`),
  ...["src", "dst", "src,dst"].map((flags) => `--match-set bitport ${flags}`),
  "! --match-set net src",
  "! --match-set ipport src",
  "--match-set ipportnet src,dst",
  "--match-set net src,dst,src",
  "--match-set net src --return-nomatch",
  "! --match-set net dst --return-nomatch",
  "--match-set list src --return-nomatch",
  "--match-set ip src --packets-lt 5",
  "--match-set ip src ! --update-counters --packets-gt 20",
  "! --match-set ip src ! --update-counters --packets-eq 30",
  "--match-set net src --bytes-gt 2000",
  "--match-set list src ! --update-subcounters",
].map((text) => `-m set ${text}`);

const conditions6: readonly string[] = [
  ...["ip", "ip64", "net", "list"].flatMap((set) => ["src", "dst"].map((flags) => `${set} ${flags}`)),
  ...["ipport", "netiface", "list"].flatMap((set) => twoWays.map((flags) => `${set} ${flags}`)),
  "ipportnet src,dst,dst",
  "bitport dst",
].map((text) => `-m set --match-set ${text}`);

describe.each(["legacy", "nft"] as const)("on %s", (backend) => {
  describeNeeding("sets agree with the kernel", needs, () => {
    let judge: KernelJudge;
    beforeAll(async () => {
      judge = await startKernelJudge({ backend, node: twoDeviceNode() });
    });
    afterAll(async () => {
      await judge.close();
    });

    const groups = [
      {
        title: "one and two dimensions",
        family: 4,
        conditions: conditions4,
        sets: sets4,
        chain: "PREROUTING",
      },
      { title: "three dimensions and options", family: 4, conditions: more4, sets: sets4, chain: "FORWARD" },
      { title: "all types", family: 6, conditions: conditions6, sets: sets6, chain: "FORWARD" },
    ] as const;

    it.each(groups)("in lookups: $title (IPv$family)", async ({ title, family, conditions, sets, chain }) => {
      const random = createPrng(5).fork(title);
      const packets = Array.from({ length: 600 }, () => packet(random, family));
      const rules = markingRules("mangle", chain, conditions);
      const tables = family === 4 ? { v4: rules, sets } : { v6: rules, sets };
      expect((await duel(judge, tables, packets, conditions)).slice(0, 4)).toEqual([]);
    });

    it("in what the SET target adds, deletes and maps", async () => {
      const sets = `create seen hash:ip timeout 600 counters
create pairs hash:ip,port,ip
create nets hash:net
create via hash:net,iface
create few hash:ip maxelem 2
create marks hash:ip skbinfo
create list list:set
add nets 10.0.0.0/24
add marks 10.0.0.1 skbmark 0x100/0xf00
add list few
add list nets
`;
      const conditions = [
        "-m set --match-set seen src",
        "-m set --match-set pairs src,dst,dst",
        "-m set --match-set nets dst",
        "-m set --match-set via src,src",
        "-m set --match-set few dst",
        "-m set --match-set list src",
      ];
      const rules = `*mangle
${conditions.map((condition, i) => `-A FORWARD ${condition} -j MARK --or-mark 0x${(2 ** i).toString(16)}`).join("\n")}
-A FORWARD -j SET --map-set marks src --map-mark
-A FORWARD -p udp -j SET --add-set seen src --exist
-A FORWARD -p tcp -j SET --del-set seen src
-A FORWARD -j SET --add-set pairs src,dst,dst
-A FORWARD -p icmp -j SET --add-set nets dst
-A FORWARD -j SET --add-set via src,src
-A FORWARD -j SET --add-set few dst
-A FORWARD -p sctp -j SET --add-set list src
COMMIT
`;
      const random = createPrng(9);
      const packets = Array.from({ length: 400 }, () => packet(random, 4));
      const tables = { v4: rules, sets };
      expect((await duel(judge, tables, packets, conditions)).slice(0, 4)).toEqual([]);
      const { stdout } = await judge.run("ipset", ["save"]);
      const node = new EmulatedNode(tables, backend);
      for (const one of packets) node.judge(one);
      const lines = (text: string): readonly string[] =>
        text
          .split("\n")
          .flatMap((line) => (line.startsWith("add") ? [line.replace(/ timeout \d+/, "")] : []))
          .sort();
      expect(lines(saveIpsets(node.datapath.tables().sets.values()))).toEqual(lines(stdout));
    });

    it.each([4, 6] as const)("in which net a packet is added and deleted by (IPv%i)", async (family) => {
      const [a, b, c, wide, type] =
        family === 4
          ? ["10.0.0.0/24", "10.0.0.0/30", "10.0.0.1", "203.0.113.0/25", "family inet"]
          : ["fd00::/64", "fd00::/126", "fd00::1", "2001:db8:5::/121", "family inet6"];
      const sets = `create nets hash:net ${type} counters
create plain hash:net ${type}
create netport hash:net,port ${type}
create pairs hash:ip,port,net ${type}
create via hash:net,iface ${type}
add nets ${a}
add nets ${b} nomatch
add nets ${c}
add plain ${b} nomatch
add plain ${wide}
add netport ${a},tcp:80
add netport ${b},tcp:80 nomatch
add pairs ${c},tcp:80,${wide}
add via ${a},in0
add via ${b},out0
`;
      const changes = ["nets src", "plain src", "netport src,dst", "pairs src,dst,dst", "via src,src"];
      const conditions = changes.flatMap((one) => [
        `-m set --match-set ${one}`,
        `-m set --match-set ${one} --return-nomatch`,
      ]);
      const rules = `${markingRules("mangle", "FORWARD", conditions).replace("COMMIT\n", "")}${changes
        .flatMap((one) => [
          `-A FORWARD -p udp -j SET --del-set ${one}`,
          `-A FORWARD -p tcp -m length --length 61:200 -j SET --add-set ${one} --exist`,
          `-A FORWARD -p tcp -m length --length 0:60 -j SET --add-set ${one}`,
        ])
        .join("\n")}\nCOMMIT\n`;
      const random = createPrng(12);
      const packets = Array.from({ length: 400 }, () => packet(random, family));
      const tables = family === 4 ? { v4: rules, sets } : { v6: rules, sets };
      expect((await duel(judge, tables, packets, conditions)).slice(0, 4)).toEqual([]);
      const { stdout } = await judge.run("ipset", ["save"]);
      const node = new EmulatedNode(tables, backend);
      for (const one of packets) node.judge(one);
      const lines = (text: string): readonly string[] =>
        text
          .split("\n")
          .filter((line) => line.startsWith("add"))
          .sort();
      expect(lines(saveIpsets(node.datapath.tables().sets.values()))).toEqual(lines(stdout));
    });

    it("in rates before any refill, lists of recent addresses, quotas and marks of connections", async () => {
      const conditions = [
        "-m limit --limit 1/hour --limit-burst 20",
        "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 3 --hashlimit-mode srcip,dstport --hashlimit-name a",
        "-m hashlimit --hashlimit-above 1/hour --hashlimit-burst 9 --hashlimit-mode dstip --hashlimit-dstmask 24 --hashlimit-name b",
        "-m quota --quota 1000",
        "-m quota ! --quota 3000",
        "-m recent --rcheck --name seen",
        "-m recent --rcheck --name seen --hitcount 3",
        "-m recent ! --rcheck --name seen --rdest",
        "-m recent --update --name seen --seconds 600 --hitcount 8",
        "-m recent --rcheck --name seen --rttl",
        "-p udp -m recent --set --name seen",
        "-p tcp -m recent --set --name other --rdest --mask 255.255.255.0",
        "-m recent --rcheck --name other --rdest --mask 255.255.255.0 --hitcount 2",
        "-p sctp -m recent --remove --name seen",
        "-m connmark --mark 0x5/0xf",
        "-m connmark ! --mark 0x0",
        "-m mark --mark 0x80000000/0x80000000",
      ];
      const rules = `${markingRules("mangle", "FORWARD", conditions).replace("COMMIT\n", "")}-A FORWARD -p udp -j CONNMARK --set-xmark 0x25/0x0f
-A FORWARD -p tcp -j CONNMARK --save-mark --nfmask 0x3 --ctmask 0xff
-A FORWARD -p icmp -j CONNMARK --xor-mark 0x21
-A POSTROUTING -m connmark --mark 0x5 -j CONNMARK --restore-mark --nfmask 0xf0000000 --ctmask 0xffffffff
COMMIT
`;
      const random = createPrng(3);
      const packets = Array.from({ length: 400 }, (_, i) =>
        i % 2 === 0 ? packet(random, 4) : conversation(random, 4),
      );
      expect((await duel(judge, { v4: rules }, packets, conditions)).slice(0, 4)).toEqual([]);
    });
  });
});
