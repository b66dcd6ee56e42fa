/**
 * Network address translation, decided on a connection's first packet by changing the reply tuple (kernel
 * net/netfilter/nf_nat_core.c): addresses of a range, ports in their class or range, and the sets of outcomes where the
 * kernel draws. A hook either rewrites destinations (PREROUTING, OUTPUT) or sources (POSTROUTING, INPUT); nat-packet.ts
 * does that. Left out: GRE keys of PPTP helpers.
 */
import { IpProtocol } from "../../wire/index.ts";
import type { Conntrack } from "./conntrack.ts";
import { type CtEntry, CtStatus } from "./entry.ts";
import { jhashWords, swapBytes } from "./jhash.ts";
import { evictingAttempts, type PortChooser } from "./port-choice.ts";
import { before, TcpState } from "./tcp-window.ts";
import {
  invertTuple,
  newTuple,
  type Tuple,
  tupleProtocol,
  tuplesEqual,
  tupleZone,
  udpLite,
} from "./tuples.ts";

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
  /** Ports are shifted: the packet's own minus this is the place in the range (`5000-5010/4000`). */
  readonly basePort?: number | undefined;
  /** `--random`: the port is drawn even where the packet's own is free. */
  readonly randomly: boolean;
  /** `--random-fully`: the same for kernels of today. */
  readonly randomFully: boolean;
  /** `--persistent`: the address of a range depends on the client alone. */
  readonly persistent: boolean;
}

const current: Tuple = newTuple();
const wanted: Tuple = newTuple();
const reply: Tuple = newTuple();

/** Decides a new connection's translation for one manip; `choice` undefined: none was asked for (a null binding). */
export function setupNat(
  conntrack: Conntrack,
  entry: CtEntry,
  manip: Manip,
  choice: NatChoice | undefined,
  choosePort: PortChooser,
): void {
  invertTuple(entry.tuples[1], current); // what the packet looks like after the translations so far
  const asked = choice ?? keeping(manip, entry);
  chooseTuple(conntrack, entry, asked, choosePort);
  if (!tuplesEqual(wanted, current)) {
    invertTuple(wanted, entry.tuples[1]);
    entry.status |= manip === "src" ? CtStatus.srcNat : CtStatus.dstNat;
  }
  entry.status |= manip === "src" ? CtStatus.srcNatDone : CtStatus.dstNatDone;
  if (manip === "src") conntrack.noteSource(entry);
}

/** A null binding: the address stays, and the port if no other connection has it. */
function keeping(manip: Manip, entry: CtEntry): NatChoice {
  const start = manip === "src" ? 0 : 4;
  const words = [...current.subarray(start, start + (entry.family === 6 ? 4 : 1))];
  return {
    manip,
    min: words,
    max: words,
    ports: undefined,
    randomly: false,
    randomFully: false,
    persistent: false,
  };
}

/** Writes `wanted`, from `current`. */
function chooseTuple(conntrack: Conntrack, entry: CtEntry, choice: NatChoice, choosePort: PortChooser): void {
  const isRandom = choice.randomly || choice.randomFully;
  const isFree = (tuple: Tuple): boolean => {
    invertTuple(tuple, reply);
    return !conntrack.isTaken(reply, entry);
  };
  if (choice.manip === "src" && !isRandom) {
    if (inRange(current, choice)) {
      wanted.set(current);
      if (isFree(wanted)) return;
    } else if (mappedAlready(conntrack, choice) && isFree(wanted)) {
      return;
    }
  }
  wanted.set(current);
  chooseAddress(choice, entry);
  if (!isRandom) {
    if (choice.ports === undefined) {
      if (isFree(wanted)) return;
    } else if (choice.basePort === undefined && portInRange(wanted, choice)) {
      if (choice.ports[0] === choice.ports[1] || isFree(wanted)) return;
    }
  }
  searchPort(conntrack, entry, choice, choosePort);
}

function hasPorts(protocol: number): boolean {
  return (
    protocol === IpProtocol.tcp ||
    protocol === IpProtocol.udp ||
    protocol === IpProtocol.sctp ||
    protocol === udpLite
  );
}

function isIcmp(protocol: number): boolean {
  return protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
}

/** Port of a side; of an ICMP query, its identifier on either side. */
function portOf(tuple: Tuple, manip: Manip): number {
  return manip === "src" || isIcmp(tupleProtocol(tuple)) ? tuple[8]! >>> 16 : tuple[8]! & 0xffff;
}

function setPortOf(tuple: Tuple, manip: Manip, port: number): void {
  const ports = tuple[8]!;
  tuple[8] =
    manip === "src" || isIcmp(tupleProtocol(tuple))
      ? ((port << 16) | (ports & 0xffff)) >>> 0
      : ((ports & 0xffff0000) | port) >>> 0;
}

function inRange(tuple: Tuple, choice: NatChoice): boolean {
  const { min, max } = choice;
  if (min !== undefined && max !== undefined) {
    if (compareWords(tuple, 0, min) < 0 || compareWords(tuple, 0, max) > 0) return false;
  }
  return choice.ports === undefined || portInRange(tuple, choice);
}

