/**
 * Decoding of Namespaces and Nodes (core/v1), and of addresses as objects hold them. Fields that podwire has no use
 * for are not looked at.
 */
import type { Cidr, Ip } from "../addr/index.ts";
import type { SourceRef } from "../base/index.ts";
import { cidrFault, ipFault, parseCidrLoosely, parseIpLoosely } from "./addresses.ts";
import type { Fields, Raw } from "./fields.ts";
import { decodeMeta } from "./meta.ts";
import { dnsLabelFaults, dnsSubdomainFaults } from "./names.ts";
import type { Namespace, Node } from "./types.ts";

/** A node as given: addresses and pod ranges may be missing. */
export type NodeInput = Node;

export function decodeNamespace(fields: Fields, raw: Raw, source: SourceRef | undefined): Namespace {
  const { name, labels, annotations } = decodeMeta(fields, raw, source, dnsLabelFaults, "cluster");
  return {
    kind: "Namespace",
    name,
    labels: { ...labels, "kubernetes.io/metadata.name": name },
    annotations,
    source,
  };
}

export function decodeNode(fields: Fields, raw: Raw, source: SourceRef | undefined): NodeInput {
  const { name, labels, annotations } = decodeMeta(fields, raw, source, dnsSubdomainFaults, "cluster");
  const spec = fields.object(raw["spec"], "spec") ?? {};
  const status = fields.object(raw["status"], "status") ?? {};
  const addresses: Ip[] = [];
  fields.list(status["addresses"], "status.addresses").forEach((item, i) => {
    const path = `status.addresses[${i}]`;
    const address = fields.object(item, path) ?? {};
    if (address["type"] !== "InternalIP") return;
    const ip = decodeIp(fields, address["address"], `${path}.address`);
    if (ip !== undefined) addresses.push(ip);
  });
  const ranges = fields.texts(spec["podCIDRs"], "spec.podCIDRs");
  const one = fields.text(spec["podCIDR"], "spec.podCIDR");
  const podCidrs =
    ranges.length > 0
      ? ranges.map((text, i) => decodeCidr(fields, text, `spec.podCIDRs[${i}]`))
      : [one ? decodeCidr(fields, one, "spec.podCIDR") : undefined];
  const windows = labels["kubernetes.io/os"] === "windows";
  return {
    kind: "Node",
    name,
    labels,
    annotations,
    source,
    os: windows ? "windows" : "linux",
    osSku: labels["kubernetes.azure.com/os-sku"] ?? (windows ? "Windows2022" : "Ubuntu"),
    pool: labels["kubernetes.azure.com/agentpool"] ?? labels["agentpool"] ?? "",
    addresses,
    podCidrs: podCidrs.filter((cidr) => cidr !== undefined),
    unschedulable: fields.boolean(spec["unschedulable"], "spec.unschedulable"),
  };
}

/** `status.podIPs` and the like, or where it is empty the single form. */
export function decodeIps(fields: Fields, status: Raw, many: string, one: string): readonly Ip[] {
  const list = fields.list(status[many], `status.${many}`);
  if (list.length > 0)
    return list
      .map((item, i) =>
        decodeIp(fields, fields.object(item, `status.${many}[${i}]`)?.["ip"], `status.${many}[${i}].ip`),
      )
      .filter((ip) => ip !== undefined);
  const ip = decodeIp(fields, status[one], `status.${one}`);
  return ip === undefined ? [] : [ip];
}

/** Absent, null and empty text give `undefined`. */
export function decodeIp(fields: Fields, value: unknown, path: string): Ip | undefined {
  const text = fields.text(value, path);
  if (text === undefined || text === "") return undefined;
  const ip = parseIpLoosely(text);
  if (ip === undefined) fields.invalid(path, text, ipFault);
  return ip;
}

/** A list of address texts. */
export function decodeIpList(fields: Fields, texts: readonly unknown[], path: string): readonly Ip[] {
  return texts.map((text, i) => decodeIp(fields, text, `${path}[${i}]`)).filter((ip) => ip !== undefined);
}

export function decodeCidr(fields: Fields, text: string, path: string, at: string = path): Cidr | undefined {
  const cidr = parseCidrLoosely(text);
  if (cidr === undefined) fields.invalid(path, text, cidrFault, at);
  return cidr;
}
