/** Edits: after any sequence of them every checksum is what summing anew gives, and the columns say what the bytes do. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  append,
  createBatch,
  DecodeStatus,
  decodeRow,
  decrementTtl,
  fragment,
  icmpEcho,
  icmpError,
  type PacketBatch,
  rowBytes,
  sctp,
  setAddress,
  setDscp,
  setEmbedded,
  setIcmpIdentifier,
  setPort,
  setTos,
  setTtl,
  tcp,
  udp,
} from "../../src/packet/index.ts";
import {
  checksumHolds,
  crc32c,
  IpProtocol,
  optionsHeader,
  parseIpv4,
  parseIpv6,
  pseudoHeaderSum,
  readCrc32c,
  readU16,
} from "../../src/wire/index.ts";
import { runs } from "../runs.ts";
import { u8, u16, u32, words6 } from "../wire/arbitraries.ts";
import { randomPackets } from "./random-packets.ts";
import { recomputed } from "./recomputed.ts";

function rowOf(packet: Uint8Array): PacketBatch {
  const batch = createBatch(1, 2000);
  batch.bytes.fill(0xa5);
  append(batch, packet);
  decodeRow(batch, 0);
  return batch;
}

type Edit =
  | { readonly kind: "address"; readonly side: "src" | "dst"; readonly words: readonly number[] }
  | { readonly kind: "port"; readonly side: "src" | "dst"; readonly port: number }
  | { readonly kind: "ttl" }
  | { readonly kind: "ttl-to"; readonly ttl: number }
  | { readonly kind: "tos"; readonly tos: number }
  | { readonly kind: "dscp"; readonly dscp: number };

const side = fc.constantFrom("src" as const, "dst" as const);
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ kind: fc.constant("address" as const), side, words: words6 }),
  fc.record({ kind: fc.constant("port" as const), side, port: u16 }),
  fc.constant<Edit>({ kind: "ttl" }),
  fc.record({ kind: fc.constant("ttl-to" as const), ttl: u8 }),
  fc.record({ kind: fc.constant("tos" as const), tos: u8 }),
  fc.record({ kind: fc.constant("dscp" as const), dscp: fc.nat(63) }),
);

function apply(batch: PacketBatch, one: Edit): void {
  const protocol = batch.protocol[0]!;
  switch (one.kind) {
    case "address":
      setAddress(batch, 0, one.side, batch.family[0] === 4 ? one.words.slice(0, 1) : one.words);
      break;
    case "port":
      if ([IpProtocol.icmp, IpProtocol.icmpv6].some((icmp) => icmp === protocol))
        setIcmpIdentifier(batch, 0, one.port);
      else if ([6, 17, 132].includes(protocol)) setPort(batch, 0, one.side, one.port);
      break;
    case "ttl":
      decrementTtl(batch, 0);
      break;
    case "ttl-to":
      setTtl(batch, 0, one.ttl);
      break;
    case "tos":
      setTos(batch, 0, one.tos);
      break;
    case "dscp":
      setDscp(batch, 0, one.dscp);
      break;
  }
}

function expectColumnsInStep(batch: PacketBatch): void {
  const again = rowOf(rowBytes(batch, 0).slice());
  for (const name of [
    "status",
    "family",
    "protocol",
    "src",
    "dst",
    "sport",
    "dport",
    "tcpFlags",
    "transport",
  ] as const)
    expect([...batch[name]], name).toEqual([...again[name]]);
}

describe("edits", () => {
  it("law: after any sequence of edits, checksums equal a full recomputation and columns the bytes", () => {
    fc.assert(
      fc.property(randomPackets, fc.array(edit, { maxLength: 8 }), ({ bytes }, edits) => {
        const batch = rowOf(bytes);
        for (const one of edits) apply(batch, one);
        expect(rowBytes(batch, 0)).toEqual(recomputed(rowBytes(batch, 0)));
        expectColumnsInStep(batch);
      }),
      runs(1000),
    );
  });

  it("law: an edit and its reverse leave the very bytes", () => {
    fc.assert(
      fc.property(randomPackets, side, words6, u16, ({ bytes }, which, words, port) => {
        const batch = rowOf(bytes);
        const lanes = batch.family[0] === 4 ? 1 : 4;
        const column = which === "src" ? batch.src : batch.dst;
        const before = [...column.subarray(0, lanes)];
        setAddress(batch, 0, which, words.slice(0, lanes));
        setAddress(batch, 0, which, before);
        if ([6, 17, 132].includes(batch.protocol[0]!)) {
          const old = (which === "src" ? batch.sport : batch.dport)[0]!;
          setPort(batch, 0, which, port);
          setPort(batch, 0, which, old);
        }
        expect(rowBytes(batch, 0)).toEqual(bytes);
      }),
    );
  });

  it("law: a wrong checksum stays wrong by the same amount, as in the kernel's NAT", () => {
    const ends = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1, dport: 2 };
    fc.assert(
      fc.property(u32, u16, fc.integer({ min: 1, max: 0xfffe }), (word, port, error) => {
        const batch = rowOf(tcp({ ...ends, flags: 2, overrides: { checksum: wrongBy(error) } }));
        setAddress(batch, 0, "dst", [word]);
        setPort(batch, 0, "src", port);
        const packet = rowBytes(batch, 0);
        expect(checksumHolds(packet, 0, 20)).toBe(true);
        const right = recomputed(packet);
        expect(onesDifference(readU16(packet, 36), readU16(right, 36))).toBe(error);
      }),
    );
    function wrongBy(error: number): number {
      return (readU16(tcp({ ...ends, flags: 2 }), 36) + error) % 0xffff;
    }
  });

  it("leave a UDP checksum of zero, which means none, alone", () => {
    const batch = rowOf(
      udp({ src: "10.0.0.1", dst: "10.0.0.2", sport: 1, dport: 2, overrides: { checksum: 0 } }),
    );
    setAddress(batch, 0, "src", [0xc0a80001]);
    setPort(batch, 0, "dst", 5353);
    expect(readU16(rowBytes(batch, 0), 26)).toBe(0);
    expect(checksumHolds(rowBytes(batch, 0), 0, 20)).toBe(true);
  });

  it("send a UDP checksum that comes out as zero as all ones", () => {
    const ends = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1 };
    const at1 = readU16(udp({ ...ends, dport: 1 }), 26);
    const batch = rowOf(udp({ ...ends, dport: 1 }));
    setPort(batch, 0, "dst", 1 + at1); // adds exactly what was missing to zero
    expect(readU16(rowBytes(batch, 0), 26)).toBe(0xffff);
    setPort(batch, 0, "dst", 1);
    expect(readU16(rowBytes(batch, 0), 26)).toBe(at1);
  });

  it("keep a broken CRC32c of SCTP broken", () => {
    const fields = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1, dport: 2, verificationTag: 3 };
    const batch = rowOf(
      sctp({ ...fields, chunks: [{ kind: "cookie-ack" }], overrides: { checksum: 0x12345678 } }),
    );
    setPort(batch, 0, "dst", 99);
    expect(readCrc32c(rowBytes(batch, 0), 28)).toBe(0x12345678);
  });

  it("keep the checksum of a fragmented datagram right for the whole", () => {
    for (const ends of [
      { src: "10.0.0.1", dst: "10.0.0.2", to: [0xc0a80102] },
      { src: "fd00::1", dst: "fd00::2", to: [0xfd000000, 0, 0, 0x99] },
    ]) {
      const { to, ...fields } = ends;
      const parts = fragment(
        udp({ ...fields, sport: 1, dport: 2, payload: new Uint8Array(300).fill(7) }),
        200,
      );
      const edited = parts.map((part) => {
        const batch = rowOf(part);
        setAddress(batch, 0, "dst", to);
        return rowBytes(batch, 0);
      });
      const payloads = edited.map((part) => {
        const ip = to.length === 1 ? parseIpv4(part) : parseIpv6(part);
        return ip.ok ? ip.value.payload : new Uint8Array(0);
      });
      const whole = Uint8Array.from(payloads.flatMap((part) => [...part]));
      const src = to.length === 1 ? [0x0a000001] : [0xfd000000, 0, 0, 1];
      expect(checksumHolds(whole, 0, whole.length, pseudoHeaderSum(src, to, 17, whole.length))).toBe(true);
    }
  });

  it("stop a packet whose TTL or hop limit would reach zero, and change nothing", () => {
    for (const ends of [
      { src: "10.0.0.1", dst: "10.0.0.2" },
      { src: "fd00::1", dst: "fd00::2" },
    ])
      for (const ttl of [0, 1]) {
        const packet = udp({ ...ends, sport: 1, dport: 2, ttl });
        const batch = rowOf(packet);
        expect(decrementTtl(batch, 0)).toBe(false);
        expect(rowBytes(batch, 0)).toEqual(packet);
      }
  });

  it("set the DSCP and leave ECN and flow label alone", () => {
    const v4 = rowOf(udp({ src: "10.0.0.1", dst: "10.0.0.2", sport: 1, dport: 2, tos: 0x03 }));
    setDscp(v4, 0, 46);
    expect(rowBytes(v4, 0)[1]).toBe(0xbb);
    const v6 = rowOf(
      udp({ src: "fd00::1", dst: "fd00::2", sport: 1, dport: 2, tos: 0x01, flowLabel: 0xabcde }),
    );
    setDscp(v6, 0, 46);
    expect(parseIpv6(rowBytes(v6, 0))).toMatchObject({
      ok: true,
      value: { trafficClass: 0xb9, flowLabel: 0xabcde },
    });
  });

  it("set all of TOS or traffic class, and any TTL or hop limit", () => {
    const v4 = rowOf(udp({ src: "10.0.0.1", dst: "10.0.0.2", sport: 1, dport: 2 }));
    const v6 = rowOf(udp({ src: "fd00::1", dst: "fd00::2", sport: 1, dport: 2, flowLabel: 0xabcde }));
    for (const batch of [v4, v6]) {
      setTos(batch, 0, 0xb9);
      setTtl(batch, 0, 7);
    }
    expect(parseIpv4(rowBytes(v4, 0))).toMatchObject({ ok: true, value: { tos: 0xb9, ttl: 7 } });
    expect(parseIpv6(rowBytes(v6, 0))).toMatchObject({
      ok: true,
      value: { trafficClass: 0xb9, hopLimit: 7, flowLabel: 0xabcde },
    });
  });

  it("are refused where there is nothing to edit: programmer's errors", () => {
    const later = fragment(
      udp({ src: "10.0.0.1", dst: "10.0.0.2", sport: 1, dport: 2, payload: new Uint8Array(99) }),
      68,
    );
    const batch = rowOf(later[1] as Uint8Array);
    expect(batch.status[0]).toBe(DecodeStatus.laterFragment);
    expect(() => setPort(batch, 0, "src", 1)).toThrow(/without transport header/);
    expect(() => setIcmpIdentifier(batch, 0, 1)).toThrow(/without ICMP header/);
    expect(() => setAddress(batch, 0, "src", [1, 2, 3, 4])).toThrow(/family/);
    batch.status[0] = DecodeStatus.dirty;
    expect(() => setAddress(batch, 0, "src", [1])).toThrow(/undecoded/);
  });
});

describe("edits of the packet inside an ICMP error", () => {
  /** Errors about random packets; TTL 64, so that the inner packet is as its sender made it. */
  const errors = fc
    .tuple(randomPackets, fc.integer({ min: 8, max: 80 }), fc.boolean())
    .map(([{ bytes, family }, kept, isCut]) => {
      const header = family === 4 ? 20 : transportOffset(bytes);
      const offending = isCut ? bytes.slice(0, header + kept) : bytes;
      return family === 4 ? icmpError(offending, "10.9.9.9", 3, 3) : icmpError(offending, "fd00::9:9", 1, 4);
    });

  it("law: the error's checksum holds, and of the carried packet each that was not cut off", () => {
    fc.assert(
      fc.property(errors, fc.array(fc.tuple(side, words6, u16), { maxLength: 4 }), (packet, edits) => {
        const batch = rowOf(packet);
        for (const [which, words, port] of edits)
          setEmbedded(batch, 0, which, batch.family[0] === 4 ? words.slice(0, 1) : words, port);
        const after = rowBytes(batch, 0);
        expect(after).toEqual(recomputed(after)); // the error's own sums
        const icmpAt = batch.transport[0]!;
        const inner = after.slice(icmpAt + 8);
        const stated = batch.family[0] === 4 ? readU16(inner, 2) : 40 + readU16(inner, 4);
        if (batch.family[0] === 4) expect(checksumHolds(inner, 0, 20)).toBe(true);
        if (inner.length >= stated) expect(inner).toEqual(recomputed(inner));
      }),
      runs(500),
    );
  });

  it("write the side that they are asked for, and nothing behind a cut", () => {
    const offending = tcp({ src: "10.0.0.1", dst: "10.0.0.2", sport: 40000, dport: 80, flags: 2 });
    const batch = rowOf(icmpError(offending.slice(0, 28), "10.0.0.9", 3, 3));
    batch.bytes.fill(0xa5, batch.used);
    setEmbedded(batch, 0, "dst", [0xc0a80001], 8080);
    const ip = parseIpv4(rowBytes(batch, 0));
    const inner = ip.ok ? ip.value.payload.slice(8) : new Uint8Array(0);
    expect([readU16(inner, 16), readU16(inner, 18)]).toEqual([0xc0a8, 0x0001]);
    expect([readU16(inner, 20), readU16(inner, 22)]).toEqual([40000, 8080]);
    expect(batch.bytes.subarray(batch.used).every((byte) => byte === 0xa5)).toBe(true);
  });

  it("find ports behind the carried packet's extension headers", () => {
    const ends = { src: "fd00::1", dst: "fd00::2", sport: 1, dport: 2 };
    const batch = rowOf(icmpError(udp({ ...ends, extensions: [optionsHeader(60)] }), "fd00::9", 1, 4));
    setEmbedded(batch, 0, "src", [0xfd000000, 0, 0, 5], 4000);
    const inner = rowBytes(batch, 0).slice(48);
    expect(readU16(inner, 48)).toBe(4000);
    expect(inner).toEqual(recomputed(inner));
  });

  it("rewrite the identifier of a carried echo on either side", () => {
    const echo = icmpEcho({ src: "10.0.0.1", dst: "10.0.0.2", identifier: 7, sequence: 1 });
    for (const which of ["src", "dst"] as const) {
      const batch = rowOf(icmpError(echo, "10.0.0.9", 11, 0));
      setEmbedded(batch, 0, which, [0x0a000005], 99);
      const inner = rowBytes(batch, 0).slice(28);
      expect(readU16(inner, 24)).toBe(99);
      expect(inner).toEqual(recomputed(inner));
    }
  });

  it("make the CRC32c of a whole carried SCTP packet anew", () => {
    const fields = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1, dport: 2, verificationTag: 3 };
    const batch = rowOf(icmpError(sctp({ ...fields, chunks: [{ kind: "cookie-ack" }] }), "10.0.0.9", 3, 3));
    setEmbedded(batch, 0, "src", [0x0a000005], 99);
    const inner = rowBytes(batch, 0).slice(28);
    expect(readCrc32c(inner, 28)).toBe(crc32c(inner, 20, inner.length, 28));
  });
});

/** (a - b) in one's complement, as the sums that checksums negate: how far `a` is behind. */
function onesDifference(a: number, b: number): number {
  return (((a - b) % 0xffff) + 0xffff) % 0xffff;
}

function transportOffset(packet: Uint8Array): number {
  const ip = parseIpv6(packet);
  return ip.ok ? packet.length - ip.value.payload.length : 40;
}
