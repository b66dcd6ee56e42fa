/**
 * Sets as tables look them up and operations change them. A live set made from a frozen `IpsetRepr` is cached by that
 * object's identity and shared by every node that carries it; the first change on a node makes a copy.
 * Governing sources: kernel net/netfilter/ipset/ip_set_hash_gen.h (most specific prefix first, `nomatch` decides),
 * ip_set_bitmap_gen.h, ip_set_list_set.c, ip_set_core.c (ip_set_test).
 */
import { maskWord } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import { type PacketBatch, packetEnd } from "../../packet/index.ts";
import {
  entryOfKey,
  fillAddresses,
  fillFixedParts,
  fillFromEntry,
  type InterfaceIds,
  keyStride,
  prefixesOf,
  scratchKey,
} from "./key.ts";
import {
  countAndCompare,
  entryOfMember,
  hasMembers,
  type Lookup,
  LookupFlag,
  type Member,
  memberOf,
  plainLookup,
} from "./member.ts";
import { NetCounts } from "./net-counts.ts";
import type { IpsetEntry, IpsetRepr, IpsetType } from "./repr.ts";
import { type SetShape, shapeOf } from "./shape.ts";
import { SlotState, WordTable } from "./table.ts";

/** What a lookup may ask of the node. */
export interface SetNode {
  nowNs(): number;
  readonly interfaceIds: InterfaceIds;
}

/** Members of one pair of prefix lengths. */
interface PrefixTable {
  /** Of `prefixesOf`. */
  readonly prefixes: number;
  /** Length of the first address's prefix. */
  readonly prefix: number;
  readonly table: WordTable;
  /** `hash:net,iface`: members of each net, whatever their interfaces. */
  readonly nets: NetCounts | undefined;
}

/** Everything of a set but its members. */
export type SetFields = Omit<IpsetRepr, "entries">;

export class LiveSet {
  readonly fields: SetFields;
  readonly shape: SetShape;
  /** `list:set`: names in order, and the sets behind them (resolved by the collection). */
  readonly members: string[] = [];
  memberSets: readonly LiveSet[] = [];
  /** Counts changes of members. */
  version = 0;
  /** What it was made of, at which version. */
  #source: { readonly entries: readonly IpsetEntry[]; readonly version: number } | undefined;
  /** Members carry more than their key. */
  readonly #isExtended: boolean;
  /** By number of `WordTable.ref`, from 1; of a list, in the order of `members`. */
  readonly #carried: (Member | undefined)[] = [undefined];
  /** Most specific first. */
  readonly #tables: PrefixTable[] = [];
  /** IPv4 addresses alone, nothing carried: the case that lookups are fast for. */
  readonly #isPlainV4: boolean;

  constructor(fields: SetFields) {
    this.fields = fields;
    this.shape = shapeOf(fields.type);
    this.#isExtended = hasMembers(fields);
    const { parts, isBitmap } = this.shape;
    this.#isPlainV4 =
      fields.family === 4 && parts.length === 1 && parts[0] !== "port" && !isBitmap && !this.#isExtended;
  }

  static from(repr: IpsetRepr, nowNs = 0): LiveSet {
    const { entries, ...fields } = repr;
    const set = new LiveSet(fields);
    for (const entry of entries) set.add(entry, nowNs);
    if (set.size === entries.length) set.#source = { entries, version: set.version };
    return set;
  }

  get name(): string {
    return this.fields.name;
  }

  get type(): IpsetType {
    return this.fields.type;
  }

  get family(): 4 | 6 {
    return this.fields.family;
  }

  get maxelem(): number {
    return this.fields.maxelem;
  }

  get title(): string | undefined {
    return this.fields.title;
  }

  /** IPv4 addresses and prefixes alone, nothing carried: what `visitPlain` can show. */
  get isPlainV4(): boolean {
    return this.#isPlainV4;
  }

