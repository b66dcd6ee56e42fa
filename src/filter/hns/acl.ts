/**
 * ACLPolicy of an HNS endpoint as data. Governing sources: hcsshim hcn/hcnpolicy.go (AclPolicySetting, ActionType,
 * DirectionType, RuleType) and internal/hns/hnspolicy.go (ACLPolicy). All lists are strings with commas there.
 *
 * What no published source states, and this kind takes from what Azure NPM needs to be right: ids of sets name the
 * packet's source in LocalAddresses and its destination in RemoteAddresses, whatever the direction, and all of them must
 * hold; literal addresses name the endpoint's side and the other side, and one of them must hold.
 */
import type { Cidr } from "../../addr/index.ts";
import type { Origin } from "../../base/index.ts";

export const aclActions = ["Allow", "Block", "Pass"] as const;
/** `Pass` goes on to the next tier; outside tiers it decides nothing. */
export type AclAction = (typeof aclActions)[number];

export const aclDirections = ["In", "Out"] as const;
/** As the endpoint sees it. */
export type AclDirection = (typeof aclDirections)[number];

export const aclRuleTypes = ["Host", "Switch"] as const;
/** `Host` stands in WFP, `Switch` in VFP: two layers, and both must let a packet pass. */
export type AclRuleType = (typeof aclRuleTypes)[number];

/** An element of an address list. */
export type AclAddress =
  | { readonly kind: "net"; readonly net: Cidr }
  | { readonly kind: "set"; readonly id: string };

/** `first` to `last`, both included. */
export interface AclPorts {
  readonly first: number;
  readonly last: number;
}

/** What a packet must be like; an empty list is anything. */
export interface AclConditions {
  /** IP protocol numbers. */
  readonly protocols: readonly number[];
  readonly localAddresses: readonly AclAddress[];
  readonly remoteAddresses: readonly AclAddress[];
  readonly localPorts: readonly AclPorts[];
  readonly remotePorts: readonly AclPorts[];
}

export interface AclPolicy extends AclConditions {
  /** Several ACLs may carry one. */
  readonly id: string | undefined;
  readonly action: AclAction;
  readonly direction: AclDirection;
  readonly ruleType: AclRuleType;
  /** 0..65535; the lowest is asked first, equal ones in the order of the list. */
  readonly priority: number;
  readonly origin?: Origin;
}

/** `TierAclPolicySetting`: rules between which `Pass` goes on to the next tier. Asked before the endpoint's ACLs. */
export interface TierAcl {
  readonly name: string;
  readonly direction: AclDirection;
  /** 0..65535; the lowest is asked first. */
  readonly order: number;
  readonly rules: readonly TierRule[];
}

export interface TierRule extends AclConditions {
  readonly id: string | undefined;
  readonly action: AclAction;
  readonly priority: number;
}

export const anyAcl: AclConditions = Object.freeze({
  protocols: [],
  localAddresses: [],
  remoteAddresses: [],
  localPorts: [],
  remotePorts: [],
});
