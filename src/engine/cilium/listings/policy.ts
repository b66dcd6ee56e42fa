/** Policy maps as `cilium bpf policy get` prints them: the table for people, and what `-o json` writes. */
import type { MapEntry } from "../../../filter/bpf/index.ts";
import { policyMapName } from "../maps.ts";
import type { MapGeneration } from "../variant.ts";
import type { ListingForms } from "./forms.ts";
import { type GoValue, goTable, type TableLine } from "./go-text.ts";
import { entryFields, keyFields, noCounter, type PolicyRecord, readRecord } from "./records.ts";

/** Folder of the maps that Cilium pins (bpf.TCGlobalsPath). */
const mapFolder = "/sys/fs/bpf/tc/globals";

export interface PolicyListing {
  readonly endpoint: number;
  readonly generation: MapGeneration;
  readonly entries: readonly MapEntry[];
}

/** Labels of an identity as they are printed, sorted; none of a number that nobody has. */
export type LabelsOf = (identity: number) => readonly string[];

interface Line {
  readonly key: PolicyRecord;
  readonly value: PolicyRecord;
}

/** Denies first, then by direction and identity (PolicyEntriesDump.Less); equal ones by protocol and port. */
function linesOf({ generation, entries }: PolicyListing): readonly Line[] {
  const lines = entries.map(({ key, value }): Line => {
    const fields = entryFields[generation];
    return { key: readRecord(key, keyFields), value: readRecord(value, fields) };
  });
  const order = ({ key, value }: Line): readonly number[] => [
    1 - (Number(value["Flags"]) & 1),
    Number(key["TrafficDirection"]),
    Number(key["Identity"]),
    Number(key["Nexthdr"]),
    swapped(Number(key["DestPortNetwork"])),
    Number(key["Prefixlen"]),
  ];
  const keyed = lines.map((line) => ({ line, order: order(line) }));
  keyed.sort((a, b) => {
    const at = a.order.findIndex((part, i) => part !== b.order[i]);
    return (a.order[at] ?? 0) - (b.order[at] ?? 0);
  });
  return keyed.map(({ line }) => line);
}

/** As `cilium bpf policy get --all -o json` has one of its maps. */
export function policyJson(listing: PolicyListing): GoValue {
  return {
    EndpointID: String(listing.endpoint),
    Path: pathOf(listing),
    Content: linesOf(listing).map(({ key, value }): GoValue => ({ ...value, Key: key })),
  };
}

/** As `cilium bpf policy get --all` prints one of its maps. */
export function policyText(listing: PolicyListing, forms: ListingForms, labelsOf: LabelsOf): string {
  const heading = `Endpoint ID: ${listing.endpoint}\nPath: ${pathOf(listing)}\n\n`;
  const empty = "Policy stats empty. Perhaps the policy enforcement is disabled?\n";
  const lines = tableOf(listing, forms, labelsOf);
  return `${heading}${goTable(lines, 5)}${lines.length === 1 ? empty : ""}\n\n`;
}

function pathOf(listing: PolicyListing): string {
  return `${mapFolder}/${policyMapName(listing, listing.endpoint)}`;
}

const titles = [
  "POLICY",
  "DIRECTION",
  "LABELS (source:key[=value])",
  "PORT/PROTO",
  "PROXY PORT",
  "AUTH TYPE",
  "BYTES",
  "PACKETS",
  "PREFIX",
];

function tableOf(listing: PolicyListing, forms: ListingForms, labelsOf: LabelsOf): readonly TableLine[] {
  const line = (cells: readonly string[], cookie: string): TableLine =>
    forms.hasCookie ? { cells, rest: cookie } : { cells };
  const rows = linesOf(listing).flatMap(({ key, value }): readonly TableLine[] => {
    const [first = String(key["Identity"]), ...others] = labelsOf(Number(key["Identity"])).map((label) =>
      label === "reserved:unknown" ? forms.anyIdentity : label,
    );
    const cells = [
      (Number(value["Flags"]) & 1) === 0 ? "Allow" : "Deny",
      Number(key["TrafficDirection"]) === 0 ? "Ingress" : "Egress",
      first,
      portText(key, forms),
      proxyText(Number(value["ProxyPortNetwork"])),
      authText(Number(value["AuthRequirement"] ?? value["AuthType"])),
      counterText(value["Bytes"]),
      counterText(value["Packets"]),
      String(Number(key["Prefixlen"]) - staticBits),
    ];
    const further = others.map((label) => ({ cells: ["", "", label, "", "", "", "", "", ""] }));
    return [line(cells, String(value["Cookie"] ?? "")), ...further];
  });
  return [line(titles, "COOKIE"), ...rows];
}

/** Bits of a key before the protocol. */
const staticBits = 40;
const protocolBits = 8;
const wholeBits = 64;

const protocolNames: Readonly<Record<number, string>> = {
  0: "ANY",
  1: "ICMP",
  6: "TCP",
  17: "UDP",
  58: "ICMPv6",
  112: "VRRP",
  132: "SCTP",
};

function portText(key: PolicyRecord, { isPortInHex }: ListingForms): string {
  const protocol = protocolNames[Number(key["Nexthdr"])] ?? String(key["Nexthdr"]);
  const length = Number(key["Prefixlen"]);
  const port = swapped(Number(key["DestPortNetwork"]));
  const portBits = length - staticBits - protocolBits;
  if (portBits <= 0) return protocol;
  if (length === wholeBits) return `${port}/${protocol}`;
  return isPortInHex
    ? `0x${port.toString(16)}/${portBits}/${protocol}`
    : `${port}-${port + (0xffff >> portBits)}/${protocol}`;
}

function proxyText(network: number): string {
  return network === 0 ? "NONE" : String(swapped(network));
}

/** Types of pkg/policy/types/auth.go; the highest bit says that a rule asks for it by name. */
function authText(requirement: number): string {
  const type = requirement & 0x7f;
  return ["disabled", "spire", "test-always-fail"][type] ?? `Unknown-auth-type-${type}`;
}

function counterText(counter: number | bigint | undefined): string {
  return counter === undefined || counter === noCounter ? "-" : String(counter);
}

function swapped(port: number): number {
  return ((port & 0xff) << 8) | (port >> 8);
}
