/**
 * networking.k8s.io/v1 NetworkPolicy: decoding, defaulting and the API server's validation, all problems at once.
 * Governing source: kubernetes pkg/apis/networking/{v1/defaults.go, validation/validation.go}. The lax reading of
 * CIDRs is used (host bits are cleared), as API servers without StrictIPCIDRValidation do.
 */
import { type Cidr, cidrContains } from "../addr/index.ts";
import { cidrFault, parseCidrLoosely } from "./addresses.ts";
import type { Fields, Raw } from "./fields.ts";
import { labelKeyFaults, labelValueFaults, portNameFaults, portNumberFaults } from "./names.ts";
import type {
  IpBlock,
  LabelSelector,
  LabelSelectorRequirement,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicyRule,
  Protocol,
} from "./types.ts";

const protocols: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const policyTypes = ["Ingress", "Egress"] as const;
const operators = ["In", "NotIn", "Exists", "DoesNotExist"] as const;

type PolicySpec = Pick<NetworkPolicy, "podSelector" | "policyTypes" | "ingress" | "egress">;

export function decodePolicySpec(fields: Fields, value: unknown): PolicySpec {
  const spec = fields.object(value, "spec") ?? {};
  fields.known(spec, "spec", ["podSelector", "ingress", "egress", "policyTypes"]);
  const podSelector = decodeSelector(fields, spec["podSelector"], "spec.podSelector") ?? everything;
  const ingress = decodeRules(fields, spec["ingress"], "spec.ingress", "from");
  const egress = decodeRules(fields, spec["egress"], "spec.egress", "to");
  return {
    podSelector,
    policyTypes: decodeTypes(fields, spec["policyTypes"], egress.length > 0),
    ingress,
    egress,
  };
}

export const everything: LabelSelector = Object.freeze({
  matchLabels: Object.freeze({}),
  matchExpressions: Object.freeze([]),
});

function decodeTypes(fields: Fields, value: unknown, hasEgress: boolean): NetworkPolicy["policyTypes"] {
  const path = "spec.policyTypes";
  const list = fields.list(value, path);
  if (list.length === 0) return hasEgress ? ["Ingress", "Egress"] : ["Ingress"];
  if (list.length > 2) {
    fields.invalid(path, list, "may not specify more than two policyTypes");
    return [];
  }
  const given = list.map((type, i) => fields.oneOfExactly(type, `${path}[${i}]`, policyTypes));
  return policyTypes.filter((type) => given.includes(type));
}

function decodeRules(
  fields: Fields,
  value: unknown,
  path: string,
  peersField: "from" | "to",
): readonly NetworkPolicyRule[] {
  return fields.list(value, path).map((item, i) => {
    const rulePath = `${path}[${i}]`;
    const rule = fields.object(item, rulePath) ?? {};
    fields.known(rule, rulePath, [peersField, "ports"]);
    const ports = fields
      .list(rule["ports"], `${rulePath}.ports`)
      .map((port, j) => decodePort(fields, port, `${rulePath}.ports[${j}]`));
    const peers = fields
      .list(rule[peersField], `${rulePath}.${peersField}`)
      .map((peer, j) => decodePeer(fields, peer, `${rulePath}.${peersField}[${j}]`));
    return { peers, ports };
  });
}

function decodePort(fields: Fields, value: unknown, path: string): NetworkPolicyPort {
  const raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["protocol", "port", "endPort"]);
  const isGiven = raw["protocol"] !== undefined && raw["protocol"] !== null;
  const protocol = isGiven ? fields.oneOfExactly(raw["protocol"], `${path}.protocol`, protocols) : undefined;
  const port = decodePortValue(fields, raw["port"], `${path}.port`);
  const endPort = fields.integer(raw["endPort"], `${path}.endPort`);
  if (endPort !== undefined) checkEndPort(fields, port, endPort, `${path}.endPort`);
  return { protocol: protocol ?? "TCP", port, endPort };
}

function checkEndPort(
  fields: Fields,
  port: number | string | undefined,
  endPort: number,
  path: string,
): void {
  if (port === undefined) {
    fields.invalid(path, endPort, "may not be specified when `port` is not specified");
  } else if (typeof port === "string") {
    fields.invalid(path, endPort, "may not be specified when `port` is non-numeric");
  } else {
    if (endPort < port) fields.invalid(path, endPort, "must be greater than or equal to `port`");
    fields.check(path, endPort, portNumberFaults(endPort));
  }
}

