/**
 * The HNS kind as data (the Repr): what the Host Networking Service of a Windows node holds. Governing
 * sources: hcsshim hcn/hcnnetwork.go, hcnendpoint.go, hcnloadbalancer.go, hcnpolicy.go.
 */
import type { Cidr, Ip } from "../../addr/index.ts";
import type { AclPolicy, TierAcl } from "./acl.ts";
import type { HnsLoadBalancer } from "./load-balancer.ts";

/** `SetPolicySetting` of a network. */
export type SetPolicy =
  | { readonly type: "IPSET"; readonly id: string; readonly name: string; readonly values: readonly Cidr[] }
  /** `values` are ids of sets. An ACL that names one without members matches every address (Azure NPM, PR 1431). */
  | {
      readonly type: "NESTEDIPSET";
      readonly id: string;
      readonly name: string;
      readonly values: readonly string[];
    };

export interface HnsEndpoint {
  readonly id: string;
  readonly name: string;
  /** Id of its network. */
  readonly network: string;
  /** Of another node: it stands here as a backend of Services. */
  readonly isRemote: boolean;
  readonly addresses: readonly Ip[];
  /** As `00-15-5D-00-00-01`; bears on no verdict. */
  readonly mac: string | undefined;
  readonly acls: readonly AclPolicy[];
  readonly tiers: readonly TierAcl[];
  /** Endpoint policies of other types, kept as they came: they bear on no verdict. */
  readonly otherPolicies: readonly unknown[];
}

export interface HnsNetwork {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly sets: readonly SetPolicy[];
  /** `NetworkACL`: ACLs of every endpoint of the network, asked after the endpoint's own. */
  readonly acls: readonly AclPolicy[];
  readonly otherPolicies: readonly unknown[];
}

/** What a policy change does to the flows that VFP knows: no published source says, so that it is a switch. */
export type FlowsOnChange = "keep" | "forget";

export interface HnsTables {
  readonly networks: readonly HnsNetwork[];
  readonly endpoints: readonly HnsEndpoint[];
  /** Of several that take a packet, the first does. */
  readonly loadBalancers: readonly HnsLoadBalancer[];
  readonly flowsOnChange: FlowsOnChange;
}
