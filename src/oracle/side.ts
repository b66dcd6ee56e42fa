/** One side of a connection: the pod whose policies have a say, and what they say it of. */
import type { NetworkPolicy, NetworkPolicyRule, Pod } from "../k8s/index.ts";
import type { Peer, Target } from "./match.ts";

export type Direction = "egress" | "ingress";
export type SideVerdict = "allow" | "deny" | "undefined";

/** One side of a connection, ready to be judged. */
export interface Side {
  readonly direction: Direction;
  /** The pod whose policies apply. */
  readonly subject: Pod;
  /** Policies that isolate it in this direction; empty = not isolated. */
  readonly policies: readonly NetworkPolicy[];
  readonly peer: Peer;
  readonly target: Target | undefined;
  /** Why the side is allowed, or open, whatever the rules say; `undefined` = the rules decide. */
  readonly exemption: { readonly verdict: SideVerdict; readonly reason: string } | undefined;
}

export function rulesOf(policy: NetworkPolicy, direction: Direction): readonly NetworkPolicyRule[] {
  return direction === "egress" ? policy.egress : policy.ingress;
}
