/** Entries of the connection table and the options of tracking (kernel include/net/netfilter/nf_conntrack.h). */
import type { PortChooser } from "./port-choice.ts";
import type { SctpTrack } from "./sctp-state.ts";
import type { TcpOptions } from "./tcp-state.ts";
import type { TcpTrack } from "./tcp-window.ts";
import { timeoutDefaults } from "./timeouts.ts";
import type { Tuple } from "./tuples.ts";

/** Bits of an entry's status, numbered as the kernel's (include/uapi/linux/netfilter/nf_conntrack_common.h). */
export const CtStatus: {
  readonly expected: 1;
  readonly seenReply: 2;
  /** Never dropped early when the table is full. */
  readonly assured: 4;
  readonly confirmed: 8;
  readonly srcNat: 16;
  readonly dstNat: 32;
  /** Translation of a side was decided, perhaps to leave it alone. */
  readonly srcNatDone: 128;
  readonly dstNatDone: 256;
  /** Taken out of the table; rows under way may still refer to it. */
  readonly dying: 512;
  /** Traffic does not prolong its life. */
  readonly fixedTimeout: 1024;
  /** No connection: what target CT hangs on a packet until it is looked up. */
  readonly template: 2048;
  /** Lost a race for its original tuple and is known by its reply tuple alone. */
  readonly natClash: 4096;
} = {
  expected: 1,
  seenReply: 2,
  assured: 4,
  confirmed: 8,
  srcNat: 16,
  dstNat: 32,
  srcNatDone: 128,
  dstNatDone: 256,
  dying: 512,
  fixedTimeout: 1024,
  template: 2048,
  natClash: 4096,
};

export interface CtEntry {
  readonly id: number;
  readonly protocol: number;
  readonly family: number;
  /** Zone of the original direction; `tuples[1]` carries that of replies. */
  readonly zone: number;
  /** Tuples of both directions (original, reply); the reply tuple changes when NAT is set up. */
  readonly tuples: readonly [Tuple, Tuple];
  /** Bits of `CtStatus`. */
  status: number;
  /** The connection mark (CONNMARK). */
  mark: number;
  /** Virtual instant from which on the entry is no more. */
  expiresNs: number;
  /** Packets and bytes (from the network header on) by direction, original first. */
  readonly packets: [number, number];
  readonly bytes: [number, number];
  readonly tcp: TcpTrack | undefined;
  readonly sctp: SctpTrack | undefined;
  /** UDP: replies after this instant make the flow a stream. */
  streamAtNs: number;
  /** Never confirmed, and only an answer of the node's own still refers to it, which may yet confirm it. */
  isHeld: boolean;
  /** Interface that MASQUERADE took the source address of; 0 = none. */
  masqueradeOif: number;
}

/** Sysctls of net.netfilter, without their `nf_conntrack_`. */
export interface ConntrackOptions extends TcpOptions {
  /**
   * `always`: packets are tracked and datagrams reassembled, as on a node where any rule or other user of the kernel asks
   * for connections. `by-rules`: in a family only while one of its own rules asks.
   */
  readonly tracking: "always" | "by-rules";
  /** Wrong transport checksums are INVALID. */
  readonly checksum: boolean;
  /** Most entries of the table. */
  readonly max: number;
  /** Hash chains: where the table is full, eight of them are searched for an entry to drop. */
  readonly buckets: number;
  /** Of the hash: which entries share a chain is the kernel's secret, here the seed's. */
  readonly hashSeed: number;
  /** Who answers for NAT's random ports; default: the kernel's search with the node's own randomness. */
  readonly choosePort?: PortChooser | undefined;
}

/** What a kernel on a machine of more than 4 GiB starts with. */
export const conntrackDefaults: ConntrackOptions = {
  tcpLoose: true,
  tcpBeLiberal: false,
  tcpIgnoreInvalidRst: false,
  tcpRetransmissionsMax: 3,
  timeouts: timeoutDefaults,
  tracking: "always",
  checksum: true,
  max: 262_144,
  buckets: 262_144,
  hashSeed: 0x9e3779b9,
};
