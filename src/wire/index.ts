export { ArpOperation, type ArpRepr, arpSize, emitArp, parseArp, printArp } from "./arp.ts";
export {
  emptyBytes,
  type Parsed,
  pad4,
  readU16,
  readU32,
  readWords,
  type WireFault,
  writeU16,
  writeU32,
  writeWords,
} from "./bytes.ts";
export {
  checksumHolds,
  finishSum,
  internetChecksum,
  pseudoHeaderSum,
  sumWords,
  updateChecksum,
  updateChecksum32,
} from "./checksum.ts";
export { crc32c, readCrc32c, writeCrc32c } from "./crc32c.ts";
export {
  type EthernetRepr,
  EtherType,
  emitEthernet,
  parseEthernet,
  printEthernet,
  sizeEthernet,
  type VlanTag,
} from "./ethernet.ts";
export {
  emitIcmp,
  type IcmpOverrides,
  type IcmpRepr,
  Icmpv4Type,
  icmpHeaderSize,
  isIcmpv4Error,
  parseIcmp,
  printIcmpv4,
  sizeIcmp,
  UnreachableCode,
} from "./icmpv4.ts";
export { Icmpv6Type, isIcmpv6Error, printIcmpv6, Unreachable6Code } from "./icmpv6.ts";
export {
  emitIpv4,
  Ipv4Field,
  type Ipv4Overrides,
  type Ipv4Repr,
  ipv4ChecksumHolds,
  ipv4HeaderSize,
  parseIpv4,
  sizeIpv4,
} from "./ipv4.ts";
export { emitIpv4Options, type Ipv4Option, Ipv4OptionType, parseIpv4Options } from "./ipv4-options.ts";
export {
  authenticationHeader,
  type ExtensionHeader,
  type ExtensionWalk,
  emitIpv6,
  extensionSize,
  finalDestination,
  fragmentHeader,
  Ipv6Field,
  type Ipv6Option,
  type Ipv6Overrides,
  type Ipv6Repr,
  ipv6HeaderSize,
  NextHeader,
  optionsHeader,
  parseIpv6,
  routingHeader,
  sizeIpv6,
  walkExtensions,
} from "./ipv6.ts";
export {
  isValidNdp,
  type NdpOption,
  NdpOptionType,
  type NdpRepr,
  NdpType,
  ndpMessage,
  parseNdp,
  printNdp,
} from "./ndp.ts";
export { type Offender, readOffender } from "./offender.ts";
export { printFrame, printPacket } from "./print.ts";
export { IpProtocol, protocolName, protocolNumber } from "./protocol.ts";
export {
  emitSctp,
  parseSctp,
  printSctp,
  type SctpChunk,
  SctpChunkType,
  type SctpOverrides,
  type SctpRepr,
  type SctpTlv,
  sctpChecksumAt,
  sctpHeaderSize,
  sizeSctp,
} from "./sctp.ts";
export {
  emitTcp,
  parseTcp,
  printTcp,
  printTcpFlags,
  sizeTcp,
  sizeTcpOption,
  sizeTcpOptions,
  TcpField,
  TcpFlag,
  type TcpOption,
  type TcpOverrides,
  type TcpRepr,
  tcpHeaderSize,
} from "./tcp.ts";
export {
  emitUdp,
  parseUdp,
  printUdp,
  sizeUdp,
  type UdpOverrides,
  type UdpRepr,
  udpHeaderSize,
} from "./udp.ts";
export { isUnanswerable } from "./unanswerable.ts";
