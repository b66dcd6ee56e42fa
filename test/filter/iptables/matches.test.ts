/** What each match extension means, by example. `test/kernel/iptables-matches.test.ts` holds the same code to the kernel. */
import { describe, expect, it } from "vitest";
import { Hook, Verdict } from "../../../src/filter/index.ts";
import { restoreIpsets } from "../../../src/filter/ipset/index.ts";
import { type Match, type Rule, type Ruleset, restoreRuleset } from "../../../src/filter/iptables/index.ts";
import { ipPacket, tcp, udp } from "../../../src/packet/index.ts";
import { forwardPath, type PassOptions, TestNode } from "../node.ts";

const mark = 0x8;

function nodeWith(table: string, rules: readonly string[], sets = "", family: 4 | 6 = 4): TestNode {
  const text = `*${table}\n:U - [0:0]\n${rules.join("\n")}\nCOMMIT\n`;
  const ruleset = restoreRuleset(text, "t", family);
  return new TestNode({ [family === 4 ? "v4" : "v6"]: ruleset, sets: restoreIpsets(sets, "sets") });
}

/** True if a FORWARD rule with the condition holds for the packet; `dropped` if the packet cannot be judged. */
function holds(condition: string, packet: Uint8Array, options: PassOptions = {}): boolean | "dropped" {
  const family = packet[0] === undefined || packet[0] >>> 4 === 4 ? 4 : 6;
  const node = nodeWith("mangle", [`-A FORWARD ${condition} -j MARK --or-mark ${mark}`], "", family);
  const passage = node.pass(packet, [Hook.forward], { ctState: 1, ...options });
  return passage.verdict === Verdict.drop ? "dropped" : (passage.mark & mark) !== 0;
}

const ends = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1000, dport: 80 };
const syn = tcp({ ...ends, flags: 2, options: [{ kind: "mss", bytes: 1460 }] });
const datagram = udp({ ...ends, tos: 0x29, ttl: 5, payload: new Uint8Array(10) });
const echo = ipPacket({
  src: "10.0.0.1",
  dst: "10.0.0.2",
  protocol: 1,
  payload: Uint8Array.from([8, 0, 0, 0, 0, 1, 0, 2]),
});
const sctp = (...chunks: readonly number[]): Uint8Array =>
  ipPacket({
    src: "10.0.0.1",
    dst: "10.0.0.2",
    protocol: 132,
    payload: Uint8Array.from([3, 232, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, ...chunks]),
  });
const data = [0, 3, 0, 4];
const init = [1, 0, 0, 4];
const syn6 = tcp({ src: "fd00::1", dst: "fd00::2", sport: 1, dport: 80, flags: 2, ttl: 9 });

