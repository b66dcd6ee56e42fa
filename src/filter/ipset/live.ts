/**
 * Sets as tables look them up and operations change them. A live set made from a frozen `IpsetRepr` is cached by that
 * object's identity and shared by every node that carries it; the first change on a node makes a copy.
 * Governing sources: kernel net/netfilter/ipset/ip_set_hash_gen.h (most specific prefix first, `nomatch` decides),
 * ip_set_list_set.c.
 */
import { maskWord } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import type { PacketBatch } from "../../packet/index.ts";
import { DecodeStatus } from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import type { IpsetEntry, IpsetRepr, IpsetType } from "./repr.ts";
import { SlotState, WordTable } from "./table.ts";

/** Which address or port of the packet a dimension of a set looks at. */
export const Dimension = { firstIsSrc: 1, secondIsSrc: 2, hasSecond: 4 } as const;

const scratch = new Uint32Array(5);

/** Prefix lengths of one set, most specific first, each with its own table. */
interface PrefixTable {
  readonly prefix: number;
  readonly table: WordTable;
}

export class LiveSet {
  readonly name: string;
  readonly type: IpsetType;
  readonly family: 4 | 6;
  readonly hashsize: number;
  readonly maxelem: number;
  readonly title: string | undefined;
  /** `list:set`: names in order, and the sets behind them (resolved by the collection). */
  readonly members: string[] = [];
  memberSets: readonly LiveSet[] = [];
  readonly #prefixes: PrefixTable[] = [];
  readonly #hasPort: boolean;

  constructor(fields: Omit<IpsetRepr, "entries">) {
    this.name = fields.name;
    this.type = fields.type;
    this.family = fields.family;
    this.hashsize = fields.hashsize;
    this.maxelem = fields.maxelem;
    this.title = fields.title;
    this.#hasPort = fields.type.endsWith(",port");
  }

  static from(repr: IpsetRepr): LiveSet {
    const set = new LiveSet(repr);
    for (const entry of repr.entries) set.add(entry);
    return set;
  }

  get size(): number {
    if (this.type === "list:set") return this.members.length;
    return this.#prefixes.reduce((sum, { table }) => sum + table.count, 0);
  }

  get bytes(): number {
    return this.#prefixes.reduce((sum, { table }) => sum + table.bytes, 64 + 32 * this.members.length);
  }

  /** True if the entry was new or changed; false if the very same entry was there. */
  add(entry: IpsetEntry): boolean {
    if (this.type === "list:set") {
      assert(entry.set !== undefined, "a list:set entry names a set");
      if (this.members.includes(entry.set)) return false;
      this.members.push(entry.set);
      return true;
    }
    const state = entry.nomatch ? SlotState.nomatch : SlotState.match;
    return this.#tableOf(entry).set(this.#key(entry), state) !== state;
  }

  /** True if the very same entry (`nomatch` apart) is there. */
  has(entry: IpsetEntry): boolean {
    if (this.type === "list:set") return entry.set !== undefined && this.members.includes(entry.set);
    return this.#tableOf(entry).get(this.#key(entry)) !== SlotState.empty;
  }

  delete(entry: IpsetEntry): boolean {
    if (this.type === "list:set") {
      const index = entry.set === undefined ? -1 : this.members.indexOf(entry.set);
      if (index >= 0) this.members.splice(index, 1);
      return index >= 0;
    }
    return this.#tableOf(entry).delete(this.#key(entry));
  }

  flush(): void {
    this.members.length = 0;
    this.#prefixes.length = 0;
  }

