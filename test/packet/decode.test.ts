/** Columns from bytes: every kind of packet, every cut of it, and bytes that are no packet at all. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  append,
  clearBatch,
  createBatch,
  DecodeStatus,
  decode,
  decodeRow,
  fragment,
  icmp,
  icmpEcho,
  ipPacket,
  type PacketBatch,
  packetEnd,
  replaceRow,
  rowBytes,
  tcp,
  udp,
  view,
} from "../../src/packet/index.ts";
import {
  emitIpv4Options,
  fragmentHeader,
  optionsHeader,
  parseIpv4,
  parseIpv6,
  printPacket,
  walkExtensions,
} from "../../src/wire/index.ts";
import { runs } from "../runs.ts";
import { corpus } from "./corpus.ts";
import { randomPackets } from "./random-packets.ts";

const v4 = { src: "10.0.0.1", dst: "10.0.0.2", sport: 40000, dport: 80 };
const v6 = { src: "fd00::1", dst: "fd00::2", sport: 40000, dport: 80 };

/** One row, decoded, in a batch whose columns and bytes were full of other things. */
function decoded(packet: Uint8Array): PacketBatch {
  const batch = createBatch(1, 70_000);
  batch.bytes.fill(0xa5);
  for (const column of [batch.family, batch.protocol, batch.tcpFlags, batch.status]) column.fill(0xa5);
  for (const column of [batch.src, batch.dst, batch.sport, batch.dport, batch.transport]) column.fill(0xa5a5);
  append(batch, packet);
  decodeRow(batch, 0);
  return batch;
}

interface Columns {
  readonly status: number;
  readonly family: number;
  readonly protocol: number;
  readonly src: readonly number[];
  readonly dst: readonly number[];
  readonly sport: number;
  readonly dport: number;
  readonly tcpFlags: number;
  readonly transport: number;
}

function columns(batch: PacketBatch, row = 0): Columns {
  return {
    status: batch.status[row]!,
    family: batch.family[row]!,
    protocol: batch.protocol[row]!,
    src: [...batch.src.subarray(row * 4, row * 4 + 4)],
    dst: [...batch.dst.subarray(row * 4, row * 4 + 4)],
    sport: batch.sport[row]!,
    dport: batch.dport[row]!,
    tcpFlags: batch.tcpFlags[row]!,
    transport: batch.transport[row]!,
  };
}

/** What the columns must be, by way of the parsers, which share no code with decode but the fields' places. */
function expected(packet: Uint8Array): Columns {
  const nothing = { sport: 0, dport: 0, tcpFlags: 0, transport: 0 };
  const none = { ...nothing, family: 0, protocol: 0, src: [0, 0, 0, 0], dst: [0, 0, 0, 0] };
  const [ip4, ip6] = [parseIpv4(packet), parseIpv6(packet)];
  if (ip4.ok) {
    const { src, dst, protocol, payload, options, fragmentOffset } = ip4.value;
    const network = { family: 4, protocol, src: [src, 0, 0, 0], dst: [dst, 0, 0, 0] };
    if (fragmentOffset > 0) return { ...network, ...nothing, status: DecodeStatus.laterFragment };
    return { ...network, ...expectedTransport(protocol, payload, 20 + options.length) };
  }
  if (ip6.ok) {
    const { src, dst, protocol, payload } = ip6.value;
    const network = { family: 6, protocol, src, dst };
    const walk = walkExtensions(packet, 0, packet.length);
    if (!walk.ok) throw new Error("parsed, yet not to be walked");
    if (walk.value.fragmentOffset > 0) return { ...network, ...nothing, status: DecodeStatus.laterFragment };
    return { ...network, ...expectedTransport(protocol, payload, walk.value.offset) };
  }
  return { ...none, status: DecodeStatus.malformedNetwork };
}

function expectedTransport(
  protocol: number,
  payload: Uint8Array,
  transport: number,
): Pick<Columns, "status" | "sport" | "dport" | "tcpFlags" | "transport"> {
  const least = { 6: 20, 17: 8, 132: 12, 1: 8, 58: 8 }[protocol] ?? 0;
  if (payload.length < least)
    return { status: DecodeStatus.malformedTransport, sport: 0, dport: 0, tcpFlags: 0, transport: 0 };
  const at = (offset: number): number => payload[offset]! * 256 + payload[offset + 1]!;
  const hasPorts = [6, 17, 132].includes(protocol);
  return {
    status: DecodeStatus.ok,
    sport: hasPorts ? at(0) : 0,
    dport: hasPorts ? at(2) : least > 0 ? at(0) : 0,
    tcpFlags: protocol === 6 ? payload[13]! : 0,
    transport,
  };
}

