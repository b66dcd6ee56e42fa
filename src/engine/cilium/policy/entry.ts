/**
 * What policy resolution makes: entries of policy maps in numbers, one list per (identity, named ports), and who has
 * which identity. Bytes are `key.ts`'s business, node-local things (endpoint ids, the ipcache) are not known here.
 */
import type { Cidr } from "../../../addr/index.ts";
import type { Origin } from "../../../base/index.ts";
import type { Node, Pod } from "../../../k8s/index.ts";
import type { Diagnostic } from "../../engine.ts";

export type Direction = "ingress" | "egress";

/** One key of a policy map with its value. */
export interface PolicyEntry {
  /** The other end's identity; 0: any. */
  readonly identity: number;
  readonly direction: Direction;
  /** IP protocol number; 0: any (then `portPrefix` is 0). */
  readonly protocol: number;
  /** First port of the block, or ICMP type; 0 where `portPrefix` is 0. */
  readonly port: number;
  /** Significant bits of the port, 0 (any port) to 16 (that port). */
  readonly portPrefix: number;
  readonly deny: boolean;
  /** Listener priority of a redirect to a proxy, 1 to 126; 0: no redirect. */
  readonly redirect: number;
  readonly origin: Origin;
}

/** Policy of an endpoint. Frozen; one object for all pods of equal identity and named ports. */
export interface EndpointPolicy {
  readonly ingressEnforced: boolean;
  readonly egressEnforced: boolean;
  /** In key order (`comparePolicyEntries`), at most one a key. */
  readonly entries: readonly PolicyEntry[];
  /** Why what no entry allows is denied: the rules that isolate in a direction; none where nothing is. */
  readonly defaultDeny: Readonly<Record<Direction, readonly Origin[]>>;
}

/** Labels of an identity by `source:key` (`k8s:app`, `reserved:host`, `cidr:10.0.0.0/8`); value `""` where there is none. */
export type IdentityLabels = Readonly<Record<string, string>>;

/** A prefix that policies name, with the identity that addresses in it have if no longer prefix holds them. */
export interface PrefixIdentity {
  readonly net: Cidr;
  readonly identity: number;
}

export interface PolicyRepository {
  /** A hostNetwork pod has its node's identity as the node itself sees it: `host`. */
  identityOf(pod: Pod): number;
  /** `undefined` for a number that nobody has. */
  labelsOf(identity: number): IdentityLabels | undefined;
  /** Sorted; no two with equal `net`. */
  readonly prefixes: readonly PrefixIdentity[];
  /** Not for hostNetwork pods, which are no endpoints. */
  policyOf(pod: Pod): EndpointPolicy;
  /** `undefined` without host firewall. */
  hostPolicyOf(node: Node): EndpointPolicy | undefined;
  readonly diagnostics: readonly Diagnostic[];
}

/** Order of keys: ingress first, then identity, protocol, port, and of equal ports the wider block. */
export function comparePolicyEntries(a: PolicyEntry, b: PolicyEntry): number {
  return (
    Number(a.direction === "egress") - Number(b.direction === "egress") ||
    a.identity - b.identity ||
    a.protocol - b.protocol ||
    a.port - b.port ||
    a.portPrefix - b.portPrefix
  );
}