  /** Calls back for every member of a plain IPv4 set: first word, prefix length, and whether it is a `nomatch`. */
  visitPlain(visit: (word: number, prefix: number, isNomatch: boolean) => void): void {
    assert(this.#isPlainV4, `${this.type} is no plain IPv4 set`);
    for (const { prefix, table } of this.#tables)
      table.forEach((key, state) => {
        visit(key[0]!, prefix, state === SlotState.nomatch);
      });
  }

  /** Calls back for every member, expired ones too; with the very entries that the set was made of, while it is unchanged. */
  visitEntries(visit: (entry: IpsetEntry) => void): void {
    if (this.#source?.version === this.version) for (const entry of this.#source.entries) visit(entry);
    else this.#visit(visit);
  }

  /** Whether the prefixes of a plain IPv4 set hold the address, entries of single addresses apart. */
  prefixHolds(word: number): boolean {
    const tables = this.#tables;
    for (let i = 0; i < tables.length; i++) {
      const { prefix, table } = tables[i]!;
      if (prefix === 32) continue;
      const state = table.get1((word & maskWord(prefix, 0)) >>> 0);
      if (state !== SlotState.empty) return state === SlotState.match;
    }
    return false;
  }

  /** Whether a plain IPv4 set holds the address. */
  holdsPlain(word: number): boolean {
    const tables = this.#tables;
    for (let i = 0; i < tables.length; i++) {
      const { prefix, table } = tables[i]!;
      const state = table.get1(prefix === 32 ? word : (word & maskWord(prefix, 0)) >>> 0);
      if (state !== SlotState.empty) return state === SlotState.match;
    }
    return false;
  }

  /** True if lookups change it or depend on the clock, so that no two nodes may share it. */
  get isStateful(): boolean {
    return this.fields.timeout !== undefined || this.fields.counters === true;
  }

  get size(): number {
    if (this.type === "list:set") return this.members.length;
    return this.#tables.reduce((sum, { table }) => sum + table.count, 0);
  }

  get bytes(): number {
    const carried = 96 * (this.#carried.length - 1);
    return this.#tables.reduce(
      (sum, { table }) => sum + table.bytes,
      64 + 32 * this.members.length + carried,
    );
  }

  /** True if the entry was new or changed; false if the very same entry was there. */
  add(entry: IpsetEntry, nowNs = 0): boolean {
    this.version++;
    if (this.type === "list:set") return this.#addName(entry, nowNs);
    const state = entry.nomatch ? SlotState.nomatch : SlotState.match;
    const own = this.#canonical(entry);
    const { table, nets } = this.#tableOf(own);
    fillFromEntry(this.shape, this.family, own);
    const ref = this.#isExtended ? table.ref(scratchKey) || this.#carried.length : 0;
    const before = table.set(scratchKey, state, ref);
    if (before === SlotState.empty) nets?.change(own, 1);
    if (!this.#isExtended) return before !== state;
    this.#carried[ref] = memberOf(entry, this.fields, nowNs);
    return true;
  }

  /** True if the very same entry (`nomatch` apart) is there and has not expired. */
  has(entry: IpsetEntry, nowNs = 0): boolean {
    if (this.type === "list:set") {
      const at = entry.set === undefined ? -1 : this.members.indexOf(entry.set);
      return at >= 0 && !this.#isExpired(at + 1, nowNs);
    }
    const own = this.#canonical(entry);
    const found = this.#findTable(prefixesOf(own, this.family))?.table;
    if (found === undefined) return false;
    fillFromEntry(this.shape, this.family, own);
    return found.get(scratchKey) !== SlotState.empty && !this.#isExpired(found.ref(scratchKey), nowNs);
  }

  delete(entry: IpsetEntry): boolean {
    this.version++;
    if (this.type === "list:set") {
      const index = entry.set === undefined ? -1 : this.members.indexOf(entry.set);
      if (index < 0) return false;
      this.members.splice(index, 1);
      this.#carried.splice(index + 1, 1);
      return true;
    }
    const own = this.#canonical(entry);
    const found = this.#findTable(prefixesOf(own, this.family));
    if (found === undefined) return false;
    fillFromEntry(this.shape, this.family, own);
    if (!found.table.delete(scratchKey)) return false;
    found.nets?.change(own, -1);
    // a length that no member has any more is no longer one that packets are added and deleted by
    if (found.table.count === 0) this.#tables.splice(this.#tables.indexOf(found), 1);
    return true;
  }

  flush(): void {
    this.version++;
    this.members.length = 0;
    this.#carried.length = 1;
    this.#tables.length = 0;
  }

  /** Forgets members whose time is over. */
  expire(nowNs: number): void {
    if (this.fields.timeout === undefined) return;
    const gone: IpsetEntry[] = [];
    this.#visit((entry, ref) => {
      if (this.#isExpired(ref, nowNs)) gone.push(entry);
    });
    for (const entry of gone) this.delete(entry);
  }

  /** Any member, for a full set with `forceadd` that must make room. */
  anyEntry(): IpsetEntry | undefined {
    let first: IpsetEntry | undefined;
    this.#visit((entry) => {
      first ??= entry;
    });
    return first;
  }

  clone(name: string = this.name): LiveSet {
    const copy = new LiveSet({ ...this.fields, name });
    copy.members.push(...this.members);
    copy.memberSets = this.memberSets;
    for (let i = 1; i < this.#carried.length; i++) {
      const member = this.#carried[i];
      copy.#carried.push(member === undefined ? undefined : { ...member });
    }
    for (const one of this.#tables)
      copy.#tables.push({ ...one, table: one.table.clone(), nets: one.nets?.clone() });
    return copy;
  }

  /** Frozen data, entries in address order; what has expired is left out. */
  toRepr(nowNs = 0): IpsetRepr {
    const entries: IpsetEntry[] = [];
    this.#visit((entry, ref) => {
      if (this.#isExpired(ref, nowNs)) return;
      const member = this.#carried[ref];
      entries.push(member === undefined ? entry : { ...entry, ...entryOfMember(member, this.fields, nowNs) });
    });
    if (this.type !== "list:set") entries.sort(compareEntries);
    return { ...this.fields, entries };
  }

  /** Judges a decoded row. `dimensions`: of `dimensionBits`. */
  matches(batch: PacketBatch, row: number, dimensions: number, node: SetNode): boolean {
    if (this.#isPlainV4) {
      if (batch.family[row] !== 4) return false;
      const word = ((dimensions & 1) !== 0 ? batch.src : batch.dst)[row * 4]!;
      return this.holdsPlain(word);
    }
    return this.lookup(batch, row, dimensions, node, plainLookup);
  }

  /** As `matches`, with what the rule asks beside membership (ip_set_test). */
  lookup(batch: PacketBatch, row: number, dimensions: number, node: SetNode, lookup: Lookup): boolean {
    if (this.type === "list:set") return this.#inList(batch, row, dimensions, node, lookup);
    const state = this.#find(batch, row, dimensions, node, lookup).state;
    if (lookup.flags & LookupFlag.returnNomatch && this.shape.hasNet) return state === SlotState.nomatch;
    return state === SlotState.match;
  }

  /** What the matching member carries for `SET --map-set`. */
  carriedBy(batch: PacketBatch, row: number, dimensions: number, node: SetNode): Member | undefined {
    if (this.type !== "list:set") {
      const { state, ref } = this.#find(batch, row, dimensions, node, plainLookup);
      return state === SlotState.match ? this.#carried[ref] : undefined;
    }
    for (const set of this.memberSets) {
      const member = set.carriedBy(batch, row, dimensions, node);
      if (member !== undefined) return member;
    }
    return undefined;
  }

  /** The entry that a packet stands for, as the SET target adds and deletes it; `undefined` where it has none. */
  entryOfRow(batch: PacketBatch, row: number, dimensions: number, node: SetNode): IpsetEntry | undefined {
    if (!this.#accepts(batch, row, dimensions)) return undefined;
    const { shape, family } = this;
    if (!fillFixedParts(shape, family, batch, row, dimensions, node.interfaceIds)) return undefined;
    const prefixes = this.#prefixesToChange();
    fillAddresses(shape, family, batch, row, dimensions, prefixes);
    return entryOfKey(shape, family, prefixes, scratchKey);
  }

  /** Each net dimension takes the most specific length in use, or the whole address (INIT_CIDR of ip_set_hash_gen.h). */
  #prefixesToChange(): number {
    const host = this.family === 4 ? 32 : 128;
    const [first] = this.#tables;
    if (!this.shape.hasNet || first === undefined) return this.#hostPrefix() * 256 + host;
    const second = this.#tables.reduce((most, { prefixes }) => Math.max(most, prefixes & 0xff), 0);
    return first.prefix * 256 + second;
  }

  /** Result of the last `#find`. */
  readonly #found: { state: number; ref: number } = { state: 0, ref: 0 };

  #find(
    batch: PacketBatch,
    row: number,
    dimensions: number,
    node: SetNode,
    lookup: Lookup,
  ): { readonly state: number; readonly ref: number } {
    const found = this.#found;
    found.state = SlotState.empty;
    found.ref = 0;
    const { shape, family } = this;
    if (!this.#accepts(batch, row, dimensions)) return found;
    if (!fillFixedParts(shape, family, batch, row, dimensions, node.interfaceIds)) return found;
    for (const { prefixes, table, nets } of this.#tables) {
      fillAddresses(shape, family, batch, row, dimensions, prefixes);
      const state = table.get(scratchKey);
      if (state === SlotState.empty) {
        if (nets?.has(scratchKey)) return found; // at another interface: the kernel looks no further (mtype_test_cidrs)
        continue;
      }
      if (this.#isExtended) {
        const ref = table.ref(scratchKey);
        const member = this.#carried[ref];
        if (this.#isExpired(ref, node.nowNs())) continue;
        const size = packetEnd(batch, row) - batch.offset[row]!;
        if (member !== undefined && !countAndCompare(member, this.fields, lookup, size)) continue;
        found.ref = ref;
      }
      found.state = state;
      return found;
    }
    return found;
  }

  /** Family and number of dimensions (ip_set_test). */
  #accepts(batch: PacketBatch, row: number, dimensions: number): boolean {
    const { parts, addresses } = this.shape;
    if (dimensions >>> 8 < parts.length) return false;
    return addresses === 0 || batch.family[row] === this.family;
  }

  #inList(batch: PacketBatch, row: number, dimensions: number, node: SetNode, lookup: Lookup): boolean {
    const { flags } = lookup;
    const sub: Lookup =
      flags === 0 && lookup.packets === undefined && lookup.bytes === undefined
        ? plainLookup
        : {
            flags: flags | (flags & LookupFlag.keepSubcounters ? LookupFlag.keepCounters : 0),
            packets: undefined,
            bytes: undefined,
          };
    for (let i = 0; i < this.memberSets.length; i++) {
      if (!this.memberSets[i]!.lookup(batch, row, dimensions, node, sub)) continue;
      if (!this.#isExtended) return true;
      if (this.#isExpired(i + 1, node.nowNs())) continue;
      const member = this.#carried[i + 1];
      const size = packetEnd(batch, row) - batch.offset[row]!;
      if (member === undefined || countAndCompare(member, this.fields, lookup, size)) return true;
    }
    return false;
  }

  #addName(entry: IpsetEntry, nowNs: number): boolean {
    assert(entry.set !== undefined, "a list:set entry names a set");
    const at = this.members.indexOf(entry.set);
    const member = this.#isExtended ? memberOf(entry, this.fields, nowNs) : undefined;
    if (at >= 0) {
      this.#carried[at + 1] = member;
      return member !== undefined;
    }
    this.members.push(entry.set);
    this.#carried.push(member);
    return true;
  }

  #isExpired(ref: number, nowNs: number): boolean {
    const member = this.#carried[ref];
    return member !== undefined && member.expiresNs <= nowNs;
  }

