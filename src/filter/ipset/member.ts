/**
 * What a set keeps of a member beside its key: time of expiry, counters, comment, and the values that `SET --map-set` writes.
 * Source: kernel include/linux/netfilter/ipset/ip_set.h, ip_set_core.c (ip_set_match_extensions).
 */
import type { IpsetEntry, IpsetOptions } from "./repr.ts";

export interface Member {
  /** Infinity: never. */
  expiresNs: number;
  packets: number;
  bytes: number;
  readonly comment: string | undefined;
  readonly skbmark: readonly [number, number] | undefined;
  readonly skbprio: readonly [number, number] | undefined;
  readonly skbqueue: number | undefined;
}

/** How a rule asks (IPSET_FLAG_*). */
export const LookupFlag = { returnNomatch: 1, keepCounters: 2, keepSubcounters: 4 } as const;

export interface CounterCondition {
  readonly op: "eq" | "ne" | "lt" | "gt";
  readonly value: number;
}

/** What a rule asks of a set beside membership. */
export interface Lookup {
  /** Bits of `LookupFlag`. */
  readonly flags: number;
  readonly packets: CounterCondition | undefined;
  readonly bytes: CounterCondition | undefined;
}

export const plainLookup: Lookup = { flags: 0, packets: undefined, bytes: undefined };

/** True if members of such a set carry anything. */
export function hasMembers({ timeout, counters, comment, skbinfo }: IpsetOptions): boolean {
  return timeout !== undefined || counters === true || comment === true || skbinfo === true;
}

export function memberOf(entry: IpsetEntry, options: IpsetOptions, nowNs: number): Member {
  const timeout = options.timeout === undefined ? 0 : (entry.timeout ?? options.timeout);
  return {
    expiresNs: timeout === 0 ? Number.POSITIVE_INFINITY : nowNs + timeout * 1e9,
    packets: entry.packets ?? 0,
    bytes: entry.bytes ?? 0,
    comment: entry.comment,
    skbmark: entry.skbmark,
    skbprio: entry.skbprio,
    skbqueue: entry.skbqueue,
  };
}

/** The member's part of an entry. The kernel rounds what is left down to whole seconds, to 1 at least. */
export function entryOfMember(member: Member, options: IpsetOptions, nowNs: number): Partial<IpsetEntry> {
  const left = member.expiresNs - nowNs;
  const seconds = Number.isFinite(left) ? Math.max(1, Math.floor(left / 1e9)) : 0;
  return {
    ...(options.timeout === undefined ? {} : { timeout: seconds }),
    ...(options.counters ? { packets: member.packets, bytes: member.bytes } : {}),
    ...(options.comment && member.comment !== undefined ? { comment: member.comment } : {}),
    ...(options.skbinfo && member.skbmark !== undefined ? { skbmark: member.skbmark } : {}),
    ...(options.skbinfo && member.skbprio !== undefined ? { skbprio: member.skbprio } : {}),
    ...(options.skbinfo && member.skbqueue !== undefined ? { skbqueue: member.skbqueue } : {}),
  };
}

/** Counts a packet of `size` bytes and answers whether the member's counters are as the rule asks. */
export function countAndCompare(
  member: Member,
  options: IpsetOptions,
  lookup: Lookup,
  size: number,
): boolean {
  if (!options.counters) return true;
  if (!(lookup.flags & LookupFlag.keepCounters)) {
    member.packets++;
    member.bytes += size;
  }
  return holds(lookup.packets, member.packets) && holds(lookup.bytes, member.bytes);
}

function holds(condition: CounterCondition | undefined, value: number): boolean {
  switch (condition?.op) {
    case "eq":
      return value === condition.value;
    case "ne":
      return value !== condition.value;
    case "lt":
      return value < condition.value;
    case "gt":
      return value > condition.value;
    default:
      return true;
  }
}
