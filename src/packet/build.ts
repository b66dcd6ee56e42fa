/**
 * Builders: readable layers in, bytes out (from the network header on). Lengths and checksums are filled in unless an
 * override is given, so that bad packets can be made on purpose. Addresses are text or `Ip`.
 */
import { type Ip, type Mac, parseIp } from "../addr/index.ts";
import { assert } from "../base/index.ts";
import {
  ArpOperation,
  type ArpRepr,
  arpSize,
  EtherType,
  type ExtensionHeader,
  emitArp,
  emitEthernet,
  emitIcmp,
  emitIpv4,
  emitIpv4Options,
  emitIpv6,
  emitSctp,
  emitTcp,
  emitUdp,
  emptyBytes,
  finalDestination,
  fragmentHeader,
  type IcmpRepr,
  Icmpv4Type,
  Icmpv6Type,
  IpProtocol,
  Ipv4Field,
  type Ipv4Overrides,
  type Ipv6Overrides,
  ipv4HeaderSize,
  ipv6HeaderSize,
  type NdpRepr,
  NextHeader,
  ndpMessage,
  parseIpv4,
  parseIpv4Options,
  parseIpv6,
  pseudoHeaderSum,
  readOffender,
  readWords,
  type SctpChunk,
  type SctpOverrides,
  sizeEthernet,
  sizeIcmp,
  sizeIpv4,
  sizeIpv6,
  sizeSctp,
  sizeTcp,
  sizeTcpOption,
  sizeUdp,
  type TcpOption,
  type TcpOverrides,
  type UdpOverrides,
  type VlanTag,
} from "../wire/index.ts";

/** Fields of an IPv4 or IPv6 header that builders take; the rest has defaults. */
export interface IpFields {
  readonly src: string | Ip;
  readonly dst: string | Ip;
  /** TTL or hop limit; default 64. */
  readonly ttl?: number;
  readonly tos?: number;
  /** IPv4 only. Default 0. */
  readonly identification?: number;
  /** IPv4 only. Default true. */
  readonly dontFragment?: boolean;
  /** IPv4 only: raw, a multiple of four bytes. */
  readonly ipOptions?: Uint8Array;
  /** IPv6 only. */
  readonly extensions?: readonly ExtensionHeader[];
  readonly flowLabel?: number;
  readonly ipOverrides?: Ipv4Overrides & Ipv6Overrides;
}

/** TCP: ports, flags, numbers and options; defaults fill in the rest. */
export interface TcpFields extends IpFields {
  readonly sport: number;
  readonly dport: number;
  /** Bits of `TcpFlag`. */
  readonly flags: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly window?: number;
  readonly urgent?: number;
  /** Padded with `nop` to a multiple of four bytes. */
  readonly options?: readonly TcpOption[];
  readonly payload?: Uint8Array;
  readonly overrides?: TcpOverrides;
}

/** UDP: ports and payload. */
export interface UdpFields extends IpFields {
  readonly sport: number;
  readonly dport: number;
  readonly payload?: Uint8Array;
  readonly overrides?: UdpOverrides;
}

/** SCTP: ports, tag and chunks. */
export interface SctpFields extends IpFields {
  readonly sport: number;
  readonly dport: number;
  readonly verificationTag: number;
  readonly chunks: readonly SctpChunk[];
  readonly overrides?: SctpOverrides;
}

function toIp(value: string | Ip): Ip {
  if (typeof value !== "string") return value;
  const ip = parseIp(value);
  assert(ip !== undefined, `not an address: ${value}`);
  return ip;
}

/** A packet of any protocol; `emit` fills the payload, given the pseudo header's sum. */
function assemble(
  fields: IpFields,
  protocol: number,
  size: number,
  emit: (bytes: Uint8Array, pseudoSum: number) => void,
): Uint8Array {
  const [src, dst] = [toIp(fields.src), toIp(fields.dst)];
  assert(src.family === dst.family, "source and destination are of different families");
  const payload = new Uint8Array(size);
  const final =
    dst.family === 4 ? dst.words : finalDestination({ dst: dst.words, extensions: fields.extensions ?? [] });
  emit(payload, pseudoHeaderSum(src.words, final, protocol, size));
  return src.family === 4
    ? assembleV4(fields, protocol, src, dst, payload)
    : assembleV6(fields, protocol, src, dst, payload);
}

function assembleV4(fields: IpFields, protocol: number, src: Ip, dst: Ip, payload: Uint8Array): Uint8Array {
  const repr = {
    tos: fields.tos ?? 0,
    identification: fields.identification ?? 0,
    dontFragment: fields.dontFragment ?? true,
    moreFragments: false,
    fragmentOffset: 0,
    ttl: fields.ttl ?? 64,
    protocol,
    src: src.words[0] ?? 0,
    dst: dst.words[0] ?? 0,
    options: fields.ipOptions ?? emptyBytes,
    payload,
  };
  const bytes = new Uint8Array(sizeIpv4(repr));
  emitIpv4(repr, bytes, 0, fields.ipOverrides);
  return bytes;
}

