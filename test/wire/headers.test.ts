/** Edges of the network and transport headers that Linux' frames do not show: tags, options, extensions, faults. */
import { describe, expect, it } from "vitest";
import {
  authenticationHeader,
  EtherType,
  emitEthernet,
  emitIpv4,
  emitIpv4Options,
  emitIpv6,
  emitTcp,
  emitUdp,
  extensionSize,
  finalDestination,
  fragmentHeader,
  type Ipv6Repr,
  isValidNdp,
  NdpOptionType,
  type NdpRepr,
  ndpMessage,
  optionsHeader,
  parseArp,
  parseEthernet,
  parseIcmp,
  parseIpv4,
  parseIpv4Options,
  parseIpv6,
  parseNdp,
  parseTcp,
  parseUdp,
  protocolName,
  protocolNumber,
  readOffender,
  routingHeader,
  sizeIpv6,
  walkExtensions,
} from "../../src/wire/index.ts";

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
const hex = (block: Uint8Array): string => Buffer.from(block).toString("hex");

describe("Ethernet", () => {
  const qinq = bytes("0200 0000 0002 0200 0000 0001 88a8 7064 8100 a007 0800 45");

  it("reads a service tag and a customer tag, outermost first", () => {
    expect(parseEthernet(qinq)).toEqual({
      ok: true,
      value: {
        headerSize: 22,
        repr: {
          dst: [2, 0, 0, 0, 0, 2],
          src: [2, 0, 0, 0, 0, 1],
          vlans: [
            { protocol: EtherType.serviceVlan, priority: 3, dropEligible: true, id: 100 },
            { protocol: EtherType.vlan, priority: 5, dropEligible: false, id: 7 },
          ],
          etherType: EtherType.ipv4,
        },
      },
    });
  });

  it("writes what it read", () => {
    const result = parseEthernet(qinq);
    const written = new Uint8Array(23).fill(0x45);
    if (result.ok) expect(emitEthernet(result.value.repr, written)).toBe(22);
    expect(hex(written)).toBe(hex(qinq));
  });

  it("leaves a third tag to the payload", () => {
    const result = parseEthernet(bytes("020000000002 020000000001 8100 0001 8100 0002 8100 0003 0800"));
    expect(result).toMatchObject({
      ok: true,
      value: { headerSize: 22, repr: { etherType: EtherType.vlan } },
    });
  });

  it("is truncated inside a tag", () => {
    expect(parseEthernet(qinq.slice(0, 17))).toEqual({ ok: false, fault: "truncated" });
  });
});

describe("ARP", () => {
  it("of other hardware or protocols is a fault", () => {
    const token = bytes("0006 0800 06 04 0001 02000000000a 0a000001 000000000000 0a000002");
    expect(parseArp(token)).toEqual({ ok: false, fault: "bad-type" });
  });
});

describe("IPv4", () => {
  const header = "45000014 00000000 40060000 0a000001 0a000002";
  it.each([
    ["cut before its addresses", header.slice(0, 35), "truncated"],
    ["of another version", header.replace("45", "65"), "bad-version"],
    ["with a header of four words", header.replace("45", "44"), "bad-length"],
    ["shorter than its header", header.replace("0014", "0013"), "bad-length"],
    ["longer than the bytes", header.replace("0014", "0015"), "truncated"],
    ["with options beyond its total length", header.replace("45", "46"), "bad-length"],
  ])("%s is a fault", (_, text, fault) => {
    expect(parseIpv4(bytes(text))).toEqual({ ok: false, fault });
  });

  it("takes bytes behind its total length for padding of the link", () => {
    const result = parseIpv4(bytes(`${header} 0000000000`));
    expect(result).toMatchObject({ ok: true, value: { payload: new Uint8Array(0) } });
  });

  it("reads fragment fields in bytes", () => {
    const result = parseIpv4(bytes("45000014 00072003 40110000 0a000001 0a000002"));
    expect(result).toMatchObject({
      ok: true,
      value: { identification: 7, moreFragments: true, dontFragment: false, fragmentOffset: 24 },
    });
  });

  it("writes wrong fields when it is told to", () => {
    const repr = {
      tos: 0,
      identification: 0,
      dontFragment: false,
      moreFragments: false,
      fragmentOffset: 0,
      ttl: 1,
      protocol: 6,
      src: 1,
      dst: 2,
      options: new Uint8Array(0),
      payload: new Uint8Array(0),
    };
    const written = new Uint8Array(20).fill(0xa5);
    emitIpv4(repr, written, 0, { checksum: 0xbeef, totalLength: 9, headerWords: 15 });
    expect(hex(written)).toBe("4f000009000000000106beef0000000100000002");
    expect(() => emitIpv4({ ...repr, options: new Uint8Array(3) }, written)).toThrow(/whole words/);
    expect(() => emitIpv4({ ...repr, options: new Uint8Array(44) }, written)).toThrow(/at most ten/);
  });

  it("has options: router alert, record route, and an end that is padding (RFC 2113, RFC 791)", () => {
    const raw = bytes("94040000 0707040a 00000100");
    const options = [
      { type: 148, data: bytes("0000") },
      { type: 7, data: bytes("040a000001") },
      { type: 0, data: bytes("") },
    ];
    expect(parseIpv4Options(raw)).toEqual({ ok: true, value: options });
    expect(hex(emitIpv4Options(options))).toBe(hex(raw));
    expect(parseIpv4Options(bytes("00ff00ff"))).toEqual({ ok: true, value: [{ type: 0, data: bytes("") }] });
    for (const wrong of ["0701", "0709", "07", "010100ff".replace("00ff", "8301")])
      expect(parseIpv4Options(bytes(wrong))).toEqual({ ok: false, fault: "bad-length" });
  });
});

