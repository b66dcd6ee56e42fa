/**
 * Is a new connection possible? First packet and reply, each delivered at once through real bytes and real tables, a
 * listener assumed. The reply must come back to the client from the very address and port that it asked. Every judgement has a source port of its own, so that what earlier ones left in connection tables
 * cannot answer for it.
 */
import { formatIp, type Ip } from "../addr/index.ts";
import { assert } from "../base/index.ts";
import { icmpEcho, sctp, tcp, udp } from "../packet/index.ts";
import {
  Icmpv4Type,
  Icmpv6Type,
  IpProtocol,
  Ipv6Field,
  icmpHeaderSize,
  ipv6HeaderSize,
  parseIpv4,
  parseIpv6,
  readU16,
  readU32,
  TcpFlag,
  walkExtensions,
} from "../wire/index.ts";
import type { Network, PacketFate } from "./network.ts";
import type { HookWatcher } from "./path.ts";
import { initChunk } from "./stack/sctp.ts";

export interface ConnectionAttempt {
  /** Pod id, `node:NAME` or `ip:ADDRESS`. */
  readonly from: string;
  readonly src: Ip;
  readonly dst: Ip;
  readonly protocol: "TCP" | "UDP" | "SCTP" | "ICMP";
  /** Port; for ICMP the type (echo request is the only one that has a reply). */
  readonly port: number;
  /** 1024..65535 */
  readonly sourcePort: number;
}

export interface Judgement {
  readonly isAllowed: boolean;
  readonly request: PacketFate;
  /** `undefined` when the request was not delivered. */
  readonly reply: PacketFate | undefined;
}

export function judgeConnection(
  network: Network,
  attempt: ConnectionAttempt,
  watch?: (direction: "request" | "reply", bytes: Uint8Array) => HookWatcher,
): Judgement {
  const first = firstPacket(attempt);
  const request = network.deliver(attempt.from, first, watch?.("request", first));
  if (request.disposition !== "delivered" || request.receiver === undefined)
    return { isAllowed: false, request, reply: undefined };
  // a packet may come back as an error about itself
  if (isOtherwise(attempt, request.bytes)) return { isAllowed: false, request, reply: undefined };
  const answer = replyTo(request.bytes);
  if (answer === undefined) return { isAllowed: true, request, reply: undefined };
  const reply = network.deliver(request.receiver, answer, watch?.("reply", answer));
  const isAllowed =
    reply.disposition === "delivered" && reply.receiver === attempt.from && answers(attempt, reply.bytes);
  return { isAllowed, request, reply };
}

/** Whether what is delivered is of ICMP, where something else was sent. */
function isOtherwise({ protocol }: ConnectionAttempt, bytes: Uint8Array): boolean {
  const arrived = readIp(bytes)?.protocol;
  return protocol !== "ICMP" && (arrived === IpProtocol.icmp || arrived === IpProtocol.icmpv6);
}

/** True if the client takes the packet for an answer: translated back to the addresses and ports that it used. */
function answers({ src, dst, protocol, port, sourcePort }: ConnectionAttempt, bytes: Uint8Array): boolean {
  const ip = readIp(bytes);
  if (ip === undefined || formatIp(ip.src) !== formatIp(dst) || formatIp(ip.dst) !== formatIp(src))
    return false;
  if (protocol === "ICMP") return readU16(ip.payload, 4) === sourcePort;
  return readU16(ip.payload, 0) === port && readU16(ip.payload, 2) === sourcePort;
}

/** SYN (or a segment with other `flags`), datagram, INIT or echo request. */
export function firstPacket(attempt: ConnectionAttempt, flags: number = TcpFlag.syn): Uint8Array {
  const { src, dst, port, sourcePort } = attempt;
  const ends = { src, dst, sport: sourcePort, dport: port };
  switch (attempt.protocol) {
    case "TCP":
      return flags === TcpFlag.syn
        ? tcp({ ...ends, flags, seq: 1000, options: [{ kind: "mss", bytes: 1460 }] })
        : tcp({ ...ends, flags, seq: 1000, ack: (flags & TcpFlag.ack) === 0 ? 0 : 1000 });
    case "UDP":
      return udp({ ...ends, payload: new TextEncoder().encode("probe") });
    case "SCTP":
      return sctp({ ...ends, verificationTag: 0, chunks: [initChunk("init", tagOf(sourcePort))] });
    case "ICMP": {
      const request = src.family === 4 ? Icmpv4Type.echoRequest : Icmpv6Type.echoRequest;
      const packet = icmpEcho({ src, dst, identifier: sourcePort, sequence: 1 });
      assert(port === request || port === 8, "only echo requests are judged as connections");
      return packet;
    }
  }
}

/** Tags and cookies that tell attempts apart: a port makes each. */
function tagOf(port: number): number {
  return (port * 2654435761) >>> 0 || 1;
}

/** SYN-ACK, echo of the datagram, INIT-ACK or echo reply to a delivered first packet; `undefined` for others. */
export function replyTo(bytes: Uint8Array): Uint8Array | undefined {
  const ip = readIp(bytes);
  if (ip === undefined) return undefined;
  const { src, dst, protocol, payload } = ip;
  const ends = { src: dst, dst: src, sport: readU16(payload, 2), dport: readU16(payload, 0) };
  switch (protocol) {
    case IpProtocol.tcp:
      return tcp({
        ...ends,
        flags: TcpFlag.syn | TcpFlag.ack,
        seq: 5000,
        ack: (readU32(payload, 4) + 1) >>> 0,
        options: [{ kind: "mss", bytes: 1460 }],
      });
    case IpProtocol.udp:
      return udp({ ...ends, payload: payload.slice(8) });
    case IpProtocol.sctp:
      return sctp({
        ...ends,
        verificationTag: readU32(payload, 16), // the initiate tag of the INIT chunk
        chunks: [initChunk("init-ack", tagOf(readU16(payload, 0) ^ 0x55), payload.slice(0, 4))],
      });
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return icmpEcho({
        src: dst,
        dst: src,
        reply: true,
        identifier: readU16(payload, 4),
        sequence: readU16(payload, 6),
        payload: payload.slice(icmpHeaderSize),
      });
    default:
      return undefined;
  }
}

export interface IpView {
  readonly src: Ip;
  readonly dst: Ip;
  readonly protocol: number;
  readonly payload: Uint8Array;
}

/** Addresses and transport payload of a whole packet; `undefined` for fragments, which nodes put together before hosts. */
export function readIp(bytes: Uint8Array): IpView | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes[0]! >>> 4 === 4) {
    const ip = parseIpv4(bytes);
    if (!ip.ok || ip.value.moreFragments || ip.value.fragmentOffset > 0) return undefined;
    const { src, dst, protocol, payload } = ip.value;
    return { src: { family: 4, words: [src] }, dst: { family: 4, words: [dst] }, protocol, payload };
  }
  const ip = parseIpv6(bytes);
  if (!ip.ok) return undefined;
  const { src, dst, protocol, payload } = ip.value;
  const walk = walkExtensions(bytes, 0, ipv6HeaderSize + readU16(bytes, Ipv6Field.payloadLength));
  if (!walk.ok || walk.value.moreFragments || walk.value.fragmentOffset > 0) return undefined;
  return { src: { family: 6, words: src }, dst: { family: 6, words: dst }, protocol, payload };
}