describe("match extensions", () => {
  it.each<readonly [string, Uint8Array, boolean]>([
    ["-p tcp -m tcp --dport 80", syn, true],
    ["-p tcp -m tcp ! --dport 80", syn, false],
    ["-p tcp -m tcp --syn", syn, true],
    ["-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK", syn, false],
    ["-p tcp -m tcp --tcp-option 2", syn, true],
    ["-p tcp -m tcp --tcp-option 8", syn, false],
    ["-p tcp -m tcp ! --tcp-option 8", syn, true],
    ["-p tcp -m tcpmss --mss 1400:1500", syn, true],
    ["-p tcp -m tcpmss ! --mss 1460", syn, false],
    ["-p tcp -m multiport --dports 22,80", syn, true],
    ["-p tcp -m multiport ! --ports 1000", syn, false],
    ["-p icmp -m icmp --icmp-type echo-request", echo, true],
    ["-p icmp -m icmp --icmp-type any", echo, true],
    ["-p icmp -m icmp ! --icmp-type 8/0", echo, false],
    ["-p icmp -m icmp --icmp-type 3", echo, false],
    ["-p sctp -m sctp --dport 80", sctp(...data), true],
    ["-p sctp --chunk-types any INIT,DATA", sctp(...data), true],
    ["-p sctp --chunk-types all INIT,DATA", sctp(...data), false],
    ["-p sctp --chunk-types all INIT,DATA", sctp(...init, ...data), true],
    ["-p sctp --chunk-types only DATA", sctp(...init, ...data), false],
    ["-p sctp --chunk-types only DATA", sctp(...data, ...data), true],
    ["-p sctp --chunk-types any DATA:BE", sctp(...data), true],
    ["-p sctp --chunk-types any DATA:Be", sctp(...data), false],
    ["-p sctp ! --chunk-types any DATA", sctp(...data), false],
    ["-m iprange --src-range 10.0.0.0-10.0.0.1", syn, true],
    ["-m iprange ! --dst-range 10.0.0.2-10.0.0.9", syn, false],
    ["-m addrtype --dst-type UNICAST", syn, true],
    ["-m addrtype --dst-type LOCAL", syn, false],
    ["-m addrtype --dst-type LOCAL", tcp({ ...ends, dst: "192.0.2.1", flags: 2 }), true],
    ["-m addrtype --dst-type LOCAL", tcp({ ...ends, dst: "127.9.9.9", flags: 2 }), true],
    ["-m addrtype --dst-type BROADCAST", tcp({ ...ends, dst: "192.0.2.255", flags: 2 }), true],
    ["-m addrtype --dst-type MULTICAST,BROADCAST", udp({ ...ends, dst: "224.0.0.9" }), true],
    ["-m length --length 38", datagram, true],
    ["-m length ! --length 30:40", datagram, false],
    ["-m ttl --ttl-eq 5", datagram, true],
    ["-m ttl --ttl-lt 5", datagram, false],
    ["-m ttl --ttl-gt 4", datagram, true],
    ["-m hl --hl-lt 10", syn6, true],
    ["-m tos --tos 0x28/0xfc", datagram, true],
    ["-m tos --tos 0x28", datagram, false],
    ["-m dscp --dscp-class AF11", datagram, true],
    ["-m dscp ! --dscp 10", datagram, false],
    ["-m ecn --ecn-ip-ect 1", datagram, true],
    ["-p tcp -m ecn ! --ecn-tcp-cwr", syn, true],
    ['-m u32 --u32 "6&0xFF=17"', datagram, true],
    ['-m u32 --u32 "0>>22&0x3C@0>>16=1000 && 0>>28=4"', datagram, true],
    ['-m u32 --u32 "0>>22&0x3C@0&0xFFFF=81:90"', datagram, false],
    ['-m u32 ! --u32 "1000=0:0xffffffff"', datagram, true],
    ["-m mac --mac-source 02:00:00:00:00:01", syn, false],
    ["-m mac ! --mac-source 02:00:00:00:00:01", syn, false],
    ["-m physdev --physdev-in eth0", syn, false],
    ["-m physdev ! --physdev-is-bridged", syn, true],
    ["-m pkttype --pkt-type unicast", syn, true],
    ["-m pkttype --pkt-type multicast", udp({ ...ends, dst: "224.0.0.9" }), true],
    ["-f", syn, false],
    ["! -f", syn, true],
    ["-p icmpv6 -m icmp6 --icmpv6-type echo-request", syn6, false],
  ])("%s", (condition, packet, expected) => {
    expect(holds(condition, packet)).toBe(expected);
  });

  it.each<readonly [string, number, number]>([
    ["-p tcp -m tcp --tcp-option 2", 6, 10],
    ["-p tcp -m multiport --dports 80", 6, 3],
    ["-p sctp -m sctp --dport 80", 132, 5],
    ["-p icmp -m icmp --icmp-type 8", 1, 7],
    ["-p udp -m udp", 17, 7],
  ])("%s drops a packet of protocol %i that ends %i bytes into its header", (condition, protocol, size) => {
    const cut = ipPacket({ src: "10.0.0.1", dst: "10.0.0.2", protocol, payload: new Uint8Array(size) });
    expect(holds(condition, cut)).toBe("dropped");
  });

  it("reads the way back to a source for rpfilter", () => {
    const rules = ["-A PREROUTING -m rpfilter --invert -j DROP"];
    const node = nodeWith("raw", rules); // every route of the test's node leads to interface 2
    expect(node.pass(syn, [Hook.prerouting], { iif: 2 }).verdict).toBe(Verdict.accept);
    expect(node.pass(syn, [Hook.prerouting], { iif: 3 }).verdict).toBe(Verdict.drop);
    const loose = nodeWith("raw", ["-A PREROUTING -m rpfilter --invert --loose -j DROP"]);
    expect(loose.pass(syn, [Hook.prerouting], { iif: 3 }).verdict).toBe(Verdict.accept);
    const own = tcp({ ...ends, src: "192.0.2.1", flags: 2 });
    expect(loose.pass(own, [Hook.prerouting], { iif: 3 }).verdict).toBe(Verdict.drop);
  });
});

