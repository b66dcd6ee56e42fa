/** ICMPv6 (RFC 4443) and the Neighbor Discovery types (RFC 4861). The layout is `IcmpRepr` of icmpv4.ts. */
import { type IcmpRepr, sizeIcmp } from "./icmpv4.ts";

export const Icmpv6Type = {
  unreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  parameterProblem: 4,
  echoRequest: 128,
  echoReply: 129,
  routerSolicitation: 133,
  routerAdvertisement: 134,
  neighborSolicitation: 135,
  neighborAdvertisement: 136,
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

const unreachableNames: readonly string[] = [
  "unreachable route",
  "unreachable prohibited",
  "beyond scope",
  "unreachable address",
  "unreachable port",
  "source address failed policy",
  "reject route",
];

export function printIcmpv6(repr: IcmpRepr): string {
  const echo = `, id ${repr.rest >>> 16}, seq ${repr.rest & 0xffff}`;
  const length = `, length ${sizeIcmp(repr)}`;
  switch (repr.type) {
    case Icmpv6Type.echoRequest:
      return `ICMP6, echo request${echo}${length}`;
    case Icmpv6Type.echoReply:
      return `ICMP6, echo reply${echo}${length}`;
    case Icmpv6Type.unreachable:
      return `ICMP6, destination ${unreachableNames[repr.code] ?? `unreachable, code ${repr.code}`}${length}`;
    case Icmpv6Type.packetTooBig:
      return `ICMP6, packet too big, mtu ${repr.rest}${length}`;
    case Icmpv6Type.timeExceeded:
      return `ICMP6, time exceeded in-transit${length}`;
    case Icmpv6Type.neighborSolicitation:
      return `ICMP6, neighbor solicitation${length}`;
    case Icmpv6Type.neighborAdvertisement:
      return `ICMP6, neighbor advertisement${length}`;
    default:
      return `ICMP6, type ${repr.type}, code ${repr.code}${length}`;
  }
}