function assembleV6(fields: IpFields, protocol: number, src: Ip, dst: Ip, payload: Uint8Array): Uint8Array {
  const repr = {
    trafficClass: fields.tos ?? 0,
    flowLabel: fields.flowLabel ?? 0,
    hopLimit: fields.ttl ?? 64,
    src: src.words,
    dst: dst.words,
    extensions: fields.extensions ?? [],
    protocol,
    payload,
  };
  const bytes = new Uint8Array(sizeIpv6(repr));
  emitIpv6(repr, bytes, 0, fields.ipOverrides);
  return bytes;
}

/** A TCP segment with its IP header, checksummed. */
export function tcp(fields: TcpFields): Uint8Array {
  const options = [...(fields.options ?? [])];
  const size = options.reduce((sum, option) => sum + sizeTcpOption(option), 0);
  for (let i = size; i % 4 !== 0; i++) options.push({ kind: "nop" });
  const repr = {
    sport: fields.sport,
    dport: fields.dport,
    seq: fields.seq ?? 0,
    ack: fields.ack ?? 0,
    flags: fields.flags,
    window: fields.window ?? 64240,
    urgent: fields.urgent ?? 0,
    options,
    payload: fields.payload ?? emptyBytes,
  };
  return assemble(fields, IpProtocol.tcp, sizeTcp(repr), (bytes, sum) =>
    emitTcp(repr, bytes, 0, sum, fields.overrides),
  );
}

/** A UDP datagram with its IP header, checksummed. */
export function udp(fields: UdpFields): Uint8Array {
  const repr = { sport: fields.sport, dport: fields.dport, payload: fields.payload ?? emptyBytes };
  return assemble(fields, IpProtocol.udp, sizeUdp(repr), (bytes, sum) =>
    emitUdp(repr, bytes, 0, sum, fields.overrides),
  );
}

/** An SCTP packet with its IP header, checksummed. */
export function sctp(fields: SctpFields): Uint8Array {
  const { sport, dport, verificationTag, chunks } = fields;
  const repr = { sport, dport, verificationTag, chunks };
  return assemble(fields, IpProtocol.sctp, sizeSctp(repr), (bytes) =>
    emitSctp(repr, bytes, 0, fields.overrides),
  );
}

/** Any ICMP message; the family of the addresses chooses ICMPv4 or ICMPv6. */
export function icmp(fields: IpFields & IcmpRepr & { readonly checksum?: number }): Uint8Array {
  const family = toIp(fields.src).family;
  const overrides = fields.checksum === undefined ? {} : { checksum: fields.checksum };
  return assemble(
    fields,
    family === 4 ? IpProtocol.icmp : IpProtocol.icmpv6,
    sizeIcmp(fields),
    (bytes, sum) => emitIcmp(fields, bytes, 0, family === 4 ? 0 : sum, overrides),
  );
}

/** ICMP echo: defaults fill in what is not given. */
export interface EchoFields extends IpFields {
  readonly reply?: boolean;
  readonly identifier: number;
  readonly sequence: number;
  readonly payload?: Uint8Array;
}

/** An echo request or reply of either family. */
export function icmpEcho(fields: EchoFields): Uint8Array {
  const isV4 = toIp(fields.src).family === 4;
  const request = isV4 ? Icmpv4Type.echoRequest : Icmpv6Type.echoRequest;
  const reply = isV4 ? Icmpv4Type.echoReply : Icmpv6Type.echoReply;
  return icmp({
    ...fields,
    type: fields.reply ? reply : request,
    code: 0,
    rest: ((fields.identifier << 16) | fields.sequence) >>> 0,
    data: fields.payload ?? emptyBytes,
  });
}

/**
 * An ICMP error about `offending` (a whole packet), sent by `from` to the packet's source. Data as Linux sends it: as
 * much of the packet as fits 576 bytes (IPv4, RFC 1812 section 4.3.2.3) or 1280 (IPv6, RFC 4443 section 2.4).
 */
export function icmpError(
  offending: Uint8Array,
  from: string | Ip,
  type: number,
  code: number,
  rest = 0,
): Uint8Array {
  const src = toIp(from);
  const limit = src.family === 4 ? 576 - ipv4HeaderSize - 8 : 1280 - ipv6HeaderSize - 8;
  const data = offending.slice(0, limit);
  const offender = readOffender(data);
  assert(offender?.family === src.family, "an ICMP error is about a packet of its own family");
  const dst = { family: src.family, words: readWords(data, offender.srcAt, src.words.length) };
  // Linux marks errors as internetwork control (IPTOS_PREC_INTERNETCONTROL, net/ipv4/icmp.c)
  const tos = src.family === 4 ? (data[Ipv4Field.tos]! & 0x1e) | 0xc0 : 0;
  return icmp({ src, dst, type, code, rest, data, tos, dontFragment: false });
}

/** A neighbour discovery message, with the hop limit that it must have. */
export function neighborDiscovery(fields: IpFields & { readonly ndp: NdpRepr }): Uint8Array {
  return icmp({ ttl: 255, ...fields, ...ndpMessage(fields.ndp) });
}

