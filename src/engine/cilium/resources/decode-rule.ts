/**
 * Rules of Cilium's policies: one `spec` with its four lists. Checks are those of the CRD and of the agent, which refuses
 * what the CRD lets through; here both are mistakes of the manifest.
 * Governing source: cilium/cilium pkg/policy/api/{rule,ingress,egress,rule_validation}.go.
 */
import type { Fields } from "../../../k8s/index.ts";
import { decodeName } from "./decode-layer7.ts";
import { decodeIcmps, decodePortRules } from "./decode-ports.ts";
import { decodeCiliumCidr, decodeCiliumSelector, decodeExceptions } from "./decode-selector.ts";
import {
  type BeyondField,
  type CiliumPeer,
  type CiliumRuleSpec,
  type CiliumSection,
  ciliumEntities,
} from "./spec.ts";

type RawFields = Readonly<Record<string, unknown>>;
type Direction = CiliumSection["direction"];

const lists = ["ingress", "ingressDeny", "egress", "egressDeny"] as const;

export function decodeRule(
  fields: Fields,
  value: unknown,
  path: string,
  isClusterWide: boolean,
): CiliumRuleSpec {
  const raw = fields.object(value, path) ?? {};
  const own = [
    "endpointSelector",
    "nodeSelector",
    ...lists,
    "enableDefaultDeny",
    "labels",
    "description",
    "log",
  ];
  fields.known(raw, path, own);
  const endpointSelector = decodeCiliumSelector(fields, raw["endpointSelector"], `${path}.endpointSelector`);
  const nodeSelector = decodeCiliumSelector(fields, raw["nodeSelector"], `${path}.nodeSelector`);
  if (endpointSelector === undefined && nodeSelector === undefined)
    fields.required(path, "rule must have one of EndpointSelector or NodeSelector");
  if (endpointSelector !== undefined && nodeSelector !== undefined)
    fields.invalid(path, {}, "rule cannot have both EndpointSelector and NodeSelector");
  if (nodeSelector !== undefined && !isClusterWide)
    fields.forbidden(
      `${path}.nodeSelector`,
      "NodeSelector can only be used in CiliumClusterwideNetworkPolicy",
    );
  fields.text(raw["description"], `${path}.description`);
  const log = fields.object(raw["log"], `${path}.log`);
  if (log !== undefined) fields.known(log, `${path}.log`, ["value"]);
  fields.list(raw["labels"], `${path}.labels`).forEach((item, i) => {
    const label = fields.object(item, `${path}.labels[${i}]`);
    if (label !== undefined) fields.known(label, `${path}.labels[${i}]`, ["key", "value", "source"]);
  });
  const beyond: BeyondField[] = [];
  const sections = lists.flatMap((name) =>
    fields
      .list(raw[name], `${path}.${name}`)
      .map((item, i) => decodeSection(fields, item, `${path}.${name}[${i}]`, name, beyond)),
  );
  if (lists.every((name) => raw[name] === undefined || raw[name] === null))
    fields.required(path, "rule must have at least one of Ingress, IngressDeny, Egress, EgressDeny");
  return {
    path,
    endpointSelector,
    nodeSelector,
    sections,
    defaultDeny: decodeDefaultDeny(fields, raw["enableDefaultDeny"], `${path}.enableDefaultDeny`),
    beyond,
  };
}

function decodeDefaultDeny(fields: Fields, value: unknown, path: string): CiliumRuleSpec["defaultDeny"] {
  const raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["ingress", "egress"]);
  const one = (direction: Direction): boolean | undefined => {
    const given = raw[direction];
    return given === undefined || given === null ? undefined : fields.boolean(given, `${path}.${direction}`);
  };
  return { ingress: one("ingress"), egress: one("egress") };
}

/** Fields of one side that AKS's settings leave without a meaning here, and what they would need. */
const beyondPeers: Readonly<Record<string, "node-labels" | "cloud-groups" | "requirements" | "fqdn">> = {
  Nodes: "node-labels",
  Groups: "cloud-groups",
  Requires: "requirements",
  FQDNs: "fqdn",
};

