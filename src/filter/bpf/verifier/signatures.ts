/**
 * What helpers want of their arguments and what they give (the bpf_func_proto of kernel/bpf/helpers.c, net/core/filter.c
 * and kernel/trace/bpf_trace.c): one line a helper.
 */
import { MapType } from "../maps/shape.ts";

/** `size` is the byte count of the memory argument before it; `size+` may not be zero. */
export type ArgumentKind =
  | "any"
  | "context"
  | "map"
  | "key"
  | "value"
  | "read"
  | "write"
  | "size"
  | "size+"
  | "constant-size"
  | "record"
  | "function"
  | "pointer-or-null";

export interface Signature {
  readonly name: string;
  readonly arguments: readonly ArgumentKind[];
  readonly returns: "number" | "map-value-or-null" | "memory-or-null";
  /** Packet pointers are no longer good after it. */
  readonly changesPacket?: true;
  /** Types of map that it takes; absent: all that hold values. */
  readonly maps?: readonly MapType[];
  /** Arguments of the function it calls back, by register from r1. */
  readonly callback?: readonly ("map" | "key" | "value" | "context-argument" | "number")[];
}

const valued: readonly MapType[] = [
  MapType.hash,
  MapType.array,
  MapType.percpuHash,
  MapType.percpuArray,
  MapType.lruHash,
  MapType.lruPercpuHash,
  MapType.lpmTrie,
];
const nested: readonly MapType[] = [MapType.arrayOfMaps, MapType.hashOfMaps];

const number = (name: string, ...list: readonly ArgumentKind[]): Signature => ({
  name,
  arguments: list,
  returns: "number",
});

export const signatures: ReadonlyMap<number, Signature> = new Map<number, Signature>([
  [
    1,
    {
      name: "map_lookup_elem",
      arguments: ["map", "key"],
      returns: "map-value-or-null",
      maps: [...valued, ...nested],
    },
  ],
  [2, { ...number("map_update_elem", "map", "key", "value", "any"), maps: valued }],
  [3, { ...number("map_delete_elem", "map", "key"), maps: [...valued, MapType.hashOfMaps] }],
  [5, number("ktime_get_ns")],
  [6, number("trace_printk", "read", "size+")],
  [7, number("get_prandom_u32")],
  [8, number("get_smp_processor_id")],
  [9, { ...number("skb_store_bytes", "context", "any", "read", "size+", "any"), changesPacket: true }],
  [10, { ...number("l3_csum_replace", "context", "any", "any", "any", "any"), changesPacket: true }],
  [11, { ...number("l4_csum_replace", "context", "any", "any", "any", "any"), changesPacket: true }],
  [12, { ...number("tail_call", "context", "map", "any"), maps: [MapType.progArray] }],
  [13, { ...number("clone_redirect", "context", "any", "any"), changesPacket: true }],
  [23, number("redirect", "any", "any")],
  [
    25,
    {
      ...number("perf_event_output", "context", "map", "any", "read", "size"),
      maps: [MapType.perfEventArray],
    },
  ],
  [26, number("skb_load_bytes", "context", "any", "write", "size+")],
  [28, number("csum_diff", "pointer-or-null", "size", "pointer-or-null", "size", "any")],
  [32, number("skb_change_type", "context", "any")],
  [34, number("get_hash_recalc", "context")],
  [38, { ...number("skb_change_tail", "context", "any", "any"), changesPacket: true }],
  [39, { ...number("skb_pull_data", "context", "any"), changesPacket: true }],
  [40, number("csum_update", "context", "any")],
  [42, number("get_numa_node_id")],
  [43, { ...number("skb_change_head", "context", "any", "any"), changesPacket: true }],
  [44, { ...number("xdp_adjust_head", "context", "any"), changesPacket: true }],
  [54, { ...number("xdp_adjust_meta", "context", "any"), changesPacket: true }],
  [65, { ...number("xdp_adjust_tail", "context", "any"), changesPacket: true }],
  [68, number("skb_load_bytes_relative", "context", "any", "write", "size+", "any")],
  [118, number("jiffies64")],
  [122, number("get_netns_cookie", "any")],
  [125, number("ktime_get_boot_ns")],
  [130, { ...number("ringbuf_output", "map", "read", "size", "any"), maps: [MapType.ringbuf] }],
  [
    131,
    {
      name: "ringbuf_reserve",
      arguments: ["map", "constant-size", "any"],
      returns: "memory-or-null",
      maps: [MapType.ringbuf],
    },
  ],
  [132, number("ringbuf_submit", "record", "any")],
  [133, number("ringbuf_discard", "record", "any")],
  [134, { ...number("ringbuf_query", "map", "any"), maps: [MapType.ringbuf] }],
  [152, number("redirect_neigh", "any", "pointer-or-null", "size", "any")],
  [155, number("redirect_peer", "any", "any")],
  [160, number("ktime_get_coarse_ns")],
  [
    164,
    {
      ...number("for_each_map_elem", "map", "function", "any", "any"),
      maps: valued,
      callback: ["map", "key", "value", "context-argument"],
    },
  ],
  [181, { ...number("loop", "any", "function", "any", "any"), callback: ["number", "context-argument"] }],
  [182, number("strncmp", "read", "size+", "read")],
  [188, number("xdp_get_buff_len", "context")],
  [189, number("xdp_load_bytes", "context", "any", "write", "size+")],
  [190, number("xdp_store_bytes", "context", "any", "read", "size+")],
]);
