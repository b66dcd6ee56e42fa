/** What a host answers to packets that nobody on it waits for. */
import { icmpError } from "../../packet/index.ts";
import {
  extensionSize,
  Icmpv4Type,
  Icmpv6Type,
  IpProtocol,
  Ipv6Field,
  ipv6HeaderSize,
  NextHeader,
  Unreachable6Code,
  UnreachableCode,
} from "../../wire/index.ts";
import type { IpView } from "../judge.ts";
import { sctpAnswer } from "./sctp.ts";
import type { SocketEnds } from "./socket.ts";
import { tcpReset } from "./tcp.ts";

/** `ends` are the answer's, `bytes` the packet's; `undefined` where there must be no answer. */
export function refusal(
  { protocol, payload, dst }: IpView,
  ends: SocketEnds,
  bytes: Uint8Array,
): Uint8Array | undefined {
  switch (protocol) {
    case IpProtocol.tcp:
      return tcpReset(ends, payload);
    case IpProtocol.sctp:
      return sctpAnswer(ends, payload);
    case IpProtocol.udp:
      return dst.family === 4
        ? icmpError(bytes, dst, Icmpv4Type.unreachable, UnreachableCode.port)
        : icmpError(bytes, dst, Icmpv6Type.unreachable, Unreachable6Code.port);
    case NextHeader.none:
      return undefined;
    default:
      // Linux: ip_local_deliver_finish, ip6_protocol_deliver_rcu
      return dst.family === 4
        ? icmpError(bytes, dst, Icmpv4Type.unreachable, UnreachableCode.protocol)
        : icmpError(bytes, dst, Icmpv6Type.parameterProblem, unknownNextHeader, nextHeaderAt(bytes));
  }
}

/** Code of a parameter problem (RFC 4443 section 3.4). */
const unknownNextHeader = 1;

/** Place of the byte that names the protocol, behind all extension headers. */
function nextHeaderAt(bytes: Uint8Array): number {
  let nameAt: number = Ipv6Field.nextHeader;
  for (let at = ipv6HeaderSize; extensionSize(bytes[nameAt]!, bytes, at) > 0; ) {
    const size = extensionSize(bytes[nameAt]!, bytes, at);
    nameAt = at;
    at += size;
  }
  return nameAt;
}