  clone(name: string = this.name): LiveSet {
    const copy = new LiveSet({
      name,
      type: this.type,
      family: this.family,
      hashsize: this.hashsize,
      maxelem: this.maxelem,
      ...(this.title === undefined ? {} : { title: this.title }),
    });
    copy.members.push(...this.members);
    copy.memberSets = this.memberSets;
    for (const { prefix, table } of this.#prefixes) copy.#prefixes.push({ prefix, table: table.clone() });
    return copy;
  }

  /** Frozen data, entries in address order. */
  toRepr(): IpsetRepr {
    const entries: IpsetEntry[] = this.members.map((set) => ({ set }));
    const words = this.family === 4 ? 1 : 4;
    for (const { prefix, table } of this.#prefixes) {
      table.forEach((key, state) => {
        const net = { family: this.family, words: [...key.subarray(0, words)], prefix };
        const port = this.#hasPort ? { protocol: key[words]! >>> 16, port: key[words]! & 0xffff } : {};
        entries.push({ net, ...port, ...(state === SlotState.nomatch ? { nomatch: true } : {}) });
      });
    }
    if (this.type !== "list:set") entries.sort(compareEntries);
    const { name, type, family, hashsize, maxelem, title } = this;
    return { name, type, family, hashsize, maxelem, entries, ...(title === undefined ? {} : { title }) };
  }

  /** Judges a decoded row. `dimensions`: bits of `Dimension`. */
  matches(batch: PacketBatch, row: number, dimensions: number): boolean {
    if (this.type === "list:set") {
      for (let i = 0; i < this.memberSets.length; i++)
        if (this.memberSets[i]!.#matchesHash(batch, row, dimensions)) return true;
      return false;
    }
    return this.#matchesHash(batch, row, dimensions);
  }

  #matchesHash(batch: PacketBatch, row: number, dimensions: number): boolean {
    if (batch.family[row] !== this.family) return false;
    const column = dimensions & Dimension.firstIsSrc ? batch.src : batch.dst;
    const lane = row * 4;
    const prefixes = this.#prefixes;
    if (this.family === 4 && !this.#hasPort) {
      const word = column[lane]!;
      for (let i = 0; i < prefixes.length; i++) {
        const { prefix, table } = prefixes[i]!;
        const state = table.get1(prefix === 32 ? word : (word & maskWord(prefix, 0)) >>> 0);
        if (state !== SlotState.empty) return state === SlotState.match;
      }
      return false;
    }
    return this.#matchesWide(batch, row, dimensions, column, lane);
  }

  #matchesWide(
    batch: PacketBatch,
    row: number,
    dimensions: number,
    column: Uint32Array,
    lane: number,
  ): boolean {
    const words = this.family === 4 ? 1 : 4;
    if (this.#hasPort) {
      if (!(dimensions & Dimension.hasSecond)) return false; // asked with fewer dimensions than it has (ip_set_test)
      const protocol = batch.protocol[row]!;
      const isReadable = batch.status[row] === DecodeStatus.ok;
      if (!isReadable && (hasPortKey(protocol) || batch.status[row] !== DecodeStatus.laterFragment))
        return false;
      const isIcmp = protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
      const isSrc = (dimensions & Dimension.secondIsSrc) !== 0 && !isIcmp;
      scratch[words] = ((protocol << 16) | (isSrc ? batch.sport[row]! : batch.dport[row]!)) >>> 0;
    }
    for (const { prefix, table } of this.#prefixes) {
      for (let i = 0; i < words; i++) scratch[i] = (column[lane + i]! & maskWord(prefix, i)) >>> 0;
      const state = table.get(scratch);
      if (state !== SlotState.empty) return state === SlotState.match;
    }
    return false;
  }

  #tableOf(entry: IpsetEntry): WordTable {
    assert(entry.net !== undefined, `an entry of ${this.type} has an address`);
    const { prefix } = entry.net;
    const at = this.#prefixes.findIndex((candidate) => candidate.prefix <= prefix);
    const found = at < 0 ? undefined : this.#prefixes[at];
    if (found?.prefix === prefix) return found.table;
    const table = new WordTable((this.family === 4 ? 1 : 4) + (this.#hasPort ? 1 : 0));
    this.#prefixes.splice(at < 0 ? this.#prefixes.length : at, 0, { prefix, table });
    return table;
  }

  #key(entry: IpsetEntry): Uint32Array {
    const net = entry.net;
    assert(net !== undefined && net.family === this.family, "entry of another address family");
    for (let i = 0; i < net.words.length; i++) scratch[i] = net.words[i]!;
    if (this.#hasPort) {
      assert(entry.protocol !== undefined && entry.port !== undefined, `an entry of ${this.type} has a port`);
      scratch[net.words.length] = ((entry.protocol << 16) | entry.port) >>> 0;
    }
    return scratch;
  }
}

/** Protocols whose packets have a "port" for a set (ip_set_get_ip4_port): ICMP's is type and code; others count as 0. */
function hasPortKey(protocol: number): boolean {
  return (
    protocol === IpProtocol.tcp ||
    protocol === IpProtocol.udp ||
    protocol === IpProtocol.sctp ||
    protocol === IpProtocol.icmp ||
    protocol === IpProtocol.icmpv6
  );
}

function compareEntries(a: IpsetEntry, b: IpsetEntry): number {
  const [left, right] = [a.net?.words ?? [], b.net?.words ?? []];
  for (let i = 0; i < left.length; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return (
    (a.net?.prefix ?? 0) - (b.net?.prefix ?? 0) ||
    (a.protocol ?? 0) - (b.protocol ?? 0) ||
    (a.port ?? 0) - (b.port ?? 0)
  );
}
