/**
 * One line a packet, as `tcpdump -nS` prints it: `IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1, win 64240, length 0`.
 * On purpose different: payloads of applications are not read; IPv4 fragments carry the note that tcpdump -v gives
 * them; unread protocols are named with their length; broken packets say what is wrong with them in our words.
 */
import { formatIpv4, formatWords } from "../addr/index.ts";
import { parseArp, printArp } from "./arp.ts";
import { readU16 } from "./bytes.ts";
import { EtherType, parseEthernet, printEthernet } from "./ethernet.ts";
import { parseIcmp, printIcmpv4 } from "./icmpv4.ts";
import { printIcmpv6 } from "./icmpv6.ts";
import { parseIpv4, printIpv4Fragment } from "./ipv4.ts";
import { NextHeader, parseIpv6, printExtensions } from "./ipv6.ts";
import { IpProtocol, protocolName } from "./protocol.ts";
import { parseSctp, printSctp } from "./sctp.ts";
import { parseTcp, printTcp } from "./tcp.ts";
import { parseUdp, printUdp, udpHeaderSize } from "./udp.ts";

/** An Ethernet frame as `tcpdump -e` prints it: the type stands for the name of the protocol. Never throws. */
export function printFrame(frame: Uint8Array): string {
  const ethernet = parseEthernet(frame);
  if (!ethernet.ok) return `Ethernet (${ethernet.fault}), length ${frame.length}`;
  const { repr, headerSize } = ethernet.value;
  const payload = frame.subarray(headerSize);
  const head = printEthernet(repr, frame.length);
  // what stands behind the frame's length is set off by a colon, everything further in by commas
  const between = repr.vlans.length === 0 ? ": " : ", ";
  switch (repr.etherType) {
    case EtherType.ipv4:
    case EtherType.ipv6:
      return head + between + printPacket(payload).replace(/^IP6? /, "");
    case EtherType.arp: {
      const arp = parseArp(payload);
      if (!arp.ok) return `${head}${between}(${arp.fault}), length ${payload.length}`;
      return head + between + printArp(arp.value, payload.length).replace(/^ARP, /, "");
    }
    default:
      return head;
  }
}

/** `packet` starts at the network header. Broken packets print as far as they can be read. Never throws. */
export function printPacket(packet: Uint8Array): string {
  const version = packet.length > 0 ? packet[0]! >>> 4 : 0;
  if (version === 4) return printV4(packet);
  if (version === 6) return printV6(packet);
  return `unknown network protocol, length ${packet.length}`;
}

function printV4(packet: Uint8Array): string {
  const ip = parseIpv4(packet);
  if (!ip.ok) return `IP (${ip.fault}), length ${packet.length}`;
  const { protocol, payload, fragmentOffset } = ip.value;
  const ends = { src: formatIpv4(ip.value.src), dst: formatIpv4(ip.value.dst) };
  const note = printIpv4Fragment(ip.value);
  if (fragmentOffset > 0) return `IP ${ends.src} > ${ends.dst}: ${printProtocol(protocol)}${note}`;
  return `IP ${printTransport(ends, "", protocol, payload, 4, ip.value.moreFragments)}${note}`;
}

function printV6(packet: Uint8Array): string {
  const ip = parseIpv6(packet);
  if (!ip.ok) return `IP6 (${ip.fault}), length ${packet.length}`;
  const { protocol, payload, extensions } = ip.value;
  const ends = { src: formatWords(6, ip.value.src), dst: formatWords(6, ip.value.dst) };
  const headers = printExtensions(extensions, payload.length);
  const last = extensions.at(-1);
  const isLaterFragment = last?.type === NextHeader.fragment && (readU16(last.body, 1) & 0xfff8) !== 0;
  if (isLaterFragment) return `IP6 ${ends.src} > ${ends.dst}: ${headers.trimEnd()}`;
  return `IP6 ${printTransport(ends, headers, protocol, payload, 6, last?.type === NextHeader.fragment)}`;
}

interface Ends {
  readonly src: string;
  readonly dst: string;
}

/** `headers`: what stands between the addresses and the transport header, with a space behind it. */
function printTransport(
  ends: Ends,
  headers: string,
  protocol: number,
  payload: Uint8Array,
  family: 4 | 6,
  isFragment: boolean,
): string {
  const between = `${ends.src} > ${ends.dst}: ${headers}`;
  switch (protocol) {
    case IpProtocol.tcp: {
      const tcp = parseTcp(payload);
      return (
        printPorts(ends, headers, payload) +
        (tcp.ok ? printTcp(tcp.value) : broken("tcp", tcp.fault, payload))
      );
    }
    case IpProtocol.udp:
      return printPorts(ends, headers, payload) + printDatagram(payload, isFragment);
    case IpProtocol.sctp: {
      const sctp = parseSctp(payload);
      return (
        printPorts(ends, headers, payload) +
        (sctp.ok ? printSctp(sctp.value) : broken("sctp", sctp.fault, payload))
      );
    }
    case IpProtocol.icmp:
    case IpProtocol.icmpv6: {
      if (protocol !== (family === 4 ? IpProtocol.icmp : IpProtocol.icmpv6)) break;
      const icmp = parseIcmp(payload);
      if (!icmp.ok) return between + broken("ICMP", icmp.fault, payload);
      return between + (family === 6 ? printIcmpv6(icmp.value) : printIcmpv4(icmp.value));
    }
    case NextHeader.none:
      if (family === 6) return `${between}no next header`;
      break;
  }
  return `${between}${printProtocol(protocol)} ${payload.length}`;
}

function printProtocol(protocol: number): string {
  const name = protocolName(protocol);
  return name === String(protocol) ? `ip-proto-${protocol}` : name;
}

/** A first fragment ends before its datagram does: its header tells the length. */
function printDatagram(payload: Uint8Array, isFragment: boolean): string {
  const udp = parseUdp(payload);
  if (udp.ok) return printUdp(udp.value.payload.length);
  const isCut = isFragment && udp.fault === "truncated" && payload.length >= udpHeaderSize;
  return isCut ? printUdp(readU16(payload, 4) - udpHeaderSize) : broken("udp", udp.fault, payload);
}

/** tcpdump writes ports to the addresses, but alone behind extension headers. */
function printPorts({ src, dst }: Ends, headers: string, payload: Uint8Array): string {
  if (payload.length < 4) return `${src} > ${dst}: ${headers}`;
  const [sport, dport] = [readU16(payload, 0), readU16(payload, 2)];
  return headers === ""
    ? `${src}.${sport} > ${dst}.${dport}: `
    : `${src} > ${dst}: ${headers}${sport} > ${dport}: `;
}

function broken(name: string, fault: string, payload: Uint8Array): string {
  return `${name} (${fault}), length ${payload.length}`;
}
