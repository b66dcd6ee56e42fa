/**
 * What being in a set depends on, as plain data, for sets of addresses and of addresses with ports. Of other sets, and of those
 * whose members come and go with time, only a look-up knows. Source: as live.ts.
 */
import { maskWord } from "../../addr/index.ts";
import type { AddressBlock, AddressMap, ServiceRange } from "../../base/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import { type Services, servicesOf, servicesText } from "../service-ranges.ts";
import type { LiveSet } from "./live.ts";
import { WordTable } from "./table.ts";

export interface Membership {
  /** 1 for an address that is in the set; of a set with ports, the number of its services, from 1. */
  readonly map: AddressMap;
  /** Of a set with ports. */
  readonly services: readonly Services[] | undefined;
}

interface Known {
  readonly version: number;
  readonly parts: readonly (Membership | undefined)[];
  readonly membership: Membership | undefined;
}

const known = new WeakMap<LiveSet, Known>();

/** The same object as long as the set is the same; `undefined`: only a look-up knows. */
export function membershipOf(set: LiveSet): Membership | undefined {
  const parts = set.memberSets.map(membershipOf); // a list's members are no lists
  const before = known.get(set);
  const isSame =
    before?.version === set.version &&
    before.parts.length === parts.length &&
    before.parts.every((part, i) => part === parts[i]);
  if (isSame) return before.membership;
  const membership = set.fields.timeout === undefined ? workOut(set, parts) : undefined;
  known.set(set, { version: set.version, parts, membership });
  return membership;
}

function workOut(set: LiveSet, parts: readonly (Membership | undefined)[]): Membership | undefined {
  const [first, second, third] = set.shape.parts;
  if (set.type === "list:set") {
    const maps = parts.map((part) => (part?.services === undefined ? part?.map : undefined));
    if (maps.includes(undefined)) return undefined;
    return { map: unionOf(maps as readonly AddressMap[]), services: undefined }; // none is undefined
  }
  if (first !== "ip" && first !== "net") return undefined;
  if (second === undefined) return { map: { entries: addressesOf(set) }, services: undefined };
  return second === "port" && third === undefined ? portMembership(set) : undefined;
}

type Entry = AddressMap["entries"][number];

function addressesOf(set: LiveSet): readonly Entry[] {
  const entries: Entry[] = [];
  set.visitEntries(({ net, nomatch }) => {
    if (net !== undefined) entries.push([blockOf(set, net), nomatch ? 0 : 1]);
  });
  return entries;
}

/** Members of a set with a netmask stand for the network that they are in. */
function blockOf(set: LiveSet, net: AddressBlock): AddressBlock {
  const { netmask } = set.fields;
  return netmask === undefined ? net : { ...net, prefix: netmask };
}

/** An address is in the list if it is in one of the sets; what a set excepts, another may hold. */
function unionOf(maps: readonly AddressMap[]): AddressMap {
  const [only] = maps;
  if (only !== undefined && maps.length === 1) return only;
  const blocks = new BlockTable();
  const entries: Entry[] = [];
  const isPlain = maps.every((map) => map.entries.every(([, value]) => value === 1));
  const tables = isPlain ? [] : maps.map((map) => new BlockTable(map.entries));
  for (const { entries: own } of maps)
    for (const entry of own) {
      const [block] = entry;
      if (!blocks.add(block, 1)) continue;
      if (isPlain) entries.push(entry);
      else entries.push([block, tables.some((table) => table.longest(block) === 1) ? 1 : 0]);
    }
  return { entries };
}

/** Values of blocks, 0 or 1. */
class BlockTable {
  readonly #table4 = new WordTable(2);
  readonly #table6 = new WordTable(5);
  readonly #prefixes: { readonly 4: Set<number>; readonly 6: Set<number> } = { 4: new Set(), 6: new Set() };

  constructor(entries: readonly Entry[] = []) {
    for (const [block, value] of entries) this.add(block, value);
  }

  /** False if the block is there. */
  add({ family, words, prefix }: AddressBlock, value: number): boolean {
    this.#prefixes[family].add(prefix);
    return this.#fill(family, words, prefix).set(scratch, value + 1) === 0;
  }

