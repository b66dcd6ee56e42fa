/**
 * Network address translation on connection entries (kernel net/netfilter/nf_nat_core.c): decided on a connection's
 * first packet by changing the reply tuple, then applied to every packet of both directions and to the packet inside
 * an ICMP error. A hook either rewrites destinations (PREROUTING, OUTPUT) or sources (POSTROUTING, INPUT).
 */
import type { Prng } from "../../base/index.ts";
import {
  CtState,
  type PacketBatch,
  setAddress,
  setEmbedded,
  setIcmpIdentifier,
  setPort,
} from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import { type Conntrack, type CtEntry, CtStatus, rowDirection } from "./conntrack.ts";
import { invertTuple, type Tuple, tupleWords } from "./tuples.ts";

export type Manip = "src" | "dst";

/**
 * A translation that a rule asked for (the kernel's nf_nat_range2). Address words: one for IPv4, four for IPv6; both
 * ends inclusive, `undefined` keeps the address.
 */
export interface NatChoice {
  readonly manip: Manip;
  readonly min: readonly number[] | undefined;
  readonly max: readonly number[] | undefined;
  /** Ports (of ICMP: identifiers), both inclusive; `undefined` keeps the port where it is free. */
  readonly ports: readonly [number, number] | undefined;
  /** `--random`: the port is drawn even where the packet's own is free. */
  readonly randomly: boolean;
  /** `--random-fully`: drawn anew for every connection. */
  readonly randomFully: boolean;
  /** `--persistent`: the address of a range depends on the client alone. */
  readonly persistent: boolean;
}

/**
 * Decides a new connection's translation for one manip. `choice` undefined: none was asked for (the tuple is still
 * checked, so that two connections never share a reply tuple). Returns false when no port is free: the packet drops.
 */
export function setupNat(
  conntrack: Conntrack,
  entry: CtEntry,
  manip: Manip,
  choice: NatChoice | undefined,
  random: Prng,
): boolean {
  entry.status |= manip === "src" ? CtStatus.srcNatDone : CtStatus.dstNatDone;
  const wanted: Tuple = new Uint32Array(tupleWords);
  invertTuple(entry.tuples[1], wanted); // what the packet looks like after the translations so far
  const before = wanted.slice();
  if (choice?.min !== undefined) wanted.set(choice.min, manip === "src" ? 0 : 4);
  if (!choosePort(conntrack, entry, wanted, manip, choice, random)) return false;
  if (wanted.every((word, i) => word === before[i])) return true;
  invertTuple(wanted, entry.tuples[1]);
  entry.status |= manip === "src" ? CtStatus.srcNat : CtStatus.dstNat;
  return true;
}

function choosePort(
  conntrack: Conntrack,
  entry: CtEntry,
  wanted: Tuple,
  manip: Manip,
  choice: NatChoice | undefined,
  random: Prng,
): boolean {
  const isSrc = manip === "src";
  const isRandom = choice !== undefined && (choice.randomly || choice.randomFully);
  const reply: Tuple = new Uint32Array(tupleWords);
  const isFree = (): boolean => {
    invertTuple(wanted, reply);
    return !conntrack.isTaken(reply, entry);
  };
  const current = isSrc ? wanted[8]! >>> 16 : wanted[8]! & 0xffff;
  const setKey = (port: number): void => {
    wanted[8] = isSrc
      ? ((port << 16) | (wanted[8]! & 0xffff)) >>> 0
      : ((wanted[8]! & 0xffff0000) | port) >>> 0;
  };
  const [low, high] = choice?.ports ?? defaultRange(current, isSrc);
  if (choice?.ports !== undefined && low === high) {
    setKey(low); // the only choice, taken or not: a clash is solved by the source's port later, as the kernel does
    return true;
  }
  const inRange = choice?.ports === undefined || (current >= low && current <= high);
  if (inRange && !isRandom && isFree()) return true;
  if (!isSrc && choice?.ports === undefined) return true; // a destination port is never changed unasked
  const count = high - low + 1;
  const start = isRandom || isSrc ? random.below(count) : 0;
  for (let i = 0; i < count; i++) {
    setKey(low + ((start + i) % count));
    if (isFree()) return true;
  }
  return false;
}

/** Ports keep their class (nf_nat_l4proto_unique_tuple): below 512, below 1024, the rest. */
function defaultRange(port: number, isSrc: boolean): readonly [number, number] {
  if (!isSrc) return [port, port];
  if (port < 512) return [1, 511];
  if (port < 1024) return [600, 1023];
  return [1024, 65535];
}

/** Rewrites a row's source or destination as its connection was translated. */
export function applyNat(entry: CtEntry, batch: PacketBatch, row: number, manip: Manip): void {
  const direction = rowDirection(batch, row);
  const touchesSrc = (manip === "src") === (direction === 0);
  if (!(entry.status & (touchesSrc ? CtStatus.srcNat : CtStatus.dstNat))) return;
  const answering = entry.tuples[direction === 0 ? 1 : 0];
  invertTuple(answering, target);
  if (batch.state.ctState[row] === CtState.related) {
    // The packet inside an ICMP error travels the other way: its opposite side is the one to translate.
    const inner: Manip = manip === "src" ? "dst" : "src";
    setEmbedded(
      batch,
      row,
      inner,
      sideWords(batch, row, answering, inner),
      keyOf(answering, inner, entry.protocol),
    );
    setAddress(batch, row, manip, sideWords(batch, row, target, manip));
    return;
  }
  setAddress(batch, row, manip, sideWords(batch, row, target, manip));
  const key = keyOf(target, manip, entry.protocol);
  const { protocol } = entry;
  if (isIcmp(protocol)) setIcmpIdentifier(batch, row, key);
  else if (protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.sctp)
    setPort(batch, row, manip, key);
}

const target: Tuple = new Uint32Array(tupleWords);

function isIcmp(protocol: number): boolean {
  return protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
}

/** Port of a side of a tuple; of an echo, its identifier on either side. */
function keyOf(tuple: Tuple, side: Manip, protocol: number): number {
  return side === "src" || isIcmp(protocol) ? tuple[8]! >>> 16 : tuple[8]! & 0xffff;
}

function sideWords(batch: PacketBatch, row: number, tuple: Tuple, side: Manip): readonly number[] {
  const start = side === "src" ? 0 : 4;
  return [...tuple.subarray(start, start + (batch.family[row] === 6 ? 4 : 1))];
}
