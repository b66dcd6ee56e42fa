/** One line a packet, in tcpdump's manner: `IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1, win 64240, length 0`. */
import { formatIpv4, formatWords } from "../addr/index.ts";
import { isIcmpv4Error, parseIcmp, printIcmpv4 } from "./icmpv4.ts";
import { printIcmpv6 } from "./icmpv6.ts";
import { parseIpv4 } from "./ipv4.ts";
import { parseIpv6, walkExtensions } from "./ipv6.ts";
import { IpProtocol, protocolName } from "./protocol.ts";
import { parseSctp, printSctp } from "./sctp.ts";
import { parseTcp, printTcp } from "./tcp.ts";
import { parseUdp, printUdp } from "./udp.ts";

/** `packet` starts at the network header. Broken packets print as far as they can be read. */
export function printPacket(packet: Uint8Array): string {
  const version = packet.length > 0 ? packet[0]! >>> 4 : 0;
  if (version === 4) return printV4(packet);
  if (version === 6) return printV6(packet);
  return `unknown network protocol, length ${packet.length}`;
}

function printV4(packet: Uint8Array): string {
  const ip = parseIpv4(packet);
  if (!ip.ok) return `IP (${ip.fault}), length ${packet.length}`;
  const { src, dst, protocol, payload, fragmentOffset, moreFragments, identification } = ip.value;
  const names: readonly [string, string] = [formatIpv4(src), formatIpv4(dst)];
  if (fragmentOffset > 0)
    return `IP ${names[0]} > ${names[1]}: ${protocolName(protocol)} (frag ${identification}:${payload.length}@${fragmentOffset}${moreFragments ? "+" : ""})`;
  const first = moreFragments ? ` (frag ${identification}:${payload.length}@0+)` : "";
  return `IP ${printTransport(names, protocol, payload, 4)}${first}`;
}

function printV6(packet: Uint8Array): string {
  const ip = parseIpv6(packet);
  if (!ip.ok) return `IP6 (${ip.fault}), length ${packet.length}`;
  const names: readonly [string, string] = [formatWords(6, ip.value.src), formatWords(6, ip.value.dst)];
  const walk = walkExtensions(packet, 0, packet.length);
  if (walk.ok && walk.value.fragmentOffset > 0)
    return `IP6 ${names[0]} > ${names[1]}: frag (${walk.value.fragmentOffset}|${ip.value.payload.length})`;
  return `IP6 ${printTransport(names, ip.value.protocol, ip.value.payload, 6)}`;
}

function printTransport(
  [src, dst]: readonly [string, string],
  protocol: number,
  payload: Uint8Array,
  family: 4 | 6,
): string {
  const between = (sport: number, dport: number, text: string): string =>
    `${src}.${sport} > ${dst}.${dport}: ${text}`;
  switch (protocol) {
    case IpProtocol.tcp: {
      const tcp = parseTcp(payload);
      if (tcp.ok) return between(tcp.value.sport, tcp.value.dport, printTcp(tcp.value));
      return `${src} > ${dst}: tcp (${tcp.fault}), length ${payload.length}`;
    }
    case IpProtocol.udp: {
      const udp = parseUdp(payload);
      if (udp.ok) return between(udp.value.sport, udp.value.dport, printUdp(udp.value));
      return `${src} > ${dst}: udp (${udp.fault}), length ${payload.length}`;
    }
    case IpProtocol.sctp: {
      const sctp = parseSctp(payload);
      if (sctp.ok) return between(sctp.value.sport, sctp.value.dport, printSctp(sctp.value));
      return `${src} > ${dst}: sctp (${sctp.fault}), length ${payload.length}`;
    }
    case IpProtocol.icmp:
    case IpProtocol.icmpv6: {
      const icmp = parseIcmp(payload);
      if (!icmp.ok) return `${src} > ${dst}: ICMP (${icmp.fault}), length ${payload.length}`;
      if (family === 6) return `${src} > ${dst}: ${printIcmpv6(icmp.value)}`;
      return `${src} > ${dst}: ${printIcmpv4(icmp.value)}${isIcmpv4Error(icmp.value.type) ? `, length ${payload.length}` : ""}`;
    }
    default:
      return `${src} > ${dst}: ${protocolName(protocol)} ${payload.length}`;
  }
}
