/**
 * Packets that others captured, good and broken on purpose (the-tcpdump-group's files): none of them throws anywhere,
 * and the good ones, taken apart and put together again, are the very bytes that their senders sent.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createCaptureReader, networkOffset } from "../../src/capture/index.ts";
import {
  append,
  clearBatch,
  createBatch,
  DecodeStatus,
  decodeRow,
  type PacketBatch,
  packetEnd,
  view,
} from "../../src/packet/index.ts";
import {
  checksumHolds,
  crc32c,
  IpProtocol,
  ipv4ChecksumHolds,
  parseIpv4,
  parseIpv6,
  parseSctp,
  parseTcp,
  parseUdp,
  printFrame,
  printPacket,
  pseudoHeaderSum,
  readCrc32c,
  readU16,
} from "../../src/wire/index.ts";
import { recomputed } from "../packet/recomputed.ts";

const folder = join(process.env["PODWIRE_SHARED"] ?? "../shared", "captures");

interface CapturedIp {
  readonly file: string;
  readonly number: number;
  readonly bytes: Uint8Array;
}

function allPackets(): readonly CapturedIp[] {
  const packets: CapturedIp[] = [];
  for (const file of readdirSync(folder)) {
    let number = 0;
    const reader = createCaptureReader(file, {
      interface: () => undefined,
      packet: (packet) => {
        const at = networkOffset(packet);
        if (at >= 0) packets.push({ file, number, bytes: packet.bytes.slice(at, packet.end) });
        number++;
      },
    });
    reader.push(readFileSync(join(folder, file)));
    reader.end();
  }
  return packets;
}

/** All that a receiver would check, by the checksum code alone. */
function checksumsHold(batch: PacketBatch): boolean {
  const { bytes } = batch;
  const start = batch.offset[0]!;
  const at = start + batch.transport[0]!;
  const end = packetEnd(batch, 0);
  if (batch.family[0] === 4 && !ipv4ChecksumHolds(bytes, start)) return false;
  const protocol = batch.protocol[0]!;
  const lanes = batch.family[0] === 4 ? 1 : 4;
  const pseudo = pseudoHeaderSum(
    [...batch.src.subarray(0, lanes)],
    [...batch.dst.subarray(0, lanes)],
    protocol,
    end - at,
  );
  switch (protocol) {
    case IpProtocol.sctp:
      return crc32c(bytes, at, end, at + 8) === readCrc32c(bytes, at + 8);
    case IpProtocol.udp:
      return readU16(bytes, at + 6) === 0 || checksumHolds(bytes, at, end, pseudo);
    case IpProtocol.tcp:
    case IpProtocol.icmpv6:
      return checksumHolds(bytes, at, end, pseudo);
    default:
      return checksumHolds(bytes, at, end);
  }
}

const readable: readonly number[] = [1, 6, 17, 58, 132];

describe.skipIf(!existsSync(folder))("captures of others (PODWIRE_SHARED)", () => {
  const packets = existsSync(folder) ? allPackets() : [];

  it("hold IP packets by the hundred", () => {
    expect(packets.length).toBeGreaterThan(250);
  });

  it("throw nowhere: not whole, not cut anywhere, not as frames", () => {
    const batch = createBatch(1, 200_000);
    for (const { bytes } of packets) {
      const cuts = bytes.length > 400 ? [0, 1, 19, 20, 39, 40, 41, 60, 100, 399] : Array.from(bytes.keys());
      for (const length of [...cuts, bytes.length]) {
        const part = bytes.subarray(0, length);
        clearBatch(batch);
        append(batch, part);
        decodeRow(batch, 0);
        expect(batch.status[0]).not.toBe(DecodeStatus.dirty);
        expect(view(batch, 0).line).toBe(printPacket(part));
        expect(typeof printFrame(part)).toBe("string");
      }
    }
  });

  it("are, taken apart and put together again, the same bytes wherever their checksums hold", () => {
    const batch = createBatch(1, 200_000);
    const counts = new Map<number, number>();
    for (const { file, number, bytes } of packets) {
      clearBatch(batch);
      append(batch, bytes);
      decodeRow(batch, 0);
      const protocol = batch.protocol[0]!;
      if (batch.status[0] !== DecodeStatus.ok || !readable.includes(protocol) || !checksumsHold(batch))
        continue;
      if (!isTakenWhole(bytes)) continue;
      const whole = bytes.subarray(0, packetEnd(batch, 0) - batch.offset[0]!);
      expect(Buffer.from(recomputed(bytes)).toString("hex"), `${file} ${number}`).toBe(
        Buffer.from(whole).toString("hex"),
      );
      counts.set(protocol, (counts.get(protocol) ?? 0) + 1);
    }
    for (const [protocol, least] of leastCounts) expect(counts.get(protocol)).toBeGreaterThanOrEqual(least);
  });
});

/** What parsers leave out on purpose: bits without a meaning, bytes behind a UDP datagram's own length. */
function isTakenWhole(packet: Uint8Array): boolean {
  const ip = packet[0]! >>> 4 === 4 ? parseIpv4(packet) : parseIpv6(packet);
  if (!ip.ok) return false;
  const { protocol, payload } = ip.value;
  switch (protocol) {
    case IpProtocol.tcp:
      return parseTcp(payload).ok && (payload[12]! & 15) === 0;
    case IpProtocol.udp:
      return parseUdp(payload).ok && readU16(payload, 4) === payload.length;
    case IpProtocol.sctp:
      return parseSctp(payload).ok;
    default:
      return true;
  }
}

/** So many packets of each protocol were put together when this was written. */
const leastCounts: readonly (readonly [protocol: number, packets: number])[] = [
  [IpProtocol.sctp, 95],
  [IpProtocol.udp, 83],
  [IpProtocol.icmpv6, 6],
  [IpProtocol.tcp, 2],
];
