/**
 * `toPorts` and `icmps` of a rule. Protocol ANY (the default) stands for TCP, UDP and SCTP; port 0 for every port.
 * Governing source: cilium/cilium pkg/policy/api/{l4,icmp,rule_validation}.go, Documentation/security/policy/layer4.rst.
 */
import { type Fields, portNameFaults } from "../../../k8s/index.ts";
import type { BeyondField, CiliumPort } from "./spec.ts";

/** Of ports in one `toPorts` element, and of fields in one `icmps` element. */
const elementsMax = 40;

const numbers = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPV6: 58, VRRP: 112, IGMP: 2 } as const;
const protocols = [...(Object.keys(numbers) as (keyof typeof numbers)[]), "ANY"] as const;

/** Priorities of listeners (pkg/policy/types): of two redirects the lower number wins. */
const listener = { http: 101, kafka: 106, l7proto: 111, tls: 116, dns: 121, crd: 126 } as const;

export function decodePortRules(
  fields: Fields,
  value: unknown,
  path: string,
  denies: boolean,
  beyond: BeyondField[],
): readonly CiliumPort[] {
  return fields.list(value, path).flatMap((item, i) => {
    const at = `${path}[${i}]`;
    const raw = fields.object(item, at) ?? {};
    fields.known(raw, at, denies ? ["ports"] : ["ports", ...Object.keys(layer7), "rules"]);
    const redirect = denies ? 0 : decodeLayer7(fields, raw, at, beyond);
    const ports = fields.list(raw["ports"], `${at}.ports`);
    if (ports.length > elementsMax)
      fields.invalid(`${at}.ports`, ports.length, `must have at most ${elementsMax} items`);
    return ports.map((port, j) => decodePort(fields, port, `${at}.ports[${j}]`, redirect));
  });
}

/** Fields of a `toPorts` element that a proxy would look at, with the listener that they need. */
const layer7: Readonly<Record<string, number>> = {
  terminatingTLS: listener.tls,
  originatingTLS: listener.tls,
  serverNames: listener.tls,
  listener: listener.crd,
};

function decodeLayer7(
  fields: Fields,
  raw: Readonly<Record<string, unknown>>,
  path: string,
  beyond: BeyondField[],
): number {
  let redirect = 0;
  const note = (at: string, priority: number): void => {
    beyond.push({ path: at, need: "l7" });
    redirect = redirect === 0 ? priority : Math.min(redirect, priority);
  };
  for (const [name, priority] of Object.entries(layer7))
    if (raw[name] !== undefined && raw[name] !== null) note(`${path}.${name}`, priority);
  const rules = fields.object(raw["rules"], `${path}.rules`) ?? {};
  fields.known(rules, `${path}.rules`, ["http", "kafka", "dns", "l7", "l7proto"]);
  const has = (name: string): boolean => rules[name] !== undefined && rules[name] !== null;
  const kinds = ["http", "kafka", "dns", "l7proto"].filter(has);
  if (kinds.length > 1) fields.invalid(`${path}.rules`, kinds, "may hold rules of one protocol only");
  if (has("l7") && !has("l7proto"))
    fields.required(`${path}.rules.l7proto`, "must be specified when `l7` is");
  for (const kind of kinds)
    note(`${path}.rules.${kind}`, listener[kind as "http" | "kafka" | "dns" | "l7proto"]);
  return redirect;
}

function decodePort(fields: Fields, value: unknown, path: string, redirect: number): CiliumPort {
  const raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["port", "endPort", "protocol"]);
  const text = fields.text(raw["port"], `${path}.port`) ?? "";
  const endPort = fields.integer(raw["endPort"], `${path}.endPort`);
  const given = raw["protocol"];
  const protocol =
    given === undefined || given === null
      ? "ANY"
      : (fields.oneOfExactly(given, `${path}.protocol`, protocols) ?? "ANY");
  let port: number | string | undefined;
  if (text === "") fields.required(`${path}.port`, "Port must be specified");
  else if (!/^[0-9]+$/.test(text)) {
    port = text.toLowerCase();
    fields.check(`${path}.port`, text, portNameFaults(port));
    if (endPort !== undefined && endPort > 0)
      fields.invalid(`${path}.endPort`, endPort, "may not be specified when `port` is non-numeric");
  } else if (Number(text) > 65_535) fields.invalid(`${path}.port`, text, "must be between 0 and 65535");
  else port = Number(text) === 0 && !endPort ? undefined : Number(text);
  if (endPort !== undefined && (endPort < 0 || endPort > 65_535))
    fields.invalid(`${path}.endPort`, endPort, "must be between 0 and 65535");
  else if (typeof port === "number" && endPort !== undefined && endPort > 0 && endPort < port)
    fields.invalid(`${path}.endPort`, endPort, "must be greater than or equal to `port`");
  const protocolNumbers = protocol === "ANY" ? [numbers.TCP, numbers.UDP, numbers.SCTP] : [numbers[protocol]];
  return { path, protocols: protocolNumbers, port, endPort: endPort || undefined, redirect };
}

