/**
 * Reads load balancers: `HostComputeLoadBalancer` of HCN's v2 schema, and what `Get-HnsPolicyList` prints of them in v1
 * (`Policies` of type ELB beside `References` to endpoints). Names of v1's fields are those of hcsshim's ELBPolicy, and
 * `IsDSR`, seen in the output of live nodes; of the other flags only v2's names are published, and they are taken in any
 * case of letters.
 */
import { type Ip, parseIp } from "../../addr/index.ts";
import type { JsonFields, JsonObject, JsonPath } from "./fields.ts";
import {
  type HnsLoadBalancer,
  LbFlag,
  LbPortFlag,
  type LbPortMapping,
  lbDistributions,
} from "./load-balancer.ts";
import type { HnsEndpoint } from "./tables.ts";

export interface ReadLoadBalancer {
  readonly balancer: HnsLoadBalancer;
  readonly fields: JsonFields;
  /** Of the list of its endpoints. */
  readonly path: JsonPath;
}

/** What HNS says of any resource, and what bears on no verdict. */
const bookkeeping: readonly string[] = [
  "ID",
  "Id",
  "ActivityId",
  "AdditionalParams",
  "CreateProcessingStartTime",
  "EncapOverhead",
  "Health",
  "Resources",
  "SchemaVersion",
  "SharedContainers",
  "State",
  "Version",
];
const fieldsV2: ReadonlySet<string> = new Set([
  ...bookkeeping,
  "HostComputeEndpoints",
  "SourceVIP",
  "FrontendVIPs",
  "PortMappings",
  "Flags",
]);
const fieldsV1: ReadonlySet<string> = new Set([...bookkeeping, "References", "Policies"]);
const mappingFields: ReadonlySet<string> = new Set([
  "Protocol",
  "InternalPort",
  "ExternalPort",
  "DistributionType",
  "Flags",
]);
const elbFields: ReadonlySet<string> = new Set([
  "type",
  "protocol",
  "internalport",
  "externalport",
  "sourcevip",
  "vips",
  "distributiontype",
  "isdsr",
  "isipv6",
  "ilb",
  "localroutedvip",
  "usemux",
  "preservedip",
  "isvipexternalip",
]);

export function isLoadBalancer(raw: JsonObject): boolean {
  return ["PortMappings", "FrontendVIPs", "HostComputeEndpoints", "References"].some((name) => name in raw);
}

export function readLoadBalancer(fields: JsonFields, raw: JsonObject, path: JsonPath): ReadLoadBalancer {
  return "References" in raw ? readV1(fields, raw, path) : readV2(fields, raw, path);
}

/** Endpoints are named by their ids in any case of letters; one that is not there is wrong. */
export function withBackends(
  { balancer, fields, path }: ReadLoadBalancer,
  endpoints: readonly HnsEndpoint[],
): HnsLoadBalancer {
  const known = new Map(endpoints.map(({ id }) => [id.toLowerCase(), id]));
  const ids = balancer.endpoints.map((id, i) => {
    const own = known.get(id.toLowerCase());
    if (own === undefined)
      fields.wrong(
        [...path, i],
        `${id} is no endpoint here (give what Get-HnsEndpoint prints, too)`,
        "unknown-name",
      );
    return own ?? id;
  });
  return { ...balancer, endpoints: ids };
}

function readV2(fields: JsonFields, raw: JsonObject, path: JsonPath): ReadLoadBalancer {
  refuseOthers(fields, raw, path, (name) => fieldsV2.has(name));
  const at = [...path, "PortMappings"];
  const portMappings = fields.list(raw["PortMappings"], at).map((one, i): LbPortMapping => {
    const here = [...at, i];
    const mapping = fields.object(one, here);
    refuseOthers(fields, mapping, here, (name) => mappingFields.has(name));
    return {
      ...readPorts(fields, mapping, here),
      distribution: readDistribution(fields, mapping["DistributionType"], [...here, "DistributionType"]),
      flags: readFlags(fields, mapping["Flags"], [...here, "Flags"], LbPortFlag),
    };
  });
  if (portMappings.length === 0) fields.wrong(at, "is missing", "required");
  const backends = [...path, "HostComputeEndpoints"];
  const balancer = {
    id: readId(fields, raw, path),
    endpoints: fields
      .list(raw["HostComputeEndpoints"], backends)
      .map((one, i) => fields.text(one, [...backends, i])),
    sourceVip: readIp(fields, raw["SourceVIP"], [...path, "SourceVIP"]),
    frontendVips: readVips(fields, raw["FrontendVIPs"], [...path, "FrontendVIPs"]),
    portMappings,
    flags: readFlags(fields, raw["Flags"], [...path, "Flags"], LbFlag),
  };
  return { balancer, fields, path: backends };
}