/** A packet of any protocol number with a raw payload. */
export function ipPacket(
  fields: IpFields & { readonly protocol: number; readonly payload: Uint8Array },
): Uint8Array {
  return assemble(fields, fields.protocol, fields.payload.length, (bytes) => bytes.set(fields.payload));
}

/** Splits a whole packet into fragments whose IP packets are at most `mtu` bytes (>= 68; IPv6 >= 96). */
export function fragment(packet: Uint8Array, mtu: number, identification = 1): readonly Uint8Array[] {
  return packet[0]! >>> 4 === 4
    ? fragmentV4(packet, mtu, identification)
    : fragmentV6(packet, mtu, identification);
}

function fragmentV4(packet: Uint8Array, mtu: number, identification: number): readonly Uint8Array[] {
  const ip = parseIpv4(packet);
  assert(
    ip.ok && ip.value.fragmentOffset === 0 && !ip.value.moreFragments,
    "only a whole packet is fragmented",
  );
  const room = (mtu - ipv4HeaderSize - ip.value.options.length) & ~7;
  assert(room >= 8, `mtu ${mtu} leaves no room for data`);
  return chunksOf(ip.value.payload, room).map(([offset, payload, isLast]) => {
    const repr = {
      ...ip.value,
      identification,
      dontFragment: false,
      moreFragments: !isLast,
      fragmentOffset: offset,
      options: offset === 0 ? ip.value.options : copiedOptions(ip.value.options),
      payload,
    };
    const bytes = new Uint8Array(sizeIpv4(repr));
    emitIpv4(repr, bytes);
    return bytes;
  });
}

/** Options whose type has the copied flag are in every fragment, others in the first alone (RFC 791 section 3.1). */
function copiedOptions(raw: Uint8Array): Uint8Array {
  const options = parseIpv4Options(raw);
  return options.ok ? emitIpv4Options(options.value.filter(({ type }) => (type & 0x80) !== 0)) : raw;
}

function fragmentV6(packet: Uint8Array, mtu: number, identification: number): readonly Uint8Array[] {
  const ip = parseIpv6(packet);
  assert(ip.ok, "only a whole packet is fragmented");
  const { extensions, payload } = ip.value;
  assert(!extensions.some(({ type }) => type === NextHeader.fragment), "only a whole packet is fragmented");
  const kept = extensions.slice(0, countUnfragmentable(extensions));
  const keptSize = sizeIpv6({ ...ip.value, extensions: kept, payload: emptyBytes });
  const room = (mtu - keptSize - 8) & ~7;
  assert(room >= 8, `mtu ${mtu} leaves no room for data`);
  const rest = packet.subarray(keptSize, sizeIpv6({ ...ip.value, payload }));
  const protocol = extensions[kept.length]?.type ?? ip.value.protocol;
  return chunksOf(rest, room).map(([offset, part, isLast]) => {
    const header = fragmentHeader(offset, !isLast, identification);
    const repr = { ...ip.value, extensions: [...kept, header], protocol, payload: part };
    const bytes = new Uint8Array(sizeIpv6(repr));
    emitIpv6(repr, bytes);
    return bytes;
  });
}

/** Headers up to a routing header, or a hop-by-hop header alone, are in every fragment (RFC 8200 section 4.5). */
function countUnfragmentable(extensions: readonly ExtensionHeader[]): number {
  const routing = extensions.findLastIndex(({ type }) => type === NextHeader.routing);
  if (routing >= 0) return routing + 1;
  return extensions[0]?.type === NextHeader.hopByHop ? 1 : 0;
}

function chunksOf(payload: Uint8Array, room: number): [offset: number, data: Uint8Array, isLast: boolean][] {
  const chunks: [number, Uint8Array, boolean][] = [];
  for (let at = 0; at === 0 || at < payload.length; at += room)
    chunks.push([at, payload.slice(at, at + room), at + room >= payload.length]);
  return chunks;
}

/** An Ethernet frame around a packet, for captures and links. `etherType` defaults to the packet's IP version. */
export function frame(
  packet: Uint8Array,
  fields: {
    readonly src: Mac;
    readonly dst: Mac;
    readonly vlans?: readonly (Partial<VlanTag> & Pick<VlanTag, "id">)[];
    readonly etherType?: number;
  },
): Uint8Array {
  const untold = { protocol: EtherType.vlan, priority: 0, dropEligible: false };
  const repr = {
    src: fields.src,
    dst: fields.dst,
    vlans: (fields.vlans ?? []).map((tag) => ({ ...untold, ...tag })),
    etherType: fields.etherType ?? (packet[0]! >>> 4 === 6 ? EtherType.ipv6 : EtherType.ipv4),
  };
  const bytes = new Uint8Array(sizeEthernet(repr) + packet.length);
  bytes.set(packet, emitEthernet(repr, bytes));
  return bytes;
}

/** An ARP message in its frame: requests to all, answers to the one who asked. */
export function arp(repr: ArpRepr): Uint8Array {
  const bytes = new Uint8Array(arpSize);
  emitArp(repr, bytes);
  const dst = repr.operation === ArpOperation.request ? [255, 255, 255, 255, 255, 255] : repr.targetMac;
  return frame(bytes, { src: repr.senderMac, dst, etherType: EtherType.arp });
}