describe("matches that remember", () => {
  const accepted = (node: TestNode, count: number, packet: Uint8Array = syn): number =>
    Array.from({ length: count }, () => node.pass(packet, [Hook.forward], { ctState: 1 })).filter(
      ({ verdict }) => verdict === Verdict.accept,
    ).length;
  const only = (condition: string): TestNode =>
    nodeWith("filter", [`-A FORWARD ${condition} -j ACCEPT`, "-P FORWARD DROP"]);

  it("limit lets a burst through and then refills with time", () => {
    const node = only("-m limit --limit 10/sec --limit-burst 4");
    expect(accepted(node, 9)).toBe(4);
    node.clock.ns += 250_000_000;
    expect(accepted(node, 9)).toBe(2);
    node.clock.ns += 3_600_000_000_000;
    expect(accepted(node, 9)).toBe(4);
  });

  it("hashlimit keeps a bucket for each key and forgets idle ones", () => {
    const node = only(
      "-m hashlimit --hashlimit-upto 1/min --hashlimit-burst 2 --hashlimit-mode srcip --hashlimit-name n",
    );
    expect(accepted(node, 5)).toBe(2);
    expect(accepted(node, 5, tcp({ ...ends, src: "10.0.0.9", flags: 2 }))).toBe(2);
    node.clock.ns += 11_000_000_000; // past the table's expiry of 10 s
    expect(accepted(node, 5)).toBe(2);
  });

  it("recent counts hits within its seconds, over rules that share a list", () => {
    const node = nodeWith("filter", [
      "-A FORWARD -m recent --update --seconds 60 --hitcount 3 --name ssh -j DROP",
      "-A FORWARD -m recent --set --name ssh -j ACCEPT",
    ]);
    expect(accepted(node, 5)).toBe(3);
    node.clock.ns += 61_000_000_000;
    expect(accepted(node, 2)).toBe(2);
  });

  it("statistic hits every nth packet from the given one on", () => {
    const node = only("-m statistic --mode nth --every 3 --packet 1");
    const hits = Array.from({ length: 7 }, () => accepted(node, 1));
    expect(hits).toEqual([0, 1, 0, 0, 1, 0, 0]);
  });

  it("quota holds while its bytes last", () => {
    expect(accepted(only("-m quota --quota 100"), 5)).toBe(2);
  });

  it("two rules that hold the very same match count each for itself", () => {
    const limit: Match = { kind: "limit", rate: { count: 1, per: "day" }, burst: 2 };
    const rules = [0, 1].map((): Rule => ({ matches: [limit], target: { kind: "ACCEPT" } }));
    const drop: Rule = { matches: [], target: { kind: "DROP" } };
    const chains = [{ name: "FORWARD", policy: "ACCEPT" as const, rules: [...rules, drop] }];
    const v4: Ruleset = { family: 4, tables: { filter: { name: "filter", chains } } };
    expect(accepted(new TestNode({ v4 }), 9)).toBe(4);
  });

  it("what rules remember survives a change of other rules", () => {
    const node = only("-m limit --limit 1/day --limit-burst 3");
    expect(accepted(node, 2)).toBe(2);
    node.datapath.apply({
      kind: "iptables-restore",
      family: 4,
      table: "filter",
      commands: [{ op: "append", chain: "OUTPUT", rule: { matches: [], target: { kind: "DROP" } } }],
    } as never);
    expect(accepted(node, 5)).toBe(1);
  });

  it.each([
    ["--timestart 08:00 --timestop 17:00", 9 * 3600, true],
    ["--timestart 08:00 --timestop 17:00", 18 * 3600, false],
    ["--timestart 22:00 --timestop 06:00", 5 * 3600, true],
    ["--weekdays Thu", 0, true], // 1970-01-01 was a Thursday
    ["--weekdays Fri", 0, false],
    ["--weekdays Fri --timestart 22:00 --timestop 06:00 --contiguous", 86_400 * 2 + 5 * 3600, true],
    ["--weekdays Fri --timestart 22:00 --timestop 06:00", 86_400 * 2 + 5 * 3600, false],
    ["! --monthdays 1", 86_400 * 31, false],
    ["--monthdays 29", 86_400 * (365 * 2 + 59), true], // 1972 is a leap year
    ["--datestart 1970-01-02 --datestop 1970-01-03", 86_400, true],
    ["--datestart 1970-01-02 --datestop 1970-01-03", 86_399, false],
  ])("time %s at second %i", (condition, second, expected) => {
    const node = only(`-m time ${condition}`);
    node.clock.ns = second * 1e9;
    expect(accepted(node, 1)).toBe(expected ? 1 : 0);
  });

  it("time-outs of set members run in virtual time, and -exist starts them anew", () => {
    const sets = "create s hash:ip timeout 10\nadd s 10.0.0.1\nadd s 10.0.0.9 timeout 0\n";
    const node = nodeWith(
      "filter",
      ["-A FORWARD -m set --match-set s src -j ACCEPT", "-P FORWARD DROP"],
      sets,
    );
    const add = {
      op: "add",
      name: "s",
      entry: { net: { family: 4, words: [0x0a000001], prefix: 32 } },
      exist: true,
    };
    const apply = () => node.datapath.apply({ kind: "ipset-restore", commands: [add] } as never);
    node.clock.ns = 9_000_000_000;
    expect(accepted(node, 1)).toBe(1);
    expect(apply()).toEqual({ ok: true });
    node.clock.ns = 18_000_000_000;
    expect(accepted(node, 1)).toBe(1);
    node.clock.ns = 19_000_000_000;
    expect(accepted(node, 1)).toBe(0);
    expect(accepted(node, 1, tcp({ ...ends, src: "10.0.0.9", flags: 2 }))).toBe(1);
  });
});