const repr6: Ipv6Repr = {
  trafficClass: 0xb8,
  flowLabel: 0x12345,
  hopLimit: 64,
  src: [0xfd000000, 0, 0, 1],
  dst: [0xfd000000, 0, 0, 2],
  extensions: [],
  protocol: 59,
  payload: new Uint8Array(0),
};

function bytes6(repr: Partial<Ipv6Repr>): Uint8Array {
  const whole = { ...repr6, ...repr };
  const written = new Uint8Array(sizeIpv6(whole)).fill(0xa5);
  emitIpv6(whole, written);
  return written;
}

describe("IPv6", () => {
  it("packs version, class and flow label into the first word", () => {
    expect(hex(bytes6({})).slice(0, 16)).toBe("6b81234500003b40");
  });

  it("builds each extension header as its RFC draws it", () => {
    expect(hex(optionsHeader(0).body)).toBe("00010400000000");
    expect(hex(optionsHeader(0, [{ type: 5, data: bytes("0000") }]).body)).toBe("00050200000100");
    expect(hex(optionsHeader(60, [{ type: 30, data: bytes("010203") }]).body)).toBe("001e0301020300");
    expect(hex(fragmentHeader(1448, true, 0x01020304).body)).toBe("0005a901020304");
    expect(hex(routingHeader(2, 1, bytes("00000000 fd000000000000000000000000000003")).body)).toBe(
      "02020100000000fd000000000000000000000000000003",
    );
    expect(hex(authenticationHeader(1, 2, new Uint8Array(12).fill(7)).body)).toBe(
      `0400000000000100000002${"07".repeat(12)}`,
    );
  });

  it("walks over all of them to the transport header", () => {
    const extensions = [
      optionsHeader(0),
      optionsHeader(60),
      routingHeader(0, 0, new Uint8Array(4)),
      authenticationHeader(1, 2, new Uint8Array(12)),
      fragmentHeader(0, true, 7),
    ];
    const packet = bytes6({ extensions, protocol: 17, payload: new Uint8Array(8) });
    expect(walkExtensions(packet, 0, packet.length)).toEqual({
      ok: true,
      value: { protocol: 17, offset: 96, fragmentAt: 88, fragmentOffset: 0, moreFragments: true },
    });
  });

  it("stops behind the header of a later fragment, whatever follows", () => {
    const packet = bytes6({
      extensions: [fragmentHeader(8, false, 7)],
      protocol: 60,
      payload: new Uint8Array(8),
    });
    expect(walkExtensions(packet, 0, packet.length)).toMatchObject({
      ok: true,
      value: { protocol: 60, offset: 48, fragmentOffset: 8 },
    });
  });

  it("leaves types that cannot be passed over to the payload", () => {
    for (const type of [59, 50, 135, 139, 140, 253, 255])
      expect(extensionSize(type, new Uint8Array(8), 0)).toBe(0);
  });

  it("is bounded by its payload: the longest chain is read to its end, a headless one is cut", () => {
    const count = 8191; // 65,528 bytes
    const packet = bytes6({ extensions: new Array(count).fill(optionsHeader(60)) });
    expect(walkExtensions(packet, 0, packet.length)).toMatchObject({
      ok: true,
      value: { protocol: 59, offset: 40 + 8 * count },
    });
    packet[packet.length - 7] = 1; // the last one claims another eight bytes
    expect(parseIpv6(packet)).toEqual({ ok: false, fault: "truncated" });
  });

  it.each([
    ["of another version", "45", "bad-version"],
    ["longer than the bytes", "60000000 0001", "truncated"],
  ])("%s is a fault", (_, start, fault) => {
    const packet = bytes6({});
    packet.set(bytes(start));
    expect(parseIpv6(packet)).toEqual({ ok: false, fault });
  });

  it("covers the last address of a routing header with transport checksums, while segments are left", () => {
    const { dst } = repr6;
    const list = bytes("00000000 fd0000000000000000000000000000aa fd0000000000000000000000000000bb");
    const final = (type: number, left: number): readonly number[] =>
      finalDestination({ dst, extensions: [routingHeader(type, left, list)] });
    expect(final(0, 2)).toEqual([0xfd000000, 0, 0, 0xbb]);
    expect(final(4, 1)).toEqual([0xfd000000, 0, 0, 0xaa]);
    expect(final(0, 0)).toEqual(dst);
    expect(final(99, 1)).toEqual(dst);
    expect(finalDestination({ dst, extensions: [] })).toEqual(dst);
  });
});

