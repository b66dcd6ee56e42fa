/**
 * What the verdict on a new connection can depend on, as plain data: the tables of a node reduced to decision chains over
 * the addresses of its two ends, its protocol and its port. Each kind of filter table states its own; the classifier makes
 * exact verdict tables of them, and whatever a kind cannot reduce it leaves to the walk (`ask`). The law: what the chains
 * decide is what the walk decides, for every new connection.
 *
 * Chains, maps and lists of tests are compared by identity: what nodes share is worked out once. Frozen by convention.
 */

/** A block of addresses, as `addr` has them: host bits are zero. */
export interface AddressBlock {
  readonly family: 4 | 6;
  /** One word (IPv4) or four, unsigned. */
  readonly words: readonly number[];
  readonly prefix: number;
}

/** Gives each address a value: that of the longest block which holds it, 0 where none does. A set is a map of ones. */
export interface AddressMap {
  readonly entries: readonly (readonly [block: AddressBlock, value: number])[];
  /** Value of the addresses of the node that the tables are on, whatever the entries say; nodes can so share one map. */
  readonly own?: number;
  /** Asked where no block of `entries` holds the address: what nodes share, below what each has of its own. */
  readonly base?: AddressMap;
}

/** Holds if `map` gives the address `value`; `not`: if it gives another. */
export interface AddressTest {
  readonly map: AddressMap;
  readonly value: number;
  readonly not?: boolean;
}

/** Destination ports of a protocol, both ends inclusive; of ICMP and ICMPv6 the type. Protocols by IP number. */
export interface ServiceRange {
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
}

/** Holds if the mark's bits under `mask` are `value`; `not`: if they differ. New connections start with mark 0. */
export interface MarkTest {
  readonly mask: number;
  readonly value: number;
  readonly not?: boolean;
}

export type DecisionAction =
  | { readonly kind: "accept" } // ends this chain and those that it was called from
  | { readonly kind: "drop" }
  /** Accepts; when the packet leaves the node its source is the node's own address, and replies are translated back. */
  | { readonly kind: "masquerade" }
  /** Only the walk knows: the rule asks or does what chains do not say. */
  | { readonly kind: "ask" }
  | { readonly kind: "return" }
  | { readonly kind: "jump" | "goto"; readonly chain: DecisionChain }
  /** mark = (mark & keep) ^ flip; goes on. */
  | { readonly kind: "mark"; readonly keep: number; readonly flip: number }
  /** Goes to the chain of the value that `map` gives the end; where there is none, on to the next rule. */
  | {
      readonly kind: "choose";
      readonly end: "source" | "destination";
      readonly map: AddressMap;
      readonly chains: ReadonlyMap<number, DecisionChain>;
    };

/** All conditions must hold; absent ones do. Of `services` one must hold the connection. */
export interface DecisionRule {
  readonly family?: 4 | 6;
  readonly source?: readonly AddressTest[];
  readonly destination?: readonly AddressTest[];
  readonly services?: readonly ServiceRange[];
  readonly marks?: readonly MarkTest[];
  readonly action: DecisionAction;
}

/** Rules are asked in order; at the end it is as if the last said `atEnd`. */
export interface DecisionChain {
  readonly name: string;
  readonly rules: readonly DecisionRule[];
  readonly atEnd: "accept" | "drop" | "return";
  /**
   * Whose rules these are: the chain asks first of all for this end, so that few of its rules are left once the end is
   * known. A hint that makes tables small; verdicts do not depend on it.
   */
  readonly of?: "source" | "destination";
}

/**
 * A packet's way through a node: by which interface it comes and leaves. `pod`: an interface with a pod (or a bridge of
 * pods) behind it; `wire`: the network between nodes; `node`: the node's own stack.
 */
export type Way = "pod-pod" | "pod-wire" | "wire-pod" | "pod-node" | "node-pod" | "node-wire" | "wire-node";

export const waysOfNode: readonly Way[] = [
  "pod-pod",
  "pod-wire",
  "wire-pod",
  "pod-node",
  "node-pod",
  "node-wire",
  "wire-node",
];

/** What is asked at one hook. */
export interface HookChain {
  /** A number of `Hook`. */
  readonly hook: number;
  readonly chain: DecisionChain;
}

/**
 * Per way the chains that a new connection's first packet meets, in the order in which it meets them; all must accept, and
 * the mark goes along. A way is stated only where replies to what it accepts pass; one that is absent is for the walk.
 * Addresses and ports are those of the packet as it comes: a rule that translates otherwise than by `masquerade` says `ask`.
 */
export interface Questions {
  readonly ways: { readonly [W in Way]?: readonly HookChain[] };
}
