/** ICMPv6 (RFC 4443; listener discovery RFC 2710, RFC 3810). The layout is `IcmpRepr`; ndp.ts reads neighbour discovery. */
import { type IcmpRepr, sizeIcmp } from "./icmpv4.ts";
import { parseNdp, printNdp } from "./ndp.ts";
import { describeOffender } from "./offender.ts";

/** Message types of ICMPv6, by their IANA numbers. */
export const Icmpv6Type = {
  unreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  parameterProblem: 4,
  echoRequest: 128,
  echoReply: 129,
  listenerQuery: 130,
  listenerReport: 131,
  listenerDone: 132,
  routerSolicitation: 133,
  routerAdvertisement: 134,
  neighborSolicitation: 135,
  neighborAdvertisement: 136,
  redirect: 137,
  listenerReportV2: 143,
} as const;

export const Unreachable6Code = {
  noRoute: 0,
  adminProhibited: 1,
  beyondScope: 2,
  address: 3,
  port: 4,
  policyFail: 5,
  rejectRoute: 6,
} as const;

/** Types below 128 are errors (RFC 4443 section 2.1). */
export function isIcmpv6Error(type: number): boolean {
  return type < 128;
}

/** `length`: bytes of the message, where fewer were kept. */
export function printIcmpv6(repr: IcmpRepr, length: number = sizeIcmp(repr)): string {
  return `ICMP6, ${describe(repr)}, length ${length}`;
}

const typeTexts: Readonly<Record<number, string>> = {
  [Icmpv6Type.routerSolicitation]: "router solicitation",
  [Icmpv6Type.routerAdvertisement]: "router advertisement",
  [Icmpv6Type.neighborSolicitation]: "neighbor solicitation",
  [Icmpv6Type.neighborAdvertisement]: "neighbor advertisement",
  [Icmpv6Type.redirect]: "redirect",
  [Icmpv6Type.listenerQuery]: "multicast listener query",
  [Icmpv6Type.listenerReport]: "multicast listener report",
  [Icmpv6Type.listenerDone]: "multicast listener done",
};

function describe(repr: IcmpRepr): string {
  const { type, code, rest } = repr;
  switch (type) {
    case Icmpv6Type.echoRequest:
    case Icmpv6Type.echoReply:
      return `echo ${type === Icmpv6Type.echoRequest ? "request" : "reply"}, id ${rest >>> 16}, seq ${rest & 0xffff}`;
    case Icmpv6Type.unreachable:
      return `destination unreachable, ${describeUnreachable(repr)}`;
    case Icmpv6Type.packetTooBig:
      return `packet too big, mtu ${rest}`;
    case Icmpv6Type.timeExceeded: {
      if (code > 1) return `time exceeded in-transit, unknown code (${code})`;
      const dst = describeOffender(repr.data)?.dst;
      return `time exceeded in-transit${code === 1 ? " (reassembly)" : dst === undefined ? "" : ` for ${dst}`}`;
    }
    case Icmpv6Type.parameterProblem: {
      const what = ["erroneous", "next header", "option", "incomplete header chain"][code] ?? `code ${code}`;
      return `parameter problem, ${what} - octet ${rest}`;
    }
    default: {
      const ndp = parseNdp(repr);
      if (ndp.ok) return printNdp(ndp.value);
      if (type === Icmpv6Type.listenerReportV2)
        return `multicast listener report v2, ${rest & 0xffff} group record(s)`;
      const text = typeTexts[type] ?? `type-#${type}`;
      return ndp.fault === "bad-type" ? text : `${text} (${ndp.fault})`;
    }
  }
}

function describeUnreachable({ code, data }: IcmpRepr): string {
  const offender = describeOffender(data);
  const dst = offender?.dst ?? "?";
  switch (code) {
    case Unreachable6Code.noRoute:
      return `unreachable route ${dst}`;
    case Unreachable6Code.adminProhibited:
      return `unreachable prohibited ${dst}`;
    case Unreachable6Code.beyondScope:
      return `beyond scope ${dst}, source address ${offender?.src ?? "?"}`;
    case Unreachable6Code.address:
      return `unreachable address ${dst}`;
    case Unreachable6Code.port:
      return `unreachable port, ${dst}${offender?.port === undefined ? "" : ` ${offender.port}`}`;
    case Unreachable6Code.policyFail:
      return `source address failed policy ${dst}`;
    case Unreachable6Code.rejectRoute:
      return `reject route ${dst}`;
    default:
      return `unknown unreach code (${code})`;
  }
}