describe("TCP", () => {
  const header = "9c400050 00000001 00000002 5018faf0 00000000";
  it("ends its options at the first end, and pads with zeros", () => {
    const padded = bytes("9c400050 00000001 00000002 7002faf0 00000000 020405b4 00ffffff");
    const result = parseTcp(padded);
    expect(result).toMatchObject({
      ok: true,
      value: { options: [{ kind: "mss", bytes: 1460 }, { kind: "end" }] },
    });
    const written = new Uint8Array(28).fill(0xa5);
    if (result.ok) emitTcp(result.value, written, 0, 0, { checksum: 0 });
    expect(hex(written.subarray(20))).toBe("020405b400000000");
  });

  it.each([
    ["cut", header.slice(0, 40), "truncated"],
    ["with an offset of four words", header.replace("5018", "4018"), "bad-length"],
    ["with an offset beyond its end", header.replace("5018", "6018"), "truncated"],
    ["with an option of length one", `${header.replace("5018", "6018")}02010000`, "bad-length"],
    ["with an option beyond its header", `${header.replace("5018", "6018")}02050000`, "bad-length"],
    ["with an option that has no length", `${header.replace("5018", "6018")}01010102`, "bad-length"],
  ])("%s is a fault", (_, text, fault) => {
    expect(parseTcp(bytes(text))).toEqual({ ok: false, fault });
  });

  it("refuses more options than a header holds, and lies about its offset when told to", () => {
    const result = parseTcp(bytes(header));
    if (!result.ok) throw new Error(result.fault);
    const sack = { kind: "sack", blocks: new Array<[number, number]>(5).fill([1, 2]) } as const;
    expect(() => emitTcp({ ...result.value, options: [sack] }, new Uint8Array(80), 0, 0)).toThrow(/40 bytes/);
    const written = new Uint8Array(20);
    emitTcp(result.value, written, 0, 0, { headerWords: 15, checksum: 1 });
    expect(hex(written)).toBe("9c4000500000000100000002f018faf000010000");
  });
});

describe("UDP", () => {
  it("sends a computed checksum of zero as all ones", () => {
    const written = new Uint8Array(10);
    const payload = bytes("ffe5"); // 0001 + 0002 + 000a + ffe5 = fff2, and the pseudo header's 000d
    emitUdp({ sport: 1, dport: 2, payload }, written, 0, 0xd);
    expect(hex(written)).toBe("00010002000affffffe5");
  });

  it.each([
    ["shorter than its header", "0001 0002 0007 0000", "bad-length"],
    ["longer than the bytes", "0001 0002 0009 0000", "truncated"],
    ["cut", "0001 0002 0008 00", "truncated"],
  ])("%s is a fault", (_, text, fault) => {
    expect(parseUdp(bytes(text))).toEqual({ ok: false, fault });
  });

  it("takes bytes behind its length for padding", () => {
    expect(parseUdp(bytes("0001 0002 0008 0000 ffff"))).toMatchObject({
      ok: true,
      value: { payload: bytes("") },
    });
  });
});

