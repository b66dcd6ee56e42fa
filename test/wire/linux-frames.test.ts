/** What Linux sent, read field by field; and our builders and emitters make the very same bytes from what was read. */
import { describe, expect, it } from "vitest";
import {
  checksumHolds,
  EtherType,
  emitArp,
  emitEthernet,
  IpProtocol,
  Ipv4Field,
  isValidNdp,
  parseArp,
  parseEthernet,
  parseIcmp,
  parseIpv4,
  parseIpv6,
  parseNdp,
  parseTcp,
  parseUdp,
  printFrame,
  pseudoHeaderSum,
  readOffender,
  sizeEthernet,
} from "../../src/wire/index.ts";
import { recomputed } from "../packet/recomputed.ts";
import { type LinuxFrameName, linuxFrames } from "./linux-frames.ts";

const names = Object.keys(linuxFrames) as readonly LinuxFrameName[];
const bytesOf = (name: LinuxFrameName): Uint8Array =>
  Uint8Array.from(Buffer.from(linuxFrames[name].hex, "hex"));

function packetOf(name: LinuxFrameName): Uint8Array {
  const frame = bytesOf(name);
  const ethernet = parseEthernet(frame);
  if (!ethernet.ok) throw new Error(ethernet.fault);
  return frame.slice(ethernet.value.headerSize);
}

function value<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: string },
): T {
  if (!result.ok) throw new Error(result.fault);
  return result.value;
}

