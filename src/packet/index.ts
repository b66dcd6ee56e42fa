export {
  append,
  type CameInFragments,
  CtState,
  clearBatch,
  clearRowState,
  createBatch,
  DecodeStatus,
  HEADROOM_BYTES,
  type PacketBatch,
  type RowState,
  relatedState,
  replaceRow,
  rowBytes,
} from "./batch.ts";
export {
  arp,
  type EchoFields,
  fragment,
  frame,
  type IpFields,
  icmp,
  icmpEcho,
  icmpError,
  ipPacket,
  neighborDiscovery,
  type SctpFields,
  sctp,
  type TcpFields,
  tcp,
  type UdpFields,
  udp,
} from "./build.ts";
export { decode, decodeRow } from "./decode.ts";
export {
  decrementTtl,
  isTranslatableGre,
  packetEnd,
  type Side,
  setAddress,
  setDscp,
  setEmbedded,
  setIcmpIdentifier,
  setPort,
  setTos,
  setTtl,
} from "./edit.ts";
export { leavingPackets } from "./refragment.ts";
export { lowerMss } from "./tcp-mss.ts";
export { type PacketView, rowAddress, view } from "./view.ts";