describe("decode", () => {
  it.each(corpus)("reads $name (IPv$family)", ({ bytes }) => {
    expect(columns(decoded(bytes))).toEqual(expected(bytes));
  });

  it("law: reads random packets as the parsers do", () => {
    fc.assert(
      fc.property(randomPackets, ({ bytes }) => {
        expect(columns(decoded(bytes))).toEqual(expected(bytes));
      }),
      runs(300),
    );
  });

  it("law: a packet cut at any length is malformed and throws nowhere: not decode, view or print", () => {
    const batch = createBatch(1, 2000);
    for (const { bytes } of corpus)
      for (let length = 0; length < bytes.length; length++) {
        clearBatch(batch);
        batch.bytes.fill(0xff); // what lies behind the row must not count
        append(batch, bytes.slice(0, length));
        decode(batch);
        expect(batch.status[0]).toBe(DecodeStatus.malformedNetwork);
        expect(view(batch, 0).line).toMatch(length === 0 ? /^unknown/ : /missing!|\(truncated\)/);
      }
  });

  it("law: a cut packet that states its new length decodes as the parsers read it, and throws nowhere", () => {
    for (const { bytes, family } of corpus) {
      const least = family === 4 ? (bytes[0]! & 15) * 4 : 40;
      for (let length = least; length < bytes.length; length++) {
        const cut = bytes.slice(0, length);
        new DataView(cut.buffer).setUint16(family === 4 ? 2 : 4, family === 4 ? length : length - 40);
        const batch = decoded(cut);
        const parsed = family === 4 ? parseIpv4(cut) : parseIpv6(cut);
        if (parsed.ok) expect(columns(batch)).toEqual(expected(cut));
        else expect(batch.status[0]).toBe(DecodeStatus.malformedTransport); // inside an extension header
        expect(typeof view(batch, 0).line).toBe("string");
      }
    }
  });

  it("law: random bytes, and good packets with random bytes in them, throw nowhere", () => {
    const broken = fc
      .tuple(randomPackets, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }))
      .map(([{ bytes }, changes]) => {
        for (const [place, value] of changes) bytes[place % bytes.length] = value;
        return bytes;
      });
    const noise = fc.uint8Array({ maxLength: 100 });
    const versioned = noise.map((bytes) => Uint8Array.from([bytes.length % 2 ? 0x45 : 0x60, ...bytes]));
    fc.assert(
      fc.property(fc.oneof(broken, noise, versioned), (bytes) => {
        const batch = decoded(bytes);
        const { status } = columns(batch);
        expect(Object.values(DecodeStatus)).toContain(status);
        expect(status).not.toBe(DecodeStatus.dirty);
        expect(printPacket(bytes)).toBe(view(batch, 0).line);
        if (status === DecodeStatus.ok) {
          expect(packetEnd(batch, 0)).toBeLessThanOrEqual(batch.offset[0]! + batch.size[0]!);
          expect(columns(batch)).toEqual(expected(bytes));
        }
      }),
      runs(2000),
    );
  });

  it("asks of TCP for the fixed header only: a data offset that lies is conntrack's to find", () => {
    for (const headerWords of [0, 4, 15]) {
      const batch = decoded(tcp({ ...v4, flags: 2, overrides: { headerWords } }));
      expect(columns(batch)).toMatchObject({ status: DecodeStatus.ok, sport: 40000, dport: 80, tcpFlags: 2 });
    }
  });

  it("leaves link padding behind the packet alone", () => {
    const packet = Uint8Array.from([...udp(v4), ...new Uint8Array(18)]);
    const batch = decoded(packet);
    expect(batch.status[0]).toBe(DecodeStatus.ok);
    expect(packetEnd(batch, 0) - batch.offset[0]!).toBe(28);
    expect(rowBytes(batch, 0)).toEqual(packet);
  });

  it("has type and code of ICMP where others have the destination port", () => {
    expect(columns(decoded(icmpEcho({ ...v4, identifier: 1, sequence: 2 })))).toMatchObject({
      dport: 0x0800,
      sport: 0,
    });
    const message = icmp({ ...v6, type: 1, code: 4, rest: 0, data: new Uint8Array(0) });
    expect(columns(decoded(message))).toMatchObject({ dport: 0x0104, protocol: 58 });
  });

  it("finds the transport header behind IPv4 options and behind a chain of IPv6 headers", () => {
    const ipOptions = emitIpv4Options([{ type: 7, data: new Uint8Array(37) }]);
    expect(decoded(udp({ ...v4, ipOptions })).transport[0]).toBe(60);
    const extensions = [optionsHeader(0), ...new Array(100).fill(optionsHeader(60))];
    const batch = decoded(tcp({ ...v6, flags: 2, extensions }));
    expect(columns(batch)).toMatchObject({
      status: DecodeStatus.ok,
      transport: 40 + 101 * 8,
      dport: 80,
      protocol: 6,
    });
  });

  it("is done with the longest chain of headers that a packet can hold", () => {
    const extensions = new Array(8190).fill(optionsHeader(60));
    const batch = decoded(ipPacket({ ...v6, protocol: 17, payload: new Uint8Array(8), extensions }));
    expect(columns(batch)).toMatchObject({ status: DecodeStatus.ok, transport: 40 + 8190 * 8, protocol: 17 });
  });

  it("knows no ports of headers that it cannot pass over", () => {
    for (const protocol of [50, 59, 135, 253]) {
      const batch = decoded(ipPacket({ ...v6, protocol, payload: new Uint8Array(20).fill(1) }));
      expect(columns(batch)).toMatchObject({
        status: DecodeStatus.ok,
        protocol,
        sport: 0,
        dport: 0,
        transport: 40,
      });
    }
  });

  it("gives ports to the first fragment and to no other", () => {
    for (const ends of [v4, v6]) {
      const parts = fragment(udp({ ...ends, payload: new Uint8Array(300) }), 160);
      expect(parts.length).toBeGreaterThan(2);
      const rows = parts.map((part) => columns(decoded(part)));
      expect(rows[0]).toMatchObject({ status: DecodeStatus.ok, dport: 80, protocol: 17 });
      for (const row of rows.slice(1))
        expect(row).toMatchObject({
          status: DecodeStatus.laterFragment,
          dport: 0,
          protocol: 17,
          transport: 0,
        });
    }
  });

  it("takes an atomic fragment for the whole packet that it is (RFC 6946)", () => {
    const batch = decoded(tcp({ ...v6, flags: 2, extensions: [fragmentHeader(0, false, 1)] }));
    expect(columns(batch)).toMatchObject({ status: DecodeStatus.ok, dport: 80, transport: 48 });
  });

  it("decodes the rows that it is asked for, and each by itself", () => {
    const batch = createBatch(3, 100);
    for (const dport of [1, 2, 3]) append(batch, udp({ ...v4, dport }));
    decode(batch, 1, 2);
    expect([...batch.status]).toEqual([DecodeStatus.dirty, DecodeStatus.ok, DecodeStatus.dirty]);
    decode(batch);
    expect([...batch.dport]).toEqual([1, 2, 3]);
  });
});

