/**
 * One line a packet, as `tcpdump -nS` prints it: `IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1, win 64240, length 0`.
 * On purpose different: payloads of applications are not read; IPv4 fragments carry the note that tcpdump -v gives
 * them; unread protocols are named with their length; broken packets say what is wrong with them in our words.
 */
import { formatIpv4, formatWords } from "../addr/index.ts";
import { parseArp, printArp } from "./arp.ts";
import { emptyBytes, readU16 } from "./bytes.ts";
import { EtherType, parseEthernet, printEthernet } from "./ethernet.ts";
import { parseIcmp, printIcmpv4 } from "./icmpv4.ts";
import { printIcmpv6 } from "./icmpv6.ts";
import { ipv4HeaderSize, parseIpv4, printIpv4Fragment } from "./ipv4.ts";
import { Ipv6Field, ipv6HeaderSize, NextHeader, parseIpv6, printExtensions, sizeIpv6 } from "./ipv6.ts";
import { IpProtocol, protocolName } from "./protocol.ts";
import { parseSctp, printSctp } from "./sctp.ts";
import { parseTcp, printTcp, tcpHeaderSize } from "./tcp.ts";
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

/**
 * `packet` starts at the network header. Broken packets print as far as they can be read. `wireLength`: bytes of the
 * packet on the wire, where a capture kept fewer. Never throws.
 */
export function printPacket(packet: Uint8Array, cut: { readonly wireLength?: number } = {}): string {
  const version = packet.length > 0 ? packet[0]! >>> 4 : 0;
  if (version !== 4 && version !== 6) return `unknown network protocol, length ${packet.length}`;
  const name = version === 4 ? "IP" : "IP6";
  const stated = statedLength(packet, version);
  const missing = Math.max(0, stated - (cut.wireLength ?? packet.length));
  const note = missing > 0 ? `truncated-${name.toLowerCase()} - ${missing} bytes missing! ` : "";
  const whole = stated > packet.length ? extended(packet, stated) : packet;
  return `${name} ${note}${version === 4 ? printV4(whole, packet.length) : printV6(whole, packet.length)}`;
}

/** What the header says; 0 where it is cut. */
function statedLength(packet: Uint8Array, version: 4 | 6): number {
  if (packet.length < (version === 4 ? ipv4HeaderSize : ipv6HeaderSize)) return 0;
  return version === 4 ? readU16(packet, 2) : ipv6HeaderSize + readU16(packet, Ipv6Field.payloadLength);
}

/** Parsers want all that a header states; what they must not believe is kept apart as the length that is there. */
function extended(packet: Uint8Array, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(packet);
  return bytes;
}

function printV4(packet: Uint8Array, there: number): string {
  const ip = parseIpv4(packet);
  if (!ip.ok) return `(${ip.fault}), length ${there}`;
  const { protocol, options, fragmentOffset, moreFragments } = ip.value;
  const ends = { src: formatIpv4(ip.value.src), dst: formatIpv4(ip.value.dst) };
  const note = printIpv4Fragment(ip.value);
  if (fragmentOffset > 0) return `${ends.src} > ${ends.dst}: ${printProtocol(protocol)}${note}`;
  const payload = { bytes: ip.value.payload, there: there - ipv4HeaderSize - options.length };
  return printTransport(ends, "", protocol, payload, 4, moreFragments) + note;
}

function printV6(packet: Uint8Array, there: number): string {
  const ip = parseIpv6(packet);
  if (!ip.ok) return `(${ip.fault}), length ${there}`;
  const { protocol, extensions } = ip.value;
  const ends = { src: formatWords(6, ip.value.src), dst: formatWords(6, ip.value.dst) };
  const headers = printExtensions(extensions, ip.value.payload.length);
  const last = extensions.at(-1);
  const isLaterFragment = last?.type === NextHeader.fragment && (readU16(last.body, 1) & 0xfff8) !== 0;
  if (isLaterFragment) return `${ends.src} > ${ends.dst}: ${headers.trimEnd()}`;
  const payload = { bytes: ip.value.payload, there: there - sizeIpv6({ ...ip.value, payload: emptyBytes }) };
  return printTransport(ends, headers, protocol, payload, 6, last?.type === NextHeader.fragment);
}

