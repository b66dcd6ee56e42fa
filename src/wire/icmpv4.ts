/**
 * ICMP for IPv4 (RFC 792; unreachable codes RFC 1122, RFC 1812). Every message is type, code, four bytes of `rest` and
 * data; errors carry the offending packet's header and at least eight bytes of its payload as data.
 */
import { formatIpv4 } from "../addr/index.ts";
import { fault, type Parsed, parsed, readU32, writeU16, writeU32 } from "./bytes.ts";
import { finishSum, sumWords } from "./checksum.ts";
import { describeOffender } from "./offender.ts";

/** Message types of ICMP for IPv4, by their IANA numbers. */
export const Icmpv4Type = {
  echoReply: 0,
  unreachable: 3,
  sourceQuench: 4,
  redirect: 5,
  echoRequest: 8,
  routerAdvertisement: 9,
  routerSolicitation: 10,
  timeExceeded: 11,
  parameterProblem: 12,
  timestampRequest: 13,
  timestampReply: 14,
  informationRequest: 15,
  informationReply: 16,
  addressMaskRequest: 17,
  addressMaskReply: 18,
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

/** Code texts of unreachable messages as tcpdump has them; `%` stands for the offender's destination. */
const unreachableTexts: Readonly<Record<number, string>> = {
  0: "net % unreachable",
  1: "host % unreachable",
  4: "% unreachable - need to frag",
  5: "% unreachable - source route failed",
  6: "net % unreachable - unknown",
  7: "host % unreachable - unknown",
  8: "% unreachable - source host isolated",
  9: "net % unreachable - admin prohibited",
  10: "host % unreachable - admin prohibited",
  11: "net % unreachable - tos prohibited",
  12: "host % unreachable - tos prohibited",
  13: "host % unreachable - admin prohibited filter",
  14: "host % unreachable - host precedence violation",
  15: "host % unreachable - precedence cutoff",
};

const typeTexts: Readonly<Record<number, string>> = {
  [Icmpv4Type.sourceQuench]: "source quench",
  [Icmpv4Type.routerSolicitation]: "router solicitation",
  [Icmpv4Type.informationRequest]: "information request",
  [Icmpv4Type.informationReply]: "information reply",
  [Icmpv4Type.addressMaskRequest]: "address mask request",
};

/** `length`: bytes of the message, where fewer were kept. */
export function printIcmpv4(repr: IcmpRepr, length: number = sizeIcmp(repr)): string {
  return `ICMP ${describe(repr)}, length ${length}`;
}

function describe(repr: IcmpRepr): string {
  const { type, code, rest } = repr;
  const query = `id ${rest >>> 16} seq ${rest & 0xffff}`;
  switch (type) {
    case Icmpv4Type.echoRequest:
    case Icmpv4Type.echoReply:
      return `echo ${type === Icmpv4Type.echoRequest ? "request" : "reply"}, id ${rest >>> 16}, seq ${rest & 0xffff}`;
    case Icmpv4Type.unreachable:
      return describeUnreachable(repr);
    case Icmpv4Type.redirect:
      return describeRedirect(repr);
    case Icmpv4Type.timeExceeded:
      if (code > 1) return `time exceeded-#${code}`;
      return code === 0 ? "time exceeded in-transit" : "ip reassembly time exceeded";
    case Icmpv4Type.parameterProblem:
      return `parameter problem - ${code === 0 ? `octet ${rest >>> 24}` : `code ${code}`}`;
    case Icmpv4Type.timestampRequest:
      return `time stamp query ${query}`;
    case Icmpv4Type.timestampReply:
      return `time stamp reply ${query}`;
    default:
      return typeTexts[type] ?? `type-#${type}`;
  }
}

function describeUnreachable({ code, rest, data }: IcmpRepr): string {
  const offender = describeOffender(data);
  if (offender === undefined) return `unreachable - #${code}`;
  const { dst, protocol, port } = offender;
  if (code === UnreachableCode.protocol) return `${dst} protocol ${protocol} unreachable`;
  if (code === UnreachableCode.port) return `${dst} ${port ?? `protocol ${protocol} port`} unreachable`;
  const text = (unreachableTexts[code] ?? `% unreachable - #${code}`).replace("%", dst);
  const mtu = rest & 0xffff;
  return code === UnreachableCode.fragmentationNeeded && mtu > 0 ? `${text} (mtu ${mtu})` : text;
}

function describeRedirect({ code, rest, data }: IcmpRepr): string {
  const kinds = [
    "redirect % to net",
    "redirect % to host",
    "redirect-tos % to net",
    "redirect-tos % to host",
  ];
  const kind = kinds[code] ?? `redirect-#${code} % to`;
  return `${kind.replace("%", describeOffender(data)?.dst ?? "?")} ${formatIpv4(rest)}`;
}
