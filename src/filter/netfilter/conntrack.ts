/**
 * Connection tracking of one network namespace, as netfilter does it: looked up at PREROUTING and OUTPUT (priority
 * -200), confirmed when a packet leaves by POSTROUTING or reaches INPUT, so that a dropped first packet leaves nothing
 * behind. Time is virtual, and an entry is gone at the very instant that its life ends. Governing source: kernel
 * net/netfilter/nf_conntrack_core.c and the protocol files named in the modules beside this one. Left out: helpers
 * (expectations), chain length limits, the garbage collector's own early drop.
 */
import { CtState, DecodeStatus, type PacketBatch, packetEnd, relatedState } from "../../packet/index.ts";
import { IpProtocol, isIcmpv4Error, isIcmpv6Error } from "../../wire/index.ts";
import { isSound } from "./checksum.ts";
import { type ConntrackOptions, type CtEntry, CtStatus, conntrackDefaults } from "./entry.ts";
import { EntryStore, newEntry } from "./entry-store.ts";
import { carriedPacketAt, tupleOfCarried } from "./icmp-error.ts";
import { trackSctp } from "./sctp-state.ts";
import { followTcp, openTcp } from "./tcp-state.ts";
import { TcpState } from "./tcp-window.ts";
import {
  invertIcmpType,
  invertTuple,
  newTuple,
  setTupleZone,
  type Tuple,
  tupleOfRow,
  tuplesEqual,
  tupleZone,
  udpLite,
} from "./tuples.ts";

const secondNs = 1_000_000_000;
const streamAfterNs = 2 * secondNs;
const clashTimeoutNs = 1 * secondNs;
const replyBit = 0x8000_0000;
/** The row has a template, no connection. */
const templateBit = 0x4000_0000;
/** The highest ICMP type that the kernel knows. */
const icmpTypeMax = 18;

/**
 * Reach of a row's zone: target CT's `--zone`, `--zone-orig` or `--zone-reply`; with `ofMark` added the zone is the mark that
 * the packet has when it is looked up (nf_ct_zone_tmpl).
 */
export const ZoneReach = { both: 0, original: 1, reply: 2, ofMark: 4 } as const;

/** Direction of a row's packet in its connection: 0 original, 1 reply. */
export function rowDirection(batch: PacketBatch, row: number): 0 | 1 {
  return batch.state.ctEntry[row]! & replyBit ? 1 : 0;
}

/** What the lookup at a hook leaves to be done: go on, or drop the packet because the table is full. */
export type LookupEnd = "tracked" | "full";

export class Conntrack {
  readonly options: ConntrackOptions;
  readonly #nowNs: () => number;
  readonly #store: EntryStore;
  readonly #tuple: Tuple = newTuple();
  readonly #inverse: Tuple = newTuple();
  readonly #templates: CtEntry[] = [];
  readonly #templateOf = new WeakMap<object, number>();

  constructor(nowNs: () => number, options: Partial<ConntrackOptions> = {}) {
    this.#nowNs = nowNs;
    this.options = { ...conntrackDefaults, ...options };
    this.#store = new EntryStore(this.options);
  }

  /** The row's entry, or its template before the lookup; `undefined` for INVALID and untracked packets. */
  entryOf(batch: PacketBatch, row: number): CtEntry | undefined {
    const ref = batch.state.ctEntry[row]! & ~replyBit;
    if (ref === 0) return undefined;
    return ref & templateBit ? this.#templates[ref & ~templateBit] : this.#store.entry(ref - 1);
  }