interface Ends {
  readonly src: string;
  readonly dst: string;
}

interface Payload {
  /** As long as the packet says, zeros where it was cut. */
  readonly bytes: Uint8Array;
  /** Bytes that were not cut; below 0 when headers before it were. */
  readonly there: number;
}

/** `headers`: what stands between the addresses and the transport header, with a space behind it. */
function printTransport(
  ends: Ends,
  headers: string,
  protocol: number,
  payload: Payload,
  family: 4 | 6,
  isFragment: boolean,
): string {
  const between = `${ends.src} > ${ends.dst}: ${headers}`;
  switch (protocol) {
    case IpProtocol.tcp:
      return printPorts(ends, headers, payload) + printSegment(payload);
    case IpProtocol.udp:
      return printPorts(ends, headers, payload) + printDatagram(payload, isFragment);
    case IpProtocol.sctp: {
      const sctp = parseSctp(uncut(payload));
      return (
        printPorts(ends, headers, payload) +
        (sctp.ok ? printSctp(sctp.value) : broken("sctp", sctp.fault, payload))
      );
    }
    case IpProtocol.icmp:
    case IpProtocol.icmpv6: {
      if (protocol !== (family === 4 ? IpProtocol.icmp : IpProtocol.icmpv6)) break;
      const icmp = parseIcmp(uncut(payload));
      if (!icmp.ok) return between + broken("ICMP", icmp.fault, payload);
      const { length } = payload.bytes;
      return between + (family === 6 ? printIcmpv6(icmp.value, length) : printIcmpv4(icmp.value, length));
    }
    case NextHeader.none:
      if (family === 6) return `${between}no next header`;
      break;
  }
  return `${between}${printProtocol(protocol)} ${payload.bytes.length}`;
}

function uncut({ bytes, there }: Payload): Uint8Array {
  return bytes.subarray(0, Math.max(0, there));
}

function printSegment(payload: Payload): string {
  const { bytes, there } = payload;
  const isCut = there < bytes.length && (there < tcpHeaderSize || there < (bytes[12]! >>> 4) * 4);
  const tcp = parseTcp(isCut ? uncut(payload) : bytes);
  return tcp.ok ? printTcp(tcp.value) : broken("tcp", tcp.fault, payload);
}

function printProtocol(protocol: number): string {
  const name = protocolName(protocol);
  return name === String(protocol) ? `ip-proto-${protocol}` : name;
}

/** A first fragment, and a cut packet, ends before its datagram does: the header tells the length. */
function printDatagram(payload: Payload, isFragment: boolean): string {
  const udp = parseUdp(payload.there < udpHeaderSize ? uncut(payload) : payload.bytes);
  if (udp.ok) return printUdp(udp.value.payload.length);
  const isCut = isFragment && udp.fault === "truncated" && payload.there >= udpHeaderSize;
  return isCut ? printUdp(readU16(payload.bytes, 4) - udpHeaderSize) : broken("udp", udp.fault, payload);
}

/** tcpdump writes ports to the addresses, but alone behind extension headers. */
function printPorts({ src, dst }: Ends, headers: string, { bytes, there }: Payload): string {
  if (Math.min(there, bytes.length) < 4) return `${src} > ${dst}: ${headers}`;
  const [sport, dport] = [readU16(bytes, 0), readU16(bytes, 2)];
  return headers === ""
    ? `${src}.${sport} > ${dst}.${dport}: `
    : `${src} > ${dst}: ${headers}${sport} > ${dport}: `;
}

function broken(name: string, fault: string, payload: Payload): string {
  return `${name} (${fault}), length ${uncut(payload).length}`;
}
