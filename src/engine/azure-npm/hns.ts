/**
 * What NPM makes of sets and policies for HNS. Governing sources: azure-container-networking npm/pkg/dataplane/ipsets
 * (ipsetmanager_windows.go), npm/pkg/dataplane/policies (policy_windows.go, policymanager_windows.go).
 */
import type { Cidr, Ip } from "../../addr/index.ts";
import type { Origin } from "../../base/index.ts";
import {
  type AclAddress,
  type AclPolicy,
  type AclPorts,
  anyAcl,
  type SetPolicy,
} from "../../filter/hns/index.ts";
import type { IpsetRepr } from "../../filter/ipset/index.ts";
import type { Acl, SetName, TranslatedPolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

/** Lower numbers are asked first; what several policies allow is allowed, since each blocks behind all of them. */
const priority = { node: 201, except: 221, allow: 222, block: 3000 } as const;

const protocolNumber = { TCP: 6, UDP: 17, SCTP: 132 } as const;

/** Name of a set without members that stands in every list of namespaces: an empty list would match all addresses (PR 1431). */
const emptySet = "empty-emptyhashset";

export const aclIdPrefix = "azure-acl";

/** Every set that HNS is told of: those of named ports are none of them. Sets before the lists that name them. */
export function setPolicies(
  sets: ReadonlyMap<string, IpsetRepr>,
  hashedName: (readable: string) => string,
): readonly SetPolicy[] {
  const [plain, lists]: [SetPolicy[], SetPolicy[]] = [[], []];
  const emptyId = hashedName(emptySet);
  plain.push({ type: "IPSET", id: emptyId, name: emptySet, values: [] });
  for (const { name: id, title: name = id, type, entries } of sets.values()) {
    if (type === "hash:net") plain.push({ type: "IPSET", id, name, values: entries.flatMap(netOf) });
    else if (type === "list:set") {
      const members = entries.flatMap(({ set }) => (set === undefined ? [] : [set]));
      const values = name.startsWith("nslabel-") ? [emptyId, ...members] : members;
      lists.push({ type: "NESTEDIPSET", id, name, values });
    }
  }
  return [...plain, ...lists];
}

function netOf({ net }: IpsetRepr["entries"][number]): readonly Cidr[] {
  return net === undefined ? [] : [net];
}

/** ACLs of a policy on every endpoint that it selects, but for the one that lets the node in. */
export function policyAcls(
  policy: TranslatedPolicy,
  { liteExcept }: NpmVariant,
  kernelName: (set: SetName) => string,
): readonly AclPolicy[] {
  const id = aclId(policy);
  return policy.acls.flatMap((acl) => [
    ...exceptions(acl, liteExcept).map((net) => blockOf(aclPolicy(acl, id, kernelName), net)),
    aclPolicy(acl, id, kernelName),
  ]);
}

function exceptions({ block }: Acl, liteExcept: NpmVariant["liteExcept"]): readonly Cidr[] {
  return liteExcept === "blocked" ? (block?.except ?? []) : [];
}

/** Asked before what any policy allows: an exception shuts out what another rule lets in. */
function blockOf(allow: AclPolicy, net: Cidr): AclPolicy {
  return { ...allow, action: "Block", priority: priority.except, remoteAddresses: [{ kind: "net", net }] };
}

export function aclId({ key }: TranslatedPolicy): string {
  return `${aclIdPrefix}-${key.replace("/", "-")}`;
}

function aclPolicy(acl: Acl, id: string, kernelName: (set: SetName) => string): AclPolicy {
  const isIn = acl.direction === "ingress";
  const peers = acl.peers.map(({ set }): AclAddress => ({ kind: "set", id: kernelName(set) }));
  const ports = acl.ports === undefined ? [] : eachPort(acl.ports);
  return {
    id,
    action: acl.action === "allow" ? "Allow" : "Block",
    direction: isIn ? "In" : "Out",
    ruleType: "Switch",
    priority: acl.action === "allow" ? priority.allow : priority.block,
    protocols: acl.protocol === undefined ? [] : [protocolNumber[acl.protocol]],
    // the sets of a source stand in LocalAddresses, those of a destination in RemoteAddresses, in both directions;
    // addresses themselves are the far side's, and stand in RemoteAddresses
    localAddresses: isIn ? peers : [],
    remoteAddresses: acl.block !== undefined ? [{ kind: "net", net: acl.block.cidr }] : isIn ? [] : peers,
    localPorts: isIn ? ports : [],
    remotePorts: isIn ? [] : ports,
    origin: acl.origin,
  };
}

/** HNS is given no ranges: every port of one by itself. */
function eachPort([first, last]: readonly [number, number]): readonly AclPorts[] {
  return Array.from({ length: last - first + 1 }, (_, i) => ({ first: first + i, last: first + i }));
}

/** The node reaches its pods, for the sake of probes, with whatever policy (#1881). */
export function nodeAcl(policy: TranslatedPolicy, node: Ip): AclPolicy {
  const origin: Origin = { ...policy.selectOrigin, role: "base", direction: "ingress" };
  return {
    ...anyAcl,
    id: aclId(policy),
    action: "Allow",
    direction: "In",
    ruleType: "Switch",
    priority: priority.node,
    remoteAddresses: [{ kind: "net", net: { ...node, prefix: node.family === 4 ? 32 : 128 } }],
    origin,
  };
}

/** HNS has no negated sets. In ingress rules NPM sees that; in egress rules it does not, and what is excluded is let in. */
export function refusesNegation({ acls }: TranslatedPolicy): Acl | undefined {
  return acls.find(({ direction, peers }) => direction === "ingress" && peers.some((one) => !one.isIncluded));
}