  /**
   * What a rule with target CT hangs on packets, as a value of `ctEntry`: rules between it and the lookup take it for a new
   * connection without addresses, and may mark it (kernel net/netfilter/xt_CT.c, nf_ct_tmpl_alloc). One for each `target`.
   */
  template(target: object): number {
    const known = this.#templateOf.get(target);
    if (known !== undefined) return known;
    const entry = newEntry(-1, newTuple(), newTuple());
    entry.status = CtStatus.template | CtStatus.confirmed;
    const ref = templateBit | (this.#templates.push(entry) - 1);
    this.#templateOf.set(target, ref);
    return ref;
  }

  /** Number of live confirmed entries. */
  get size(): number {
    return this.list().length;
  }

  /** Live confirmed entries in order of their numbers. */
  list(): readonly CtEntry[] {
    return this.#store.live(this.#nowNs());
  }

  flush(): void {
    this.#store.clear();
  }

  /**
   * Sets `ctState` and `ctEntry` of a row that no NOTRACK and no earlier lookup has decided about. `verifiesChecksum`:
   * at PREROUTING, not for the node's own packets.
   */
  lookup(batch: PacketBatch, row: number, verifiesChecksum: boolean): LookupEnd {
    const { ctState } = batch.state;
    if (ctState[row] !== CtState.none) return "tracked";
    settleZone(batch, row);
    batch.state.ctEntry[row] = 0;
    ctState[row] = CtState.invalid;
    const protocol = batch.protocol[row]!;
    if (batch.status[row] !== DecodeStatus.ok) return "tracked";
    if (protocol === noNextHeader && batch.family[row] === 6) return "tracked";
    if (!isSound(batch, row, verifiesChecksum && this.options.checksum)) return "tracked";
    if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6)
      if (!this.#isQuery(batch, row, protocol)) return "tracked";
    if (!tupleOfRow(batch, row, zoneOf(batch, row), this.#tuple)) return "tracked";
    const replyZone = replyZoneOf(batch, row);
    const ref = this.#store.find(this.#tuple, replyZone, this.#nowNs());
    if (ref < 0) return this.#open(batch, row, replyZone);
    this.#follow(batch, row, this.#store.entry(ref >>> 1) as CtEntry, (ref & 1) as 0 | 1);
    return "tracked";
  }

  /**
   * Called where a packet leaves the stack: an entry of its own enters the table. False: another connection has taken
   * one of its tuples, and the packet is dropped.
   */
  confirm(batch: PacketBatch, row: number): boolean {
    const entry = this.entryOf(batch, row);
    if (entry === undefined || entry.status & CtStatus.confirmed) return true;
    if (rowDirection(batch, row) === 1) return true; // a reset or ICMP error about a packet that was never let through
    const store = this.#store;
    // an answer to such an answer goes the connection's own way, and confirms it
    if (entry.status & CtStatus.dying && !(entry.isHeld && store.revive(entry))) return true;
    const nowNs = this.#nowNs();
    const rival = store.rival(entry.tuples[0], 0, entry, nowNs);
    const replyRival = store.rival(entry.tuples[1], 1, entry, nowNs);
    if (rival >= 0 || replyRival >= 0) return this.#resolveClash(batch, row, entry, rival, replyRival);
    entry.status |= CtStatus.confirmed;
    store.insert(entry, 0);
    store.insert(entry, 1);
    return true;
  }

  /** Forgets the entry of a row that was dropped before it was confirmed, unless an answer still refers to it. */
  release(batch: PacketBatch, row: number): void {
    const entry = this.entryOf(batch, row);
    if (entry === undefined || entry.status & (CtStatus.confirmed | CtStatus.dying)) return;
    this.#store.discard(entry);
    batch.state.ctEntry[row] = 0;
  }

  /**
   * Hands a row's connection on to a packet that the node itself sends back about it (nf_ct_attach): a reset or an ICMP
   * error, RELATED in the other direction. The row's entry lives on for that packet even if the row is dropped.
   */
  attach(batch: PacketBatch, row: number, answers: PacketBatch, answer: number): void {
    const { ctState, ctEntry } = relatedState(batch, row);
    answers.state.ctState[answer] = ctState;
    answers.state.ctEntry[answer] = ctEntry;
    const entry = this.entryOf(batch, row);
    if (entry === undefined || entry.status & (CtStatus.confirmed | CtStatus.dying)) return;
    this.#store.retire(entry);
    entry.isHeld = true;
  }

  /** The node resets the connection of a row: its entry is CLOSE from now on (nf_conntrack_tcp_set_closing). */
  close(batch: PacketBatch, row: number): void {
    const entry = this.entryOf(batch, row);
    if (entry?.tcp === undefined || !(entry.status & CtStatus.confirmed)) return;
    const wasClosed = entry.tcp.state === TcpState.close;
    entry.tcp.state = TcpState.close;
    if (!wasClosed) this.#refresh(entry, this.options.timeouts.tcp[TcpState.close] ?? 0);
  }

  /** True if some connection other than `entry` uses the reply tuple, so that its replies could not be told apart. */
  isTaken(reply: Tuple, entry: CtEntry): boolean {
    const ref = this.#store.rival(reply, 1, entry, this.#nowNs());
    if (ref < 0) return false;
    const rival = this.#store.entry(ref >>> 1) as CtEntry;
    return !tuplesEqual(rival.tuples[0], entry.tuples[0]); // of equal originals the first wins later
  }

  /** The live entry whose reply tuple this is. */
  replyOwner(reply: Tuple): CtEntry | undefined {
    const ref = this.#store.find(reply, tupleZone(reply), this.#nowNs());
    return ref >= 0 && ref & 1 ? this.#store.entry(ref >>> 1) : undefined;
  }

  /** Takes an entry out of the table at once. */
  kill(entry: CtEntry): void {
    this.#store.retire(entry);
  }

  /** Remembers that source NAT of the entry was decided: later connections of its source are mapped alike. */
  noteSource(entry: CtEntry): void {
    this.#store.noteSource(entry);
  }

  /** Entries whose source NAT was decided and that have the original source of `tuple`, newest first. */
  withSource(tuple: Tuple): readonly CtEntry[] {
    return this.#store.withSource(tuple);
  }

  /**
   * Sorts ICMP: true for messages that are tracked by their own tuple; errors, neighbour discovery and what is malformed
   * are decided here.
   */
  #isQuery(batch: PacketBatch, row: number, protocol: number): boolean {
    const type = batch.dport[row]! >>> 8;
    const isV4 = batch.family[row] === 4;
    if (isV4 !== (protocol === IpProtocol.icmp)) return false; // the other family's ICMP
    if (isV4) {
      if (type > icmpTypeMax) return false;
      if (isIcmpv4Error(type)) this.#lookupError(batch, row);
      else return invertIcmpType(protocol, type) !== 255;
      return false;
    }
    if (isDiscovery(type)) batch.state.ctState[row] = CtState.untracked;
    else if (isIcmpv6Error(type) || type === redirectType) return this.#lookupError(batch, row);
    else return invertIcmpType(protocol, type) !== 255;
    return false;
  }

  /** An ICMP error belongs to the connection whose packet it carries. True: it is no error after all. */
  #lookupError(batch: PacketBatch, row: number): boolean {
    const at = carriedPacketAt(batch, row);
    if (at < 0) return false;
    const { ctState, ctEntry } = batch.state;
    const [zone, replyZone] = [zoneOf(batch, row), replyZoneOf(batch, row)];
    const end = packetEnd(batch, row);
    const family = batch.family[row]!;
    if (!tupleOfCarried(batch.bytes, at, end, family, zone, this.#inverse)) return false;
    invertTuple(this.#inverse, this.#tuple);
    const ref = this.#store.find(this.#tuple, replyZone, this.#nowNs());
    if (ref < 0) return false;
    const entry = this.#store.entry(ref >>> 1) as CtEntry;
    const known = entry.tuples[ref & 1] as Tuple;
    for (let i = 0; i < 4; i++) if (batch.dst[row * 4 + i] !== known[4 + i]) return false; // not to the sender
    ctState[row] = CtState.related;
    ctEntry[row] = ((entry.id + 1) | (ref & 1 ? replyBit : 0)) >>> 0;
    return false;
  }

  #open(batch: PacketBatch, row: number, replyZone: number): LookupEnd {
    const store = this.#store;
    const nowNs = this.#nowNs();
    if (!store.makeRoom(this.#tuple, nowNs)) return "full";
    invertTuple(this.#tuple, this.#inverse);
    setTupleZone(this.#inverse, replyZone);
    const entry = store.create(this.#tuple, this.#inverse, nowNs);
    const end = packetEnd(batch, row);
    const isTcp = entry.tcp !== undefined;
    if (isTcp && !openTcp(entry.tcp, batch, row, end, this.options)) store.discard(entry);
    else this.#follow(batch, row, entry, 0);
    if (batch.state.ctState[row] === CtState.invalid && !(entry.status & CtStatus.dying))
      store.discard(entry);
    return "tracked";
  }

  #follow(batch: PacketBatch, row: number, entry: CtEntry, direction: 0 | 1): void {
    const { ctState, ctEntry } = batch.state;
    const hasReply = (entry.status & CtStatus.seenReply) !== 0;
    switch (this.#followTransport(batch, row, entry, direction, hasReply)) {
      case "invalid":
        return;
      case "reopen":
        this.#store.retire(entry);
        this.#open(batch, row, replyZoneOf(batch, row));
        return;
      case "kill":
        this.#store.retire(entry);
        this.#account(batch, row, entry, direction);
        break;
      case "track":
        this.#account(batch, row, entry, direction);
        break;
      case "ignore":
        break;
    }
    if (direction === 1) entry.status |= CtStatus.seenReply;
    ctEntry[row] = ((entry.id + 1) | (direction === 1 ? replyBit : 0)) >>> 0;
    ctState[row] = direction === 1 || hasReply ? CtState.established : CtState.new;
  }

  #account(batch: PacketBatch, row: number, entry: CtEntry, direction: 0 | 1): void {
    entry.packets[direction]++;
    entry.bytes[direction] += batch.size[row]!;
  }

  #followTransport(
    batch: PacketBatch,
    row: number,
    entry: CtEntry,
    direction: 0 | 1,
    hasReply: boolean,
  ): "track" | "ignore" | "invalid" | "reopen" | "kill" {
    const { timeouts } = this.options;
    switch (entry.protocol) {
      case IpProtocol.tcp:
        return this.#followTcp(batch, row, entry, direction, hasReply);
      case IpProtocol.sctp: {
        const track = entry.sctp as NonNullable<CtEntry["sctp"]>;
        const answer = trackSctp(track, direction, batch, row, packetEnd(batch, row));
        if (track.isAssured) entry.status |= CtStatus.assured;
        if (answer === "track") this.#refresh(entry, timeouts.sctp[track.state] ?? 0);
        return answer;
      }
      case IpProtocol.udp: {
        const nowNs = this.#nowNs();
        if (!(entry.status & CtStatus.confirmed)) entry.streamAtNs = nowNs + streamAfterNs;
        const isStream = hasReply && nowNs > entry.streamAtNs;
        this.#refresh(entry, isStream ? timeouts.udpStream : timeouts.udp);
        if (isStream && !(entry.status & CtStatus.natClash)) entry.status |= CtStatus.assured;
        return "track";
      }
      case udpLite:
        return this.#followPair(entry, hasReply, timeouts.udp, timeouts.udpStream);
      case IpProtocol.gre:
        return this.#followPair(entry, hasReply, timeouts.gre, timeouts.greStream);
      case IpProtocol.icmp:
        if (![8, 13, 15, 17].includes((entry.tuples[0][8]! >>> 8) & 0xff)) return "invalid";
        this.#refresh(entry, timeouts.icmp);
        return "track";
      case IpProtocol.icmpv6:
        if (![128, 139].includes((entry.tuples[0][8]! >>> 8) & 0xff)) return "invalid";
        this.#refresh(entry, timeouts.icmpv6);
        return "track";
      default:
        this.#refresh(entry, timeouts.generic);
        return "track";
    }
  }

  #followTcp(
    batch: PacketBatch,
    row: number,
    entry: CtEntry,
    direction: 0 | 1,
    hasReply: boolean,
  ): "track" | "ignore" | "invalid" | "reopen" | "kill" {
    const track = entry.tcp as NonNullable<CtEntry["tcp"]>;
    const isAssured = (entry.status & CtStatus.assured) !== 0;
    const end = packetEnd(batch, row);
    const effect = followTcp(track, direction, batch, row, end, hasReply, isAssured, this.options);
    if (effect.becomesAssured) entry.status |= CtStatus.assured;
    switch (effect.answer) {
      case "track":
        this.#refresh(entry, effect.timeoutSeconds);
        return "track";
      case "keep":
        return "ignore";
      case "invalid":
        if (effect.timeoutSecondsMax > 0) {
          const limitNs = this.#nowNs() + effect.timeoutSecondsMax * secondNs;
          if (!(entry.status & CtStatus.fixedTimeout)) entry.expiresNs = Math.min(entry.expiresNs, limitNs);
        }
        return "invalid";
      default:
        return effect.answer;
    }
  }

  /** Protocols that know no more than whether both sides have spoken. */
  #followPair(entry: CtEntry, hasReply: boolean, seconds: number, repliedSeconds: number): "track" {
    this.#refresh(entry, hasReply ? repliedSeconds : seconds);
    if (hasReply && !(entry.status & CtStatus.natClash)) entry.status |= CtStatus.assured;
    return "track";
  }

  #refresh(entry: CtEntry, seconds: number): void {
    if (!(entry.status & CtStatus.fixedTimeout)) entry.expiresNs = this.#nowNs() + seconds * secondNs;
  }

  /**
   * Two packets of one flow were both judged NEW (rows of one batch stand for packets on several processors): the later
   * joins the earlier one's entry if they agree in both tuples, or, where the protocol bears it, is known by its reply
   * tuple alone for a second.
   */
  #resolveClash(batch: PacketBatch, row: number, entry: CtEntry, rival: number, replyRival: number): boolean {
    const store = this.#store;
    const winner = store.entry((rival >= 0 ? rival : replyRival) >>> 1) as CtEntry;
    const isSame =
      tuplesEqual(winner.tuples[0], entry.tuples[0]) && tuplesEqual(winner.tuples[1], entry.tuples[1]);
    const isReverse =
      tuplesEqual(winner.tuples[0], entry.tuples[1]) && tuplesEqual(winner.tuples[1], entry.tuples[0]);
    if (isSame || isReverse) {
      winner.packets[isSame ? 0 : 1]++;
      winner.bytes[isSame ? 0 : 1] += batch.size[row]!;
      if (isReverse) winner.status |= CtStatus.seenReply;
      store.discard(entry);
      batch.state.ctEntry[row] = ((winner.id + 1) | (isReverse ? replyBit : 0)) >>> 0;
      return true;
    }
    if (replyRival >= 0 || entry.protocol === IpProtocol.tcp || entry.protocol === IpProtocol.sctp)
      return false;
    entry.status |= CtStatus.confirmed | CtStatus.fixedTimeout | CtStatus.natClash;
    entry.expiresNs = this.#nowNs() + clashTimeoutNs;
    store.insert(entry, 1);
    return true;
  }
}

function settleZone({ state: { ctZone, ctZoneReach, mark } }: PacketBatch, row: number): void {
  if (!(ctZoneReach[row]! & ZoneReach.ofMark)) return;
  ctZone[row] = mark[row]! & 0xffff;
  ctZoneReach[row] = ctZoneReach[row]! & ~ZoneReach.ofMark;
}

/** Zone of a row's connection in its original direction. */
function zoneOf({ state: { ctZone, ctZoneReach } }: PacketBatch, row: number): number {
  return ctZoneReach[row] === ZoneReach.reply ? 0 : ctZone[row]!;
}

function replyZoneOf({ state: { ctZone, ctZoneReach } }: PacketBatch, row: number): number {
  return ctZoneReach[row] === ZoneReach.original ? 0 : ctZone[row]!;
}

const noNextHeader = 59;
const redirectType = 137;

/** Listener reports and neighbour discovery, which are never tracked. */
function isDiscovery(type: number): boolean {
  return (type >= 130 && type <= 136) || type === 143;
}
