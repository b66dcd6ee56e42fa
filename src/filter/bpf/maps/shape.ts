/**
 * Maps as data (the Repr) and what every live map answers. Numbers are those of include/uapi/linux/bpf.h; answers are
 * those of kernel/bpf/{arraymap,hashtab,lpm_trie,map_in_map}.c: 0, or a negative errno. One processor is emulated, so
 * that a per-CPU map has one value a key.
 */

import type { Origin } from "../../../base/index.ts";

export const MapType = {
  hash: 1,
  array: 2,
  progArray: 3,
  perfEventArray: 4,
  percpuHash: 5,
  percpuArray: 6,
  lruHash: 9,
  lruPercpuHash: 10,
  lpmTrie: 11,
  arrayOfMaps: 12,
  hashOfMaps: 13,
  ringbuf: 27,
} as const;
export type MapType = (typeof MapType)[keyof typeof MapType];

/** Flags of an update. */
export const UpdateFlag = { any: 0, noexist: 1, exist: 2, lock: 4 } as const;

/** Flags of a map. */
export const MapFlag = { noPrealloc: 1, noCommonLru: 2, rdonlyProg: 0x80, wronlyProg: 0x100 } as const;

export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  E2BIG: 7,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EINVAL: 22,
  ENOSPC: 28,
  ERANGE: 34,
  EOPNOTSUPP: 95,
  ENOTSUPP: 524,
} as const;

/** One field of a key or value: what BTF tells of a map, kept so that listings and traces print it alike. */
export interface FieldLayout {
  readonly name: string;
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /**
   * `dec`, `hex`, `flags` and `enum` are numbers in the machine's order, `be` in network order; `ip4` and `ip6` addresses, `ip`
   * one of either family in 16 bytes, of which IPv4 fills the first four.
   */
  readonly format: "dec" | "hex" | "be" | "ip4" | "ip6" | "ip" | "flags" | "enum";
  /** Of a number: which of its bits are meant. */
  readonly bits?: { readonly shift: number; readonly count: number };
  /** Of an `enum` its values' names, of `flags` those of single bits. */
  readonly names?: Readonly<Record<number, string>>;
}

export interface MapLayout {
  readonly key: readonly FieldLayout[];
  readonly value: readonly FieldLayout[];
}

/** A record that programs send to user space. */
export interface RecordLayout {
  readonly name: string;
  readonly fields: readonly FieldLayout[];
}

export interface MapShape {
  readonly name: string;
  readonly type: MapType;
  /** Bytes. */
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Of the maps inside an array or hash of maps. */
  readonly inner?: MapShape;
  readonly layout?: MapLayout;
  /** Remembers clients, and what each of them was given before. */
  readonly remembersClients?: true;
  /** Of a perf event array: what its records are, by their first byte. */
  readonly records?: Readonly<Record<number, RecordLayout>>;
}

export interface MapEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Why the entry exists. */
  readonly origin?: Origin;
  /**
   * A word of the value that is an interface's number, known only on the running node: linking puts the number of the
   * interface of that name there, 0 where the node has none.
   */
  readonly interfaceAt?: { readonly offset: number; readonly name: string };
}

/** Why it matters that a map has nothing for keys that have a byte somewhere: one of the reasons, if it has several. */
export interface MissReason {
  readonly offset: number;
  readonly byte: number;
  readonly origin: Origin;
}

export interface MapRepr extends MapShape {
  readonly misses?: readonly MissReason[];
  /**
   * What the map holds before `entries`: a frozen list of distinct keys, shared by identity between maps and nodes. A hash
   * or trie that starts with it is indexed once for all of them and copies an entry when it is first touched. They name no interface.
   */
  readonly base?: readonly MapEntry[];
  /** Put in one after another; one whose key is in `base` replaces it. */
  readonly entries: readonly MapEntry[];
}

/** Map entries of a live map, keyed by bytes in any buffer. Value pointers are addresses of the program's memory. */
export interface BpfMap {
  readonly shape: MapShape;
  readonly count: number;
  /** What a program gets from a lookup: the value's address, an inner map's handle, or 0. */
  lookup(bytes: Uint8Array, keyAt: number): number;
  /** 0 or a negative errno. */
  update(bytes: Uint8Array, keyAt: number, values: Uint8Array, valueAt: number, flags: number): number;
  remove(bytes: Uint8Array, keyAt: number): number;
  /** Copies, in the order of their keys' bytes. */
  entries(): readonly MapEntry[];
}

/** Bytes between the values of a region: values are aligned to 8. */
export function strideOf(valueSize: number): number {
  return (valueSize + 7) & ~7;
}

export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
