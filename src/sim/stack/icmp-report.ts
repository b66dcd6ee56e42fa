/**
 * What an ICMP error tells a host: which of its packets it is about, and how bad it is. Which codes are fatal is Linux'
 * judgement: icmp_err_convert of net/ipv4/icmp.c, icmpv6_err_convert and tab_unreach of net/ipv6/icmp.c.
 */
import type { Ip } from "../../addr/index.ts";
import {
  Icmpv4Type,
  Icmpv6Type,
  parseIcmp,
  readOffender,
  readU16,
  readU32,
  readWords,
  Unreachable6Code,
  UnreachableCode,
} from "../../wire/index.ts";
import type { SocketEnds, UnreachableReport } from "./socket.ts";

export interface IcmpReport extends UnreachableReport {
  /** The packet that the host had sent, from its own side. */
  readonly sent: SocketEnds & { readonly protocol: number };
}

/** `undefined` for messages that fail nothing, and for what cannot be read. */
export function readIcmpReport(family: 4 | 6, message: Uint8Array): IcmpReport | undefined {
  const icmp = parseIcmp(message);
  if (!icmp.ok) return undefined;
  const { type, code, data } = icmp.value;
  const severity = family === 4 ? severityV4(type, code) : severityV6(type, code);
  const offender = readOffender(data);
  if (severity === undefined || offender === undefined || offender.family !== family) return undefined;
  const { protocol, transportAt } = offender;
  if (transportAt < 0 || transportAt + 4 > data.length) return undefined;
  const address = (at: number): Ip => ({ family, words: readWords(data, at, family === 4 ? 1 : 4) });
  return {
    ...severity,
    word: transportAt + 8 <= data.length ? readU32(data, transportAt + 4) : undefined,
    sent: {
      protocol,
      src: address(offender.srcAt),
      dst: address(offender.dstAt),
      sport: readU16(data, transportAt),
      dport: readU16(data, transportAt + 2),
    },
  };
}

type Severity = Pick<UnreachableReport, "isHard" | "isProtocol">;

const softCodesV4: readonly number[] = [0, 1, 4, 5, 11, 12];

function severityV4(type: number, code: number): Severity | undefined {
  switch (type) {
    case Icmpv4Type.unreachable:
      if (code === UnreachableCode.fragmentationNeeded || code > 15) return undefined;
      return { isHard: !softCodesV4.includes(code), isProtocol: code === UnreachableCode.protocol };
    case Icmpv4Type.parameterProblem:
      return { isHard: true, isProtocol: false };
    case Icmpv4Type.timeExceeded:
      return { isHard: false, isProtocol: false };
    default:
      return undefined;
  }
}

const softCodesV6: readonly number[] = [
  Unreachable6Code.noRoute,
  Unreachable6Code.beyondScope,
  Unreachable6Code.address,
];
/** Of a parameter problem: unrecognized next header (RFC 4443 section 3.4). */
const unknownNextHeader = 1;

function severityV6(type: number, code: number): Severity | undefined {
  switch (type) {
    case Icmpv6Type.unreachable:
      return { isHard: !softCodesV6.includes(code), isProtocol: false };
    case Icmpv6Type.parameterProblem:
      return { isHard: true, isProtocol: code === unknownNextHeader };
    case Icmpv6Type.timeExceeded:
      return { isHard: false, isProtocol: false };
    default:
      return undefined;
  }
}
