/**
 * Reads what a Windows node's tools print of HNS: documents of HCN's v2 schema (settings of a policy in `Settings`), and
 * those of v1 as `Get-HnsEndpoint`, `Get-HnsNetwork` and `Get-HnsPolicyList` print them through `ConvertTo-Json -Depth 10` and
 * `hnsdiag list endpoints -d` does (settings beside `Type`): one object, a list, or `Networks`, `Endpoints` and
 * `LoadBalancers`. Governing sources: hcsshim hcn/*.go and internal/hns/{hnsendpoint,hnsnetwork,hnspolicy,hnspolicylist}.go.
 */
import { type Cidr, type Ip, parseCidr, parseIp } from "../../addr/index.ts";
import { InputError } from "../../base/index.ts";
import {
  type AclConditions,
  type AclPolicy,
  aclActions,
  aclDirections,
  aclRuleTypes,
  type TierAcl,
  type TierRule,
} from "./acl.ts";
import { JsonFields, type JsonObject, type JsonPath } from "./fields.ts";
import { readAddresses, readPorts, readProtocols } from "./lists.ts";
import type { HnsLoadBalancer } from "./load-balancer.ts";
import {
  isLoadBalancer,
  type ReadLoadBalancer,
  readLoadBalancer,
  withBackends,
} from "./restore-load-balancer.ts";
import type { FlowsOnChange, HnsEndpoint, HnsNetwork, HnsTables, SetPolicy } from "./tables.ts";

/** Fields of an ACL's settings, of v2 and v1; others are refused, lest they be ignored. */
const aclFields: ReadonlySet<string> = new Set([
  "Type",
  "Id",
  "Protocol",
  "Protocols",
  "Action",
  "Direction",
  "LocalAddresses",
  "RemoteAddresses",
  "LocalPort",
  "LocalPorts",
  "RemotePort",
  "RemotePorts",
  "RuleType",
  "Priority",
  "TierAclRuleAction",
]);

interface PlacedPolicy {
  readonly type: string;
  readonly settings: JsonObject;
  readonly path: JsonPath;
  readonly whole: unknown;
}

/** A tool's output: endpoints, their network and the load balancers may stand in a file each. */
export interface HnsInput {
  readonly name: string;
  readonly text: string;
}

interface ReadEndpoint {
  readonly endpoint: HnsEndpoint;
  readonly fields: JsonFields;
  readonly path: JsonPath;
}

/** @throws InputError with the JSON path, line and column of everything that is wrong. */
export function restoreHns(inputs: readonly HnsInput[], flowsOnChange: FlowsOnChange = "keep"): HnsTables {
  const networks: HnsNetwork[] = [];
  const endpoints: ReadEndpoint[] = [];
  const balancers: ReadLoadBalancer[] = [];
  const files = inputs.map(({ name, text }) => new JsonFields(name, text));
  for (const fields of files)
    for (const { value, path } of itemsOf(fields)) {
      const raw = fields.object(value, path);
      if (isEndpoint(raw)) endpoints.push({ endpoint: readEndpoint(fields, raw, path), fields, path });
      else if (isLoadBalancer(raw)) balancers.push(readLoadBalancer(fields, raw, path));
      else networks.push(readNetwork(fields, raw, path));
    }
  const own = endpoints.map(({ endpoint }) => endpoint);
  const all = withNetworks(networks, own);
  for (const one of endpoints) checkSets(one, all);
  const loadBalancers = balancers.map((one): HnsLoadBalancer => withBackends(one, own));
  const issues = files.flatMap((fields) => fields.issues());
  if (issues.length > 0) throw new InputError(issues);
  return { networks: all, endpoints: own, loadBalancers, flowsOnChange };
}

/** Of one document that holds everything. */
const parts = ["Networks", "Endpoints", "LoadBalancers"];

function itemsOf(fields: JsonFields): readonly { readonly value: unknown; readonly path: JsonPath }[] {
  const { value } = fields;
  if (Array.isArray(value)) return value.map((one, i) => ({ value: one as unknown, path: [i] }));
  const isWhole = typeof value === "object" && value !== null && parts.some((name) => name in value);
  if (!isWhole) return [{ value, path: [] }];
  const whole = fields.object(value, []);
  return parts.flatMap((name) =>
    fields.list(whole[name], [name]).map((one, i) => ({ value: one, path: [name, i] })),
  );
}

function isEndpoint(raw: JsonObject): boolean {
  return ["HostComputeNetwork", "VirtualNetwork", "IpConfigurations", "IPAddress"].some(
    (name) => name in raw,
  );
}

