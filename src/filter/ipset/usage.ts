/**
 * What a set takes in the kernel: the "Size in memory" that `ipset list` prints, to which the pointers to a hash's
 * buckets are added, as the kernel leaves them out. Governing source: kernel net/netfilter/ipset/ip_set_hash_gen.h
 * (mtype_head, mtype_add, mtype_resize), ip_set_bitmap_gen.h, ip_set_list_set.c, on 64-bit machines; sizes of types that the
 * kernel at hand had were read off it (6.18).
 *
 * Which bucket an element falls into is random: buckets are taken as filled by chance (Poisson), and a hash as doubled
 * until an overfull bucket is the less likely case.
 */
import { unreachable } from "../../base/index.ts";
import type { StoreKind, StoreUsage } from "../usage.ts";
import type { IpsetOptions, IpsetRepr } from "./repr.ts";

export const ipsetStore: StoreKind = {
  name: "ipset",
  entries: "members",
  memory: {
    evidence: "documented",
    source: "kernel net/netfilter/ipset, as `ipset list` reports it, and pointers to buckets",
  },
  whenFull: {
    source: "kernel net/netfilter/ipset/ip_set_hash_gen.h (IPSET_ERR_HASH_FULL)",
    beyond: "further members are refused: `Hash is full, cannot add more elements`",
  },
};

const measured = new WeakMap<IpsetRepr, StoreUsage>();

/** Once a set, however many nodes share it. */
export function ipsetUsage(set: IpsetRepr): StoreUsage {
  let usage = measured.get(set);
  if (usage === undefined) {
    const isHash = set.type.startsWith("hash:");
    const title = set.title === undefined ? "" : ` (${set.title})`;
    usage = Object.freeze({
      kind: ipsetStore,
      name: `${set.name}${title}`,
      group: isHash ? `${set.type}, maxelem ${set.maxelem}` : set.type,
      entries: set.entries.length,
      // ipset(8): `size` of a list:set is ignored since 6.24; and a bitmap's range is its own bound
      ...(isHash ? { entriesMax: set.maxelem } : {}),
      bytes: ipsetBytes(set) + 8 * hashSize(set),
    });
    measured.set(set, usage);
  }
  return usage;
}

/** What `ipset list` prints as size in memory. */
export function ipsetBytes(set: IpsetRepr): number {
  const { type, range = [0, -1], entries } = set;
  if (type === "list:set") return 80 + entries.length * extended(48, set);
  if (type === "bitmap:ip" || type === "bitmap:port") {
    const places = range[1] - range[0] + 1;
    return (type === "bitmap:ip" ? 88 : 72) + 8 * Math.ceil(places / 64) + places * extended(0, set);
  }
  const buckets = hashSize(set);
  // one lock and its counters for each 1,024 buckets; the first is in the header
  const regions = 24 * (Math.max(1, buckets >> 10) - 1);
  return (
    headerBytes(set) + regions + blocks(entries.length, buckets) * (32 + 2 * extended(elementBytes(set), set))
  );
}

/** A bucket grows by blocks of two places, each counted with a header of its own: how many, in the mean. */
function blocks(elements: number, buckets: number): number {
  const load = elements / buckets;
  return Math.round((buckets * (load + (1 - Math.exp(-2 * load)) / 2)) / 2);
}

/** `bucketsize`: a bucket that would hold more has the hash doubled. */
const bucketMax = 12;

/** Buckets, 0 for what is no hash. */
function hashSize({ type, hashsize, entries }: IpsetRepr): number {
  if (!type.startsWith("hash:")) return 0;
  let buckets = 64;
  while (buckets < hashsize) buckets *= 2;
  while (buckets * above(bucketMax, entries.length / buckets) > Math.LN2) buckets *= 2;
  return buckets;
}

/** Probability that a Poisson variable of this mean exceeds `count`. */
function above(count: number, mean: number): number {
  let [term, sum] = [Math.exp(-mean), 0];
  for (let k = 0; k <= count; k++) {
    sum += term;
    term *= mean / (k + 1);
  }
  return Math.max(0, 1 - sum);
}

/** Bytes of an empty hash, one region of locks included. */
function headerBytes({ type, family }: IpsetRepr): number {
  const is4 = family === 4;
  switch (type) {
    case "hash:ip":
      return is4 ? 216 : 224;
    case "hash:ip,port":
    case "hash:ip,mark":
      return is4 ? 216 : 232;
    case "hash:ip,port,ip":
      return is4 ? 208 : 232;
    case "hash:net":
    case "hash:net,port":
      return is4 ? 456 : 1240;
    case "hash:ip,port,net":
    case "hash:net,net":
    case "hash:net,port,net":
      return is4 ? 464 : 1256;
    case "hash:net,iface":
      return is4 ? 488 : 1264;
    case "bitmap:ip":
    case "bitmap:port":
    case "list:set":
      throw new RangeError(`${type} is no hash`);
    default:
      return unreachable(type);
  }
}

/** Bytes of an element without extensions. */
function elementBytes({ type, family }: IpsetRepr): number {
  const is4 = family === 4;
  switch (type) {
    case "hash:ip":
      return is4 ? 4 : 16;
    case "hash:net":
    case "hash:ip,port":
    case "hash:net,port":
    case "hash:ip,mark":
      return is4 ? 8 : 20;
    case "hash:ip,port,ip":
    case "hash:ip,port,net":
      return is4 ? 12 : 36;
    case "hash:net,iface":
      return is4 ? 28 : 40;
    case "hash:net,net":
      return is4 ? 16 : 36;
    case "hash:net,port,net":
      return is4 ? 16 : 40;
    case "bitmap:ip":
    case "bitmap:port":
    case "list:set":
      throw new RangeError(`${type} is no hash`);
    default:
      return unreachable(type);
  }
}

/** An element with what its set's options add, in the kernel's order (ip_set_core.c, ip_set_extensions). */
function extended(bytes: number, { counters, timeout, comment, skbinfo }: IpsetOptions): number {
  const isAligned = counters === true || timeout !== undefined || comment === true;
  let size = isAligned ? (bytes + 7) & ~7 : bytes;
  if (counters) size += 16;
  if (timeout !== undefined) size += 8;
  if (comment) size += 8;
  if (skbinfo) size += 16;
  return size;
}