function compareWords(tuple: Tuple, at: number, words: readonly number[]): number {
  for (let i = 0; i < words.length; i++) if (tuple[at + i] !== words[i]) return tuple[at + i]! - words[i]!;
  return 0;
}

function portInRange(tuple: Tuple, { ports, manip }: NatChoice): boolean {
  const protocol = tupleProtocol(tuple);
  if (ports === undefined || !(hasPorts(protocol) || isIcmp(protocol) || protocol === IpProtocol.gre))
    return true;
  const port = portOf(tuple, manip);
  return port >= ports[0] && port <= ports[1];
}

/** A mapping that another connection of the same source has, if the rule allows it: into `wanted`. */
function mappedAlready(conntrack: Conntrack, choice: NatChoice): boolean {
  for (const { tuples } of conntrack.withSource(current)) {
    invertTuple(tuples[1], wanted);
    wanted.set(current.subarray(4, 8), 4);
    const isIcmpTuple = isIcmp(tupleProtocol(current));
    wanted[8] = isIcmpTuple
      ? ((wanted[8]! & 0xffff0000) | (current[8]! & 0xffff)) >>> 0
      : ((wanted[8]! & 0xffff0000) | (current[8]! & 0xffff)) >>> 0;
    wanted[9] = current[9]!;
    if (inRange(wanted, choice)) return true;
  }
  return false;
}

/**
 * An address of the range, spread by a hash that the kernel does not seed: of source and destination, or of the source
 * alone if the rule wants the same client to have the same address always (nf_nat_core.c, find_best_ips_proto).
 */
function chooseAddress(choice: NatChoice, entry: CtEntry): void {
  const { min, max } = choice;
  if (min === undefined || max === undefined) return;
  const at = choice.manip === "src" ? 0 : 4;
  if (min.every((word, i) => word === max[i])) {
    wanted.set(min, at);
    return;
  }
  const last = entry.family === 6 ? 3 : 0;
  const salt = choice.persistent ? 0 : swapBytes(current[4 + last]!) ^ tupleZone(current);
  let hash = jhashWords(
    [0, 1, 2, 3].map((i) => swapBytes(current[i]!)),
    salt,
  );
  let isFullRange = false;
  const words: number[] = [];
  for (let i = 0; i <= last; i++) {
    const low = isFullRange ? 0 : min[i]!;
    const span = isFullRange ? 0xffffffff : (max[i]! - min[i]! + 1) >>> 0;
    const word = (low + Number((BigInt(hash) * BigInt(span)) >> 32n)) >>> 0;
    words.push(word);
    if (word !== max[i]) isFullRange = true;
    // The kernel mixes in the tuple that it is changing: a destination already chosen counts.
    const dst = choice.manip === "dst" ? word : current[4 + i]!;
    if (!choice.persistent) hash = (hash ^ swapBytes(dst)) >>> 0;
  }
  wanted.set(words, at);
}

function searchPort(conntrack: Conntrack, entry: CtEntry, choice: NatChoice, choosePort: PortChooser): void {
  const range = searchedPorts(choice);
  if (range === undefined) return;
  const [low, high] = range;
  const { manip, basePort } = choice;
  const port = choosePort({
    manip,
    low,
    count: high - low + 1,
    offset: basePort === undefined ? undefined : (portOf(wanted, manip) - basePort) & 0xffff,
    isFree(candidate, attemptsLeft) {
      setPortOf(wanted, manip, candidate);
      invertTuple(wanted, reply);
      return !conntrack.isTaken(reply, entry) || mayEvict(conntrack, entry, attemptsLeft);
    },
  });
  setPortOf(wanted, manip, port);
}

/** Ports keep their class: below 512, below 1024, the rest. `undefined`: this protocol's or side's never change. */
function searchedPorts({ ports, manip }: NatChoice): readonly [number, number] | undefined {
  const protocol = tupleProtocol(wanted);
  if (isIcmp(protocol)) return ports ?? [0, 0xffff];
  if (!hasPorts(protocol)) return undefined;
  if (ports !== undefined) return ports[0] <= ports[1] ? ports : [ports[1], ports[0]];
  if (manip === "dst") return undefined;
  const port = portOf(wanted, manip);
  if (port < 512) return [1, 511];
  return port < 1024 ? [600, 1023] : [1024, 0xffff];
}

/** A connection in the way that is closing gives way to a SYN with a higher sequence number. */
function mayEvict(conntrack: Conntrack, entry: CtEntry, attemptsLeft: number): boolean {
  if (attemptsLeft > evictingAttempts || entry.tcp?.state !== TcpState.synSent) return false;
  const owner = conntrack.replyOwner(reply);
  if (owner?.tcp === undefined || owner === entry) return false;
  if (owner.tcp.state < TcpState.timeWait || owner.status & CtStatus.fixedTimeout) return false;
  if (!(owner.status & CtStatus.srcNat)) return false;
  if (!before(owner.tcp.sides[0].end, entry.tcp.sides[0].end)) return false;
  conntrack.kill(owner);
  return true;
}
