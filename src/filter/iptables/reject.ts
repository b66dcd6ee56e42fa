/** The packets that REJECT sends (kernel net/ipv4/netfilter/nf_reject_ipv4.c, net/ipv6/netfilter/nf_reject_ipv6.c). */
import type { Ip } from "../../addr/index.ts";
import {
  DecodeStatus,
  icmpError,
  type PacketBatch,
  packetEnd,
  rowAddress,
  rowBytes,
  tcp,
} from "../../packet/index.ts";
import {
  Icmpv4Type,
  Icmpv6Type,
  IpProtocol,
  isIcmpv4Error,
  isIcmpv6Error,
  readU32,
  TcpFlag,
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

/** The answer to a rejected row; `undefined` where the kernel stays silent. `from` is the node's own address. */
export function rejectPacket(
  batch: PacketBatch,
  row: number,
  kind: number,
  from: Ip | undefined,
): Uint8Array | undefined {
  if (batch.status[row] === DecodeStatus.laterFragment || batch.status[row] === DecodeStatus.malformedNetwork)
    return undefined;
  if (kind === RejectKind.tcpReset) return resetFor(batch, row);
  if (from === undefined || isError(batch, row)) return undefined;
  const isV6 = batch.family[row] === 6;
  const code = (isV6 ? codesV6 : codesV4)[kind];
  if (code === undefined) return undefined;
  return icmpError(rowBytes(batch, row), from, isV6 ? Icmpv6Type.unreachable : Icmpv4Type.unreachable, code);
}

function isError(batch: PacketBatch, row: number): boolean {
  const type = batch.dport[row]! >>> 8;
  if (batch.protocol[row] === IpProtocol.icmp) return isIcmpv4Error(type);
  return batch.protocol[row] === IpProtocol.icmpv6 && isIcmpv6Error(type);
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