/** An IntOrString port. */
export function decodePortValue(fields: Fields, value: unknown, path: string): number | string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number") fields.check(path, value, portNumberFaults(value));
  else if (typeof value === "string") fields.check(path, value, portNameFaults(value));
  else {
    fields.invalid(path, value, "must be a port number or a port name");
    return undefined;
  }
  return value;
}

function decodePeer(fields: Fields, value: unknown, path: string): NetworkPolicyPeer {
  const raw: Raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["podSelector", "namespaceSelector", "ipBlock"]);
  const podSelector = decodeSelector(fields, raw["podSelector"], `${path}.podSelector`);
  const namespaceSelector = decodeSelector(fields, raw["namespaceSelector"], `${path}.namespaceSelector`);
  const block = fields.object(raw["ipBlock"], `${path}.ipBlock`);
  const ipBlock = block === undefined ? undefined : decodeIpBlock(fields, block, `${path}.ipBlock`);
  if (podSelector === undefined && namespaceSelector === undefined && block === undefined)
    fields.required(path, "must specify a peer");
  if (block !== undefined && (podSelector !== undefined || namespaceSelector !== undefined))
    fields.forbidden(path, "may not specify both ipBlock and another peer");
  return { podSelector, namespaceSelector, ipBlock };
}

const nowhere: Cidr = { family: 4, words: [0], prefix: 32 };

/** Exceptions are looked at only where the block itself can be read, as in the API server. */
function decodeIpBlock(fields: Fields, raw: Raw, path: string): IpBlock {
  fields.known(raw, path, ["cidr", "except"]);
  const text = fields.text(raw["cidr"], `${path}.cidr`) ?? "";
  const texts = fields.texts(raw["except"], `${path}.except`);
  const cidr = parseCidrLoosely(text);
  if (cidr === undefined) {
    if (text === "") fields.required(`${path}.cidr`);
    else fields.invalid(`${path}.cidr`, text, cidrFault);
    return { cidr: nowhere, cidrText: text, except: [] };
  }
  const except: Cidr[] = [];
  texts.forEach((item, i) => {
    const inner = parseCidrLoosely(item);
    const at = `${path}.except[${i}]`;
    if (inner === undefined) fields.invalid(at, item, cidrFault);
    else if (!cidrContains(cidr, inner) || inner.prefix <= cidr.prefix)
      fields.invalid(at, item, "must be a strict subset of `cidr`");
    else except.push(inner);
  });
  return { cidr, cidrText: text, except };
}

/** Absent (or null) gives `undefined`, which is not the same as the empty selector. */
export function decodeSelector(fields: Fields, value: unknown, path: string): LabelSelector | undefined {
  const raw = fields.object(value, path);
  if (raw === undefined) return undefined;
  fields.known(raw, path, ["matchLabels", "matchExpressions"]);
  const matchLabels = fields.labels(raw["matchLabels"], `${path}.matchLabels`);
  const matchExpressions = fields
    .list(raw["matchExpressions"], `${path}.matchExpressions`)
    .map((item, i) => decodeRequirement(fields, item, `${path}.matchExpressions[${i}]`));
  return { matchLabels, matchExpressions };
}

function decodeRequirement(fields: Fields, value: unknown, path: string): LabelSelectorRequirement {
  const raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["key", "operator", "values"]);
  const key = fields.text(raw["key"], `${path}.key`) ?? "";
  const values = fields.texts(raw["values"], `${path}.values`);
  const operator = operators.find((name) => name === raw["operator"]);
  switch (operator) {
    case "In":
    case "NotIn":
      if (values.length === 0)
        fields.required(`${path}.values`, "must be specified when `operator` is 'In' or 'NotIn'");
      break;
    case "Exists":
    case "DoesNotExist":
      if (values.length > 0)
        fields.forbidden(
          `${path}.values`,
          "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        );
      break;
    case undefined:
      fields.invalid(`${path}.operator`, raw["operator"] ?? "", "not a valid selector operator");
  }
  fields.check(`${path}.key`, key, labelKeyFaults(key));
  values.forEach((item, i) => {
    fields.check(`${path}.values[${i}]`, item, labelValueFaults(item));
  });
  return { key, operator: operator ?? "Exists", values };
}
