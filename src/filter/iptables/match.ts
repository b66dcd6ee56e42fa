/**
 * Conditions of a rule as data, one kind for each thing that a rule can ask of a packet. `not` is the `!` in front of
 * the option. Numbers are as on the wire; ranges are inclusive. Governing source: iptables-extensions(8); what each
 * kind means to the kernel stands in the file of `matches/` that tests it.
 */
import type { Cidr, Ip } from "../../addr/index.ts";
import type { ClassicInstruction } from "../datapath.ts";
import type { CounterCondition } from "../ipset/index.ts";

export type Range = readonly [min: number, max: number];

interface Negatable {
  readonly not?: boolean;
}

/** What every rule can ask: the options that need no `-m`. */
export type HeadMatch =
  | ({ readonly kind: "source"; readonly net: Cidr } & Negatable)
  | ({ readonly kind: "destination"; readonly net: Cidr } & Negatable)
  | ({ readonly kind: "in-interface"; readonly name: string } & Negatable) // trailing "+" = prefix
  | ({ readonly kind: "out-interface"; readonly name: string } & Negatable)
  | ({ readonly kind: "protocol"; readonly protocol: number } & Negatable) // -p; 0 = all
  /** `-f`: a fragment other than the first (IPv4). */
  | ({ readonly kind: "fragment" } & Negatable);

export type PortMatch =
  | ({ readonly kind: "sport"; readonly min: number; readonly max: number } & Negatable)
  | ({ readonly kind: "dport"; readonly min: number; readonly max: number } & Negatable)
  | ({
      readonly kind: "multiport";
      readonly field: "sports" | "dports" | "ports";
      readonly ranges: readonly Range[];
    } & Negatable)
  /** `-m tcp`, `-m udp`, `-m sctp` as iptables-save prints them; with no option they only need the header. */
  | { readonly kind: "transport"; readonly protocol: "tcp" | "udp" | "sctp" }
  | ({ readonly kind: "tcp-option"; readonly option: number } & Negatable)
  | ({ readonly kind: "tcp-flags"; readonly mask: number; readonly value: number } & Negatable)
  | ({
      readonly kind: "sctp-chunks";
      readonly mode: "any" | "all" | "only";
      /** In rising order of type, each at most once. `mask`: the flags that are compared. */
      readonly chunks: readonly SctpChunkTest[];
    } & Negatable)
  | ({ readonly kind: "icmp-type"; readonly type: number; readonly code?: number } & Negatable)
  | ({ readonly kind: "tcp-mss"; readonly range: Range } & Negatable);

export interface SctpChunkTest {
  readonly type: number;
  readonly mask: number;
  readonly flags: number;
}

export type AddrType =
  | "UNSPEC"
  | "UNICAST"
  | "LOCAL"
  | "BROADCAST"
  | "ANYCAST"
  | "MULTICAST"
  | "BLACKHOLE"
  | "UNREACHABLE"
  | "PROHIBIT"
  | "THROW"
  | "NAT"
  | "XRESOLVE";

export interface AddrTypeTest {
  /** One type, or several in the order of `AddrType`. */
  readonly type: AddrType | readonly AddrType[];
  readonly not?: boolean;
}

export interface IpRangeTest {
  readonly from: Ip;
  readonly to: Ip;
  readonly not?: boolean;
}

export type AddressMatch =
  | {
      readonly kind: "addrtype";
      readonly src?: AddrTypeTest;
      readonly dst?: AddrTypeTest;
      readonly limitInterface?: "in" | "out";
    }
  | { readonly kind: "iprange"; readonly src?: IpRangeTest; readonly dst?: IpRangeTest }
  | {
      readonly kind: "rpfilter";
      readonly loose?: boolean;
      readonly validMark?: boolean;
      readonly acceptLocal?: boolean;
      readonly invert?: boolean;
    }
  /** Six bytes as `00:11:22:aa:bb:cc`. */
  | ({ readonly kind: "mac"; readonly source: string } & Negatable)
  | ({ readonly kind: "pkttype"; readonly type: "unicast" | "broadcast" | "multicast" } & Negatable);

export interface U32Test {
  /** The first is where to read; then `&`, `<<`, `>>`, `@`, each with its number. */
  readonly location: readonly { readonly op: "" | "&" | "<<" | ">>" | "@"; readonly number: number }[];
  readonly values: readonly Range[];
}

export type HeaderMatch =
  | ({ readonly kind: "length"; readonly range: Range } & Negatable)
  /** `lt` and `gt` have no negation. */
  | ({ readonly kind: "ttl"; readonly op: "eq" | "lt" | "gt"; readonly value: number } & Negatable)
  | ({ readonly kind: "tos"; readonly value: number; readonly mask: number } & Negatable)
  | ({ readonly kind: "dscp"; readonly value: number } & Negatable)
  | {
      readonly kind: "ecn";
      readonly cwr?: boolean;
      readonly ece?: boolean;
      /** 0..3. */
      readonly ect?: { readonly value: number; readonly not?: boolean };
    }
  | ({ readonly kind: "u32"; readonly tests: readonly U32Test[] } & Negatable)
  | { readonly kind: "bpf"; readonly program: readonly ClassicInstruction[] };

export const CtStateBit = {
  INVALID: 1,
  ESTABLISHED: 2,
  RELATED: 4,
  NEW: 8,
  UNTRACKED: 16,
  SNAT: 32,
  DNAT: 64,
} as const;

export interface CtNetTest {
  readonly net: Cidr;
  readonly not?: boolean;
}

export interface CtRangeTest {
  readonly range: Range;
  readonly not?: boolean;
}

