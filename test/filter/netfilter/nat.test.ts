/** NAT: which ports are legal, replies, errors, clashes, and connections that move. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPrng } from "../../../src/base/index.ts";
import { Hook, Verdict } from "../../../src/filter/index.ts";
import { restoreRuleset } from "../../../src/filter/iptables/index.ts";
import { CtStatus, drawPort, type PortQuestion } from "../../../src/filter/netfilter/index.ts";
import { icmpError, tcp, udp } from "../../../src/packet/index.ts";
import { printPacket, TcpFlag } from "../../../src/wire/index.ts";
import { forwardPath, TestNode } from "../node.ts";

const { syn, ack, rst } = TcpFlag;

function nodeWith(lines: string, options = {}): TestNode {
  const chains =
    ":PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]";
  return new TestNode({ v4: restoreRuleset(`*nat\n${chains}\n${lines}\nCOMMIT\n`, "nat") }, options);
}

/** `IP a.p > b.q` of a packet that passed, or its verdict. */
function ends(passage: { readonly verdict: number; readonly bytes: Uint8Array }): string {
  if (passage.verdict !== Verdict.accept) return "dropped";
  return printPacket(passage.bytes).split(":")[0] ?? "";
}

const request = (client: string, sport: number): Uint8Array =>
  udp({ src: client, dst: "203.0.113.5", sport, dport: 53 });

describe("the kernel's search for a port", () => {
  const question = (over: Partial<PortQuestion>): PortQuestion => ({
    manip: "src",
    low: 2000,
    count: 4,
    offset: undefined,
    isFree: () => true,
    ...over,
  });

  it("law: ends at a free port of the range whenever there is one among 128", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 128 }),
        fc.integer({ min: 1, max: 60_000 }),
        fc.array(fc.boolean(), { minLength: 128, maxLength: 128 }),
        fc.integer(),
        (count, low, free, seed) => {
          const isFree = (port: number): boolean => free[port - low] === true;
          const port = drawPort(question({ low, count, isFree }), createPrng(seed));
          expect(port).toBeGreaterThanOrEqual(low);
          expect(port).toBeLessThan(low + count);
          expect(isFree(port)).toBe(free.slice(0, count).some(Boolean));
        },
      ),
    );
  });

  it("begins where a shifted range says", () => {
    expect(drawPort(question({ offset: 6 }), createPrng(1))).toBe(2002);
  });

  it("gives up on a wide range that is taken, after ever shorter searches", () => {
    let tries = 0;
    const isFree = (): boolean => {
      tries++;
      return false;
    };
    drawPort(question({ low: 1024, count: 64_512, isFree }), createPrng(1));
    expect(tries).toBe(128 + 64 + 32 + 16 + 8);
  });

  it("may evict only in its last attempts", () => {
    const left: number[] = [];
    drawPort(
      question({
        count: 3,
        isFree: (_, attemptsLeft) => {
          left.push(attemptsLeft);
          return false;
        },
      }),
      createPrng(1),
    );
    expect(left).toEqual([3, 2, 1]);
  });
});

describe("source NAT", () => {
  const snat = "-A POSTROUTING -p udp -j SNAT --to-source 198.51.100.1:2000-2003";

  it("draws every free port of the range, and no other", () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 40; seed++) {
      const chosen = new TestNode({ v4: restoreRuleset(`*nat\n${snat}\nCOMMIT\n`, "nat") }, {}, seed);
      seen.add(ends(chosen.pass(request("10.0.0.1", 9))));
    }
    expect([...seen].sort()).toEqual(
      [2000, 2001, 2002, 2003].map((port) => `IP 198.51.100.1.${port} > 203.0.113.5.53`),
    );
  });

  it("drops what finds no free port, and lets it pass when one is free again", () => {
    const node = nodeWith(snat);
    const passed = [1, 2, 3, 4, 5].map((port) => ends(node.pass(request("10.0.0.1", port))));
    expect(passed.filter((end) => end === "dropped").length).toBe(1);
    expect(new Set(passed).size).toBe(5);
    node.clock.ns = 30e9;
    expect(ends(node.pass(request("10.0.0.1", 6)))).not.toBe("dropped");
  });

  it("keeps a port that is in the range and free", () => {
    const node = nodeWith(snat);
    expect(ends(node.pass(request("10.0.0.1", 2002)))).toBe("IP 198.51.100.1.2002 > 203.0.113.5.53");
  });

  it("maps a source to other servers as it was mapped before", () => {
    const node = nodeWith("-A POSTROUTING -j SNAT --to-source 198.51.100.1-198.51.100.200");
    const first = ends(node.pass(request("10.0.0.1", 9))).split(" > ")[0];
    const second = udp({ src: "10.0.0.1", dst: "203.0.113.77", sport: 9, dport: 53 });
    expect(ends(node.pass(second)).split(" > ")[0]).toBe(first);
  });

  it("is told a port by a chooser, within what is legal", () => {
    const asked: string[] = [];
    const choosePort = ({ manip, low, count, isFree }: PortQuestion): number => {
      asked.push(`${manip} ${low}+${count} ${[low, low + 1].map((port) => isFree(port, 0))}`);
      return low;
    };
    const node = nodeWith(snat, { choosePort });
    node.pass(request("10.0.0.1", 1));
    node.pass(request("10.0.0.2", 1));
    expect(asked).toEqual(["src 2000+4 true,true", "src 2000+4 false,true"]);
  });

  it("evicts a closing connection for a SYN with a higher sequence number", () => {
    const node = nodeWith("-A POSTROUTING -p tcp -j SNAT --to-source 198.51.100.1:2000");
    const open = (client: string, seq: number): Uint8Array =>
      tcp({ src: client, dst: "203.0.113.5", sport: 9, dport: 80, flags: syn, seq });
    const back = { src: "203.0.113.5", dst: "198.51.100.1", sport: 80, dport: 2000 };
    expect(ends(node.pass(open("10.0.0.1", 100)))).toBe("IP 198.51.100.1.2000 > 203.0.113.5.80");
    expect(ends(node.pass(open("10.0.0.2", 200)))).toBe("dropped"); // open still
    node.pass(tcp({ ...back, flags: syn | ack, seq: 500, ack: 101 }), forwardPath, { iif: 4, oif: 3 });
    node.pass(tcp({ ...back, flags: rst | ack, seq: 501, ack: 101 }), forwardPath, { iif: 4, oif: 3 });
    expect(ends(node.pass(open("10.0.0.3", 50)))).toBe("dropped"); // no higher number
    expect(ends(node.pass(open("10.0.0.3", 300)))).toBe("IP 198.51.100.1.2000 > 203.0.113.5.80");
    expect(node.datapath.conntrack.size).toBe(1);
  });

  it("settles clashes without a rule, where table nat is there", () => {
    const node = nodeWith("-A POSTROUTING -s 10.0.0.1 -j SNAT --to-source 10.0.0.2");
    node.pass(request("10.0.0.1", 5000));
    const clashing = ends(node.pass(request("10.0.0.2", 5000)));
    expect(clashing).toMatch(/^IP 10\.0\.0\.2\.\d+ > /);
    expect(clashing).not.toContain(".5000 >");
  });
});

