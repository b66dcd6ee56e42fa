/**
 * Types of address as a map that nodes share: what `AddressTypes` (address-type.ts) answers without regard to interfaces, of
 * the types that are told apart.
 */
import { ipEquals, maskWord } from "../../addr/index.ts";
import type { AddressBlock, AddressMap } from "../../base/index.ts";
import type { NodeFacts } from "../datapath.ts";

export const AddressTypeValue = { unicast: 0, local: 1, broadcast: 2, multicast: 3 } as const;

const block4 = (word: number, prefix: number): AddressBlock => ({ family: 4, words: [word], prefix });

const types4: AddressMap = {
  entries: [
    [block4(0, 8), AddressTypeValue.broadcast],
    [block4(0x7f00_0000, 8), AddressTypeValue.local],
    [block4(0xe000_0000, 4), AddressTypeValue.multicast],
    [block4(0xffff_ffff, 32), AddressTypeValue.broadcast],
  ],
  own: AddressTypeValue.local,
};

const types6: AddressMap = {
  entries: [
    [{ family: 6, words: [0, 0, 0, 1], prefix: 128 }, AddressTypeValue.local],
    [{ family: 6, words: [0xff00_0000, 0, 0, 0], prefix: 8 }, AddressTypeValue.multicast],
  ],
  own: AddressTypeValue.local,
};

const ownTypes = new WeakMap<
  NodeFacts,
  { readonly generation: number; readonly 4: AddressMap; readonly 6: AddressMap }
>();

/** Nodes share the map, but for subnets' broadcasts and for addresses of interfaces that the node does not list as its own. */
export function addressTypesOf(facts: NodeFacts, family: 4 | 6): AddressMap {
  const known = ownTypes.get(facts);
  if (known?.generation === facts.generation) return known[family];
  const own: { readonly 4: AddressMap["entries"][number][]; readonly 6: AddressMap["entries"][number][] } = {
    4: [],
    6: [],
  };
  for (const { addresses, isLoopback } of facts.interfaces)
    for (const address of isLoopback ? [] : addresses) {
      const { family: its, words, prefix } = address;
      if (!facts.localAddresses.some((ip) => ipEquals(ip, address)))
        own[its].push([{ family: its, words, prefix: its === 4 ? 32 : 128 }, AddressTypeValue.local]);
      if (its === 4 && prefix <= 30)
        own[4].push([block4(((words[0] ?? 0) | ~maskWord(prefix, 0)) >>> 0, 32), AddressTypeValue.broadcast]);
    }
  const overlaid = (entries: AddressMap["entries"], base: AddressMap): AddressMap =>
    entries.length === 0 ? base : { entries, own: AddressTypeValue.local, base };
  const made = { generation: facts.generation, 4: overlaid(own[4], types4), 6: overlaid(own[6], types6) };
  ownTypes.set(facts, made);
  return made[family];
}
