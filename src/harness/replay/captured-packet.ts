/**
 * From a captured frame to the packet that was on its way. Captures show packets before the network card has finished
 * them: checksums that are left to the card (tcpdump sees them on the sending host), segments that the card will cut
 * (total length 0 or more than a packet can have), frames cut by the snapshot length. Filters saw the kernel's packet,
 * whose checksums count as good, so these are completed; a checksum that is plainly wrong stays wrong.
 * Governing source: kernel include/linux/skbuff.h (CHECKSUM_PARTIAL), net/ipv4/ip_output.c (GSO).
 */
import {
  checksumHolds,
  crc32c,
  finishSum,
  IpProtocol,
  internetChecksum,
  readCrc32c,
  readU16,
  readU32,
  sctpChecksumAt,
  sumWords,
  walkExtensions,
  writeCrc32c,
  writeU16,
} from "../../wire/index.ts";

const packetBytesMax = 0xffff;

/**
 * `bytes[start..end)`, completed: a view of them where nothing is to be done, a copy otherwise. `onWire` is the packet's
 * length before the capture cut it.
 */
export function completePacket(bytes: Uint8Array, start: number, end: number, onWire: number): Uint8Array {
  const version = end > start ? (bytes[start] ?? 0) >>> 4 : 0;
  if (version === 4 && end - start >= 20) return completeV4(bytes, start, end, onWire);
  if (version === 6 && end - start >= 40) return completeV6(bytes, start, end, onWire);
  return bytes.subarray(start, end);
}

function completeV4(bytes: Uint8Array, start: number, end: number, onWire: number): Uint8Array {
  const stated = readU16(bytes, start + 2);
  const isSegmented = stated === 0;
  const size = Math.min(isSegmented ? onWire : stated, packetBytesMax);
  let packet = resized(bytes, start, end, onWire, size);
  const headerSize = ((packet[0] ?? 0) & 15) * 4;
  if (isSegmented && headerSize >= 20 && headerSize <= packet.length) {
    packet = packet.slice();
    writeU16(packet, 2, packet.length);
    writeU16(packet, 10, 0);
    writeU16(packet, 10, internetChecksum(packet, 0, headerSize));
  }
  const isFragment = (readU16(packet, 6) & 0x3fff) !== 0;
  if (isFragment || headerSize < 20) return packet;
  return completeTransport(packet, headerSize, packet[9] ?? 0, 12, 8, isSegmented || end - start < size);
}

function completeV6(bytes: Uint8Array, start: number, end: number, onWire: number): Uint8Array {
  const stated = readU16(bytes, start + 4);
  const isSegmented = stated === 0 && onWire > 40;
  const size = Math.min(isSegmented ? onWire : 40 + stated, packetBytesMax + 40);
  let packet = resized(bytes, start, end, onWire, size);
  if (isSegmented) {
    packet = packet.slice();
    writeU16(packet, 4, packet.length - 40);
  }
  const walk = walkExtensions(packet, 0, packet.length);
  if (!walk.ok || walk.value.fragmentOffset > 0 || walk.value.moreFragments) return packet;
  const { offset, protocol } = walk.value;
  return completeTransport(packet, offset, protocol, 8, 32, isSegmented || end - start < size);
}

/** Without link padding; what the snapshot length cut off comes back as zeros; what is shorter on the wire stays short. */
function resized(bytes: Uint8Array, start: number, end: number, onWire: number, size: number): Uint8Array {
  if (size <= end - start || size > onWire) return bytes.subarray(start, Math.min(end, start + size));
  const packet = new Uint8Array(size);
  packet.set(bytes.subarray(start, end));
  return packet;
}

/** Where the checksum stands in its header; -1: the protocol has none that is completed. */
function sumFieldOf(protocol: number): number {
  switch (protocol) {
    case IpProtocol.tcp:
      return 16;
    case IpProtocol.udp:
      return 6;
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return 2;
    default:
      return -1;
  }
}

/** `isUnknown`: bytes are missing, so that no checksum could be held against them. */
function completeTransport(
  packet: Uint8Array,
  at: number,
  protocol: number,
  addressesAt: number,
  addressBytes: number,
  isUnknown: boolean,
): Uint8Array {
  const end = packet.length;
  if (protocol === IpProtocol.sctp) return completeSctp(packet, at, isUnknown);
  const field = sumFieldOf(protocol);
  if (field < 0 || at + field + 2 > end) return packet;
  const stored = readU16(packet, at + field);
  if (protocol === IpProtocol.udp && stored === 0) return packet; // none
  const pseudo =
    protocol === IpProtocol.icmp
      ? 0
      : sumWords(packet, addressesAt, addressesAt + addressBytes, protocol + (end - at));
  const isLeftToCard = stored === (~finishSum(pseudo) & 0xffff) && protocol !== IpProtocol.icmp;
  if (!isUnknown && (!isLeftToCard || checksumHolds(packet, at, end, pseudo))) return packet;
  const completed = packet.slice();
  writeU16(completed, at + field, 0);
  const sum = finishSum(sumWords(completed, at, end, pseudo));
  writeU16(completed, at + field, protocol === IpProtocol.udp && sum === 0 ? 0xffff : sum);
  return completed;
}

function completeSctp(packet: Uint8Array, at: number, isUnknown: boolean): Uint8Array {
  const end = packet.length;
  if (at + 12 > end) return packet;
  const isLeftToCard = readU32(packet, at + sctpChecksumAt) === 0;
  if (!isUnknown && !isLeftToCard) return packet;
  const crc = crc32c(packet, at, end, at + sctpChecksumAt);
  if (readCrc32c(packet, at + sctpChecksumAt) === crc) return packet;
  const completed = packet.slice();
  writeCrc32c(completed, at + sctpChecksumAt, crc);
  return completed;
}
