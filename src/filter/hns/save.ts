/**
 * The HNS kind as JSON of HCN's v2 schema (hcsshim hcn: field names of the Go structs' json tags), one document: Networks,
 * Endpoints and LoadBalancers. No dump of a real node was at hand; the field names are the schema's.
 */
import { formatCidr, formatIp } from "../../addr/index.ts";
import type { AclConditions, AclPolicy, TierAcl, TierRule } from "./acl.ts";
import { printAddresses, printPorts } from "./lists.ts";
import { type HnsLoadBalancer, type LbPortMapping, lbDistributions } from "./load-balancer.ts";
import type { HnsEndpoint, HnsNetwork, HnsTables, SetPolicy } from "./tables.ts";

const schemaVersion = { Major: 2, Minor: 0 };

/** Flag of an endpoint of another node (EndpointFlagsRemoteEndpoint). */
const remoteEndpoint = 1;

/**
 * `AclPolicySetting`; empty lists are left out, as HNS wants any to be said. `nameOf` a set is written in place of its id,
 * for people.
 */
export function aclSettings(acl: AclPolicy, nameOf?: (id: string) => string): object {
  return {
    ...(acl.id === undefined ? {} : { Id: acl.id }),
    ...conditions(acl, nameOf),
    Action: acl.action,
    Direction: acl.direction,
    RuleType: acl.ruleType,
    Priority: acl.priority,
  };
}

function conditions(one: AclConditions, nameOf?: (id: string) => string): object {
  const fields = {
    Protocols: one.protocols.join(","),
    LocalAddresses: printAddresses(one.localAddresses, nameOf),
    RemoteAddresses: printAddresses(one.remoteAddresses, nameOf),
    LocalPorts: printPorts(one.localPorts),
    RemotePorts: printPorts(one.remotePorts),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ""));
}

function tierSettings({ name, direction, order, rules }: TierAcl): object {
  return { Name: name, Direction: direction, Order: order, TierAclRules: rules.map(tierRule) };
}

function tierRule(rule: TierRule): object {
  return {
    ...(rule.id === undefined ? {} : { Id: rule.id }),
    ...conditions(rule),
    TierAclRuleAction: rule.action,
    Priority: rule.priority,
  };
}

function setSettings(set: SetPolicy): object {
  const values = set.type === "IPSET" ? set.values.map(memberText) : set.values;
  return { Id: set.id, Name: set.name, PolicyType: set.type, Values: values.join(",") };
}

function memberText(net: Extract<SetPolicy, { type: "IPSET" }>["values"][number]): string {
  return net.prefix === (net.family === 4 ? 32 : 128) ? formatIp(net) : formatCidr(net);
}

function networkDocument({ id, name, type, sets, acls, otherPolicies }: HnsNetwork): object {
  return {
    ID: id,
    Name: name,
    Type: type,
    Policies: [
      ...sets.map((set) => ({ Type: "SetPolicy", Settings: setSettings(set) })),
      ...acls.map((acl) => ({ Type: "NetworkACL", Settings: aclSettings(acl) })),
      ...otherPolicies,
    ],
    SchemaVersion: schemaVersion,
  };
}

function endpointDocument(endpoint: HnsEndpoint): object {
  return {
    ID: endpoint.id,
    Name: endpoint.name,
    HostComputeNetwork: endpoint.network,
    Policies: [
      ...endpoint.acls.map((acl) => ({ Type: "ACL", Settings: aclSettings(acl) })),
      ...endpoint.tiers.map((tier) => ({ Type: "TierAcl", Settings: tierSettings(tier) })),
      ...endpoint.otherPolicies,
    ],
    IpConfigurations: endpoint.addresses.map((ip) => ({
      IpAddress: formatIp(ip),
      PrefixLength: ip.family === 4 ? 32 : 128,
    })),
    ...(endpoint.mac === undefined ? {} : { MacAddress: endpoint.mac }),
    Flags: endpoint.isRemote ? remoteEndpoint : 0,
    SchemaVersion: schemaVersion,
  };
}

/** `HostComputeLoadBalancer`; as Go writes it, what is zero or empty is left out. */
export function loadBalancerDocument(one: HnsLoadBalancer): object {
  return {
    ID: one.id,
    ...(one.endpoints.length === 0 ? {} : { HostComputeEndpoints: one.endpoints }),
    ...(one.sourceVip === undefined ? {} : { SourceVIP: formatIp(one.sourceVip) }),
    ...(one.frontendVips.length === 0 ? {} : { FrontendVIPs: one.frontendVips.map(formatIp) }),
    PortMappings: one.portMappings.map(portMapping),
    SchemaVersion: schemaVersion,
    ...(one.flags === 0 ? {} : { Flags: one.flags }),
  };
}

function portMapping({ protocol, internalPort, externalPort, distribution, flags }: LbPortMapping): object {
  const kind = lbDistributions.indexOf(distribution);
  return {
    Protocol: protocol,
    InternalPort: internalPort,
    ExternalPort: externalPort,
    ...(kind === 0 ? {} : { DistributionType: kind }),
    ...(flags === 0 ? {} : { Flags: flags }),
  };
}

/** Indented by two, with a line break at the end. */
export function saveHns({ networks, endpoints, loadBalancers }: HnsTables): string {
  const document = {
    Networks: networks.map(networkDocument),
    Endpoints: endpoints.map(endpointDocument),
    LoadBalancers: loadBalancers.map(loadBalancerDocument),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}
