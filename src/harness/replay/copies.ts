/**
 * Copies of one packet in a capture that was taken at several interfaces: the packet as it came in, as it went on with a
 * lower TTL, and behind NAT. A copy carries the same payload and identification as a packet that was judged a moment
 * ago, was seen at another interface or with a lower TTL, and runs between the same ends, or between ends of which NAT
 * may have changed one: an address of a node or a Service stands on one side of every translation. The same packet
 * at the same interface with the same TTL is no copy: the sender has sent it again.
 */
import { formatIp } from "../../addr/index.ts";
import { DecodeStatus, type PacketBatch } from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import type { ReplayPacketDocument } from "./documents.ts";
import type { FlowSide } from "./flows.ts";
import type { PacketEnds } from "./packet-ends.ts";

interface Sighting {
  readonly place: number;
  readonly ttl: number;
}

/** A packet as it was judged. */
export interface JudgedPacket {
  readonly atNs: number;
  readonly ends: PacketEnds;
  readonly ttl: number;
  readonly sightings: Sighting[];
  readonly index: number;
  /** Where it belongs, and what was found, once that is known. */
  side: FlowSide | undefined;
  outcome: Pick<ReplayPacketDocument, "verdict" | "disposition" | "rule" | "flow"> | undefined;
}

/** Copies follow within this time; captures of several hosts may disagree about the order within it. */
const windowNs = 1e9;
const keysMax = 65_536;
/** Packets of one content that are remembered. */
const listMax = 32;
/** Bytes of the transport header and payload that tell packets apart. */
const hashedBytes = 128;

export class CopyFinder {
  readonly #recent = new Map<number, JudgedPacket[]>();
  /** May NAT put this address into a packet, or take it out of one? */
  readonly #isTranslated: (address: string) => boolean;

  constructor(isTranslated: (address: string) => boolean) {
    this.#isTranslated = isTranslated;
  }

  /** The judged packet that row 0 is a copy of; its ends are `ends` here. */
  find(batch: PacketBatch, ends: PacketEnds, place: number, atNs: number): JudgedPacket | undefined {
    const ttl = ttlOf(batch);
    const list = this.#recent.get(contentKey(batch)) ?? [];
    for (let i = list.length - 1; i >= 0; i--) {
      const judged = list[i];
      if (judged === undefined || atNs - judged.atNs > windowNs) break;
      if (!this.#fits(judged, ends, place, ttl)) continue;
      judged.sightings.push({ place, ttl });
      return judged;
    }
    return undefined;
  }

  /** Row 0 is judged: what looks like it from now on is a copy. */
  remember(batch: PacketBatch, ends: PacketEnds, place: number, atNs: number, index: number): JudgedPacket {
    const key = contentKey(batch);
    const ttl = ttlOf(batch);
    const list = (this.#recent.get(key) ?? []).filter((one) => atNs - one.atNs <= windowNs);
    if (list.length === listMax) list.shift();
    const judged = {
      atNs,
      ends,
      ttl,
      sightings: [{ place, ttl }],
      index,
      side: undefined,
      outcome: undefined,
    };
    list.push(judged);
    this.#recent.delete(key); // keys stay in the order of their last packet
    this.#recent.set(key, list);
    this.#forget(atNs);
    return judged;
  }

  #fits(judged: JudgedPacket, ends: PacketEnds, place: number, ttl: number): boolean {
    if (judged.sightings.some((one) => one.place === place && one.ttl === ttl)) return false;
    const [src, dst] = [this.#side(judged.ends, ends, "src"), this.#side(judged.ends, ends, "dst")];
    if (src === "same" && dst === "same")
      return ttl < judged.ttl || judged.sightings.some((one) => one.place !== place);
    return src !== "other" && dst !== "other" && ttl < judged.ttl;
  }

  #side(before: PacketEnds, after: PacketEnds, side: "src" | "dst"): "same" | "translated" | "other" {
    const [a, b] = [formatIp(before[side]), formatIp(after[side])];
    const port = side === "src" ? "sport" : "dport";
    if (a === b && before[port] === after[port]) return "same";
    return this.#isTranslated(a) || this.#isTranslated(b) ? "translated" : "other";
  }

  #forget(nowNs: number): void {
    for (const [key, list] of this.#recent) {
      const isOld = list.every(({ atNs }) => nowNs - atNs > windowNs);
      if (!isOld && this.#recent.size <= keysMax) return;
      this.#recent.delete(key);
    }
  }
}

function ttlOf(batch: PacketBatch): number {
  return batch.bytes[(batch.offset[0] ?? 0) + (batch.family[0] === 6 ? 7 : 8)] ?? 0;
}

/** Hash of what neither forwarding nor NAT changes: identification, lengths, sequence numbers, payload. */
function contentKey(batch: PacketBatch): number {
  const { bytes } = batch;
  const start = batch.offset[0] ?? 0;
  const size = batch.size[0] ?? 0;
  const protocol = batch.protocol[0] ?? 0;
  let [a, b] = [0x811c9dc5, protocol];
  const mix = (byte: number): void => {
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b ^ byte, 0x85ebca6b) ^ (b >>> 13);
  };
  const range = (from: number, to: number): void => {
    for (let at = from; at < to; at++) mix(bytes[at] ?? 0);
  };
  range(start + (batch.family[0] === 6 ? 4 : 2), start + (batch.family[0] === 6 ? 7 : 8));
  const isWhole = batch.status[0] === DecodeStatus.ok;
  const transport = start + (isWhole ? (batch.transport[0] ?? 0) : batch.family[0] === 6 ? 40 : 20);
  const skips = isWhole ? (changedBytes.get(protocol) ?? []) : [];
  let at = transport;
  for (const [from, to] of skips) {
    range(at, transport + from);
    at = transport + to;
  }
  // an ICMP error embeds a packet, which NAT translates too
  const isError =
    isWhole && protocol === IpProtocol.icmp && [3, 4, 5, 11, 12].includes((batch.dport[0] ?? 0) >> 8);
  range(at, isError ? transport + 8 : Math.min(start + size, at + hashedBytes));
  mix(size & 0xff);
  mix(size >>> 8);
  return (a >>> 0) * 0x20_0000 + ((b >>> 0) & 0x1f_ffff);
}

/** Ports, identifiers and checksums, from the start of the transport header. */
const changedBytes: ReadonlyMap<number, readonly (readonly [number, number])[]> = new Map([
  [
    IpProtocol.tcp,
    [
      [0, 4],
      [16, 18],
    ] as const,
  ],
  [
    IpProtocol.udp,
    [
      [0, 4],
      [6, 8],
    ] as const,
  ],
  [
    IpProtocol.sctp,
    [
      [0, 4],
      [8, 12],
    ] as const,
  ],
  [IpProtocol.icmp, [[2, 6]] as const],
  [IpProtocol.icmpv6, [[2, 6]] as const],
]);