describe("targets", () => {
  it("SET puts the packet's own address into a set, which the next packet finds there", () => {
    const rules = [
      "-A FORWARD -m set --match-set seen src -j DROP",
      "-A FORWARD -j SET --add-set seen src --timeout 5 --exist",
    ];
    const node = nodeWith("filter", rules, "create seen hash:ip timeout 0\n");
    expect(node.pass(syn, [Hook.forward]).verdict).toBe(Verdict.accept);
    expect(node.pass(syn, [Hook.forward]).verdict).toBe(Verdict.drop);
    node.clock.ns = 5_000_000_000;
    expect(node.pass(syn, [Hook.forward]).verdict).toBe(Verdict.accept);
  });

  it("CONNMARK keeps a mark with the connection and brings it back", () => {
    const node = nodeWith("mangle", [
      "-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff",
      "-A FORWARD -m mark --mark 0 -j MARK --set-mark 0x25",
      "-A FORWARD -j CONNMARK --save-mark --nfmask 0xf --ctmask 0xff",
    ]);
    expect(node.pass(syn, forwardPath).mark).toBe(0x25);
    const reply = tcp({ src: ends.dst, dst: ends.src, sport: 80, dport: 1000, flags: 0x12, ack: 1 });
    expect(node.pass(reply, forwardPath).mark).toBe(0x5);
  });

  it("CT puts connections of equal addresses into zones of their own", () => {
    const node = nodeWith("raw", ["-A PREROUTING -i azv1 -j CT --zone 1"]);
    const first = node.pass(syn, forwardPath, { iif: 3 });
    const second = node.pass(syn, forwardPath, { iif: 4 });
    expect([first.ctState, second.ctState]).toEqual([1, 1]);
    expect(node.datapath.conntrack.list().map(({ zone }) => zone)).toEqual([1, 0]);
  });

  it("TTL, TOS and DSCP edit the packet and its checksum", () => {
    const node = nodeWith("mangle", [
      "-A FORWARD -j TTL --ttl-dec 2",
      "-A FORWARD -j TOS --set-tos 0x10/0x3f",
      "-A FORWARD -j DSCP --set-dscp-class EF",
    ]);
    const { bytes } = node.pass(datagram, [Hook.forward]);
    expect([bytes[8], bytes[1]]).toEqual([3, 0xb8]);
    const sum = Array.from({ length: 10 }, (_, i) => (bytes[2 * i] ?? 0) * 256 + (bytes[2 * i + 1] ?? 0));
    expect(sum.reduce((a, b) => a + b, 0) % 0xffff).toBe(0);
  });

  it("NFQUEUE without a listener drops, or lets pass with --queue-bypass", () => {
    const drop = nodeWith("filter", ["-A FORWARD -j NFQUEUE --queue-num 3"]);
    const bypass = nodeWith("filter", ["-A FORWARD -j NFQUEUE --queue-bypass", "-A FORWARD -j DROP"]);
    expect(drop.pass(syn, [Hook.forward]).verdict).toBe(Verdict.drop);
    expect(bypass.pass(syn, [Hook.forward]).verdict).toBe(Verdict.accept);
  });

  it("LOG, NFLOG and TRACE report the packet and go on", () => {
    const node = nodeWith("filter", [
      '-A FORWARD -p tcp -j LOG --log-prefix "in: "',
      "-A FORWARD -p udp -j LOG",
      "-A FORWARD -j NFLOG --nflog-group 2",
      "-A FORWARD -j DROP",
    ]);
    const passage = node.pass(syn, [Hook.forward]);
    expect(passage.verdict).toBe(Verdict.drop);
    expect(passage.events.map(({ rule }) => node.datapath.describeRule(rule).text)).toEqual([
      '-A FORWARD -p tcp -j LOG --log-prefix "in: "',
      "-A FORWARD -j NFLOG --nflog-group 2",
    ]);
  });

  it("a program of -m bpf needs an interpreter, and is refused by name without one", () => {
    expect(() => nodeWith("filter", ['-A FORWARD -m bpf --bytecode "1,6 0 0 1" -j DROP'])).toThrow(
      /-m bpf needs/,
    );
  });
});