  /** Value of the longest block that holds all of this one; `undefined` for none. */
  longest({ family, words, prefix }: AddressBlock): number | undefined {
    const shorter = [...this.#prefixes[family]].filter((one) => one <= prefix).sort((a, b) => b - a);
    for (const one of shorter) {
      const found = this.#fill(family, words, one).get(scratch);
      if (found > 0) return found - 1;
    }
    return undefined;
  }

  #fill(family: 4 | 6, words: readonly number[], prefix: number): WordTable {
    scratch[0] = prefix;
    words.forEach((word, i) => {
      scratch[i + 1] = word & maskWord(prefix, i);
    });
    return family === 4 ? this.#table4 : this.#table6;
  }
}

const scratch = new Uint32Array(5);

interface PortBlock {
  readonly block: AddressBlock;
  /** (protocol * 65536 + port) * 2, and 1 for `nomatch`. */
  readonly ports: number[];
}

/** For each port by itself the longest block decides. */
function portMembership(set: LiveSet): Membership {
  const blocks = new Map<string | number, PortBlock>();
  const prefixes = new Set<number>();
  set.visitEntries(({ net, protocol = 0, port = 0, nomatch = false }) => {
    if (net === undefined) return;
    const block = blockOf(set, net);
    const word = (protocol * 0x1_0000 + port) * 2 + (nomatch ? 1 : 0);
    const key = keyOf(block, block.prefix);
    const own = blocks.get(key);
    if (own !== undefined) own.ports.push(word);
    else {
      blocks.set(key, { block, ports: [word] });
      prefixes.add(block.prefix);
    }
  });
  const widestFirst = [...prefixes].sort((a, b) => a - b);
  const lists = new ServiceLists();
  const entries: Entry[] = [];
  for (const { block, ports } of blocks.values()) {
    if (widestFirst.length === 1) {
      entries.push([block, lists.numberOf(ports)]);
      continue;
    }
    const all = new Map<number, number>();
    for (const prefix of widestFirst)
      if (prefix <= block.prefix)
        for (const word of blocks.get(keyOf(block, prefix))?.ports ?? []) all.set(word >>> 1, word);
    entries.push([block, lists.numberOf([...all.values()])]);
  }
  return { map: { entries }, services: lists.lists };
}

/** Lists of services, each once; numbers from 1, 0 for the empty one. */
class ServiceLists {
  readonly lists: Services[] = [];
  readonly #byPorts = new Map<string | number, number>();
  readonly #byText = new Map<string, number>([["", 0]]);

  /** Ports as a `PortBlock` has them. */
  numberOf(ports: readonly number[]): number {
    const [first = 0] = ports;
    const key = ports.length === 1 ? first : ports.join();
    let number = this.#byPorts.get(key);
    if (number !== undefined) return number;
    const services = servicesOf(
      ports.flatMap((word) => (word & 1 ? [] : (serviceOf(word >>> 17, (word >>> 1) & 0xffff) ?? []))),
    );
    const text = servicesText(services);
    number = this.#byText.get(text) ?? this.lists.push(services);
    this.#byText.set(text, number);
    this.#byPorts.set(key, number);
    return number;
  }
}

function keyOf({ family, words }: AddressBlock, prefix: number): string | number {
  if (family === 4) return prefix * 0x1_0000_0000 + ((words[0] ?? 0) & maskWord(prefix, 0)) + 0x8000_0000;
  return `${prefix} ${words.map((word, i) => word & maskWord(prefix, i)).join(" ")}`;
}

/** What a connection asks for that a member holds. Of ICMP a member is type * 256 + code, and a request has code 0. */
function serviceOf(protocol: number, port: number): ServiceRange | undefined {
  switch (protocol) {
    case IpProtocol.tcp:
    case IpProtocol.udp:
    case IpProtocol.sctp:
      return { protocol, first: port, last: port };
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return (port & 0xff) === 0 ? { protocol, first: port >>> 8, last: port >>> 8 } : undefined;
    default:
      return undefined;
  }
}