function decodeSection(
  fields: Fields,
  value: unknown,
  path: string,
  list: (typeof lists)[number],
  beyond: BeyondField[],
): CiliumSection {
  const raw = fields.object(value, path) ?? {};
  const direction: Direction = list.startsWith("ingress") ? "ingress" : "egress";
  const deny = list.endsWith("Deny");
  const side = direction === "ingress" ? "from" : "to";
  const peerFields = ["Endpoints", "CIDR", "CIDRSet", "Entities", ...(side === "to" ? ["Services"] : [])];
  const beyondNames = Object.keys(beyondPeers).filter((name) => name !== "FQDNs" || (side === "to" && !deny));
  const own = [...peerFields, ...beyondNames].map((name) => `${side}${name}`);
  fields.known(raw, path, [...own, "toPorts", "icmps", ...(deny ? [] : ["authentication"])]);
  for (const name of beyondNames) {
    const at = `${path}.${side}${name}`;
    const items = fields.list(raw[`${side}${name}`], at);
    for (const [i, item] of items.entries()) decodeBeyond(fields, item, `${at}[${i}]`, name);
    const need = beyondPeers[name];
    if (items.length > 0 && need !== undefined) beyond.push({ path: at, need });
  }
  const needsAuthentication = decodeAuthentication(fields, raw["authentication"], `${path}.authentication`);
  if (needsAuthentication) beyond.push({ path: `${path}.authentication`, need: "authentication" });
  checkOneKindOfPeer(fields, raw, path, own);
  const ports = decodePortRules(fields, raw["toPorts"], `${path}.toPorts`, { direction, deny }, beyond);
  const icmps = decodeIcmps(fields, raw["icmps"], `${path}.icmps`);
  const isNamed = (name: string): boolean => fields.list(raw[name], `${path}.${name}`).length > 0;
  if (isNamed("toPorts") && isNamed("icmps"))
    fields.forbidden(
      `${path}.icmps`,
      "The ICMPs block may only be present without ToPorts. Define a separate rule to use ToPorts.",
    );
  return {
    path,
    direction,
    deny,
    peers: decodePeers(fields, raw, path, side, own),
    needsAuthentication,
    ports: isNamed("toPorts") || isNamed("icmps") ? [...ports, ...icmps] : undefined,
  };
}

/** What is not taken is well-formed all the same. */
function decodeBeyond(fields: Fields, value: unknown, path: string, name: string): void {
  if (name === "FQDNs") decodeName(fields, fields.object(value, path) ?? {}, path);
  else if (name !== "Groups") decodeCiliumSelector(fields, value, path);
  else {
    const group = fields.object(value, path) ?? {};
    fields.known(group, path, ["aws"]);
    const aws = fields.object(group["aws"], `${path}.aws`) ?? {};
    fields.known(aws, `${path}.aws`, ["labels", "securityGroupsIds", "securityGroupsNames", "region"]);
  }
}

/** True where a peer must have shown who it is before a packet passes. */
function decodeAuthentication(fields: Fields, value: unknown, path: string): boolean {
  const raw = fields.object(value, path);
  if (raw === undefined) return false;
  fields.known(raw, path, ["mode"]);
  const modes = ["disabled", "required", "test-always-fail"] as const;
  const mode = fields.oneOfExactly(raw["mode"], `${path}.mode`, modes);
  return mode !== undefined && mode !== "disabled";
}

function checkOneKindOfPeer(fields: Fields, raw: RawFields, path: string, own: readonly string[]): void {
  const [first, second] = own.filter(
    (name) => !name.endsWith("Requires") && Array.isArray(raw[name]) && raw[name].length > 0,
  );
  if (first !== undefined && second !== undefined)
    fields.forbidden(`${path}.${second}`, `combining ${first} and ${second} is not supported yet`);
}