/** Endpoints without their network's document (a dump of endpoints alone) have a network without sets. */
function withNetworks(
  networks: readonly HnsNetwork[],
  endpoints: readonly HnsEndpoint[],
): readonly HnsNetwork[] {
  const known = new Set(networks.map(({ id }) => id));
  const missing = new Set(endpoints.map(({ network }) => network).filter((id) => !known.has(id)));
  return [
    ...networks,
    ...[...missing].map((id) => ({ id, name: id, type: "", sets: [], acls: [], otherPolicies: [] })),
  ];
}

function readNetwork(fields: JsonFields, raw: JsonObject, path: JsonPath): HnsNetwork {
  const policies = policiesOf(fields, raw, path);
  const isOwn = ({ type }: PlacedPolicy): boolean => type === "SetPolicy" || type === "NetworkACL";
  const sets = policies.filter(({ type }) => type === "SetPolicy").map((one) => readSet(fields, one));
  const known = new Set(sets.map(({ id }) => id));
  for (const set of sets)
    for (const id of set.type === "NESTEDIPSET" ? set.values : [])
      if (!known.has(id))
        fields.wrong(
          [...path, "Policies"],
          `set ${set.name} has member ${id}, which is no set of the network`,
          "unknown-name",
        );
  return {
    id: idOf(fields, raw, path),
    name: fields.text(raw["Name"], [...path, "Name"]),
    type: fields.text(raw["Type"], [...path, "Type"]),
    sets,
    acls: policies.filter(({ type }) => type === "NetworkACL").map((one) => readAcl(fields, one)),
    otherPolicies: policies.filter((one) => !isOwn(one)).map(({ whole }) => whole),
  };
}

function readEndpoint(fields: JsonFields, raw: JsonObject, path: JsonPath): HnsEndpoint {
  const policies = policiesOf(fields, raw, path);
  const networkField = "HostComputeNetwork" in raw ? "HostComputeNetwork" : "VirtualNetwork";
  const isOwn = ({ type }: PlacedPolicy): boolean => type === "ACL" || type === "TierAcl";
  const mac = fields.text(raw["MacAddress"], [...path, "MacAddress"]);
  return {
    id: idOf(fields, raw, path),
    name: fields.text(raw["Name"], [...path, "Name"]),
    network: fields.text(raw[networkField], [...path, networkField]),
    isRemote: raw["IsRemoteEndpoint"] === true || (fields.u16(raw["Flags"], [...path, "Flags"]) & 1) === 1,
    addresses: addressesOf(fields, raw, path),
    mac: mac === "" ? undefined : mac,
    acls: policies.filter(({ type }) => type === "ACL").map((one) => readAcl(fields, one)),
    tiers: policies.filter(({ type }) => type === "TierAcl").map((one) => readTier(fields, one)),
    otherPolicies: policies.filter((one) => !isOwn(one)).map(({ whole }) => whole),
  };
}

function idOf(fields: JsonFields, raw: JsonObject, path: JsonPath): string {
  const name = "ID" in raw ? "ID" : "Id";
  const id = fields.text(raw[name], [...path, name]);
  if (id === "") fields.wrong([...path, name], "is missing", "required");
  return id;
}

function addressesOf(fields: JsonFields, raw: JsonObject, path: JsonPath): readonly Ip[] {
  const places: (readonly [unknown, JsonPath])[] = [
    ...["IPAddress", "IPv6Address"].map((name) => [raw[name], [...path, name]] as const),
    ...fields.list(raw["IpConfigurations"], [...path, "IpConfigurations"]).map((one, i) => {
      const at = [...path, "IpConfigurations", i];
      return [fields.object(one, at)["IpAddress"], [...at, "IpAddress"]] as const;
    }),
  ];
  return places.flatMap(([value, at]) => {
    const text = fields.text(value, at);
    const ip = parseIp(text);
    if (text !== "" && ip === undefined) fields.wrong(at, `${text} is no IP address`);
    return ip === undefined ? [] : [ip];
  });
}

function policiesOf(fields: JsonFields, raw: JsonObject, path: JsonPath): readonly PlacedPolicy[] {
  const at = [...path, "Policies"];
  return fields.list(raw["Policies"], at).map((whole, i) => {
    const policy = fields.object(whole, [...at, i]);
    const type = fields.text(policy["Type"], [...at, i, "Type"]);
    if (policy["Settings"] === undefined) return { type, settings: policy, path: [...at, i], whole };
    const inner = [...at, i, "Settings"];
    return { type, settings: fields.object(policy["Settings"], inner), path: inner, whole };
  });
}

