/**
 * Transport checksums as a node verifies them (kernel net/netfilter/utils.c, nf_ip_checksum and nf_ip6_checksum): over
 * all that the IP header says is there, whatever a UDP length field says.
 */
import { type PacketBatch, packetEnd } from "../../packet/index.ts";
import {
  checksumHolds,
  crc32c,
  IpProtocol,
  readCrc32c,
  readU16,
  sctpChecksumAt,
  sctpHeaderSize,
  tcpHeaderSize,
  udpHeaderSize,
} from "../../wire/index.ts";
import { udpLite } from "./tuples.ts";

/**
 * What the kernel's tcp_error, udp_error and their like refuse: lengths that the packet does not bear out, UDP-Lite
 * without a checksum, and, if asked, wrong checksums.
 */
export function isSound(batch: PacketBatch, row: number, verifiesChecksum: boolean): boolean {
  return lengthsHold(batch, row) && (!verifiesChecksum || transportChecksumHolds(batch, row));
}

function lengthsHold(batch: PacketBatch, row: number): boolean {
  const { bytes } = batch;
  const at = batch.offset[row]! + batch.transport[row]!;
  const room = packetEnd(batch, row) - at;
  switch (batch.protocol[row]) {
    case IpProtocol.tcp: {
      const headerSize = (bytes[at + 12]! >>> 4) * 4;
      return headerSize >= tcpHeaderSize && headerSize <= room;
    }
    case IpProtocol.udp: {
      const length = readU16(bytes, at + 4);
      return length >= udpHeaderSize && length <= room;
    }
    case udpLite: {
      if (room < udpHeaderSize || readU16(bytes, at + 6) === 0) return false;
      const coverage = readU16(bytes, at + 4);
      return coverage === 0 || (coverage >= udpHeaderSize && coverage <= room);
    }
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return room >= 8;
    default:
      return true;
  }
}

/** True if the row's transport checksum is right, or its protocol has none that is verified. */
export function transportChecksumHolds(batch: PacketBatch, row: number): boolean {
  const { bytes } = batch;
  const at = batch.offset[row]! + batch.transport[row]!;
  const end = packetEnd(batch, row);
  const protocol = batch.protocol[row]!;
  switch (protocol) {
    case IpProtocol.sctp:
      if (at + sctpHeaderSize > end) return false;
      return crc32c(bytes, at, end, at + sctpChecksumAt) === readCrc32c(bytes, at + sctpChecksumAt);
    case IpProtocol.icmp:
      return batch.family[row] !== 4 || checksumHolds(bytes, at, end);
    case IpProtocol.icmpv6:
      return batch.family[row] !== 6 || internetChecksumHolds(batch, row, at, end, end);
    case IpProtocol.udp:
      return readU16(bytes, at + 6) === 0 || internetChecksumHolds(batch, row, at, end, end);
    case IpProtocol.tcp:
      return internetChecksumHolds(batch, row, at, end, end);
    case udpLite:
      return udpLiteChecksumHolds(batch, row, at, end);
    default:
      return true;
  }
}

/** UDP-Lite's length field says how much the checksum covers (RFC 3828 section 3.1); 0 = all. */
function udpLiteChecksumHolds(batch: PacketBatch, row: number, at: number, end: number): boolean {
  const coverage = readU16(batch.bytes, at + 4);
  return internetChecksumHolds(batch, row, at, coverage === 0 ? end : at + coverage, end);
}

function internetChecksumHolds(
  batch: PacketBatch,
  row: number,
  at: number,
  coveredEnd: number,
  end: number,
): boolean {
  const words = batch.family[row] === 6 ? 4 : 1;
  const lane = row * 4;
  const length = end - at;
  let sum = batch.protocol[row]! + (length >>> 16) + (length & 0xffff);
  for (let i = 0; i < words; i++) {
    const src = batch.src[lane + i]!;
    const dst = batch.dst[lane + i]!;
    sum += (src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff);
  }
  return checksumHolds(batch.bytes, at, coveredEnd, sum);
}
