/**
 * Where connection entries live: numbers, the table over both tuples, the index by source that NAT asks, and the drop
 * of unassured entries when the table is full (kernel net/netfilter/nf_conntrack_core.c, early_drop).
 */
import { IpProtocol } from "../../wire/index.ts";
import { type ConntrackOptions, type CtEntry, CtStatus } from "./entry.ts";
import { newSctpTrack } from "./sctp-state.ts";
import { newTcpTrack } from "./tcp-window.ts";
import { type Tuple, TupleTable, tupleFamily, tupleProtocol, tupleZone } from "./tuples.ts";

/** Chains searched for an entry to drop (NF_CT_EVICTION_RANGE). */
const evictionRange = 8;
/** An entry taken out keeps its number until as many others were: rows under way may still refer to it. */
const retiredMax = 4096;
/** Entries looked at for the end of their life with every new one. */
const sweepStep = 2;

export class EntryStore {
  readonly #options: ConntrackOptions;
  readonly #table: TupleTable;
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
    this.#table = new TupleTable(options.hashSeed);
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
    this.#table.clear();
    this.#entries.length = 0;
    this.#free.length = 0;
    this.#retired.length = 0;
    this.#retiredFirst = 0;
    this.#bySource.clear();
    this.#count = 0;
  }

  /** Entry number * 2 + direction of a live entry's tuple, or -1. */
  find(tuple: Tuple, nowNs: number): number {
    const ref = this.#table.get(tuple);
    if (ref < 0) return -1;
    const entry = this.#entries[ref >>> 1] as CtEntry;
    if (entry.expiresNs > nowNs) return ref;
    this.retire(entry);
    return -1;
  }

  insert(entry: CtEntry, direction: 0 | 1): void {
    this.#table.set(entry.tuples[direction], entry.id * 2 + direction);
  }

  /** An unconfirmed entry; the tuples are copied. */
  create(original: Tuple, reply: Tuple, nowNs: number): CtEntry {
    this.#sweep(nowNs, sweepStep);
    const id = this.#free.pop() ?? this.#entries.length;
    const protocol = tupleProtocol(original);
    const entry: CtEntry = {
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
    };
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

  /** Makes sure that one more entry has its place; drops unassured entries of nearby chains if need be. */
  makeRoom(tuple: Tuple, nowNs: number): boolean {
    const { max, buckets } = this.#options;
    if (max === 0 || this.#count < max) return true;
    if (this.#sweptNs !== nowNs) this.#sweep(nowNs, this.#entries.length);
    this.#sweptNs = nowNs;
    if (this.#count < max) return true;
    const first = Math.floor((this.#table.hash(tuple) * buckets) / 2 ** 32);
    for (let i = 0; i < evictionRange; i++) {
      const before = this.#count;
      for (const ref of this.#table.inBucket((first + i) % buckets, buckets)) {
        const entry = this.#entries[ref >>> 1] as CtEntry;
        if (!(entry.status & (CtStatus.assured | CtStatus.dying))) this.retire(entry);
      }
      if (this.#count < before) return true;
    }
    return false;
  }

  noteSource(entry: CtEntry): void {
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
      for (const direction of [0, 1] as const)
        if (this.#table.get(entry.tuples[direction]) === entry.id * 2 + direction)
          this.#table.delete(entry.tuples[direction]);
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
