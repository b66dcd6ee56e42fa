/**
 * Where connection entries live: numbers, the table over both tuples, the index by source that NAT asks, and the drop
 * of unassured entries when the table is full (kernel net/netfilter/nf_conntrack_core.c, early_drop).
 */
import { IpProtocol } from "../../wire/index.ts";
import { type ConntrackOptions, type CtEntry, CtStatus } from "./entry.ts";
import { newSctpTrack } from "./sctp-state.ts";
import { newTcpTrack } from "./tcp-window.ts";
import {
  setTupleZone,
  type Tuple,
  TupleTable,
  tupleFamily,
  tupleProtocol,
  tuplesEqual,
  tupleZone,
} from "./tuples.ts";

/** Chains searched for an entry to drop (NF_CT_EVICTION_RANGE). */
const evictionRange = 8;
/** An entry taken out keeps its number until as many others were: rows under way may still refer to it. */
const retiredMax = 4096;

/** An entry in no table, of a connection of which nothing is known but its tuples. */
export function newEntry(id: number, original: Tuple, reply: Tuple): CtEntry {
  const protocol = tupleProtocol(original);
  return {
    id,
    protocol,
    family: tupleFamily(original),
    zone: tupleZone(original),
    tuples: [original.slice(), reply.slice()],
    status: 0,
    mark: 0,
    expiresNs: Number.POSITIVE_INFINITY,
    packets: [0, 0],
    bytes: [0, 0],
    tcp: protocol === IpProtocol.tcp ? newTcpTrack() : undefined,
    sctp: protocol === IpProtocol.sctp ? newSctpTrack() : undefined,
    streamAtNs: 0,
    masqueradeOif: 0,
    isHeld: false,
  };
}

/** Entries looked at for the end of their life with every new one. */
const sweepStep = 2;

export class EntryStore {
  readonly #options: ConntrackOptions;
  /** By direction: equal tuples of both directions may live side by side in zones of one direction. */
  readonly #tables: readonly [TupleTable, TupleTable];
  readonly #entries: (CtEntry | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #retired: number[] = [];
  #retiredFirst = 0;
  readonly #bySource = new Map<number, CtEntry[]>();
  #count = 0;
  #sweepAt = 0;
  #sweptNs = -1;

  constructor(options: ConntrackOptions) {
    this.#options = options;
    this.#tables = [new TupleTable(options.hashSeed), new TupleTable(options.hashSeed)];
  }

  entry(id: number): CtEntry | undefined {
    return this.#entries[id];
  }