/** Names that rules may use for types (pkg/policy/api/icmp.go; numbers: RFC 792, RFC 4443, IANA). */
const typeNames = {
  IPv4: {
    EchoReply: 0,
    DestinationUnreachable: 3,
    Redirect: 5,
    Echo: 8,
    EchoRequest: 8,
    RouterAdvertisement: 9,
    RouterSelection: 10,
    TimeExceeded: 11,
    ParameterProblem: 12,
    Timestamp: 13,
    TimestampReply: 14,
    Photuris: 40,
    ExtendedEchoRequest: 42,
    ExtendedEchoReply: 43,
  },
  IPv6: {
    DestinationUnreachable: 1,
    PacketTooBig: 2,
    TimeExceeded: 3,
    ParameterProblem: 4,
    EchoRequest: 128,
    EchoReply: 129,
    MulticastListenerQuery: 130,
    MulticastListenerReport: 131,
    MulticastListenerDone: 132,
    RouterSolicitation: 133,
    RouterAdvertisement: 134,
    NeighborSolicitation: 135,
    NeighborAdvertisement: 136,
    RedirectMessage: 137,
    RouterRenumbering: 138,
    ICMPNodeInformationQuery: 139,
    ICMPNodeInformationResponse: 140,
    InverseNeighborDiscoverySolicitation: 141,
    InverseNeighborDiscoveryAdvertisement: 142,
    HomeAgentAddressDiscoveryRequest: 144,
    HomeAgentAddressDiscoveryReply: 145,
    MobilePrefixSolicitation: 146,
    MobilePrefixAdvertisement: 147,
    DuplicateAddressRequestCodeSuffix: 157,
    DuplicateAddressConfirmationCodeSuffix: 158,
    ExtendedEchoRequest: 160,
    ExtendedEchoReply: 161,
  },
} as const;

export function decodeIcmps(fields: Fields, value: unknown, path: string): readonly CiliumPort[] {
  return fields.list(value, path).flatMap((item, i) => {
    const at = `${path}[${i}]`;
    const raw = fields.object(item, at) ?? {};
    fields.known(raw, at, ["fields"]);
    const list = fields.list(raw["fields"], `${at}.fields`);
    if (list.length > elementsMax)
      fields.invalid(`${at}.fields`, list.length, `must have at most ${elementsMax} items`);
    return list.map((field, j) => decodeIcmpField(fields, field, `${at}.fields[${j}]`));
  });
}

function decodeIcmpField(fields: Fields, value: unknown, path: string): CiliumPort {
  const raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["family", "type"]);
  const family = fields.oneOf(raw["family"], `${path}.family`, ["IPv4", "IPv6"], "IPv4");
  const type = decodeIcmpType(fields, raw["type"], `${path}.type`, family);
  return {
    path,
    protocols: [family === "IPv4" ? numbers.ICMP : numbers.ICMPV6],
    port: type,
    endPort: undefined,
    redirect: 0,
  };
}

function decodeIcmpType(fields: Fields, value: unknown, path: string, family: "IPv4" | "IPv6"): number {
  if (value === undefined || value === null) {
    fields.required(path);
    return 0;
  }
  const names: Readonly<Record<string, number>> = typeNames[family];
  const isNumber = typeof value === "number" || (typeof value === "string" && /^[0-9]+$/.test(value));
  const type = isNumber
    ? Number(value)
    : typeof value === "string" && Object.hasOwn(names, value)
      ? names[value]
      : undefined;
  if (type !== undefined && Number.isInteger(type) && type >= 0 && type <= 255) return type;
  fields.invalid(path, value, `must be a type of ICMP for ${family}: 0 to 255 or a name`);
  return 0;
}