function readV1(fields: JsonFields, raw: JsonObject, path: JsonPath): ReadLoadBalancer {
  refuseOthers(fields, raw, path, (name) => fieldsV1.has(name));
  const references = [...path, "References"];
  const endpoints = fields.list(raw["References"], references).map((one, i) => {
    const text = fields.text(one, [...references, i]);
    if (!/^\/endpoints\//i.test(text)) fields.wrong([...references, i], `${text} is no /endpoints/ID`);
    return text.replace(/^\/endpoints\//i, "");
  });
  const at = [...path, "Policies"];
  const policies = fields.list(raw["Policies"], at).map((one, i) => fields.object(one, [...at, i]));
  for (const [i, policy] of policies.entries()) {
    const type = fields.text(policy["Type"], [...at, i, "Type"]);
    if (type.toUpperCase() !== "ELB")
      fields.wrong([...at, i, "Type"], `policy lists of type ${type} are not emulated`, "not-supported");
    refuseOthers(fields, policy, [...at, i], (name) => elbFields.has(name.toLowerCase()));
  }
  if (policies.length !== 1) fields.wrong(at, `holds ${policies.length} policies, where one is emulated`);
  const policy = policies[0] ?? {};
  const here = [...at, 0];
  const isSet = (name: string): boolean =>
    Object.entries(policy).some(([key, value]) => key.toLowerCase() === name && value === true);
  const bits = (flags: readonly (readonly [string, number])[]): number =>
    flags.reduce((sum, [name, bit]) => (isSet(name) ? sum | bit : sum), 0);
  const balancer = {
    id: readId(fields, raw, path),
    endpoints,
    sourceVip: readIp(fields, policy["SourceVIP"], [...here, "SourceVIP"]),
    frontendVips: readVips(fields, policy["VIPs"], [...here, "VIPs"]),
    portMappings: [
      {
        ...readPorts(fields, policy, here),
        distribution: readDistribution(fields, policy["DistributionType"], [...here, "DistributionType"]),
        flags: bits([
          ["ilb", LbPortFlag.ilb],
          ["localroutedvip", LbPortFlag.localRoutedVip],
          ["usemux", LbPortFlag.useMux],
          ["preservedip", LbPortFlag.preserveDip],
          ["isvipexternalip", LbPortFlag.vipExternalIp],
        ]),
      },
    ],
    flags: bits([
      ["isdsr", LbFlag.dsr],
      ["isipv6", LbFlag.ipv6],
    ]),
  };
  return { balancer, fields, path: references };
}

function refuseOthers(
  fields: JsonFields,
  raw: JsonObject,
  path: JsonPath,
  isKnown: (name: string) => boolean,
): void {
  for (const name of Object.keys(raw))
    if (!isKnown(name)) fields.wrong([...path, name], `${name} is not emulated`, "not-supported");
}

function readId(fields: JsonFields, raw: JsonObject, path: JsonPath): string {
  const name = "Id" in raw && !("ID" in raw) ? "Id" : "ID";
  const id = fields.text(raw[name], [...path, name]);
  if (id === "") fields.wrong([...path, name], "is missing", "required");
  return id;
}

function readPorts(
  fields: JsonFields,
  raw: JsonObject,
  path: JsonPath,
): Pick<LbPortMapping, "protocol" | "internalPort" | "externalPort"> {
  const protocol = fields.u16(raw["Protocol"], [...path, "Protocol"]);
  if (protocol < 1 || protocol > 255)
    fields.wrong([...path, "Protocol"], `must be 1 to 255, not ${JSON.stringify(raw["Protocol"])}`);
  const port = (name: string): number => {
    const number = fields.u16(raw[name], [...path, name]);
    if (number === 0) fields.wrong([...path, name], "is missing or 0", "required");
    return number;
  };
  return { protocol, internalPort: port("InternalPort"), externalPort: port("ExternalPort") };
}

function readDistribution(fields: JsonFields, value: unknown, path: JsonPath): LbPortMapping["distribution"] {
  const number = fields.u16(value, path);
  const known = lbDistributions[number];
  if (known === undefined) fields.wrong(path, `must be 0 to ${lbDistributions.length - 1}, not ${number}`);
  return known ?? "None";
}

function readFlags(
  fields: JsonFields,
  value: unknown,
  path: JsonPath,
  known: Readonly<Record<string, number>>,
): number {
  const flags = fields.u16(value, path);
  const all = Object.values(known).reduce((sum, bit) => sum | bit, 0);
  const rest = flags & ~all;
  if (rest !== 0) fields.wrong(path, `bits ${rest} are not emulated`, "not-supported");
  return flags;
}

function readIp(fields: JsonFields, value: unknown, path: JsonPath): Ip | undefined {
  const text = fields.text(value, path);
  const ip = text === "" ? undefined : parseIp(text);
  if (text !== "" && ip === undefined) fields.wrong(path, `${text} is no IP address`);
  return ip;
}

function readVips(fields: JsonFields, value: unknown, path: JsonPath): readonly Ip[] {
  // a list of one is written as its element
  const list = typeof value === "string" ? [value] : fields.list(value, path);
  return list.flatMap((one, i) => readIp(fields, one, [...path, i]) ?? []);
}
