/**
 * What kind of address an address is to this node: the answers of the kernel's local routing table.
 * Source: kernel net/ipv4/fib_frontend.c (__inet_dev_addr_type), net/ipv6/addrconf_core.c, net/netfilter/xt_addrtype.c.
 */
import { formatWords, maskWord } from "../../addr/index.ts";
import type { NodeFacts } from "../datapath.ts";
import type { AddrType } from "./match.ts";

/** In the kernel's order of RTN_ numbers. */
export const addrTypes: readonly AddrType[] = [
  "UNSPEC",
  "UNICAST",
  "LOCAL",
  "BROADCAST",
  "ANYCAST",
  "MULTICAST",
  "BLACKHOLE",
  "UNREACHABLE",
  "PROHIBIT",
  "THROW",
  "NAT",
  "XRESOLVE",
];

const unspec = 1 << addrTypes.indexOf("UNSPEC");
const unicast = 1 << addrTypes.indexOf("UNICAST");
const local = 1 << addrTypes.indexOf("LOCAL");
const broadcast = 1 << addrTypes.indexOf("BROADCAST");
const multicast = 1 << addrTypes.indexOf("MULTICAST");
const unreachable6 = 1 << addrTypes.indexOf("UNREACHABLE");

export function addrTypeBits(types: AddrType | readonly AddrType[]): number {
  return (typeof types === "string" ? [types] : types).reduce(
    (bits, type) => bits | (1 << addrTypes.indexOf(type)),
    0,
  );
}

/** Answers from a node's facts as they are; made again when they change. */
export class AddressTypes {
  readonly #facts: NodeFacts;
  #generation = -1;
  /** Interface numbers of an IPv4 address that the node takes for itself; 0 = on no particular interface. */
  readonly #locals = new Map<number, number[]>();
  readonly #broadcasts = new Map<number, number[]>();
  readonly #locals6 = new Map<string, number[]>();
  #loopback = 0;

  constructor(facts: NodeFacts) {
    this.#facts = facts;
  }

  /** The address's type as one bit (IPv4). `device` 0: on any interface. */
  bitOf4(word: number, device: number): number {
    this.#refresh();
    if (word >>> 24 === 0 || word === 0xffffffff) return broadcast;
    if (word >>> 28 === 14) return multicast;
    if (word >>> 24 === 127) return device === 0 || device === this.#loopback ? local : unicast;
    const isOn = (devices: readonly number[] | undefined): boolean =>
      devices !== undefined && (device === 0 || devices.includes(device));
    if (isOn(this.#locals.get(word))) return local;
    return isOn(this.#broadcasts.get(word)) ? broadcast : unicast;
  }

  /** Whether an IPv6 address is of the types in `bits`. */
  is6(words: readonly number[], device: number, bits: number): boolean {
    this.#refresh();
    const [first = 0] = words;
    const isMulticast = first >>> 24 === 0xff;
    const isAny = words.every((word) => word === 0);
    if (bits & multicast && !isMulticast) return false;
    if (bits & unicast && (isMulticast || isAny)) return false;
    if (bits & unspec && !isAny) return false;
    if ((bits & (local | unreachable6)) === 0) return true;
    const devices = this.#locals6.get(formatWords(6, words));
    const isLocal = devices !== undefined && (device === 0 || devices.includes(device));
    if (bits & local && isLocal) return true;
    const hasRoute = devices !== undefined || this.#facts.routeTo({ family: 6, words }) !== 0;
    return (bits & unreachable6) !== 0 && !hasRoute;
  }

  isLocal4(word: number): boolean {
    return this.bitOf4(word, 0) === local;
  }

  #refresh(): void {
    if (this.#generation === this.#facts.generation) return;
    this.#generation = this.#facts.generation;
    this.#locals.clear();
    this.#broadcasts.clear();
    this.#locals6.clear();
    const { interfaces, localAddresses } = this.#facts;
    this.#loopback = interfaces.find(({ isLoopback }) => isLoopback)?.index ?? 0;
    this.#locals6.set("::1", [this.#loopback]);
    for (const ip of localAddresses) this.#addLocal(ip.family, ip.words, undefined);
    for (const { index, addresses } of interfaces)
      for (const { family, words, prefix } of addresses) {
        this.#addLocal(family, words, index);
        if (family !== 4 || prefix > 30 || (words[0] ?? 0) >>> 24 === 127) continue;
        push(this.#broadcasts, ((words[0] ?? 0) | ~maskWord(prefix, 0)) >>> 0, index);
      }
  }

  #addLocal(family: 4 | 6, words: readonly number[], index: number | undefined): void {
    if (family === 4) push(this.#locals, words[0] ?? 0, index);
    else push(this.#locals6, formatWords(6, words), index);
  }
}

function push<K>(map: Map<K, number[]>, key: K, index: number | undefined): void {
  const list = map.get(key) ?? [];
  if (index !== undefined) list.push(index);
  map.set(key, list);
}
