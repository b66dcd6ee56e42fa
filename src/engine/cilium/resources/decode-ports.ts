/**
 * `toPorts` and `icmps` of a rule. Protocol ANY (the default) stands for TCP, UDP and SCTP; port 0 for every port.
 * Governing source: cilium/cilium pkg/policy/api/{l4,icmp,rule_validation}.go, Documentation/security/policy/layer4.rst.
 */
import { type Fields, portNameFaults } from "../../../k8s/index.ts";
import { decodeLayer7, layer7 } from "./decode-layer7.ts";
import type { BeyondField, CiliumPort, CiliumSection } from "./spec.ts";

/** Of ports in one `toPorts` element, and of fields in one `icmps` element. */
const elementsMax = 40;

const numbers = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPV6: 58, VRRP: 112, IGMP: 2 } as const;
const protocols = [...(Object.keys(numbers) as (keyof typeof numbers)[]), "ANY"] as const;

export function decodePortRules(
  fields: Fields,
  value: unknown,
  path: string,
  { direction, deny }: Pick<CiliumSection, "direction" | "deny">,
  beyond: BeyondField[],
): readonly CiliumPort[] {
  return fields.list(value, path).flatMap((item, i) => {
    const at = `${path}[${i}]`;
    const raw = fields.object(item, at) ?? {};
    fields.known(raw, at, deny ? ["ports"] : ["ports", ...Object.keys(layer7), "rules"]);
    const redirect = deny ? 0 : decodeLayer7(fields, raw, at, direction === "ingress", beyond);
    const ports = fields.list(raw["ports"], `${at}.ports`);
    if (ports.length > elementsMax)
      fields.invalid(`${at}.ports`, ports.length, `must have at most ${elementsMax} items`);
    return ports.map((port, j) => decodePort(fields, port, `${at}.ports[${j}]`, redirect));
  });
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
