/**
 * ICMP for IPv4 (RFC 792; unreachable codes RFC 1122, RFC 1812). Every message is type, code, four bytes of `rest` and
 * data; errors carry the offending packet's header and at least eight bytes of its payload as data.
 */
import { fault, type Parsed, parsed, readU16, readU32, writeU16, writeU32 } from "./bytes.ts";
import { finishSum, sumWords } from "./checksum.ts";

export const Icmpv4Type = {
  echoReply: 0,
  unreachable: 3,
  sourceQuench: 4,
  redirect: 5,
  echoRequest: 8,
  timeExceeded: 11,
  parameterProblem: 12,
  timestampRequest: 13,
  timestampReply: 14,
} as const;

export const UnreachableCode = {
  net: 0,
  host: 1,
  protocol: 2,
  port: 3,
  fragmentationNeeded: 4,
  netProhibited: 9,
  hostProhibited: 10,
  adminProhibited: 13,
} as const;

export const icmpHeaderSize = 8;

/** The layout that both versions of ICMP share. */
export interface IcmpRepr {
  readonly type: number;
  readonly code: number;
  /** Bytes 4..7: identifier and sequence of an echo, unused or next-hop MTU of an error. */
  readonly rest: number;
  readonly data: Uint8Array;
}

export interface IcmpOverrides {
  readonly checksum?: number;
}

export function parseIcmp(bytes: Uint8Array, start = 0, end: number = bytes.length): Parsed<IcmpRepr> {
  if (end - start < icmpHeaderSize) return fault("truncated");
  return parsed({
    type: bytes[start]!,
    code: bytes[start + 1]!,
    rest: readU32(bytes, start + 4),
    data: bytes.slice(start + icmpHeaderSize, end),
  });
}

export function sizeIcmp(repr: IcmpRepr): number {
  return icmpHeaderSize + repr.data.length;
}

/** `pseudoSum` is 0 for ICMPv4 and the pseudo header's sum for ICMPv6. */
export function emitIcmp(
  repr: IcmpRepr,
  bytes: Uint8Array,
  start: number,
  pseudoSum: number,
  overrides: IcmpOverrides = {},
): number {
  const size = sizeIcmp(repr);
  bytes[start] = repr.type;
  bytes[start + 1] = repr.code;
  writeU16(bytes, start + 2, 0);
  writeU32(bytes, start + 4, repr.rest);
  bytes.set(repr.data, start + icmpHeaderSize);
  const checksum = overrides.checksum ?? finishSum(sumWords(bytes, start, start + size, pseudoSum));
  writeU16(bytes, start + 2, checksum);
  return size;
}

/** True for messages about another packet, whose data starts with that packet's header. */
export function isIcmpv4Error(type: number): boolean {
  return (
    type === Icmpv4Type.unreachable ||
    type === Icmpv4Type.sourceQuench ||
    type === Icmpv4Type.redirect ||
    type === Icmpv4Type.timeExceeded ||
    type === Icmpv4Type.parameterProblem
  );
}

const unreachableNames: Readonly<Record<number, string>> = {
  0: "net unreachable",
  1: "host unreachable",
  2: "protocol unreachable",
  3: "port unreachable",
  4: "need to frag",
  9: "net prohibited",
  10: "host prohibited",
  13: "admin prohibited filter",
};

export function printIcmpv4(repr: IcmpRepr): string {
  const echo = `, id ${repr.rest >>> 16}, seq ${repr.rest & 0xffff}`;
  switch (repr.type) {
    case Icmpv4Type.echoRequest:
      return `ICMP echo request${echo}, length ${sizeIcmp(repr)}`;
    case Icmpv4Type.echoReply:
      return `ICMP echo reply${echo}, length ${sizeIcmp(repr)}`;
    case Icmpv4Type.unreachable:
      return `ICMP ${unreachableNames[repr.code] ?? `unreachable, code ${repr.code}`}${offender(repr.data)}`;
    case Icmpv4Type.timeExceeded:
      return `ICMP time exceeded in-transit, length ${sizeIcmp(repr)}`;
    default:
      return `ICMP type ${repr.type}, code ${repr.code}, length ${sizeIcmp(repr)}`;
  }
}

/** `, 10.0.0.1.1000 > 10.0.0.2.80` of the packet that an error is about. */
function offender(data: Uint8Array): string {
  if (data.length < 28 || data[0]! >>> 4 !== 4) return "";
  const header = (data[0]! & 15) * 4;
  if (data.length < header + 4) return "";
  const protocol = data[9]!;
  const name =
    protocol === 6 ? "tcp" : protocol === 17 ? "udp" : protocol === 132 ? "sctp" : `proto-${protocol}`;
  return ` (${name} ${readU16(data, header)} > ${readU16(data, header + 2)})`;
}
