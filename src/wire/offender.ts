/**
 * The packet that an ICMP error is about: a network header and what was kept of the transport header, usually cut
 * (RFC 792: eight bytes; RFC 1812 section 4.3.2.3 and RFC 4443 section 3: as much as fits). Only stated lengths are
 * ignored here; everything else is bounded by the bytes that are there.
 */
import { type Family, formatWords } from "../addr/index.ts";
import { readU16, readWords } from "./bytes.ts";
import { Ipv4Field, ipv4HeaderSize } from "./ipv4.ts";
import { Ipv6Field, ipv6HeaderSize, walkExtensions } from "./ipv6.ts";
import { IpProtocol } from "./protocol.ts";

export interface Offender {
  readonly family: Family;
  /** Positions in `bytes`. */
  readonly srcAt: number;
  readonly dstAt: number;
  readonly protocol: number;
  /** Position of the transport header; -1 in a later fragment, and where it was cut off whole. */
  readonly transportAt: number;
}

/** `undefined` when not even the addresses are there. */
export function readOffender(bytes: Uint8Array, start = 0, end: number = bytes.length): Offender | undefined {
  const version = start < end ? bytes[start]! >>> 4 : 0;
  if (version === 4 && end - start >= ipv4HeaderSize) {
    const transportAt = start + (bytes[start]! & 15) * 4;
    const isLater = (readU16(bytes, start + Ipv4Field.flagsOffset) & 0x1fff) !== 0;
    return {
      family: 4,
      srcAt: start + Ipv4Field.src,
      dstAt: start + Ipv4Field.dst,
      protocol: bytes[start + Ipv4Field.protocol]!,
      transportAt: isLater || transportAt < start + ipv4HeaderSize || transportAt >= end ? -1 : transportAt,
    };
  }
  if (version !== 6 || end - start < ipv6HeaderSize) return undefined;
  const walk = walkExtensions(bytes, start, end);
  const addresses = { family: 6, srcAt: start + Ipv6Field.src, dstAt: start + Ipv6Field.dst } as const;
  if (!walk.ok) return { ...addresses, protocol: bytes[start + Ipv6Field.nextHeader]!, transportAt: -1 };
  const transportAt = start + walk.value.offset;
  const isGone = walk.value.fragmentOffset > 0 || transportAt >= end;
  return { ...addresses, protocol: walk.value.protocol, transportAt: isGone ? -1 : transportAt };
}

/** What tcpdump says of the offending packet in an error: its ends, and a port where the protocol has one. */
export interface OffenderText {
  readonly src: string;
  readonly dst: string;
  readonly protocol: number;
  /** `tcp port 80`; `undefined` without a readable port. */
  readonly port: string | undefined;
}

export function describeOffender(data: Uint8Array): OffenderText | undefined {
  const offender = readOffender(data);
  if (offender === undefined) return undefined;
  const { family, srcAt, dstAt, protocol, transportAt } = offender;
  const count = family === 4 ? 1 : 4;
  const name = portNames[protocol];
  const hasPort = name !== undefined && transportAt >= 0 && transportAt + 4 <= data.length;
  return {
    src: formatWords(family, readWords(data, srcAt, count)),
    dst: formatWords(family, readWords(data, dstAt, count)),
    protocol,
    port: hasPort ? `${name} port ${readU16(data, transportAt + 2)}` : undefined,
  };
}

const portNames: Readonly<Record<number, string>> = {
  [IpProtocol.tcp]: "tcp",
  [IpProtocol.udp]: "udp",
  [IpProtocol.sctp]: "sctp",
};