describe("answers", () => {
  it("are translated back, errors and what they carry too", () => {
    const node = nodeWith(
      "-A PREROUTING -d 203.0.113.5 -j DNAT --to-destination 10.1.0.1\n-A POSTROUTING -j SNAT --to-source 198.51.100.1",
    );
    const sent = node.pass(request("10.0.0.1", 7));
    expect(ends(sent)).toBe("IP 198.51.100.1.7 > 10.1.0.1.53");
    const reply = udp({ src: "10.1.0.1", dst: "198.51.100.1", sport: 53, dport: 7 });
    expect(ends(node.pass(reply))).toBe("IP 203.0.113.5.53 > 10.0.0.1.7");
    const error = node.pass(icmpError(sent.bytes, "10.1.0.9", 3, 3));
    expect(printPacket(error.bytes)).toContain("> 10.0.0.1: ICMP 203.0.113.5 udp port 53 unreachable");
    expect(printPacket(error.bytes.subarray(28))).toContain("IP 10.0.0.1.7 > 203.0.113.5.53");
  });

  it("of a server behind the same node come back by the node (hairpin)", () => {
    const node = nodeWith(
      "-A PREROUTING -d 203.0.113.5 -j DNAT --to-destination 10.0.0.9\n-A POSTROUTING -s 10.0.0.0/24 -d 10.0.0.0/24 -j MASQUERADE",
    );
    const sent = node.pass(request("10.0.0.1", 7));
    expect(ends(sent)).toBe("IP 192.0.2.1.7 > 10.0.0.9.53");
    const reply = udp({ src: "10.0.0.9", dst: "192.0.2.1", sport: 53, dport: 7 });
    expect(ends(node.pass(reply))).toBe("IP 203.0.113.5.53 > 10.0.0.1.7");
  });
});

describe("at the node's own ends", () => {
  it("OUTPUT rewrites destinations and INPUT sources", () => {
    const node = nodeWith(
      "-A OUTPUT -d 203.0.113.5 -j DNAT --to-destination 203.0.113.6\n-A INPUT -p udp -j SNAT --to-source 198.51.100.9",
    );
    const own = request("192.0.2.1", 7);
    expect(ends(node.pass(own, [Hook.output, Hook.postrouting], { iif: 0 }))).toBe(
      "IP 192.0.2.1.7 > 203.0.113.6.53",
    );
    const coming = udp({ src: "203.0.113.7", dst: "192.0.2.1", sport: 9, dport: 53 });
    expect(ends(node.pass(coming, [Hook.prerouting, Hook.input], { oif: 0 }))).toBe(
      "IP 198.51.100.9.9 > 192.0.2.1.53",
    );
  });
});

describe("MASQUERADE", () => {
  it("ends a connection that leaves by another interface", () => {
    const node = nodeWith("-A POSTROUTING -j MASQUERADE");
    expect(ends(node.pass(request("10.0.0.1", 7), forwardPath, { oif: 2 }))).toBe(
      "IP 192.0.2.1.7 > 203.0.113.5.53",
    );
    expect(ends(node.pass(request("10.0.0.1", 7), forwardPath, { oif: 4 }))).toBe("dropped");
    expect(node.datapath.conntrack.size).toBe(0);
    expect(ends(node.pass(request("10.0.0.1", 7), forwardPath, { oif: 4 }))).toBe(
      "IP 192.0.2.1.7 > 203.0.113.5.53",
    );
  });

  it("marks the entry as translated", () => {
    const node = nodeWith("-A POSTROUTING -j MASQUERADE");
    node.pass(request("10.0.0.1", 7));
    const status = node.datapath.conntrack.list()[0]?.status ?? 0;
    expect(status & (CtStatus.srcNat | CtStatus.dstNat)).toBe(CtStatus.srcNat);
  });
});
