/** Packets that no ICMP error is sent about, for they are errors themselves (RFC 1122 section 3.2.2, RFC 4443 section 2.4). */
import { isIcmpv6Error } from "./icmpv6.ts";
import { readOffender } from "./offender.ts";
import { IpProtocol } from "./protocol.ts";

const queriesV4: ReadonlySet<number> = new Set([0, 8, 13, 14, 15, 16, 17, 18]);

/**
 * Of ICMP, queries and their answers alone may be answered with an error; unknown types count as errors in IPv4 (kernel
 * net/ipv4/icmp.c, icmp_send; net/ipv6/icmp.c, is_ineligible).
 */
export function isUnanswerable(bytes: Uint8Array, start: number, end: number): boolean {
  const packet = readOffender(bytes, start, end);
  if (packet === undefined) return true;
  const isV6 = packet.family === 6;
  if (packet.protocol !== (isV6 ? IpProtocol.icmpv6 : IpProtocol.icmp)) return false;
  if (packet.transportAt < 0) return true;
  const type = bytes[packet.transportAt]!;
  return isV6 ? isIcmpv6Error(type) : !queriesV4.has(type);
}
