/** The packets that REJECT sends (kernel net/ipv4/netfilter/nf_reject_ipv4.c, net/ipv6/netfilter/nf_reject_ipv6.c). */
import type { Ip } from "../../addr/index.ts";
import { DecodeStatus, icmpError, type PacketBatch, packetEnd, rowAddress, tcp } from "../../packet/index.ts";
import {
  checksumHolds,
  Icmpv4Type,
  Icmpv6Type,
  IpProtocol,
  isUnanswerable,
  pseudoHeaderSum,
  readOffender,
  readU16,
  readU32,
  TcpFlag,
  udpHeaderSize,
} from "../../wire/index.ts";
import { RejectKind } from "../verdict.ts";

const codesV4: Readonly<Record<number, number>> = {
  [RejectKind.netUnreachable]: 0,
  [RejectKind.hostUnreachable]: 1,
  [RejectKind.protoUnreachable]: 2,
  [RejectKind.portUnreachable]: 3,
  [RejectKind.netProhibited]: 9,
  [RejectKind.hostProhibited]: 10,
  [RejectKind.adminProhibited]: 13,
};

const codesV6: Readonly<Record<number, number>> = {
  [RejectKind.noRoute]: 0,
  [RejectKind.adminProhibited]: 1,
  [RejectKind.addrUnreachable]: 3,
  [RejectKind.portUnreachable]: 4,
  [RejectKind.policyFail]: 5,
  [RejectKind.rejectRoute]: 6,
};

/**
 * The answer to a rejected row; `undefined` where the kernel stays silent: to later fragments, to what is itself an
 * answer, and to packets with a wrong checksum. `from` is the node's own address for ICMP errors. Two fields that the
 * kernel draws are zero here: an ICMP error's IPv4 identification and its IPv6 flow label. Left out: echoed IPv4 options.
 */
export function rejectPacket(
  batch: PacketBatch,
  row: number,
  kind: number,
  from: Ip | undefined,
): Uint8Array | undefined {
  const status = batch.status[row];
  if (status === DecodeStatus.laterFragment || status === DecodeStatus.malformedNetwork) return undefined;
  if (!checksumHoldsForAnswer(batch, row, kind === RejectKind.tcpReset)) return undefined;
  if (kind === RejectKind.tcpReset) return resetFor(batch, row);
  const start = batch.offset[row]!;
  if (from === undefined || isUnanswerable(batch.bytes, start, packetEnd(batch, row))) return undefined;
  const isV6 = batch.family[row] === 6;
  const code = (isV6 ? codesV6 : codesV4)[kind];
  if (code === undefined) return undefined;
  const whole = batch.bytes.subarray(start, packetEnd(batch, row));
  return icmpError(whole, from, isV6 ? Icmpv6Type.unreachable : Icmpv4Type.unreachable, code);
}

/** Protocols whose checksum is optional, of another kind, or of a part only. */
const unverified: ReadonlySet<number> = new Set([
  IpProtocol.gre,
  IpProtocol.esp,
  IpProtocol.ah,
  IpProtocol.sctp,
  136, // UDP-Lite
]);

/** The kernel sums up every other protocol as if its checksum were the Internet's, over all of the payload. */
function checksumHoldsForAnswer(batch: PacketBatch, row: number, isReset: boolean): boolean {
  const { bytes } = batch;
  const end = packetEnd(batch, row);
  const start = batch.offset[row]!;
  const packet = readOffender(bytes, start, end);
  if (packet === undefined) return false;
  const { protocol, family } = packet;
  const at = family === 4 ? start + (bytes[start]! & 15) * 4 : packet.transportAt;
  if (family === 6 && (at < 0 || at >= end)) return false;
  if (!isReset && unverified.has(protocol)) return true;
  if (!isReset && protocol === IpProtocol.udp && at + udpHeaderSize <= end && readU16(bytes, at + 6) === 0)
    return true;
  const hasPseudoHeader = family === 6 || protocol === IpProtocol.tcp || protocol === IpProtocol.udp;
  if (!hasPseudoHeader) return checksumHolds(bytes, start, end); // the header's own sum is nothing
  const [src, dst] = [rowAddress(batch, row, "src"), rowAddress(batch, row, "dst")];
  return checksumHolds(bytes, at, end, pseudoHeaderSum(src.words, dst.words, protocol, end - at));
}

function resetFor(batch: PacketBatch, row: number): Uint8Array | undefined {
  if (batch.protocol[row] !== IpProtocol.tcp || batch.status[row] !== DecodeStatus.ok) return undefined;
  const flags = batch.tcpFlags[row]!;
  if (flags & TcpFlag.rst) return undefined;
  const at = batch.offset[row]! + batch.transport[row]!;
  const { bytes } = batch;
  const payload = packetEnd(batch, row) - at - (bytes[at + 12]! >>> 4) * 4;
  const span = payload + (flags & TcpFlag.syn ? 1 : 0) + (flags & TcpFlag.fin ? 1 : 0);
  const hasAck = (flags & TcpFlag.ack) !== 0;
  return tcp({
    src: rowAddress(batch, row, "dst"),
    dst: rowAddress(batch, row, "src"),
    sport: batch.dport[row]!,
    dport: batch.sport[row]!,
    flags: hasAck ? TcpFlag.rst : TcpFlag.rst | TcpFlag.ack,
    seq: hasAck ? readU32(bytes, at + 8) : 0,
    ack: hasAck ? 0 : (readU32(bytes, at + 4) + span) >>> 0,
    window: 0,
  });
}
