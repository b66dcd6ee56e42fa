/**
 * How a datagram that was put together on its way leaves again: in fragments of the sizes that came, or, where its
 * header has outgrown them, cut anew to the largest that came (kernel net/ipv4/ip_output.c, ip_do_fragment;
 * net/ipv6/ip6_output.c, ip6_fragment). An IPv6 identification is the node's own: here it is given.
 */
import {
  extensionSize,
  IpProtocol,
  internetChecksum,
  ipv6HeaderSize,
  NextHeader,
  tcpHeaderSize,
  writeU16,
  writeU32,
} from "../wire/index.ts";
import { type PacketBatch, rowBytes } from "./batch.ts";

const mtuMinV6 = 1280;

/** The row's packets as they leave by an interface of this `mtu`: itself, unless it came in fragments. */
export function leavingPackets(
  batch: PacketBatch,
  row: number,
  mtu = 1500,
  identificationV6 = 1,
): readonly Uint8Array[] {
  const came = batch.state.fragments[row];
  const packet = rowBytes(batch, row).slice();
  if (came === undefined) return [packet];
  if (batch.family[row] === 6) {
    if (packet.length <= came.largest && packet.length <= mtu) return [packet];
    const room = Math.max(mtuMinV6, Math.min(mtu, came.largest));
    return splitV6(packet, came.sizes, room, identificationV6);
  }
  const headerSize = (packet[0]! & 15) * 4;
  const room = Math.min(mtu, came.largest) - headerSize;
  const data = packet.subarray(headerSize);
  const isSame = came.sizes.every((size) => size <= room) && !isTcpHeaderSplit(packet, came.sizes[0]!);
  const sizes = isSame ? came.sizes : evenSizes(data.length, room);
  return splitV4(packet, headerSize, sizes, !isSame && came.keepsDf);
}

/** Looking for a socket, the kernel pulls the TCP header into the first fragment, which then fits no more. */
function isTcpHeaderSplit(packet: Uint8Array, firstSize: number): boolean {
  return packet[9] === IpProtocol.tcp && firstSize < tcpHeaderSize;
}

/** As much as fits in each; all but the last in multiples of eight bytes. */
function evenSizes(length: number, room: number): readonly number[] {
  const sizes: number[] = [];
  for (let left = length; left > 0; ) {
    const size = left <= room ? left : room & ~7;
    if (size === 0) return [length]; // headers leave no room at all
    sizes.push(size);
    left -= size;
  }
  return sizes;
}

function splitV4(
  packet: Uint8Array,
  headerSize: number,
  sizes: readonly number[],
  keepsDf: boolean,
): readonly Uint8Array[] {
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const size of sizes) {
    const part = new Uint8Array(headerSize + size);
    part.set(packet.subarray(0, headerSize));
    part.set(packet.subarray(headerSize + offset, headerSize + offset + size), headerSize);
    if (offset > 0) blankUncopiedOptions(part, headerSize);
    const isMore = offset + size < packet.length - headerSize;
    writeU16(part, 2, part.length);
    writeU16(part, 6, (offset >>> 3) | (isMore ? 0x2000 : 0) | (keepsDf ? 0x4000 : 0));
    writeU16(part, 10, 0);
    writeU16(part, 10, internetChecksum(part, 0, headerSize));
    parts.push(part);
    offset += size;
  }
  return parts;
}

/** Options that stand in the first fragment only become no-operations in the others (RFC 791 section 3.1). */
function blankUncopiedOptions(part: Uint8Array, headerSize: number): void {
  for (let at = 20; at < headerSize; ) {
    const type = part[at]!;
    if (type === 0) return;
    const size = type === 1 ? 1 : at + 1 < headerSize ? part[at + 1]! : 0;
    if (size === 0 || at + size > headerSize || (type !== 1 && size < 2)) return;
    if ((type & 0x80) === 0) part.fill(1, at, at + size);
    at += size;
  }
}

function splitV6(
  packet: Uint8Array,
  came: readonly number[],
  room: number,
  identification: number,
): readonly Uint8Array[] {
  const { nameAt, headerAt } = fragmentPlace(packet);
  const data = packet.subarray(headerAt);
  const space = room - headerAt - 8;
  const total = came.reduce((sum, size) => sum + size, 0);
  const isSame = total === data.length && came.every((size) => size <= space) && (came[0]! & 7) === 0;
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const size of isSame ? came : evenSizes(data.length, space)) {
    const part = new Uint8Array(headerAt + 8 + size);
    part.set(packet.subarray(0, headerAt));
    part.set(data.subarray(offset, offset + size), headerAt + 8);
    part[headerAt] = packet[nameAt]!;
    part[nameAt] = NextHeader.fragment;
    writeU16(part, 4, part.length - ipv6HeaderSize);
    writeU16(part, headerAt + 2, offset | (offset + size < data.length ? 1 : 0));
    writeU32(part, headerAt + 4, identification);
    parts.push(part);
    offset += size;
  }
  return parts;
}

/** Behind the headers that every hop reads (RFC 8200 section 4.5). */
function fragmentPlace(packet: Uint8Array): { readonly nameAt: number; readonly headerAt: number } {
  let place = { nameAt: 6, headerAt: ipv6HeaderSize };
  let nameAt = 6;
  let at = ipv6HeaderSize;
  for (;;) {
    const type = packet[nameAt]!;
    const isBeforeFragment = type === NextHeader.hopByHop || type === NextHeader.routing;
    if (!isBeforeFragment && type !== NextHeader.destinationOptions) return place;
    const size = at + 8 <= packet.length ? extensionSize(type, packet, at) : 0;
    if (size === 0 || at + size > packet.length) return place;
    nameAt = at;
    at += size;
    if (isBeforeFragment) place = { nameAt, headerAt: at };
  }
}
