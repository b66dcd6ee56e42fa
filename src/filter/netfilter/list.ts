/** Entries as `conntrack -L -o extended` of conntrack-tools prints them. */
import { formatIp } from "../../addr/index.ts";
import { IpProtocol, protocolName } from "../../wire/index.ts";
import { type CtEntry, CtStatus } from "./entry.ts";
import { type Tuple, tupleZone, udpLite } from "./tuples.ts";

const tcpNames =
  "NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2".split(" ");
const sctpNames =
  "NONE CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD SHUTDOWN_ACK_SENT HEARTBEAT_SENT".split(
    " ",
  );

/** State of a TCP or SCTP connection; empty for protocols without states. */
export function describeEntryState(entry: CtEntry): string {
  if (entry.tcp !== undefined) return tcpNames[entry.tcp.state] ?? "";
  return entry.sctp === undefined ? "" : (sctpNames[entry.sctp.state] ?? "");
}

/** One line of `conntrack -L -o extended`. `nowNs`: for the seconds that the entry has left, rounded down. */
export function formatEntry(entry: CtEntry, nowNs: number): string {
  const [original, reply] = entry.tuples;
  const state = describeEntryState(entry);
  const seconds = Math.max(0, Math.floor((entry.expiresNs - nowNs) / 1e9));
  const words = [
    (entry.family === 6 ? "ipv6" : "ipv4").padEnd(8),
    entry.family === 6 ? "10" : "2",
    nameOf(entry.protocol).padEnd(8),
    String(entry.protocol),
    String(seconds),
    ...(state === "" ? [] : [state]),
    ...formatTuple(original, entry),
    ...(entry.zone !== 0 && entry.zone !== tupleZone(reply) ? [`zone-orig=${entry.zone}`] : []),
    ...(entry.status & CtStatus.seenReply ? [] : ["[UNREPLIED]"]),
    ...formatTuple(reply, entry),
    ...(tupleZone(reply) !== 0 && entry.zone !== tupleZone(reply) ? [`zone-reply=${tupleZone(reply)}`] : []),
    ...(entry.status & CtStatus.assured ? ["[ASSURED]"] : []),
    `mark=${entry.mark}`,
    ...(entry.zone !== 0 && entry.zone === tupleZone(reply) ? [`zone=${entry.zone}`] : []),
    "use=1",
  ];
  return words.join(" ");
}

const dccp = 33;

/** The protocols that conntrack(8) has names for. */
function nameOf(protocol: number): string {
  switch (protocol) {
    case IpProtocol.icmpv6:
      return "icmpv6";
    case udpLite:
      return "udplite";
    case dccp:
      return "dccp";
    case IpProtocol.icmp:
    case IpProtocol.tcp:
    case IpProtocol.udp:
    case IpProtocol.sctp:
    case IpProtocol.gre:
      return protocolName(protocol);
    default:
      return "unknown";
  }
}

function formatTuple(tuple: Tuple, entry: CtEntry): readonly string[] {
  const address = (at: number): string =>
    entry.family === 6
      ? formatIp({ family: 6, words: [...tuple.subarray(at, at + 4)] })
      : formatIp({ family: 4, words: [tuple[at]!] });
  return [`src=${address(0)}`, `dst=${address(4)}`, ...formatPorts(tuple, entry.protocol)];
}

function formatPorts(tuple: Tuple, protocol: number): readonly string[] {
  const [high, low] = [tuple[8]! >>> 16, tuple[8]! & 0xffff];
  switch (protocol) {
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return [`type=${low >>> 8}`, `code=${low & 0xff}`, `id=${high}`];
    case IpProtocol.tcp:
    case IpProtocol.udp:
    case IpProtocol.sctp:
    case udpLite:
    case dccp: // not tracked by port, but printed so
      return [`sport=${high}`, `dport=${low}`];
    case IpProtocol.gre:
      return [`srckey=0x${high.toString(16)}`, `dstkey=0x${low.toString(16)}`];
    default:
      return [];
  }
}