function readSet(fields: JsonFields, { settings, path }: PlacedPolicy): SetPolicy {
  const id = fields.text(settings["Id"], [...path, "Id"]);
  const name = fields.text(settings["Name"], [...path, "Name"]);
  const types = ["IPSET", "NESTEDIPSET"] as const;
  const type = fields.oneOf(settings["PolicyType"], [...path, "PolicyType"], types, undefined);
  const at = [...path, "Values"];
  const values = fields
    .text(settings["Values"], at)
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
  if (id === "") fields.wrong([...path, "Id"], "is missing", "required");
  if (type === "NESTEDIPSET") return { type, id, name, values };
  const nets = values.flatMap((one): readonly Cidr[] => {
    const ip = parseIp(one);
    const net = ip === undefined ? parseCidr(one) : { ...ip, prefix: ip.family === 4 ? 32 : 128 };
    if (net === undefined) fields.wrong(at, `${one} is no address`);
    return net === undefined ? [] : [net];
  });
  return { type, id, name, values: nets };
}

function readConditions(fields: JsonFields, settings: JsonObject, path: JsonPath): AclConditions {
  for (const name of Object.keys(settings))
    if (!aclFields.has(name)) fields.wrong([...path, name], `${name} is not emulated`, "not-supported");
  /** The v2 field, or v1's for one value, whose zero is any. */
  const listed = <T>(
    names: readonly string[],
    read: (text: string) => readonly T[] | string,
  ): readonly T[] => {
    const name = names.find((one) => settings[one] !== undefined && settings[one] !== null);
    if (name === undefined) return [];
    const text = fields.text(settings[name], [...path, name]);
    const isUnset = text === "0" && !name.endsWith("s");
    const items = isUnset ? [] : read(text);
    if (typeof items !== "string") return items;
    fields.wrong([...path, name], items);
    return [];
  };
  return {
    protocols: listed(["Protocols", "Protocol"], readProtocols),
    localAddresses: listed(["LocalAddresses"], readAddresses),
    remoteAddresses: listed(["RemoteAddresses"], readAddresses),
    localPorts: listed(["LocalPorts", "LocalPort"], readPorts),
    remotePorts: listed(["RemotePorts", "RemotePort"], readPorts),
  };
}

function readAcl(fields: JsonFields, { settings, path }: PlacedPolicy): AclPolicy {
  const id = fields.text(settings["Id"], [...path, "Id"]);
  return {
    id: id === "" ? undefined : id,
    action: fields.oneOf(settings["Action"], [...path, "Action"], aclActions, undefined),
    direction: fields.oneOf(settings["Direction"], [...path, "Direction"], aclDirections, undefined),
    ruleType: fields.oneOf(settings["RuleType"], [...path, "RuleType"], aclRuleTypes, "Switch"),
    priority: fields.u16(settings["Priority"], [...path, "Priority"]),
    ...readConditions(fields, settings, path),
  };
}

function readTier(fields: JsonFields, { settings, path }: PlacedPolicy): TierAcl {
  const at = [...path, "TierAclRules"];
  return {
    name: fields.text(settings["Name"], [...path, "Name"]),
    direction: fields.oneOf(settings["Direction"], [...path, "Direction"], aclDirections, undefined),
    order: fields.u16(settings["Order"], [...path, "Order"]),
    rules: fields.list(settings["TierAclRules"], at).map((one, i): TierRule => {
      const raw = fields.object(one, [...at, i]);
      const id = fields.text(raw["Id"], [...at, i, "Id"]);
      return {
        id: id === "" ? undefined : id,
        action: fields.oneOf(
          raw["TierAclRuleAction"],
          [...at, i, "TierAclRuleAction"],
          aclActions,
          undefined,
        ),
        priority: fields.u16(raw["Priority"], [...at, i, "Priority"]),
        ...readConditions(fields, raw, [...at, i]),
      };
    }),
  };
}

/** HNS takes no ACL that names a set which is not there. */
function checkSets({ endpoint, fields, path }: ReadEndpoint, networks: readonly HnsNetwork[]): void {
  const known = new Set(networks.find(({ id }) => id === endpoint.network)?.sets.map(({ id }) => id));
  const rules = [...endpoint.acls, ...endpoint.tiers.flatMap((tier) => tier.rules)];
  const named = rules.flatMap((acl) => [...acl.localAddresses, ...acl.remoteAddresses]);
  for (const id of new Set(named.flatMap((one) => (one.kind === "set" ? [one.id] : []))))
    if (!known.has(id))
      fields.wrong(
        [...path, "Policies"],
        `${id} is no address and no set of the endpoint's network (give what Get-HnsNetwork prints, too)`,
        "unknown-name",
      );
}
