/**
 * Keys and values of the datapath's maps, field by field, as Cilium's structures have them (bpf/lib/common.h,
 * bpf/lib/conntrack.h, bpf/lib/lb.h, bpf/lib/nat.h, bpf/lib/policy.h): sizes and offsets are theirs, padding is named
 * only where it would be asked for. What programs and encoders know of a field they take from here.
 */
import type { FieldLayout, MapLayout } from "../../filter/bpf/index.ts";

type Format = FieldLayout["format"];
export type Family = 4 | 6;

const field = (name: string, offset: number, size: number, format: Format = "dec"): FieldLayout => ({
  name,
  offset,
  size,
  format,
});
const address = (name: string, offset: number, family: Family): FieldLayout =>
  field(name, offset, family === 4 ? 4 : 16, family === 4 ? "ip4" : "ip6");
const named = (one: FieldLayout, names: Readonly<Record<number, string>>): FieldLayout => ({ ...one, names });

const protocolNames = { 0: "ANY", 1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP" };
const protocol = (name: string, offset: number): FieldLayout =>
  named(field(name, offset, 1, "enum"), protocolNames);

/** What a node's programs know of it: one element of an array. */
export const configLayout: MapLayout = {
  key: [field("index", 0, 4)],
  value: [
    field("uplinkIfindex", 0, 4),
    field("world4", 4, 4),
    field("world6", 8, 4),
    address("node4", 12, 4),
    address("loopback4", 16, 4),
    address("node6", 20, 6),
    address("loopback6", 36, 6),
    field("hostEndpoint", 52, 2),
  ],
};
export const configBytes = 56;

const endpointFamily = named(field("family", 16, 1, "enum"), { 1: "IPv4", 2: "IPv6" });

/** `struct endpoint_key` and `struct endpoint_info`. */
export const lxcLayout: MapLayout = {
  key: [field("ip", 0, 16, "ip"), endpointFamily, field("cluster", 18, 2)],
  value: [
    field("ifindex", 0, 4),
    field("endpoint", 6, 2),
    named(field("flags", 8, 4, "flags"), { 1: "host" }),
    field("identity", 32, 4),
  ],
};
export const lxcKeyBytes = 20;
export const lxcValueBytes = 48;

/** `struct ipcache_key` and `struct remote_endpoint_info`. */
export const ipcacheLayout: MapLayout = {
  key: [
    field("prefixLength", 0, 4),
    field("cluster", 4, 2),
    named(field("family", 7, 1, "enum"), { 1: "IPv4", 2: "IPv6" }),
    field("ip", 8, 16, "ip"),
  ],
  value: [
    field("identity", 0, 4),
    address("tunnelEndpoint", 4, 4),
    field("key", 10, 1),
    field("flags", 11, 1, "hex"),
  ],
};
export const ipcacheKeyBytes = 24;
export const ipcacheValueBytes = 12;

/** `struct policy_key`. */
export const policyKeyOffsets = { prefix: 0, identity: 4, direction: 8, protocol: 9, port: 10 } as const;
const policyKey: readonly FieldLayout[] = [
  field("prefixLength", policyKeyOffsets.prefix, 4),
  field("identity", policyKeyOffsets.identity, 4),
  named(field("direction", policyKeyOffsets.direction, 1, "enum"), { 0: "ingress", 1: "egress" }),
  protocol("protocol", policyKeyOffsets.protocol),
  field("port", policyKeyOffsets.port, 2, "be"),
];
export const policyKeyBytes = 12;

/** Which policy map an endpoint has. */
export const policiesLayout: MapLayout = { key: [field("endpoint", 0, 4)], value: [] };

/** `struct policy_entry` up to 1.16, in 1.17 and 1.18, and from 1.19 on. */
export const policyLayouts: Readonly<Record<"G1" | "G2" | "G3", MapLayout>> = {
  G1: {
    key: policyKey,
    value: [
      field("proxyPort", 0, 2, "be"),
      named(field("flags", 2, 1, "flags"), { 1: "deny", 2: "any-protocol", 4: "any-port" }),
      field("authType", 3, 1),
      field("packets", 8, 8),
      field("bytes", 16, 8),
    ],
  },
  G2: {
    key: policyKey,
    value: [
      field("proxyPort", 0, 2, "be"),
      named(field("flags", 2, 1, "flags"), { 1: "deny" }),
      field("authType", 3, 1),
      field("proxyPriority", 4, 1),
      field("cookie", 8, 4),
    ],
  },
  G3: {
    key: policyKey,
    value: [
      field("proxyPort", 0, 2, "be"),
      named(field("flags", 2, 1, "flags"), { 1: "deny" }),
      field("authType", 3, 1),
      field("precedence", 4, 4, "hex"),
      field("cookie", 8, 4),
    ],
  },
};
export const policyValueBytes: Readonly<Record<"G1" | "G2" | "G3", number>> = { G1: 24, G2: 12, G3: 12 };

/** Where the fields of a connection's key begin: addresses first, so that they move with the family. */
export interface TupleOffsets {
  readonly daddr: number;
  readonly saddr: number;
  readonly dport: number;
  readonly sport: number;
  readonly protocol: number;
  readonly flags: number;
  readonly bytes: number;
}

export const tupleOffsets: Readonly<Record<Family, TupleOffsets>> = {
  4: { daddr: 0, saddr: 4, dport: 8, sport: 10, protocol: 12, flags: 13, bytes: 14 },
  6: { daddr: 0, saddr: 16, dport: 32, sport: 34, protocol: 36, flags: 37, bytes: 38 },
};

/** Bits of a tuple's flags. An entry of an outgoing connection has none of the first. */
export const TupleFlag = { out: 0, in: 1, related: 2, service: 4 } as const;

const tuple = (family: Family): readonly FieldLayout[] => {
  const at = tupleOffsets[family];
  return [
    address("daddr", at.daddr, family),
    address("saddr", at.saddr, family),
    field("dport", at.dport, 2, "be"),
    field("sport", at.sport, 2, "be"),
    protocol("protocol", at.protocol),
    named(field("flags", at.flags, 1, "flags"), { 1: "in", 2: "related", 4: "service" }),
  ];
};

/** `struct ct_entry`. */
export const connectionFields = {
  backend: 8,
  packets: 16,
  bytes: 24,
  lifetime: 32,
  flags: 36,
  revNat: 38,
  txFlagsSeen: 42,
  rxFlagsSeen: 43,
  sourceIdentity: 44,
  lastTxReport: 48,
  lastRxReport: 52,
} as const;
export const connectionBytes = 56;

export const ConnectionFlag = {
  rxClosing: 1,
  txClosing: 2,
  loopback: 8,
  seenNonSyn: 16,
  nodePort: 32,
  proxyRedirect: 64,
} as const;

export const connectionLayout = (family: Family): MapLayout => ({
  key: tuple(family),
  value: [
    field("backend", connectionFields.backend, 8),
    field("packets", connectionFields.packets, 8),
    field("bytes", connectionFields.bytes, 8),
    field("lifetime", connectionFields.lifetime, 4),
    named(field("flags", connectionFields.flags, 2, "flags"), {
      1: "rx-closing",
      2: "tx-closing",
      8: "loopback",
      16: "seen-non-syn",
      32: "node-port",
      64: "proxy-redirect",
    }),
    field("revNat", connectionFields.revNat, 2, "be"),
    field("txFlagsSeen", connectionFields.txFlagsSeen, 1, "hex"),
    field("rxFlagsSeen", connectionFields.rxFlagsSeen, 1, "hex"),
    field("sourceIdentity", connectionFields.sourceIdentity, 4),
    field("lastTxReport", connectionFields.lastTxReport, 4),
    field("lastRxReport", connectionFields.lastRxReport, 4),
  ],
});

export interface ServiceKeyOffsets {
  readonly address: 0;
  readonly port: number;
  readonly slot: number;
  readonly protocol: number;
  readonly scope: number;
  readonly bytes: number;
}

/** `struct lb4_key` and `struct lb6_key`: where the fields behind the address begin. */
export const serviceKeyOffsets = (family: Family): ServiceKeyOffsets => {
  const after = family === 4 ? 4 : 16;
  return {
    address: 0,
    port: after,
    slot: after + 2,
    protocol: after + 4,
    scope: after + 5,
    bytes: after + 8,
  };
};

/** `struct lb4_service`: the same for both families. */
export const serviceFields = { backend: 0, count: 4, revNat: 6, flags: 8, flags2: 9, bytes: 12 } as const;
export const ServiceFlag = {
  externalIp: 1,
  nodePort: 2,
  externalLocal: 4,
  affinity: 16,
  loadBalancer: 32,
  routable: 64,
  sourceRange: 128,
} as const;
export const ServiceFlag2 = { internalLocal: 16, twoScopes: 32 } as const;
export const ServiceScope = { external: 0, internal: 1 } as const;

export const serviceLayout = (family: Family): MapLayout => {
  const at = serviceKeyOffsets(family);
  return {
    key: [
      address("address", at.address, family),
      field("port", at.port, 2, "be"),
      field("slot", at.slot, 2),
      protocol("protocol", at.protocol),
      named(field("scope", at.scope, 1, "enum"), { 0: "external", 1: "internal" }),
    ],
    value: [
      field("backend", serviceFields.backend, 4),
      field("count", serviceFields.count, 2),
      field("revNat", serviceFields.revNat, 2, "be"),
      named(field("flags", serviceFields.flags, 1, "flags"), {
        1: "external-ip",
        2: "node-port",
        4: "external-local",
        16: "affinity",
        32: "load-balancer",
        64: "routable",
        128: "source-range",
      }),
      named(field("flags2", serviceFields.flags2, 1, "flags"), { 16: "internal-local", 32: "two-scopes" }),
    ],
  };
};

export interface BackendFields {
  readonly address: 0;
  readonly port: number;
  readonly protocol: number;
  readonly bytes: number;
}

/** `struct lb4_backend` and `struct lb6_backend`. */
export const backendFields = (family: Family): BackendFields => {
  const after = family === 4 ? 4 : 16;
  return { address: 0, port: after, protocol: after + 2, bytes: after + 8 };
};

export const backendLayout = (family: Family): MapLayout => {
  const at = backendFields(family);
  return {
    key: [field("backend", 0, 4)],
    value: [
      address("address", at.address, family),
      field("port", at.port, 2, "be"),
      protocol("protocol", at.protocol),
    ],
  };
};

/** `struct lb4_reverse_nat` and `struct lb6_reverse_nat`. */
export const revNatBytes = (family: Family): number => (family === 4 ? 6 : 18);
export const revNatLayout = (family: Family): MapLayout => ({
  key: [field("revNat", 0, 2, "be")],
  value: [address("address", 0, family), field("port", family === 4 ? 4 : 16, 2, "be")],
});

/** `struct lb4_affinity_key` and `struct lb_affinity_val`; clients are known by their address. */
export const affinityKeyBytes = (family: Family): number => (family === 4 ? 8 : 20);
export const affinityLayout = (family: Family): MapLayout => ({
  key: [address("client", 0, family), field("revNat", family === 4 ? 4 : 16, 2, "be")],
  value: [field("lastUsedS", 0, 8), field("backend", 8, 4)],
});
export const affinityValueBytes = 16;

/** `struct lb4_src_range_key` and `struct lb6_src_range_key`. */
export const sourceRangeKeyBytes = (family: Family): number => (family === 4 ? 12 : 24);
export const sourceRangeLayout = (family: Family): MapLayout => ({
  key: [field("prefixLength", 0, 4), field("revNat", 4, 2, "be"), address("source", 8, family)],
  value: [field("allowed", 0, 1)],
});

export interface FragmentKeyOffsets {
  readonly daddr: number;
  readonly saddr: number;
  readonly id: number;
  readonly protocol: number;
  readonly bytes: number;
}

/** `struct ipv4_frag_id` and `struct ipv4_frag_l4ports`; the IPv6 pair alike. */
export const fragmentKeyOffsets = (family: Family): FragmentKeyOffsets =>
  family === 4
    ? { daddr: 0, saddr: 4, id: 8, protocol: 10, bytes: 12 }
    : { daddr: 4, saddr: 20, id: 0, protocol: 36, bytes: 40 };
export const fragmentLayout = (family: Family): MapLayout => {
  const at = fragmentKeyOffsets(family);
  return {
    key: [
      address("daddr", at.daddr, family),
      address("saddr", at.saddr, family),
      field("id", at.id, family === 4 ? 2 : 4, "be"),
      protocol("protocol", at.protocol),
    ],
    value: [field("sport", 0, 2, "be"), field("dport", 2, 2, "be")],
  };
};

/** `struct ipv4_nat_entry` and `struct ipv6_nat_entry`, keyed by tuples. */
export const natFields = { created: 0, address: 16 } as const;
export const natPortOffset = (family: Family): number => natFields.address + (family === 4 ? 4 : 16);
export const natValueBytes = (family: Family): number => (family === 4 ? 24 : 40);
export const natLayout = (family: Family): MapLayout => ({
  key: tuple(family),
  value: [
    field("createdS", natFields.created, 8),
    address("address", natFields.address, family),
    field("port", natPortOffset(family), 2, "be"),
  ],
});