describe("append", () => {
  it("answers -1 when rows or bytes have run out, and changes nothing", () => {
    const batch = createBatch(2, 100);
    expect(append(batch, new Uint8Array(400))).toBe(-1);
    expect([append(batch, udp(v4)), append(batch, udp(v4)), append(batch, udp(v4))]).toEqual([0, 1, -1]);
    expect(batch.length).toBe(2);
    clearBatch(batch);
    expect(append(batch, udp(v4))).toBe(0);
  });

  it("forgets what a node knew of the row that was there before", () => {
    const batch = createBatch(1);
    append(batch, udp(v4));
    const { fragments, ...columns } = batch.state;
    for (const column of Object.values(columns)) column.fill(7);
    fragments[0] = { sizes: [8], largest: 28, keepsDf: false };
    clearBatch(batch);
    append(batch, udp(v4));
    for (const [name, column] of Object.entries(columns)) expect([...column], name).toEqual([0]);
    expect(fragments).toEqual([undefined]);
  });
});

describe("replaceRow", () => {
  it("gives a row other bytes, in its slot or in one of its own, and leaves neighbours and state alone", () => {
    const batch = createBatch(2, 400);
    const [short, long, other] = [0, 60, 9].map((size) => udp({ ...v4, payload: new Uint8Array(size) })) as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ];
    append(batch, short);
    append(batch, other);
    batch.state.mark[0] = 7;
    for (const packet of [long, short, long]) {
      expect(replaceRow(batch, 0, packet)).toBe(true);
      expect(batch.status[0]).toBe(DecodeStatus.dirty);
      expect(rowBytes(batch, 0)).toEqual(packet);
      expect(rowBytes(batch, 1)).toEqual(other);
    }
    expect(batch.state.mark[0]).toBe(7);
    expect(replaceRow(batch, 0, new Uint8Array(2000))).toBe(false);
    expect(rowBytes(batch, 0)).toEqual(long);
  });
});
