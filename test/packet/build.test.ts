/** Builders: what they fill in, what they can be told not to, fragments that join to what was split. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  arp,
  fragment,
  frame,
  icmp,
  icmpError,
  ipPacket,
  neighborDiscovery,
  sctp,
  tcp,
  udp,
} from "../../src/packet/index.ts";
import {
  checksumHolds,
  emitIpv4Options,
  optionsHeader,
  parseEthernet,
  parseIpv4,
  parseIpv4Options,
  parseIpv6,
  parseTcp,
  pseudoHeaderSum,
  readU16,
  routingHeader,
  walkExtensions,
} from "../../src/wire/index.ts";
import { data } from "../wire/arbitraries.ts";
import { linuxFrames } from "../wire/linux-frames.ts";

const v4 = { src: "10.0.0.1", dst: "10.0.0.2" };
const v6 = { src: "fd00::1", dst: "fd00::2" };
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const macs = { src: [2, 0, 0, 0, 0, 0x0a], dst: [2, 0, 0, 0, 0, 0x0b] };
const back = { src: macs.dst, dst: macs.src };

describe("builders make what Linux sent", () => {
  it("a SYN over IPv4", () => {
    const packet = tcp({
      ...v4,
      sport: 51088,
      dport: 8080,
      flags: 2,
      seq: 4117607438,
      identification: 0x3f94,
      options: [
        { kind: "mss", bytes: 1460 },
        { kind: "sack-permitted" },
        { kind: "timestamps", value: 2243147468, echo: 0 },
        { kind: "nop" },
        { kind: "window-scale", shift: 10 },
      ],
    });
    expect(hex(frame(packet, macs))).toBe(linuxFrames.tcpSyn4.hex);
  });

  it("the reset that answers a SYN, in both families", () => {
    const fields = { sport: 9998, flags: 0x14, window: 0 };
    const reset4 = tcp({ src: v4.dst, dst: v4.src, ...fields, dport: 46400, ack: 557498842 });
    expect(hex(frame(reset4, back))).toBe(linuxFrames.tcpReset4.hex);
    const reset6 = tcp({
      src: v6.dst,
      dst: v6.src,
      ...fields,
      dport: 40600,
      ack: 564905857,
      flowLabel: 0xa248c,
    });
    expect(hex(frame(reset6, back))).toBe(linuxFrames.tcpReset6.hex);
  });

  it("a port unreachable: the datagram inside, marked as internetwork control over IPv4", () => {
    const payload = new TextEncoder().encode("hello");
    const sent4 = udp({ ...v4, sport: 37385, dport: 9999, identification: 0x1af6, payload });
    expect(hex(frame(sent4, macs))).toBe(linuxFrames.udp4.hex);
    const error4 = frame(icmpError(sent4, v4.dst, 3, 3), back);
    error4.set([0x98, 0xbf], 18); // Linux numbers what may be fragmented
    expect(hex(error4.slice(34))).toBe(linuxFrames.portUnreachable4.hex.slice(68));
    expect(hex(error4.slice(14, 24))).toBe(linuxFrames.portUnreachable4.hex.slice(28, 48));
    const sent6 = udp({ ...v6, sport: 50462, dport: 9999, flowLabel: 0xafa51, payload });
    expect(hex(frame(sent6, macs))).toBe(linuxFrames.udp6.hex);
    expect(hex(frame(icmpError(sent6, v6.dst, 1, 4), back)).slice(36)).toBe(
      linuxFrames.portUnreachable6.hex.slice(36),
    );
  });

  it("ARP and its neighbour discovery", () => {
    const [asker, answerer] = [macs.src, macs.dst];
    const question = {
      senderMac: asker,
      senderIp: 0x0a000001,
      targetMac: [0, 0, 0, 0, 0, 0],
      targetIp: 0x0a000002,
    };
    expect(hex(arp({ operation: 1, ...question }))).toBe(linuxFrames.arpRequest.hex);
    const answer = { senderMac: answerer, senderIp: 0x0a000002, targetMac: asker, targetIp: 0x0a000001 };
    expect(hex(arp({ operation: 2, ...answer }))).toBe(linuxFrames.arpReply.hex);
    const advertisement = neighborDiscovery({
      src: v6.dst,
      dst: v6.src,
      ndp: {
        kind: "neighbor-advertisement",
        flags: 0x60,
        target: [0xfd000000, 0, 0, 2],
        options: [{ type: 2, data: Uint8Array.from(answerer) }],
      },
    });
    expect(hex(frame(advertisement, back))).toBe(linuxFrames.neighborAdvertisement.hex);
  });

  it("a listener report behind its router alert", () => {
    const data = Buffer.from(linuxFrames.listenerReport.hex.slice(140), "hex");
    const packet = icmp({
      src: "fe80::ff:fe00:a",
      dst: "ff02::16",
      ttl: 1,
      type: 143,
      code: 0,
      rest: 2,
      data: Uint8Array.from(data),
      extensions: [optionsHeader(0, [{ type: 5, data: new Uint8Array(2) }])],
    });
    expect(hex(packet)).toBe(linuxFrames.listenerReport.hex.slice(28));
  });
});

describe("builders", () => {
  it("pad TCP options with no-operations", () => {
    const ip = parseIpv4(
      tcp({ ...v4, sport: 1, dport: 2, flags: 2, options: [{ kind: "window-scale", shift: 7 }] }),
    );
    const segment = parseTcp(ip.ok ? ip.value.payload : new Uint8Array(0));
    expect(segment).toMatchObject({
      ok: true,
      value: { options: [{ kind: "window-scale", shift: 7 }, { kind: "nop" }] },
    });
  });

  it("cover a routing header's last address with the checksum while segments are left", () => {
    const list = Uint8Array.from([0, 0, 0, 0, 0xfd, ...new Array(14).fill(0), 0x99]);
    const packet = udp({ ...v6, sport: 1, dport: 2, extensions: [routingHeader(2, 1, list)] });
    const sum = (dst: readonly number[]): number => pseudoHeaderSum([0xfd000000, 0, 0, 1], dst, 17, 8);
    expect(checksumHolds(packet, 64, 72, sum([0xfd000000, 0, 0, 0x99]))).toBe(true);
    expect(checksumHolds(packet, 64, 72, sum([0xfd000000, 0, 0, 2]))).toBe(false);
  });

  it("write wrong checksums and lengths when they are told to", () => {
    const bad = udp({
      ...v4,
      sport: 1,
      dport: 2,
      overrides: { checksum: 0x1234, length: 5 },
      ipOverrides: { checksum: 0x5678, totalLength: 27, headerWords: 6 },
    });
    expect([readU16(bad, 26), readU16(bad, 24), readU16(bad, 10), readU16(bad, 2), bad[0]]).toEqual([
      0x1234, 5, 0x5678, 27, 0x46,
    ]);
    expect(readU16(udp({ ...v6, sport: 1, dport: 2, ipOverrides: { payloadLength: 3 } }), 4)).toBe(3);
    expect(
      readU16(icmp({ ...v4, type: 8, code: 0, rest: 0, data: new Uint8Array(0), checksum: 9 }), 22),
    ).toBe(9);
    const chunks = [{ kind: "cookie-ack" }] as const;
    expect(
      hex(
        sctp({ ...v4, sport: 1, dport: 2, verificationTag: 0, chunks, overrides: { checksum: 1 } }).slice(
          28,
          32,
        ),
      ),
    ).toBe("01000000");
  });

  it("refuse ends of two families, and what is no address", () => {
    expect(() => udp({ src: "10.0.0.1", dst: "fd00::1", sport: 1, dport: 2 })).toThrow(/families/);
    expect(() => udp({ src: "10.0.0", dst: "10.0.0.1", sport: 1, dport: 2 })).toThrow(
      /not an address: 10.0.0/,
    );
    expect(() => icmpError(udp({ ...v4, sport: 1, dport: 2 }), "fd00::1", 1, 4)).toThrow(/own family/);
    expect(() => icmpError(new Uint8Array(3), "10.0.0.1", 3, 3)).toThrow(/own family/);
  });

  it("cut what an error carries: 576 bytes of IPv4 in all, 1280 of IPv6", () => {
    const payload = new Uint8Array(1400);
    const sent4 = udp({ ...v4, sport: 1, dport: 2, payload });
    const sent6 = udp({ ...v6, sport: 1, dport: 2, payload });
    expect(icmpError(sent4, v4.dst, 3, 3).length).toBe(576);
    expect(icmpError(sent6, v6.dst, 1, 4).length).toBe(1280);
  });

  it("put a frame around a packet, tags outermost first", () => {
    const packet = udp({ ...v6, sport: 1, dport: 2 });
    const tagged = frame(packet, {
      ...macs,
      vlans: [
        { id: 5, protocol: 0x88a8 },
        { id: 6, priority: 7 },
      ],
    });
    const result = parseEthernet(tagged);
    expect(result).toMatchObject({ ok: true, value: { headerSize: 22, repr: { etherType: 0x86dd } } });
    expect(hex(tagged.slice(12, 22))).toBe("88a800058100e00686dd");
    expect(tagged.slice(22)).toEqual(packet);
  });
});

describe("fragments", () => {
  it("law: joined by their offsets they are the datagram that was split, each within the MTU", () => {
    const family = fc.constantFrom(4 as const, 6 as const);
    fc.assert(
      fc.property(family, data(600, 1), fc.integer({ min: 100, max: 400 }), (which, payload, mtu) => {
        const ends = which === 4 ? v4 : v6;
        const whole = ipPacket({ ...ends, protocol: 253, payload });
        const parts = fragment(whole, mtu, 77);
        const joined = new Uint8Array(payload.length);
        parts.forEach((part, i) => {
          expect(part.length).toBeLessThanOrEqual(mtu);
          const { offset, more, body, identification } = read(part);
          expect(identification).toBe(77);
          expect(more).toBe(i < parts.length - 1);
          if (more) expect(body.length % 8).toBe(0);
          joined.set(body, offset);
        });
        expect(joined).toEqual(payload);
      }),
    );
  });

  it("carry the options that are to be copied, the first one all of them (RFC 791)", () => {
    const options = [
      { type: 148, data: new Uint8Array(2) }, // router alert: copied
      { type: 7, data: new Uint8Array(5) }, // record route: not
      { type: 1, data: new Uint8Array(0) },
    ];
    const packet = ipPacket({
      ...v4,
      protocol: 253,
      payload: new Uint8Array(100),
      ipOptions: emitIpv4Options(options),
    });
    const types = fragment(packet, 76).map((part) => {
      const ip = parseIpv4(part);
      const read = parseIpv4Options(ip.ok ? ip.value.options : new Uint8Array(0));
      return read.ok ? read.value.map(({ type }) => type) : [];
    });
    expect(types).toEqual([[148, 7, 1], [148], [148]]);
  });

  it("repeat IPv6 headers up to routing, and carry the others as data (RFC 8200 section 4.5)", () => {
    const extensions = [optionsHeader(0), routingHeader(2, 0, new Uint8Array(20)), optionsHeader(60)];
    const packet = ipPacket({ ...v6, protocol: 253, payload: new Uint8Array(100), extensions });
    const parts = fragment(packet, 160);
    expect(parts.length).toBe(2);
    const [first, second] = parts.map((part) => walkExtensions(part, 0, part.length));
    expect(first).toMatchObject({ ok: true, value: { fragmentAt: 72, protocol: 253, offset: 88 } });
    expect(second).toMatchObject({ ok: true, value: { fragmentAt: 72, protocol: 60, offset: 80 } });
  });

  it("are made of whole packets alone", () => {
    for (const ends of [v4, v6]) {
      const [first] = fragment(ipPacket({ ...ends, protocol: 253, payload: new Uint8Array(200) }), 160);
      expect(() => fragment(first as Uint8Array, 100)).toThrow(/whole packet/);
      expect(() => fragment(ipPacket({ ...ends, protocol: 253, payload: new Uint8Array(9) }), 20)).toThrow(
        /no room/,
      );
    }
  });
});

function read(part: Uint8Array): {
  readonly offset: number;
  readonly more: boolean;
  readonly body: Uint8Array;
  readonly identification: number;
} {
  const ip = parseIpv4(part);
  if (ip.ok) {
    const { fragmentOffset, moreFragments, payload, identification } = ip.value;
    return { offset: fragmentOffset, more: moreFragments, body: payload, identification };
  }
  const ip6 = parseIpv6(part);
  const walk = walkExtensions(part, 0, part.length);
  if (!ip6.ok || !walk.ok) throw new Error("not a fragment");
  const identification = readU16(part, walk.value.fragmentAt + 6);
  const { fragmentOffset, moreFragments } = walk.value;
  return { offset: fragmentOffset, more: moreFragments, body: ip6.value.payload, identification };
}