export type ConnectionMatch =
  /** Bits of `CtStateBit`. `module`: which of the two extensions said it (default conntrack). */
  | ({ readonly kind: "ctstate"; readonly states: number; readonly module?: "state" } & Negatable)
  /** Everything else that `-m conntrack` asks, all at once. */
  | {
      readonly kind: "conntrack";
      readonly states?: { readonly bits: number; readonly not?: boolean };
      readonly protocol?: { readonly value: number; readonly not?: boolean };
      readonly origSrc?: CtNetTest;
      readonly origDst?: CtNetTest;
      readonly replSrc?: CtNetTest;
      readonly replDst?: CtNetTest;
      readonly origSrcPort?: CtRangeTest;
      readonly origDstPort?: CtRangeTest;
      readonly replSrcPort?: CtRangeTest;
      readonly replDstPort?: CtRangeTest;
      /** Bits of `CtStatus` (0: NONE). */
      readonly status?: { readonly bits: number; readonly not?: boolean };
      /** Seconds that the entry has left. */
      readonly expires?: CtRangeTest;
      readonly direction?: "ORIGINAL" | "REPLY";
    }
  | ({ readonly kind: "connmark"; readonly value: number; readonly mask: number } & Negatable)
  | ({
      readonly kind: "connbytes";
      readonly from: number;
      /** `undefined`: no upper end. */
      readonly to: number | undefined;
      readonly mode: "packets" | "bytes" | "avgpkt";
      readonly direction: "original" | "reply" | "both";
    } & Negatable);

export type SetSide = "src" | "dst";

export type SetMatch = {
  readonly kind: "set";
  readonly set: string;
  readonly flags: readonly SetSide[];
  readonly not?: boolean;
  readonly returnNomatch?: boolean;
  /** `! --update-counters`, `! --update-subcounters`. */
  readonly keepCounters?: boolean;
  readonly keepSubcounters?: boolean;
  readonly packets?: CounterCondition;
  readonly bytes?: CounterCondition;
};

export type RateUnit = "sec" | "min" | "hour" | "day";

export interface Rate {
  readonly count: number;
  readonly per: RateUnit;
}

export type HashlimitKey = "srcip" | "srcport" | "dstip" | "dstport";

/** Conditions whose answer depends on what came before, or on chance or the clock. */
export type StatefulMatch =
  | { readonly kind: "limit"; readonly rate: Rate; readonly burst: number }
  | {
      readonly kind: "hashlimit";
      /** `upto`: holds while the rate is kept; `above`: holds when it is exceeded. */
      readonly holds: "upto" | "above";
      readonly rate: Rate;
      readonly burst: number;
      readonly name: string;
      /** In the order srcip, srcport, dstip, dstport. */
      readonly mode: readonly HashlimitKey[];
      readonly size?: number;
      readonly max?: number;
      readonly gcIntervalMs?: number;
      readonly expireMs?: number;
      /** Prefix lengths; default the whole address. */
      readonly srcMask?: number;
      readonly dstMask?: number;
    }
  | ({
      readonly kind: "recent";
      readonly action: "set" | "rcheck" | "update" | "remove";
      readonly name: string;
      readonly seconds?: number;
      readonly reap?: boolean;
      readonly hitCount?: number;
      readonly ttl?: boolean;
      readonly mask: Ip;
      readonly side: "source" | "dest";
    } & Negatable)
  | ({ readonly kind: "statistic"; readonly mode: "random"; readonly probability: number } & Negatable)
  | ({
      readonly kind: "statistic";
      readonly mode: "nth";
      readonly every: number;
      readonly packet: number;
    } & Negatable)
  | {
      readonly kind: "time";
      /** Seconds from midnight. */
      readonly start: number;
      readonly stop: number;
      /** Unix seconds. */
      readonly dateStart: number;
      readonly dateStop: number;
      /** Bits 1..31, and 1 (Monday)..7 (Sunday). */
      readonly monthdays: number;
      readonly weekdays: number;
      readonly contiguous?: boolean;
      readonly kernelTz?: boolean;
    }
  | ({ readonly kind: "quota"; readonly bytes: number } & Negatable);

export interface InterfaceTest {
  readonly name: string;
  readonly not?: boolean;
}

/** Conditions on what a node knows of a packet. */
export type NodeMatch =
  | ({ readonly kind: "mark"; readonly value: number; readonly mask: number } & Negatable)
  | {
      readonly kind: "owner";
      /** Range of user numbers; one number is a range of one. */
      readonly uid?: number | Range;
      /** Of the user. */
      readonly not?: boolean;
      readonly gid?: { readonly range: Range; readonly not?: boolean };
      readonly socketExists?: { readonly not?: boolean };
    }
  | {
      readonly kind: "socket";
      readonly transparent?: boolean;
      readonly noWildcard?: boolean;
      readonly restoreMark?: boolean;
    }
  | ({ readonly kind: "cgroup"; readonly classId: number } & Negatable)
  | {
      readonly kind: "physdev";
      readonly in?: InterfaceTest;
      readonly out?: InterfaceTest;
      /** Each true, or false where it is negated. */
      readonly isIn?: boolean;
      readonly isOut?: boolean;
      readonly isBridged?: boolean;
    }
  | { readonly kind: "comment"; readonly text: string };

export type Match =
  | HeadMatch
  | PortMatch
  | AddressMatch
  | HeaderMatch
  | ConnectionMatch
  | SetMatch
  | StatefulMatch
  | NodeMatch;

export type MatchOf<K extends Match["kind"]> = Extract<Match, { readonly kind: K }>;