/** `undefined` where no list is there at all. */
function decodePeers(
  fields: Fields,
  raw: RawFields,
  path: string,
  side: "from" | "to",
  own: readonly string[],
): readonly CiliumPeer[] | undefined {
  if (own.every((name) => raw[name] === undefined || raw[name] === null)) return undefined;
  const each = <T>(name: string, decode: (item: unknown, at: string) => T): readonly T[] => {
    const at = `${path}.${side}${name}`;
    return fields.list(raw[`${side}${name}`], at).map((item, i) => decode(item, `${at}[${i}]`));
  };
  return [
    ...each("Endpoints", (item, at): CiliumPeer => {
      const selector = decodeCiliumSelector(fields, item, at) ?? { matchLabels: {}, matchExpressions: [] };
      return { kind: "endpoints", path: at, selector };
    }),
    ...each("CIDR", (item, at): readonly CiliumPeer[] => {
      const cidr = decodeCiliumCidr(fields, item, at);
      return cidr === undefined ? [] : [{ kind: "cidr", path: at, cidr }];
    }).flat(),
    ...each("CIDRSet", (item, at) => decodeCidrSet(fields, item, at)).flat(),
    ...each("Entities", (item, at): readonly CiliumPeer[] => {
      const entity = fields.oneOfExactly(item, at, ciliumEntities);
      return entity === undefined ? [] : [{ kind: "entity", path: at, entity }];
    }).flat(),
    ...(side === "to" ? each("Services", (item, at) => decodeServicePeer(fields, item, at)).flat() : []),
  ];
}

function decodeCidrSet(fields: Fields, value: unknown, path: string): readonly CiliumPeer[] {
  const raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["cidr", "cidrGroupRef", "cidrGroupSelector", "except"]);
  const [first, second] = ["cidr", "cidrGroupRef", "cidrGroupSelector"].filter(
    (name) => raw[name] !== undefined && raw[name] !== null,
  );
  if (first === undefined)
    fields.required(path, "one of cidr, cidrGroupRef or cidrGroupSelector is required");
  if (second !== undefined)
    fields.forbidden(`${path}.${second}`, `may not be specified together with ${first}`);
  if (first === "cidrGroupRef") {
    const name = fields.text(raw["cidrGroupRef"], `${path}.cidrGroupRef`) ?? "";
    const except = decodeExceptions(fields, raw["except"], `${path}.except`, undefined);
    return [{ kind: "cidr-group", path, name, except }];
  }
  if (first === "cidrGroupSelector") {
    const selector = decodeCiliumSelector(fields, raw["cidrGroupSelector"], `${path}.cidrGroupSelector`);
    const except = decodeExceptions(fields, raw["except"], `${path}.except`, undefined);
    return selector === undefined ? [] : [{ kind: "cidr-group-selector", path, selector, except }];
  }
  if (first === undefined) return [];
  const cidr = decodeCiliumCidr(fields, raw["cidr"], `${path}.cidr`);
  const except = decodeExceptions(fields, raw["except"], `${path}.except`, cidr);
  return cidr === undefined ? [] : [{ kind: "cidr-set", path, cidr, except }];
}

function decodeServicePeer(fields: Fields, value: unknown, path: string): readonly CiliumPeer[] {
  const raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["k8sService", "k8sServiceSelector"]);
  const byName = fields.object(raw["k8sService"], `${path}.k8sService`);
  const bySelector = fields.object(raw["k8sServiceSelector"], `${path}.k8sServiceSelector`);
  if (byName === undefined && bySelector === undefined)
    fields.required(path, "one of k8sService or k8sServiceSelector is required");
  const peers: CiliumPeer[] = [];
  if (byName !== undefined) {
    const at = `${path}.k8sService`;
    fields.known(byName, at, ["serviceName", "namespace"]);
    const name = fields.text(byName["serviceName"], `${at}.serviceName`) ?? "";
    if (name === "") fields.required(`${at}.serviceName`);
    const namespace = fields.text(byName["namespace"], `${at}.namespace`);
    peers.push({ kind: "service", path: at, namespace, name });
  }
  if (bySelector !== undefined) {
    const at = `${path}.k8sServiceSelector`;
    fields.known(bySelector, at, ["selector", "namespace"]);
    const selector = decodeCiliumSelector(fields, bySelector["selector"], `${at}.selector`);
    if (selector === undefined) fields.required(`${at}.selector`);
    const namespace = fields.text(bySelector["namespace"], `${at}.namespace`);
    if (selector !== undefined) peers.push({ kind: "service-selector", path: at, namespace, selector });
  }
  return peers;
}
