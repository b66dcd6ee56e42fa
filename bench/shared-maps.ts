/**
 * What does it cost to link the BPF of a node, when its ipcache and policy maps stand on lists that all nodes share? Beside
 * it a node whose maps are filled entry by entry with the same.
 */
import { createPrng, hashText } from "../src/base/index.ts";
import {
  type BpfDatapath,
  type BpfTables,
  linkBpf,
  type MapEntry,
  MapFlag,
  type MapShape,
  MapType,
} from "../src/filter/bpf/index.ts";
import type { LinkContext } from "../src/filter/index.ts";
import { type BenchmarkFile, nowMs, seed } from "./benchmark.ts";

const trie = (name: string, keySize: number, maxEntries: number): MapShape => ({
  name,
  type: MapType.lpmTrie,
  keySize,
  valueSize: 12,
  maxEntries,
  flags: MapFlag.noPrealloc,
});

export const sharedMaps: BenchmarkFile = {
  name: "shared-maps",
  question: "What does a node's BPF cost to link where all nodes share an ipcache and policy maps?",
  prepare(size) {
    const sizes =
      size === "full"
        ? { nodes: 1000, addresses: 50_000, policies: 500, endpoints: 50 }
        : { nodes: 10, addresses: 500, policies: 10, endpoints: 5 };
    const shared = sharedEntries(sizes);
    const heapBefore = heapBytes();
    const startMs = nowMs();
    const nodes = Array.from({ length: sizes.nodes }, (_, node) =>
      linkBpf(tablesOf(shared, node, sizes.endpoints), context(node)),
    );
    const linkMs = nowMs() - startMs;
    const bytes = heapBytes() - heapBefore;
    const last = { linked: nodes[0] as BpfDatapath };
    const plain = filled(tablesOf(shared, 0, sizes.endpoints));
    return {
      unit: "links a node",
      cases: [
        {
          name: "shared",
          run: () => (last.linked = linkBpf(tablesOf(shared, 1, sizes.endpoints), context(1))),
        },
        { name: "filled", run: () => (last.linked = linkBpf(plain, context(1))) },
      ],
      facts: { ...sizes, linkMs: Math.round(linkMs), linkedBytes: bytes },
      resultHash: () =>
        hashText(
          [last.linked, ...nodes.slice(0, 3)]
            .flatMap((node) =>
              node
                .tables()
                .maps.map(({ name, base = [], entries }) => `${name} ${base.length + entries.length}`),
            )
            .join("\n"),
        ).toString(16),
    };
  },
};

interface Shared {
  readonly ipcache: readonly MapEntry[];
  readonly policies: readonly (readonly MapEntry[])[];
}

function sharedEntries({
  addresses,
  policies,
}: {
  readonly addresses: number;
  readonly policies: number;
}): Shared {
  const random = createPrng(seed);
  const policy = (): readonly MapEntry[] =>
    Object.freeze(
      Array.from({ length: 60 }, (_, i) => entry(12, [64, 256 + i, 0x0600, random.below(65_536)])),
    );
  return {
    ipcache: Object.freeze(
      Array.from({ length: addresses }, (_, i) => entry(24, [64, 0x0100_0000, 0x0a00_0000 + i])),
    ),
    policies: Array.from({ length: policies }, policy),
  };
}

/** Words of a key; the first is the prefix length, the others are data. */
function entry(keySize: number, words: readonly number[]): MapEntry {
  const key = new Uint8Array(keySize);
  const view = new DataView(key.buffer);
  words.forEach((word, i) => {
    if (i * 4 + 4 <= keySize) view.setUint32(i * 4, word, i === 0);
    else view.setUint8(keySize - 1, word & 0xff);
  });
  return { key, value: new Uint8Array(12) };
}

function tablesOf({ ipcache, policies }: Shared, node: number, endpoints: number): BpfTables {
  const inner = Array.from({ length: endpoints }, (_, i) => ({
    ...trie(`policy-${i}`, 12, 16_384),
    base: policies[(node * 7 + i) % policies.length] ?? [],
    entries: [],
  }));
  const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
  return {
    maps: [
      {
        ...trie("ipcache", 24, 512_000),
        base: ipcache,
        entries: [entry(24, [64, 0x0100_0000, 0x0b00_0000 + node])],
      },
      ...inner,
      {
        name: "policy-by-endpoint",
        type: MapType.hashOfMaps,
        keySize: 4,
        valueSize: 4,
        maxEntries: 65_536,
        flags: 0,
        inner: trie("template", 12, 16_384),
        entries: inner.map((_, i) => ({ key: word(i + 1), value: word(i + 1) })),
      },
    ],
    programs: [],
    attachments: [],
  };
}

function filled(tables: BpfTables): BpfTables {
  const maps = tables.maps.map(({ base = [], ...map }) => ({ ...map, entries: [...base, ...map.entries] }));
  return { ...tables, maps };
}

function context(node: number): LinkContext {
  return {
    facts: { name: `n${node}`, generation: 0, interfaces: [], localAddresses: [], routeTo: () => 0 },
    nowNs: () => 0,
    random: createPrng(seed),
  };
}

function heapBytes(): number {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
