/**
 * What maps and programs take in the kernel, as `bpftool map show` prints it (memlock): which leaves out a trie's inner
 * nodes. Governing source: kernel 6.x kernel/bpf: htab_map_mem_usage (hashtab.c), array_map_mem_usage (arraymap.c),
 * trie_mem_usage (lpm_trie.c), ringbuf_map_mem_usage (ringbuf.c); structure sizes on 64-bit machines as of 6.18.
 */
import { unreachable } from "../../base/index.ts";
import type { StoreKind, StoreUsage } from "../usage.ts";
import { type MapEntry, MapFlag, type MapRepr, type MapShape, MapType } from "./maps/shape.ts";
import type { BpfTables } from "./tables.ts";

const mapStore: StoreKind = {
  name: "BPF map",
  entries: "entries",
  memory: { evidence: "documented", source: "kernel kernel/bpf, as `bpftool map show` reports it" },
  whenFull: {
    source: "kernel kernel/bpf/{hashtab,lpm_trie}.c",
    beyond: "further keys are refused (hash: E2BIG, trie: ENOSPC)",
  },
};

const programStore: StoreKind = {
  name: "BPF programs",
  entries: "instructions",
  memory: {
    evidence: "inferred",
    source: "8 bytes an instruction (include/uapi/linux/bpf.h), as much again where they are translated",
  },
};

const instructionBytes = 16;

/** Maps and programs of a node with `processors` processors. */
export function bpfUsage({ maps, programs }: BpfTables, processors: number): readonly StoreUsage[] {
  const usages = maps.map((map): StoreUsage => {
    const { name, maxEntries } = map;
    const entries = entryCount(map);
    return {
      kind: mapStore,
      name,
      group: groupOf(name),
      entries,
      ...(fillsUp(map) ? { entriesMax: maxEntries } : {}),
      bytes: mapBytes(map, entries, processors),
    };
  });
  const entries = programs.reduce((sum, { instructions }) => sum + instructions.length, 0);
  const bytes = entries * instructionBytes;
  if (programs.length > 0)
    usages.push({
      kind: programStore,
      name: `${programs.length} programs`,
      group: "programs",
      entries,
      bytes,
    });
  return usages;
}

/** Maps of one endpoint each end in its number, or in whose they are. */
const groupOf = (name: string): string => name.replace(/_(?:[0-9]+|id[0-9]+(?:_[0-9a-f]+)?)$/, "");

/** A map whose keys are taken one by one, and that refuses further ones. */
function fillsUp({ type }: MapShape): boolean {
  return (
    type === MapType.hash ||
    type === MapType.percpuHash ||
    type === MapType.lpmTrie ||
    type === MapType.hashOfMaps
  );
}

const keysOfBase = new WeakMap<readonly MapEntry[], ReadonlySet<string>>();

function entryCount({ base, entries }: MapRepr): number {
  if (base === undefined || entries.length === 0) return entries.length + (base?.length ?? 0);
  let keys = keysOfBase.get(base);
  if (keys === undefined) {
    keys = new Set(base.map(({ key }) => key.join()));
    keysOfBase.set(base, keys);
  }
  return base.length + entries.filter(({ key }) => !keys.has(key.join())).length;
}

/** `entries` counts where the map takes memory as it is filled. */
export function mapBytes(
  { type, keySize, valueSize, maxEntries, flags }: MapShape,
  entries: number,
  processors: number,
): number {
  const value = align8(valueSize);
  const array = 312;
  switch (type) {
    case MapType.array:
      return array + maxEntries * value;
    case MapType.percpuArray:
      return array + maxEntries * (8 + value * processors);
    case MapType.progArray:
    case MapType.perfEventArray:
    case MapType.arrayOfMaps:
      return array + maxEntries * 8;
    case MapType.lpmTrie:
      return entries * (24 + (keySize - 4) + valueSize); // struct lpm_trie_node, the prefix, the value
    case MapType.ringbuf:
      // the buffer's pages, each mapped twice, and three of its own
      return 304 + 3 * 4096 + maxEntries + 8 * (3 + (2 * maxEntries) / 4096);
    case MapType.hash:
    case MapType.lruHash:
    case MapType.percpuHash:
    case MapType.lruPercpuHash:
    case MapType.hashOfMaps:
      break;
    default:
      return unreachable(type);
  }
  const isPercpu = type === MapType.percpuHash || type === MapType.lruPercpuHash;
  const isLru = type === MapType.lruHash || type === MapType.lruPercpuHash;
  const isPreallocated = (flags & MapFlag.noPrealloc) === 0;
  const spare = isPreallocated && !isPercpu && !isLru ? processors : 0;
  const places = isPreallocated ? maxEntries + spare : entries;
  const element = 48 + align8(keySize) + (isPercpu ? 8 : value) + (isPreallocated ? 0 : 8);
  return (
    896 + buckets(maxEntries) * 16 + places * (element + (isPercpu ? value * processors : 0)) + spare * 8
  );
}

const align8 = (bytes: number): number => (bytes + 7) & ~7;

function buckets(maxEntries: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, maxEntries)));
}
