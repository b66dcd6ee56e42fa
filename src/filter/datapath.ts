/**
 * What every kind of filter table shares: the hooks, the datapath, its results and its observer.
 * A datapath is the tables of one node, linked and ready to run. The network runs *a* datapath and never knows which.
 */
import type { Ip } from "../addr/index.ts";
import type { Origin, Prng, Questions } from "../base/index.ts";
import type { PacketBatch } from "../packet/index.ts";

/** Points on a packet's way where filters attach. Numbers are stable: they stand in trace logs. */
export const Hook = {
  tcIngress: 0,
  prerouting: 1,
  input: 2,
  forward: 3,
  output: 4,
  postrouting: 5,
  tcEgress: 6,
  endpointOut: 7,
  endpointIn: 8,
  xdp: 9,
} as const;
export type Hook = (typeof Hook)[keyof typeof Hook];

export const hookName: readonly string[] = [
  "tc-ingress",
  "PREROUTING",
  "INPUT",
  "FORWARD",
  "OUTPUT",
  "POSTROUTING",
  "tc-egress",
  "endpoint-Out",
  "endpoint-In",
  "xdp",
];

/** What a hook decided, by row number of the batch it ran on. Rows outside `first..last` are left alone. */
export interface HookResults {
  readonly verdict: Uint8Array;
  /** Reject kind, drop reason or interface number, by verdict. */
  readonly detail: Int32Array;
  /** Of a redirection: a `RedirectWay`. */
  readonly way: Uint8Array;
  /** Index of the deciding rule in the datapath's provenance, or -1 (chain policy, no rule). */
  readonly rule: Int32Array;
  /** What rules reported (LOG, NFLOG, TRACE), in order; cleared by the caller. */
  readonly events: HookEvent[];
  /** Packets that the hook itself sent back (RST, ICMP errors); routed from this node by the caller, then cleared. */
  readonly emitted: PacketBatch;
}

/** A rule that reported a row: its target says how. */
export interface HookEvent {
  readonly row: number;
  /** Index in the datapath's provenance. */
  readonly rule: number;
}

/** Integers only; no allocation. `undefined` instead of an observer costs one test per event. */
export interface FilterObserver {
  /** Evaluation of a row begins in a chain or program; `point` is a number of `Datapath.describePoint`. */
  enter(point: number, row: number): void;
  /** Rule `index` was tried: `failedMatch` is the number of the match that failed, or -1 if the rule matched. */
  rule(index: number, failedMatch: number): void;
  /** A map was asked, or told something; `ref` is a number of `Datapath.describeLookup`. */
  lookup(ref: number, hit: boolean): void;
  verdict(point: number, row: number, verdict: number): void;
  /** No rule of built-in chain `point` ended the row's way: the chain's policy decides. */
  policy?(point: number, row: number): void;
}

/** An operation on live tables, as the engine's agent issues it. Each kind declares its own operations. */
export interface TableOp {
  readonly kind: string;
}

export type ApplyResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly errno: string; readonly line?: number; readonly message: string };

/** An address as an interface carries it: the host's own bits, and the length of its subnet's prefix. */
export interface InterfaceAddress extends Ip {
  /** 0..32 or 0..128; 32 and 128 where no subnet is known. */
  readonly prefix: number;
}

export interface NodeInterface {
  /** Number on this node, from 1. */
  readonly index: number;
  readonly name: string;
  /** In order of precedence: the first of a family is what the node sends from (MASQUERADE). */
  readonly addresses: readonly InterfaceAddress[];
  readonly isLoopback: boolean;
}

/**
 * What tables may ask of the node they run on: a live view, whose `generation` moves whenever an interface, an address
 * or a route has come or gone.
 */
export interface NodeFacts {
  readonly name: string;
  readonly generation: number;
  readonly interfaces: readonly NodeInterface[];
  /** Every address that the node takes for itself, 127.0.0.0/8 and ::1 apart: `addrtype --dst-type LOCAL`. */
  readonly localAddresses: readonly Ip[];
  /** Number of the interface that the main routing table names for an address, local addresses apart; 0 = no route. */
  routeTo(ip: Ip): number;
}

/** One classic BPF instruction (linux/filter.h, struct sock_filter). */
export interface ClassicInstruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** The two homes of iptables rules in the kernel; they answer differently about a few malformed packets. */
export type IptablesBackend = "legacy" | "nft";

/** Clock, randomness and the node, handed to `link()`: a datapath takes nothing else from its surroundings. */
export interface LinkContext {
  readonly facts: NodeFacts;
  /** Virtual nanoseconds, never decreasing. */
  nowNs(): number;
  /** Unix time, in seconds, of the virtual instant 0: what `-m time` reads. Default: 0. */
  readonly epochS?: number;
  readonly random: Prng;
  /** Default: nft, as on AKS nodes. */
  readonly iptablesBackend?: IptablesBackend;
  /** Makes a classic BPF program ready to run: it answers what the program returns. Needed where rules have `-m bpf`. */
  compileClassic?(program: readonly ClassicInstruction[]): (batch: PacketBatch, row: number) => number;
}

/** One thing that a rule index stands for, for traces. */
export interface RuleDescription {
  readonly table: string;
  readonly chain: string;
  /** 1-based number in its chain. */
  readonly number: number;
  /** The rule as the platform's own tool prints it. */
  readonly text: string;
  readonly origin: Origin | undefined;
  /** What else is behind it: several policies may isolate together. */
  readonly furtherOrigins?: readonly Origin[];
}

/** The tables of one node, linked and ready to run. */
export interface Datapath {
  /** Hooks at which this datapath has something attached; at any other, packets pass. */
  readonly hooks: readonly number[];
  /** Judges rows `first <= row < last`, which must be decoded; may edit packets and row state. */
  run(
    hook: number,
    batch: PacketBatch,
    first: number,
    last: number,
    out: HookResults,
    observer?: FilterObserver,
  ): void;
  /** Changes live tables; answers as the kernel, HNS or bpf() does. */
  apply(op: TableOp): ApplyResult;
  /** Forgets all tracked connections, as `conntrack -F`. */
  forgetFlows(): void;
  /**
   * Forgets who was seen lately (`-m recent`), as writing `/` to each list under /proc/net/xt_recent, and the clients that
   * maps of BPF programs remember.
   */
  forgetClients(): void;
  /** What its verdicts on new connections depend on, as the tables are now; `undefined`: only the walk knows. */
  questions(): Questions | undefined;
  describeRule(index: number): RuleDescription;
  /** Why match `failedMatch` of rule `index` did not match the row: one clause of prose with the row's own value. */
  explainMiss(index: number, failedMatch: number, batch: PacketBatch, row: number): string;
  /**
   * What was asked and answered: table `map`, chain the map's name. Numbers are those that an observer was told during the
   * last run, and good until the next. Kinds without maps have none.
   */
  describeLookup?(ref: number): RuleDescription;
  /**
   * Whose policy dropped the last packet of the last run, where programs report it: what its rule's origin and its place
   * say otherwise.
   */
  droppedDirection?(): "ingress" | "egress" | undefined;
  /** Name of a trace point (`filter/FORWARD`). */
  describePoint(point: number): string;
}
