/** What a verdict table is made of: the nodes' statements, and the addresses of their pods and of themselves. */
import { type AddressMap, type Questions, type Way, waysOfNode } from "../base/index.ts";
import { type AddressSpace, afterBlock, compareWords, type SpaceAddress } from "./address-space.ts";
import type { Chain, ChainTable } from "./chains.ts";

export interface ClassifiedEnd {
  readonly kind: "pod" | "node";
  readonly family: 4 | 6;
  /** One word (IPv4) or four. */
  readonly words: readonly number[];
  /** Number of its node. */
  readonly node: number;
}

export interface ClassifiedCluster {
  /** By number of the node; `undefined`: it states nothing. */
  readonly nodes: readonly (Questions | undefined)[];
  readonly ends: readonly ClassifiedEnd[];
}

export type WayChains = { readonly [W in Way]?: readonly Chain[] };

export interface StatedNode {
  readonly ways: WayChains;
  /** Equal for nodes whose tables differ at most in whom they choose chains for. */
  readonly kind: number;
}

export function stateNodes(nodes: ClassifiedCluster["nodes"], table: ChainTable): readonly StatedNode[] {
  const kinds = new Map<string, number>();
  return nodes.map((questions) => {
    const ways: { [W in Way]?: readonly Chain[] } = {};
    for (const way of waysOfNode) {
      const chains = questions?.ways[way]?.map(({ chain }) => table.chain(chain));
      if (chains !== undefined) ways[way] = chains.filter((chain) => !isEmpty(chain));
    }
    const text = waysOfNode
      .map((way) => ways[way]?.map(({ shape }) => shape).join("\n\n") ?? "-")
      .join("\n\n\n");
    let kind = kinds.get(text);
    if (kind === undefined) {
      kind = kinds.size;
      kinds.set(text, kind);
    }
    return { ways, kind };
  });
}

function isEmpty({ rules, atEnd }: Chain): boolean {
  return rules.length === 0 && atEnd === "accept";
}

/** Where stretches of addresses that no map tells apart begin; without those that are one end's address alone. */
export function outsideStarts(
  maps: Iterable<AddressMap>,
  ends: readonly ClassifiedEnd[],
  family: 4 | 6,
): readonly (readonly number[])[] {
  const starts = new Map<string, readonly number[]>();
  const add = (words: readonly number[]): void => void starts.set(words.join(), words);
  add(family === 4 ? [0] : [0, 0, 0, 0]);
  const seen = new Set<AddressMap>();
  const addMap = (map: AddressMap): void => {
    if (seen.has(map)) return;
    seen.add(map);
    if (map.base !== undefined) addMap(map.base);
    for (const [block] of map.entries) {
      if (block.family !== family) continue;
      add(block.words);
      const after = afterBlock(block);
      if (after !== undefined) add(after);
    }
  };
  for (const map of maps) addMap(map);
  for (const end of ends) {
    if (end.family !== family) continue;
    const after = afterBlock({ family, words: end.words, prefix: family === 4 ? 32 : 128 });
    if (starts.has(end.words.join()) && after !== undefined && starts.has(after.join()))
      starts.delete(end.words.join());
  }
  return [...starts.values()].sort(compareWords);
}

/** What sets addresses apart beside the values that maps give them: their part, their node's kind, and what is chosen for them. */
export function labelsOf(
  space: AddressSpace,
  parts: ArrayLike<number>,
  nodeOf: ArrayLike<number>,
  nodes: readonly StatedNode[],
): readonly ArrayLike<number>[] {
  const kinds = Int32Array.from(space.addresses, (_, index) => nodes[nodeOf[index]!]?.kind ?? -1);
  const chosen: string[] = space.addresses.map(() => "");
  for (const [number, { ways }] of nodes.entries()) {
    const asked = new Set<object>();
    for (const chains of Object.values(ways))
      for (const { rules } of chains)
        for (const { action } of rules) {
          if (action.kind !== "choose" || asked.has(action)) continue;
          asked.add(action);
          const { indices, values } = space.members(action.map);
          for (let i = 0; i < indices.length; i++)
            if (nodeOf[indices[i]!] === number)
              chosen[indices[i]!] += `${asked.size}:${action.chains.get(values[i]!)?.id ?? ""} `;
        }
  }
  const numbers = new Map<string, number>();
  const choices = Int32Array.from(chosen, (text) => {
    let number = numbers.get(text);
    if (number === undefined) {
      number = numbers.size;
      numbers.set(text, number);
    }
    return number;
  });
  return [parts, kinds, choices];
}

/** True if chains are chosen for addresses of the node alone. */
export function choosesAtHome(
  { ways }: StatedNode,
  number: number,
  space: AddressSpace,
  nodeOf: ArrayLike<number>,
): boolean {
  return Object.values(ways).every((chains) =>
    chains.every(({ rules }) =>
      rules.every(({ action }) => {
        if (action.kind !== "choose") return true;
        return space
          .members(action.map)
          .indices.every((index) => nodeOf[index] === number || isOwn(space.addresses[index]!));
      }),
    ),
  );
}

function isOwn({ isOwn }: SpaceAddress): boolean {
  return isOwn;
}
