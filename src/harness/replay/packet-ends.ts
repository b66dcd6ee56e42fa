/** Who a packet runs between, and giving it other ends as NAT does. */
import { type Ip, ipEquals } from "../../addr/index.ts";
import { DecodeStatus, type PacketBatch, rowAddress, setAddress, setPort } from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";

/** A packet's ends, as far as copies are told by them. */
export interface PacketEnds {
  readonly src: Ip;
  readonly dst: Ip;
  readonly sport: number;
  readonly dport: number;
}

export function packetEnds(batch: PacketBatch): PacketEnds {
  return {
    src: rowAddress(batch, 0, "src"),
    dst: rowAddress(batch, 0, "dst"),
    sport: batch.sport[0] ?? 0,
    dport: batch.dport[0] ?? 0,
  };
}

export function reversed({ src, dst, sport, dport }: PacketEnds): PacketEnds {
  return { src: dst, dst: src, sport: dport, dport: sport };
}

export function sameEnds(a: PacketEnds, b: PacketEnds): boolean {
  return a.sport === b.sport && a.dport === b.dport && ipEquals(a.src, b.src) && ipEquals(a.dst, b.dst);
}

/** Gives row 0, a whole TCP, UDP or SCTP packet, other ends; checksums follow. Others stay as they are. */
export function setEnds(batch: PacketBatch, ends: PacketEnds): void {
  const protocol = batch.protocol[0];
  const hasPorts = protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.sctp;
  if (batch.status[0] !== DecodeStatus.ok || !hasPorts) return;
  setAddress(batch, 0, "src", ends.src.words);
  setAddress(batch, 0, "dst", ends.dst.words);
  setPort(batch, 0, "src", ends.sport);
  setPort(batch, 0, "dst", ends.dport);
}