describe("restoring onto rules that are there", () => {
  const base = restoreRuleset(
    "*filter\n:FORWARD DROP [0:0]\n:OLD - [0:0]\n-A FORWARD -j OLD\n-A OLD -j DROP\nCOMMIT\n",
    "b",
  );
  const rules = (text: string): readonly string[] => {
    const restored = restoreRuleset(text, "t", 4, base);
    const chains = restored.tables.filter?.chains ?? [];
    return chains.flatMap(({ name, rules: list }) => list.map(({ target }) => `${name} ${target?.kind}`));
  };

  it("keeps what the text does not name, as --noflush does", () => {
    expect(
      rules("*filter\n:NEW - -\n-I FORWARD 1 -j NEW -m comment --comment x\n-A NEW -j ACCEPT\nCOMMIT\n"),
    ).toEqual(["FORWARD jump", "FORWARD jump", "OLD DROP", "NEW ACCEPT"]);
  });

  it("takes -D by rule and by number, -R, -F, -X, -E and -P", () => {
    expect(rules("*filter\n-D FORWARD -j OLD\n-F OLD\n-X OLD\n-P FORWARD ACCEPT\nCOMMIT\n")).toEqual([]);
    expect(rules("*filter\n-R OLD 1 -j ACCEPT\n-D FORWARD 1\n-E OLD NEW\nCOMMIT\n")).toEqual(["NEW ACCEPT"]);
    expect(rules("*filter\n-N NEW\n-A NEW -j RETURN\n-I FORWARD -j NEW\nCOMMIT\n")[0]).toBe("FORWARD jump");
  });

  it("flushes a chain that is declared again", () => {
    expect(rules("*filter\n:OLD - [0:0]\nCOMMIT\n")).toEqual(["FORWARD jump"]);
  });
});