  live(nowNs: number): readonly CtEntry[] {
    return this.#entries.filter(
      (entry): entry is CtEntry =>
        entry !== undefined &&
        (entry.status & (CtStatus.confirmed | CtStatus.dying)) === CtStatus.confirmed &&
        entry.expiresNs > nowNs,
    );
  }

  clear(): void {
    for (const table of this.#tables) table.clear();
    this.#entries.length = 0;
    this.#free.length = 0;
    this.#retired.length = 0;
    this.#retiredFirst = 0;
    this.#bySource.clear();
    this.#count = 0;
  }

  /**
   * Entry number * 2 + direction of the live entry that a packet of this tuple belongs to, or -1: an original tuple in the
   * tuple's own zone, or a reply tuple in `replyZone`.
   */
  find(tuple: Tuple, replyZone: number, nowNs: number): number {
    const hash = this.#tables[0].hash(tuple);
    const original = this.#live(this.#tables[0].get(tuple, hash), nowNs);
    if (original >= 0) {
      // of a connection with itself both tuples are one, and the kernel finds that of replies: it was the last to enter
      const isItself = tuple[0] === tuple[4] && tuplesEqual(tuple, this.#entries[original]!.tuples[1]);
      return original * 2 + (isItself ? 1 : 0);
    }
    const zone = tupleZone(tuple);
    if (zone === replyZone) return this.#replyRef(tuple, hash, nowNs);
    setTupleZone(tuple, replyZone);
    const ref = this.#replyRef(tuple, this.#tables[1].hash(tuple), nowNs);
    setTupleZone(tuple, zone);
    return ref;
  }

  /** The live entry other than `entry` that already has a tuple for one of its directions; likewise a reference or -1. */
  rival(tuple: Tuple, direction: 0 | 1, entry: CtEntry, nowNs: number): number {
    const hash = this.#tables[0].hash(tuple);
    const own = this.#live(this.#tables[direction].get(tuple, hash), nowNs);
    if (own >= 0 && own !== entry.id) return own * 2 + direction;
    if (entry.zone !== tupleZone(entry.tuples[1])) return -1;
    const other = direction === 0 ? 1 : 0;
    const reverse = this.#live(this.#tables[other].get(tuple, hash), nowNs);
    return reverse >= 0 && reverse !== entry.id ? reverse * 2 + other : -1;
  }

  insert(entry: CtEntry, direction: 0 | 1): void {
    this.#tables[direction].set(entry.tuples[direction], entry.id);
  }

  #replyRef(tuple: Tuple, hash: number, nowNs: number): number {
    const id = this.#live(this.#tables[1].get(tuple, hash), nowNs);
    return id < 0 ? -1 : id * 2 + 1;
  }

  /** The number itself, or -1 for none and for an entry whose life has just been found over. */
  #live(id: number, nowNs: number): number {
    if (id < 0) return -1;
    const entry = this.#entries[id] as CtEntry;
    if (entry.expiresNs > nowNs) return id;
    this.retire(entry);
    return -1;
  }

  /** An unconfirmed entry; the tuples are copied. */
  create(original: Tuple, reply: Tuple, nowNs: number): CtEntry {
    this.#sweep(nowNs, sweepStep);
    const id = this.#free.pop() ?? this.#entries.length;
    const entry = newEntry(id, original, reply);
    this.#entries[id] = entry;
    this.#count++;
    return entry;
  }

  /** Forgets an entry that nothing refers to. */
  discard(entry: CtEntry): void {
    this.#takeOut(entry);
    this.#release(entry.id);
  }

  /** Takes an entry out of the table; its number is given away later. */
  retire(entry: CtEntry): void {
    if (entry.status & CtStatus.dying) return;
    this.#takeOut(entry);
    this.#retired.push(entry.id);
    if (this.#retired.length - this.#retiredFirst <= retiredMax) return;
    this.#release(this.#retired[this.#retiredFirst++]!);
    if (this.#retiredFirst === retiredMax) this.#retired.splice(0, this.#retiredFirst);
    if (this.#retired.length <= retiredMax) this.#retiredFirst = 0;
  }

  /** Undoes `retire` of an entry that is held, if its number is still its own. */
  revive(entry: CtEntry): boolean {
    const at = this.#retired.indexOf(entry.id, this.#retiredFirst);
    if (at < 0 || this.#entries[entry.id] !== entry) return false;
    this.#retired.splice(at, 1);
    entry.status &= ~CtStatus.dying;
    entry.isHeld = false;
    this.#count++;
    if (entry.status & CtStatus.srcNatDone) this.noteSource(entry);
    return true;
  }

  /** Makes sure that one more entry has its place; drops unassured entries of nearby chains if need be. */
  makeRoom(tuple: Tuple, nowNs: number): boolean {
    const { max, buckets } = this.#options;
    if (max === 0 || this.#count < max) return true;
    if (this.#sweptNs !== nowNs) this.#sweep(nowNs, this.#entries.length);
    this.#sweptNs = nowNs;
    if (this.#count < max) return true;
    const first = Math.floor((this.#tables[0].hash(tuple) * buckets) / 2 ** 32);
    for (let i = 0; i < evictionRange; i++) {
      const before = this.#count;
      const bucket = (first + i) % buckets;
      for (const id of this.#tables.flatMap((table) => table.inBucket(bucket, buckets))) {
        const entry = this.#entries[id] as CtEntry;
        if (!(entry.status & (CtStatus.assured | CtStatus.dying))) this.retire(entry);
      }
      if (this.#count < before) return true;
    }
    return false;
  }

  noteSource(entry: CtEntry): void {
    if (entry.status & CtStatus.dying) return; // a rejected packet's: no other connection may follow it
    const key = sourceKey(entry.tuples[0]);
    const same = this.#bySource.get(key);
    if (same === undefined) this.#bySource.set(key, [entry]);
    else same.unshift(entry);
  }

  withSource(tuple: Tuple): readonly CtEntry[] {
    const found = this.#bySource.get(sourceKey(tuple)) ?? [];
    return found.filter(({ tuples: [original] }) => isSameSource(original, tuple));
  }

  #takeOut(entry: CtEntry): void {
    if (entry.status & CtStatus.confirmed)
      for (const direction of [0, 1] as const) {
        const [table, tuple] = [this.#tables[direction], entry.tuples[direction]];
        if (table.get(tuple, table.hash(tuple)) === entry.id) table.delete(tuple);
      }
    if (entry.status & CtStatus.srcNatDone) this.#forgetSource(entry);
    entry.status |= CtStatus.dying;
    this.#count--;
  }

  #forgetSource(entry: CtEntry): void {
    const key = sourceKey(entry.tuples[0]);
    const left = (this.#bySource.get(key) ?? []).filter((one) => one !== entry);
    if (left.length === 0) this.#bySource.delete(key);
    else this.#bySource.set(key, left);
  }

  #release(id: number): void {
    this.#entries[id] = undefined;
    this.#free.push(id);
  }

  /** Collects entries whose life has ended, from where it stopped last. */
  #sweep(nowNs: number, steps: number): void {
    for (let i = 0; i < steps && this.#entries.length > 0; i++) {
      this.#sweepAt = (this.#sweepAt + 1) % this.#entries.length;
      const entry = this.#entries[this.#sweepAt];
      if (entry !== undefined && entry.expiresNs <= nowNs) this.retire(entry);
    }
  }
}

function sourceKey(tuple: Tuple): number {
  let key = 0x811c9dc5 ^ (tuple[8]! >>> 16);
  for (let i = 0; i < 4; i++) key = Math.imul(key ^ tuple[i]!, 0x85ebca6b);
  return Math.imul(key ^ tuple[9]!, 0xc2b2ae35);
}

function isSameSource(a: Tuple, b: Tuple): boolean {
  for (let i = 0; i < 4; i++) if (a[i] !== b[i]) return false;
  return a[9] === b[9] && a[8]! >>> 16 === b[8]! >>> 16;
}