describe("frames of Linux", () => {
  it.each(names)("%s prints as tcpdump prints it", (name) => {
    expect(printFrame(bytesOf(name))).toBe(linuxFrames[name].line);
  });

  it.each(names)("%s, read and written again, is the same bytes, checksums included", (name) => {
    expect(Buffer.from(rewrite(bytesOf(name))).toString("hex")).toBe(linuxFrames[name].hex);
  });

  it("an ARP request asks for an address of nobody known", () => {
    expect(value(parseArp(packetOf("arpRequest")))).toEqual({
      operation: 1,
      senderMac: [2, 0, 0, 0, 0, 0x0a],
      senderIp: 0x0a000001,
      targetMac: [0, 0, 0, 0, 0, 0],
      targetIp: 0x0a000002,
    });
  });

  it("a SYN over IPv4 carries Linux' five options", () => {
    const ip = value(parseIpv4(packetOf("tcpSyn4")));
    expect(ip).toMatchObject({ dontFragment: true, moreFragments: false, identification: 0x3f94, ttl: 64 });
    expect(ip).toMatchObject({ src: 0x0a000001, dst: 0x0a000002, protocol: IpProtocol.tcp });
    expect(value(parseTcp(ip.payload))).toEqual({
      sport: 51088,
      dport: 8080,
      seq: 4117607438,
      ack: 0,
      flags: 0x02,
      window: 64240,
      urgent: 0,
      options: [
        { kind: "mss", bytes: 1460 },
        { kind: "sack-permitted" },
        { kind: "timestamps", value: 2243147468, echo: 0 },
        { kind: "nop" },
        { kind: "window-scale", shift: 10 },
      ],
      payload: new Uint8Array(0),
    });
  });

  it("data over IPv6 is under a flow label", () => {
    const ip = value(parseIpv6(packetOf("tcpData6")));
    expect(ip).toMatchObject({ flowLabel: 0xb3cd9, trafficClass: 0, hopLimit: 64, extensions: [] });
    expect(new TextDecoder().decode(value(parseTcp(ip.payload)).payload)).toBe("ping");
  });

  it("a listener report stands behind a hop-by-hop header with a router alert", () => {
    const ip = value(parseIpv6(packetOf("listenerReport")));
    expect(ip.extensions).toEqual([{ type: 0, body: Uint8Array.of(0, 5, 2, 0, 0, 1, 0) }]);
    expect(value(parseIcmp(ip.payload))).toMatchObject({ type: 143, rest: 2 });
  });

  it("a port unreachable names the datagram that it is about, in both families", () => {
    const data4 = value(parseIcmp(value(parseIpv4(packetOf("portUnreachable4"))).payload)).data;
    expect(readOffender(data4)).toEqual({ family: 4, srcAt: 12, dstAt: 16, protocol: 17, transportAt: 20 });
    expect(value(parseUdp(data4, 20))).toMatchObject({ sport: 37385, dport: 9999 });
    const data6 = value(parseIcmp(value(parseIpv6(packetOf("portUnreachable6"))).payload)).data;
    expect(readOffender(data6)).toEqual({ family: 6, srcAt: 8, dstAt: 24, protocol: 17, transportAt: 40 });
    expect(value(parseUdp(data6, 40))).toMatchObject({ sport: 50462, dport: 9999 });
  });

  it.each(["routerSolicitation", "neighborSolicitation", "neighborAdvertisement"] as const)(
    "a receiver believes the %s",
    (name) => {
      const ip = value(parseIpv6(packetOf(name)));
      const icmp = value(parseIcmp(ip.payload));
      expect(isValidNdp(icmp, ip)).toBe(true);
      expect(isValidNdp(icmp, { ...ip, hopLimit: 254 })).toBe(false);
      expect(isValidNdp({ ...icmp, code: 1 }, ip)).toBe(false);
      expect(isValidNdp({ ...icmp, data: icmp.data.slice(0, -1) }, ip)).toBe(false);
    },
  );

  it("an advertisement is solicited, overrides, and names its link address", () => {
    const icmp = value(parseIcmp(value(parseIpv6(packetOf("neighborAdvertisement"))).payload));
    expect(value(parseNdp(icmp))).toEqual({
      kind: "neighbor-advertisement",
      flags: 0x60,
      target: [0xfd000000, 0, 0, 2],
      options: [{ type: 2, data: Uint8Array.of(2, 0, 0, 0, 0, 0x0b) }],
    });
  });

  it.each(names.filter((name) => !name.startsWith("arp")))(
    "%s has the checksums that we would check",
    (name) => {
      const packet = packetOf(name);
      if (packet[0]! >>> 4 === 4) expect(checksumHolds(packet, 0, 20)).toBe(true);
      const { protocol, payload, src, dst } = network(packet);
      const pseudo = protocol === IpProtocol.icmp ? 0 : pseudoHeaderSum(src, dst, protocol, payload.length);
      expect(checksumHolds(payload, 0, payload.length, pseudo)).toBe(true);
      expect(checksumHolds(payload, 0, payload.length, pseudo + 1)).toBe(false);
    },
  );
});

function network(packet: Uint8Array): {
  readonly protocol: number;
  readonly payload: Uint8Array;
  readonly src: readonly number[];
  readonly dst: readonly number[];
} {
  if (packet[0]! >>> 4 === 6) return value(parseIpv6(packet));
  const { protocol, payload, src, dst } = value(parseIpv4(packet));
  return { protocol, payload, src: [src], dst: [dst] };
}

/** Every layer through its own parse and emit; nothing is copied but payloads. */
function rewrite(frame: Uint8Array): Uint8Array {
  const { repr, headerSize } = value(parseEthernet(frame));
  const bytes = new Uint8Array(frame.length).fill(0xa5);
  expect(emitEthernet(repr, bytes)).toBe(headerSize);
  expect(sizeEthernet(repr)).toBe(headerSize);
  if (repr.etherType === EtherType.arp) emitArp(value(parseArp(frame, headerSize)), bytes, headerSize);
  else bytes.set(recomputed(frame.slice(headerSize)), headerSize);
  return bytes;
}

it("the frames show both families, requests and errors", () => {
  const types = names.map((name) => parseEthernet(bytesOf(name))).map((one) => value(one).repr.etherType);
  expect(new Set(types)).toEqual(new Set([EtherType.arp, EtherType.ipv4, EtherType.ipv6]));
  expect(packetOf("portUnreachable4")[Ipv4Field.tos]).toBe(0xc0);
});
