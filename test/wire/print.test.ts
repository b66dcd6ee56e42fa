/**
 * Lines of packets. The golden file holds every packet of the corpus (vitest -u writes it anew: read the difference);
 * test/kernel/tshark.test.ts holds the same lines to tcpdump's.
 */
import { describe, expect, it } from "vitest";
import { arp, frame, tcp, udp } from "../../src/packet/index.ts";
import { printFrame, printPacket, printTcpFlags } from "../../src/wire/index.ts";
import { corpus } from "../packet/corpus.ts";

const v4 = { src: "10.0.0.1", dst: "10.0.0.2", sport: 40000, dport: 80 };
const v6 = { src: "fd00::1", dst: "fd00::2", sport: 40000, dport: 80 };

describe("a packet's line", () => {
  it("is the golden one, for every packet of the corpus", async () => {
    const lines = corpus.map(
      ({ name, family, bytes }) => `${name} (IPv${family})\n    ${printPacket(bytes)}\n`,
    );
    await expect(lines.join("")).toMatchFileSnapshot("../golden/packet-lines.txt");
  });

  it.each([
    ["nothing", new Uint8Array(0), "unknown network protocol, length 0"],
    ["another version", Uint8Array.of(0x50, 1), "unknown network protocol, length 2"],
    ["a cut IPv4 header", tcp({ ...v4, flags: 2 }).slice(0, 19), "IP (truncated), length 19"],
    [
      "a packet cut behind its header",
      tcp({ ...v4, flags: 2 }).slice(0, 39),
      "IP truncated-ip - 1 bytes missing! 10.0.0.1.40000 > 10.0.0.2.80: tcp (truncated), length 19",
    ],
    ["a cut IPv6 header", udp(v6).slice(0, 39), "IP6 (truncated), length 39"],
    [
      "a TCP offset that lies",
      tcp({ ...v4, flags: 2, overrides: { headerWords: 4 } }),
      "IP 10.0.0.1.40000 > 10.0.0.2.80: tcp (bad-length), length 20",
    ],
    [
      "a UDP length that lies",
      udp({ ...v6, overrides: { length: 99 } }),
      "IP6 fd00::1.40000 > fd00::2.80: udp (truncated), length 8",
    ],
    [
      "TCP of fewer than four bytes",
      udp({ ...v4, ipOverrides: { totalLength: 23 } }),
      "IP 10.0.0.1 > 10.0.0.2: udp (truncated), length 3",
    ],
  ])("says what it can of %s", (_, packet, line) => {
    expect(printPacket(packet)).toBe(line);
  });
});

describe("a cut packet's line", () => {
  const payload = new Uint8Array(50);
  it.each([
    [
      tcp({ ...v4, flags: 0x18, seq: 5, ack: 6, payload }),
      "Flags [P.], seq 5:55, ack 6, win 64240, length 50",
    ],
    [udp({ ...v6, payload }), "UDP, length 50"],
  ])("has the lengths that its headers state", (packet, line) => {
    const cut = packet.slice(0, packet.length - 20);
    expect(printPacket(cut)).toContain("- 20 bytes missing! ");
    expect(printPacket(cut)).toContain(line);
    // a capture that says how long the packet was has not lost anything on the wire
    expect(printPacket(cut, { wireLength: packet.length })).toBe(printPacket(packet));
  });

  it("does not make up what was cut off", () => {
    const segment = tcp({
      ...v4,
      flags: 0x18,
      seq: 5,
      ack: 6,
      options: [{ kind: "timestamps", value: 1, echo: 2 }],
      payload,
    });
    expect(printPacket(segment.slice(0, 45), { wireLength: segment.length })).toBe(
      "IP 10.0.0.1.40000 > 10.0.0.2.80: tcp (truncated), length 25",
    );
    expect(printPacket(segment.slice(0, 22), { wireLength: segment.length })).toBe(
      "IP 10.0.0.1 > 10.0.0.2: tcp (truncated), length 2",
    );
    expect(printPacket(udp({ ...v6, payload }).slice(0, 44), { wireLength: 98 })).toBe(
      "IP6 fd00::1.40000 > fd00::2.80: udp (truncated), length 4",
    );
  });
});

describe("a frame's line", () => {
  const macs = { src: [2, 0, 0, 0, 0, 1], dst: [2, 0, 0, 0, 0, 2] };
  const head = "02:00:00:00:00:01 > 02:00:00:00:00:02";
  it("names its tags, outermost first", () => {
    const tagged = frame(udp(v4), {
      ...macs,
      vlans: [{ id: 7, protocol: 0x88a8, dropEligible: true }, { id: 9 }],
    });
    expect(printFrame(tagged)).toBe(
      `${head}, ethertype 802.1Q-QinQ (0x88a8), length 50: vlan 7, p 0, DEI, ethertype 802.1Q (0x8100), vlan 9, p 0, ethertype IPv4 (0x0800), 10.0.0.1.40000 > 10.0.0.2.80: UDP, length 0`,
    );
  });

  it("says what it can of types that are not read, and of cut frames", () => {
    expect(printFrame(frame(new Uint8Array(4), { ...macs, etherType: 0x88cc }))).toBe(
      `${head}, ethertype Unknown (0x88cc), length 18`,
    );
    expect(printFrame(new Uint8Array(13))).toBe("Ethernet (truncated), length 13");
    const question = { senderMac: macs.src, senderIp: 1, targetMac: macs.dst, targetIp: 2 };
    expect(printFrame(arp({ operation: 9, ...question }))).toContain(
      "operation 9, 0.0.0.1 > 0.0.0.2, length 28",
    );
    expect(printFrame(arp({ operation: 1, ...question }).slice(0, 30))).toContain("(truncated), length 16");
  });
});

describe("TCP flags", () => {
  it("stand in tcpdump's letters and order", () => {
    expect([0, 1, 2, 4, 8, 16, 18, 24, 17, 20, 0xff].map(printTcpFlags)).toEqual([
      ...["none", "F", "S", "R", "P", ".", "S.", "P.", "F.", "R.", "FSRP.UEW"],
    ]);
  });
});
