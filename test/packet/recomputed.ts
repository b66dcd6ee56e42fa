/** A packet taken apart by the parsers and put together again by the emitters: its bytes with every checksum computed. */
import {
  emitIcmp,
  emitIpv4,
  emitIpv6,
  emitSctp,
  emitTcp,
  emitUdp,
  finalDestination,
  IpProtocol,
  parseIcmp,
  parseIpv4,
  parseIpv6,
  parseSctp,
  parseTcp,
  parseUdp,
  pseudoHeaderSum,
  readU16,
  sizeIpv4,
  sizeIpv6,
} from "../../src/wire/index.ts";

/** @throws Error where a parser finds a fault. A UDP checksum of zero stays: it means that there is none. */
export function recomputed(packet: Uint8Array): Uint8Array {
  const ip = packet[0]! >>> 4 === 4 ? parseIpv4(packet) : parseIpv6(packet);
  if (!ip.ok) throw new Error(ip.fault);
  const { protocol, payload } = ip.value;
  const [src, dst] =
    "options" in ip.value ? [[ip.value.src], [ip.value.dst]] : [ip.value.src, finalDestination(ip.value)];
  const pseudo = pseudoHeaderSum(src, dst, protocol, payload.length);
  const fresh = new Uint8Array(payload.length);
  writeTransport(protocol, payload, fresh, pseudo);
  if ("options" in ip.value) {
    const bytes = new Uint8Array(sizeIpv4(ip.value));
    emitIpv4({ ...ip.value, payload: fresh }, bytes);
    return bytes;
  }
  const bytes = new Uint8Array(sizeIpv6(ip.value));
  emitIpv6({ ...ip.value, payload: fresh }, bytes);
  return bytes;
}

function writeTransport(protocol: number, payload: Uint8Array, fresh: Uint8Array, pseudo: number): void {
  const must = <T>(result: { ok: true; value: T } | { ok: false; fault: string }): T => {
    if (!result.ok) throw new Error(result.fault);
    return result.value;
  };
  switch (protocol) {
    case IpProtocol.tcp:
      emitTcp(must(parseTcp(payload)), fresh, 0, pseudo);
      break;
    case IpProtocol.udp: {
      const unused = readU16(payload, 6) === 0;
      emitUdp(must(parseUdp(payload)), fresh, 0, pseudo, unused ? { checksum: 0 } : {});
      break;
    }
    case IpProtocol.sctp:
      emitSctp(must(parseSctp(payload)), fresh);
      break;
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      emitIcmp(must(parseIcmp(payload)), fresh, 0, protocol === IpProtocol.icmp ? 0 : pseudo);
      break;
    default:
      fresh.set(payload);
  }
}
