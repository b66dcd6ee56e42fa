/** The laws of `protocol-laws.ts` for each protocol, and for each SCTP chunk type by itself. */
import type fc from "fast-check";
import { parsed } from "../../src/wire/bytes.ts";
import {
  arpSize,
  emitArp,
  emitEthernet,
  emitIcmp,
  emitIpv4,
  emitIpv4Options,
  emitIpv6,
  emitSctp,
  emitTcp,
  emitUdp,
  ndpMessage,
  parseArp,
  parseEthernet,
  parseIcmp,
  parseIpv4,
  parseIpv4Options,
  parseIpv6,
  parseNdp,
  parseSctp,
  parseTcp,
  parseUdp,
  type SctpChunk,
  sizeEthernet,
  sizeIcmp,
  sizeIpv4,
  sizeIpv6,
  sizeSctp,
  sizeTcp,
  sizeUdp,
} from "../../src/wire/index.ts";
import * as arbitrary from "./arbitraries.ts";
import { describeProtocol } from "./protocol-laws.ts";

const pseudoSum = 0x1234;

describeProtocol("Ethernet", {
  arbitrary: arbitrary.ethernet,
  size: sizeEthernet,
  emit: emitEthernet,
  parse: (bytes, start, end) => {
    const result = parseEthernet(bytes, start, end);
    return result.ok ? parsed(result.value.repr) : result;
  },
  endsItself: true,
});
describeProtocol("ARP", {
  arbitrary: arbitrary.arp,
  size: () => arpSize,
  emit: emitArp,
  parse: parseArp,
  endsItself: true,
});
describeProtocol("IPv4", {
  arbitrary: arbitrary.ipv4,
  size: sizeIpv4,
  emit: emitIpv4,
  parse: parseIpv4,
  endsItself: true,
});
describeProtocol("IPv4 options", {
  arbitrary: arbitrary.ipv4Options,
  size: (options) => emitIpv4Options(options).length,
  emit: (options, bytes, start) => {
    const raw = emitIpv4Options(options);
    bytes.set(raw, start);
    return raw.length;
  },
  parse: (bytes, start, end) => parseIpv4Options(bytes.slice(start, end)),
});
describeProtocol("IPv6", {
  arbitrary: arbitrary.ipv6,
  size: sizeIpv6,
  emit: emitIpv6,
  parse: parseIpv6,
  endsItself: true,
});
describeProtocol("ICMP", {
  arbitrary: arbitrary.icmp,
  size: sizeIcmp,
  emit: (repr, bytes, start) => emitIcmp(repr, bytes, start, pseudoSum),
  parse: parseIcmp,
});
describeProtocol("Neighbor Discovery", {
  arbitrary: arbitrary.ndp,
  size: (repr) => sizeIcmp(ndpMessage(repr)),
  emit: (repr, bytes, start) => emitIcmp(ndpMessage(repr), bytes, start, pseudoSum),
  parse: (bytes, start, end) => {
    const icmp = parseIcmp(bytes, start, end);
    return icmp.ok ? parseNdp(icmp.value) : icmp;
  },
});
describeProtocol("TCP", {
  arbitrary: arbitrary.tcp,
  size: sizeTcp,
  emit: (repr, bytes, start) => emitTcp(repr, bytes, start, pseudoSum),
  parse: parseTcp,
});
describeProtocol("UDP", {
  arbitrary: arbitrary.udp,
  size: sizeUdp,
  emit: (repr, bytes, start) => emitUdp(repr, bytes, start, pseudoSum),
  parse: parseUdp,
  endsItself: true,
});
describeProtocol("SCTP", {
  arbitrary: arbitrary.sctp,
  size: sizeSctp,
  emit: emitSctp,
  parse: parseSctp,
});

const kinds =
  "DATA INIT INIT-ACK SACK HEARTBEAT ABORT ERROR SHUTDOWN ACKS SHUTDOWN-COMPLETE COOKIE-ECHO unknown";
arbitrary.sctpChunks.forEach((chunk: fc.Arbitrary<SctpChunk>, i) => {
  describeProtocol(`SCTP ${kinds.split(" ")[i]}`, {
    arbitrary: chunk,
    size: (one) => sizeSctp(packetOf(one)),
    emit: (one, bytes, start) => emitSctp(packetOf(one), bytes, start),
    parse: (bytes, start, end) => {
      const result = parseSctp(bytes, start, end);
      return result.ok && result.value.chunks[0] !== undefined ? parsed(result.value.chunks[0]) : result;
    },
  });
});

function packetOf(chunk: SctpChunk): {
  sport: number;
  dport: number;
  verificationTag: number;
  chunks: SctpChunk[];
} {
  return { sport: 1, dport: 2, verificationTag: 3, chunks: [chunk] };
}
