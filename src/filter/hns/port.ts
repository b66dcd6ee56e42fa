/**
 * One endpoint's port as it is asked: for each direction the VFP layer (tiers, the endpoint's ACLs, the network's), and
 * beside it the WFP layer of the host. Where nothing decides, a packet passes, as on Azure CNI.
 */
import { type AclDirection, type AclPolicy, aclDirections, type TierAcl } from "./acl.ts";
import { AclList, type OrderedAcl } from "./acl-list.ts";
import type { HnsSets } from "./sets.ts";
import type { HnsEndpoint, HnsNetwork } from "./tables.ts";

/** A network with its sets as they are now. */
export interface LiveNetwork {
  readonly network: HnsNetwork;
  readonly sets: HnsSets;
}

/** An ACL, or a tier's rule, that an index of the datapath's provenance stands for. */
export interface KnownAcl {
  readonly kind: "acl";
  readonly sets: HnsSets;
  readonly endpoint: string;
  readonly direction: AclDirection;
  readonly acl: AclPolicy;
  /** The tier's name, for its rules. */
  readonly tier: string | undefined;
  /** From 1, in the order of its list. */
  readonly number: number;
}

interface DirectedPort {
  /** Asked in turn; `Pass` or no answer goes on to the next. */
  readonly vfp: readonly AclList[];
  readonly wfp: AclList;
}

export interface Port {
  readonly endpoint: HnsEndpoint;
  /** Their numbers in the provenance. */
  readonly rules: readonly number[];
  readonly sets: HnsSets;
  readonly In: DirectedPort;
  readonly Out: DirectedPort;
}

/** @param remember gives a rule its number */
export function linkPort(
  endpoint: HnsEndpoint,
  { network, sets }: LiveNetwork,
  remember: (rule: KnownAcl) => number,
): Port {
  const rules: number[] = [];
  const [into, outOf] = aclDirections.map((direction): DirectedPort => {
    const listOf = (acls: readonly AclPolicy[], tier?: string): AclList => {
      const ordered = acls.map((acl, i): OrderedAcl => {
        const known = { endpoint: endpoint.name, direction, acl, tier, number: i + 1, sets };
        const rule = remember({ kind: "acl", ...known });
        rules.push(rule);
        return { conditions: acl, action: acl.action, priority: acl.priority, rule };
      });
      return new AclList(direction, ordered);
    };
    const layer = (ruleType: AclPolicy["ruleType"], acls: readonly AclPolicy[]) =>
      acls.filter((acl) => acl.direction === direction && acl.ruleType === ruleType);
    const tiers = endpoint.tiers
      .filter((tier) => tier.direction === direction)
      .sort((a, b) => a.order - b.order);
    const vfp = [
      ...tiers.map((tier) => listOf(tierAcls(tier), tier.name)),
      listOf(layer("Switch", endpoint.acls)),
      listOf(layer("Switch", network.acls)),
    ];
    return {
      vfp: vfp.filter(({ length }) => length > 0),
      wfp: listOf([...layer("Host", endpoint.acls), ...layer("Host", network.acls)]),
    };
  }) as [DirectedPort, DirectedPort];
  return { endpoint, rules, sets, In: into, Out: outOf };
}

/** A tier's rules as ACLs of VFP. */
export function tierAcls({ direction, rules }: TierAcl): readonly AclPolicy[] {
  return rules.map((rule) => ({ ...rule, direction, ruleType: "Switch" }));
}