describe("Neighbor Discovery", () => {
  const link = [0xfe800000, 0, 0, 1];
  const target = [0xfd000000, 0, 0, 2];
  const solicited = [0xff020000, 0, 1, 0xff000002];
  const unspecified = [0, 0, 0, 0];
  const source = { type: NdpOptionType.sourceLinkAddress, data: new Uint8Array(6) };
  const isValid = (repr: NdpRepr, src: readonly number[], dst: readonly number[]): boolean =>
    isValidNdp(ndpMessage(repr), { hopLimit: 255, src, dst });
  const advertisement = {
    kind: "router-advertisement",
    hopLimit: 64,
    flags: 0,
    lifetimeSeconds: 0,
    reachableMs: 0,
    retransmitMs: 0,
    options: [],
  } as const;

  it("routers speak from link-local addresses (RFC 4861 6.1.2, 8.1)", () => {
    expect(isValid(advertisement, link, target)).toBe(true);
    expect(isValid(advertisement, target, target)).toBe(false);
    expect(isValid({ kind: "redirect", target, destination: target, options: [] }, link, target)).toBe(true);
    expect(isValid({ kind: "redirect", target, destination: solicited, options: [] }, link, target)).toBe(
      false,
    );
  });

  it("who has no address yet asks the solicited-node group and names no link address (7.1.1, 6.1.1)", () => {
    const ask = { kind: "neighbor-solicitation", target, options: [] } as const;
    expect(isValid(ask, unspecified, solicited)).toBe(true);
    expect(isValid(ask, unspecified, target)).toBe(false);
    expect(isValid({ ...ask, options: [source] }, unspecified, solicited)).toBe(false);
    expect(isValid({ ...ask, options: [source] }, link, solicited)).toBe(true);
    expect(isValid({ kind: "router-solicitation", options: [source] }, unspecified, solicited)).toBe(false);
  });

  it("nobody asks for, or answers as, a group; an answer to all is not solicited (7.1.2)", () => {
    const answer = { kind: "neighbor-advertisement", flags: 0x60, target, options: [] } as const;
    expect(isValid({ kind: "neighbor-solicitation", target: solicited, options: [] }, link, target)).toBe(
      false,
    );
    expect(isValid(answer, link, target)).toBe(true);
    expect(isValid(answer, link, solicited)).toBe(false);
    expect(isValid({ ...answer, flags: 0x20 }, link, solicited)).toBe(true);
    expect(isValid({ ...answer, target: solicited }, link, target)).toBe(false);
  });

  it("an option of length zero is a fault", () => {
    const { type, code, rest, data } = ndpMessage({ kind: "router-solicitation", options: [source] });
    expect(parseNdp({ type, code, rest, data: Uint8Array.from([...data, 1, 0]) })).toEqual({
      ok: false,
      fault: "bad-length",
    });
    expect(parseNdp({ type: 128, code, rest, data })).toEqual({ ok: false, fault: "bad-type" });
  });
});

describe("the packet inside an error", () => {
  it("is found behind options and extension headers, and has no ports in a later fragment", () => {
    const packet = bytes6({ extensions: [optionsHeader(60)], protocol: 6, payload: new Uint8Array(8) });
    expect(readOffender(packet)).toMatchObject({ family: 6, protocol: 6, transportAt: 48 });
    expect(readOffender(packet, 0, 48)).toMatchObject({ protocol: 6, transportAt: -1 });
    expect(readOffender(packet, 0, 44)).toMatchObject({ protocol: 60, transportAt: -1 });
    expect(readOffender(packet, 0, 39)).toBeUndefined();
    const later = bytes6({
      extensions: [fragmentHeader(8, true, 1)],
      protocol: 6,
      payload: new Uint8Array(8),
    });
    expect(readOffender(later)).toMatchObject({ protocol: 6, transportAt: -1 });
    const v4 = bytes("46000020 00000001 40110000 0a000001 0a000002 01010101 00350035");
    expect(readOffender(v4)).toMatchObject({ family: 4, protocol: 17, transportAt: -1 }); // offset 8
    v4[7] = 0;
    expect(readOffender(v4)).toMatchObject({ transportAt: 24 });
    v4[0] = 0x44;
    expect(readOffender(v4)).toMatchObject({ transportAt: -1 });
    expect(readOffender(bytes("ff"))).toBeUndefined();
  });
});

describe("ICMP", () => {
  it("of fewer than eight bytes is a fault", () => {
    expect(parseIcmp(bytes("08000000000000"))).toEqual({ ok: false, fault: "truncated" });
  });
});

describe("protocol names", () => {
  it("go both ways, with numbers for the rest", () => {
    for (const name of ["icmp", "igmp", "tcp", "udp", "gre", "esp", "ah", "ipv6-icmp", "sctp"])
      expect(protocolName(protocolNumber(name) ?? -1)).toBe(name);
    expect(protocolNumber("ICMPv6")).toBe(58);
    expect(protocolNumber("253")).toBe(253);
    expect(protocolName(253)).toBe("253");
    for (const wrong of ["256", "-1", "tcpp", ""]) expect(protocolNumber(wrong)).toBeUndefined();
  });
});
