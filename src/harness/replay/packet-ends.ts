/**
 * Who a packet runs between, as numbers: four lanes of source address, four of destination (IPv4 uses the first of
 * each), ports, family and protocol. Ends are compared, hashed and kept without making objects a packet; what wants
 * them for good takes a copy.
 */
import { type Family, formatWords } from "../../addr/index.ts";
import { DecodeStatus, type PacketBatch, setAddress, setPort } from "../../packet/index.ts";
import { IpProtocol, readU16, readU32 } from "../../wire/index.ts";

export const endsWords = 10;
const portsAt = 8;
const kindAt = 9;

/** `endsWords` words: source, destination, `sport << 16 | dport`, `family << 8 | protocol`. */
export type PacketEnds = Uint32Array;

export type Side = "src" | "dst";

export function newEnds(): PacketEnds {
  return new Uint32Array(endsWords);
}

/** The ends of row 0. */
export function readEnds({ src, dst, sport, dport, family, protocol }: PacketBatch, ends: PacketEnds): void {
  const isV6 = family[0] === 6;
  for (let i = 0; i < 4; i++) {
    ends[i] = i === 0 || isV6 ? (src[i] ?? 0) : 0;
    ends[4 + i] = i === 0 || isV6 ? (dst[i] ?? 0) : 0;
  }
  ends[portsAt] = ((sport[0] ?? 0) << 16) | (dport[0] ?? 0);
  ends[kindAt] = ((family[0] ?? 0) << 8) | (protocol[0] ?? 0);
}

export function reverseEnds(ends: PacketEnds, reversed: PacketEnds): void {
  for (let i = 0; i < 4; i++) {
    reversed[i] = ends[4 + i] ?? 0;
    reversed[4 + i] = ends[i] ?? 0;
  }
  const ports = ends[portsAt] ?? 0;
  reversed[portsAt] = (ports << 16) | (ports >>> 16);
  reversed[kindAt] = ends[kindAt] ?? 0;
}

export function sameEnds(a: PacketEnds, b: PacketEnds): boolean {
  for (let i = endsWords - 1; i >= 0; i--) if (a[i] !== b[i]) return false;
  return true;
}

export function endsFamily(ends: PacketEnds): Family {
  return (ends[kindAt] ?? 0) >>> 8 === 6 ? 6 : 4;
}

export function endsProtocol(ends: PacketEnds): number {
  return (ends[kindAt] ?? 0) & 0xff;
}

/** Where the lanes of a side begin. */
export function lanesAt(side: Side): 0 | 4 {
  return side === "src" ? 0 : 4;
}

function endsPort(ends: PacketEnds, side: Side): number {
  const ports = ends[portsAt] ?? 0;
  return side === "src" ? ports >>> 16 : ports & 0xffff;
}

export function endsAddress(ends: PacketEnds, side: Side): string {
  return formatWords(endsFamily(ends), laneWords(ends, side));
}

function laneWords(ends: PacketEnds, side: Side): readonly number[] {
  const at = lanesAt(side);
  return [...ends.subarray(at, at + (endsFamily(ends) === 6 ? 4 : 1))];
}

/** `address:port`, or the address where there is no port. */
export function endText(ends: PacketEnds, side: Side): string {
  const [address, port] = [endsAddress(ends, side), endsPort(ends, side)];
  if (port === 0) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Gives row 0, a whole TCP, UDP or SCTP packet, other ends; checksums follow. Others stay as they are. */
export function setEnds(batch: PacketBatch, ends: PacketEnds): void {
  if (batch.status[0] !== DecodeStatus.ok || !hasPorts(batch.protocol[0] ?? 0)) return;
  setAddress(batch, 0, "src", laneWords(ends, "src"));
  setAddress(batch, 0, "dst", laneWords(ends, "dst"));
  setPort(batch, 0, "src", endsPort(ends, "src"));
  setPort(batch, 0, "dst", endsPort(ends, "dst"));
}

/** Are address and port of a side of the ends at `a[aBase..]` those of a side of `b`? */
export function isSameSide(a: Uint32Array, aBase: number, aSide: Side, b: PacketEnds, bSide: Side): boolean {
  const [atA, atB] = [aBase + lanesAt(aSide), lanesAt(bSide)];
  for (let i = 0; i < 4; i++) if (a[atA + i] !== b[atB + i]) return false;
  const [portsA, portsB] = [a[aBase + portsAt] ?? 0, b[portsAt] ?? 0];
  return (
    (aSide === "src" ? portsA >>> 16 : portsA & 0xffff) ===
    (bSide === "src" ? portsB >>> 16 : portsB & 0xffff)
  );
}

export function hasPorts(protocol: number): boolean {
  return protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.sctp;
}

/** Has this packet, whose transport header begins at `transport`, these ends? For protocols with ports. */
export function bytesHaveEnds(bytes: Uint8Array, transport: number, ends: PacketEnds): boolean {
  const isV6 = endsFamily(ends) === 6;
  const [source, lanes] = isV6 ? [8, 4] : [12, 1];
  if (bytes.length < transport + 4) return false;
  for (let i = 0; i < lanes; i++) {
    if (readU32(bytes, source + 4 * i) !== ends[i]) return false;
    if (readU32(bytes, source + 4 * (lanes + i)) !== ends[4 + i]) return false;
  }
  const ports = ends[portsAt] ?? 0;
  return readU16(bytes, transport) === ports >>> 16 && readU16(bytes, transport + 2) === (ports & 0xffff);
}