  #hostPrefix(): number {
    return this.fields.netmask ?? (this.family === 4 ? 32 : 128);
  }

  /** Host addresses of a set with a netmask are kept as the network that they are in. */
  #canonical(entry: IpsetEntry): IpsetEntry {
    const { netmask } = this.fields;
    if (netmask === undefined || entry.net === undefined) return entry;
    const words = entry.net.words.map((word, i) => (word & maskWord(netmask, i)) >>> 0);
    return { ...entry, net: { family: this.family, words, prefix: netmask } };
  }

  #findTable(prefixes: number): PrefixTable | undefined {
    return this.#tables.find((candidate) => candidate.prefixes === prefixes);
  }

  #tableOf(entry: IpsetEntry): PrefixTable {
    const prefixes = prefixesOf(entry, this.family);
    const at = this.#tables.findIndex((candidate) => candidate.prefixes <= prefixes);
    const found = at < 0 ? undefined : this.#tables[at];
    if (found?.prefixes === prefixes) return found;
    const made = {
      prefixes,
      prefix: prefixes >>> 8,
      table: new WordTable(keyStride(this.shape, this.family)),
      nets: this.type === "hash:net,iface" ? new NetCounts(this.family) : undefined,
    };
    this.#tables.splice(at < 0 ? this.#tables.length : at, 0, made);
    return made;
  }

  /** Calls back for every member, expired ones too, with the number under which its carried part is kept. */
  #visit(visit: (entry: IpsetEntry, ref: number) => void): void {
    this.members.forEach((set, i) => {
      visit({ set }, i + 1);
    });
    const host = this.family === 4 ? 32 : 128;
    for (const { prefixes, table } of this.#tables)
      table.forEach((key, state, ref) => {
        const shown = this.fields.netmask === undefined ? prefixes : host * 256 + host;
        const entry = entryOfKey(this.shape, this.family, shown, key);
        visit(state === SlotState.nomatch ? { ...entry, nomatch: true } : entry, ref);
      });
  }
}

function compareEntries(a: IpsetEntry, b: IpsetEntry): number {
  return (
    compareNets(a.net, b.net) ||
    (a.protocol ?? 0) - (b.protocol ?? 0) ||
    (a.port ?? 0) - (b.port ?? 0) ||
    compareNets(a.net2, b.net2) ||
    (a.mark ?? 0) - (b.mark ?? 0) ||
    ((a.iface ?? "") < (b.iface ?? "") ? -1 : (a.iface ?? "") > (b.iface ?? "") ? 1 : 0)
  );
}

function compareNets(a: IpsetEntry["net"], b: IpsetEntry["net"]): number {
  const [left, right] = [a?.words ?? [], b?.words ?? []];
  for (let i = 0; i < left.length; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return (a?.prefix ?? 0) - (b?.prefix ?? 0);
}
