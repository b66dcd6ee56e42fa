/**
 * Where the network header begins in a captured frame, by link type: Ethernet with any number of VLAN tags and with
 * LLC/SNAP, raw IP, Linux' two cooked forms, and the loopback forms of BSD. Governing source:
 * tcpdump.org/linktypes.html. Nothing here looks beyond the link header: whether the IP header is good is for `decode`.
 */
import { EtherType, readU16 } from "../wire/index.ts";
import { type CapturedPacket, LinkType } from "./record.ts";

/** What a frame carries. */
export const FrameContent = {
  ip: 0,
  /** ARP, LLDP, spanning tree...: no IP by the frame's own word. */
  otherProtocol: 1,
  /** The link header is cut. */
  cut: 2,
  /** The link type is not known here. */
  unknownLink: 3,
} as const;
export type FrameContent = (typeof FrameContent)[keyof typeof FrameContent];

/** IEEE 802.1ad and its predecessor; 0x8100 is `EtherType.vlan`. */
const otherVlanTags = [0x88a8, 0x9100];
const sllHeaderSize = 16;
const sll2HeaderSize = 20;
/** Address families of IPv6 by system: Linux; NetBSD and OpenBSD; FreeBSD; macOS (linktypes, LINKTYPE_NULL). */
const inet6Families = [10, 24, 28, 30];
const inetFamily = 2;

/** Offset of the network header in `packet.bytes`, or -1 - (a `FrameContent`). */
export function networkOffset(packet: CapturedPacket): number {
  const { bytes, start, end } = packet;
  switch (packet.linkType) {
    case LinkType.ethernet:
      return ethernetPayload(bytes, start, end);
    case LinkType.raw:
    case LinkType.rawBsd:
    case LinkType.rawOpenBsd:
    case LinkType.ipv4:
    case LinkType.ipv6:
      return start;
    case LinkType.linuxSll:
      return end - start < sllHeaderSize
        ? no(FrameContent.cut)
        : payload(bytes, start + 14, start + sllHeaderSize, end);
    case LinkType.linuxSll2:
      return end - start < sll2HeaderSize
        ? no(FrameContent.cut)
        : payload(bytes, start, start + sll2HeaderSize, end);
    case LinkType.null:
    case LinkType.loop:
      return loopbackPayload(bytes, start, end, packet.linkType === LinkType.loop);
    default:
      return no(FrameContent.unknownLink);
  }
}

function no(content: FrameContent): number {
  return -1 - content;
}

/** Interface number that a cooked frame (SLL2) was seen on; 0 for others. */
export function cookedInterface({ linkType, bytes, start, end }: CapturedPacket): number {
  if (linkType !== LinkType.linuxSll2 || end - start < sll2HeaderSize) return 0;
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(start + 4);
}

function ethernetPayload(bytes: Uint8Array, start: number, end: number): number {
  return end - start < 14 ? no(FrameContent.cut) : payload(bytes, start + 12, start + 14, end);
}

/** `typeAt` is where an EtherType stands, `at` what follows it. VLAN tags and SNAP lead to another EtherType. */
function payload(bytes: Uint8Array, typeAt: number, at: number, end: number): number {
  let type = readU16(bytes, typeAt);
  let next = at;
  while (type === EtherType.vlan || otherVlanTags.includes(type)) {
    if (next + 4 > end) return no(FrameContent.cut);
    type = readU16(bytes, next + 2);
    next += 4;
  }
  if (type <= 1500) {
    // IEEE 802.3 length: SNAP (RFC 1042) says what is inside
    const isSnap = next + 8 <= end && readU16(bytes, next) === 0xaaaa && bytes[next + 2] === 3;
    const isRfc1042 = isSnap && readU16(bytes, next + 3) === 0 && bytes[next + 5] === 0;
    if (!isRfc1042) return no(FrameContent.otherProtocol);
    type = readU16(bytes, next + 6);
    next += 8;
  }
  return type === EtherType.ipv4 || type === EtherType.ipv6 ? next : no(FrameContent.otherProtocol);
}

/** Four bytes of address family: in the capturing host's byte order (null), or in network order (loop). */
function loopbackPayload(bytes: Uint8Array, start: number, end: number, isNetworkOrder: boolean): number {
  if (end - start < 4) return no(FrameContent.cut);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const big = view.getUint32(start);
  const family = isNetworkOrder || big < 0x1_0000 ? big : view.getUint32(start, true);
  return family === inetFamily || inet6Families.includes(family) ? start + 4 : no(FrameContent.otherProtocol);
}
