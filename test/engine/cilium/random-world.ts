/** Packets, policies and Services for a lone node: what a law about Cilium's programs is tried on. */
import fc from "fast-check";
import type { Ip } from "../../../src/addr/index.ts";
import { MapPlace } from "../../../src/engine/cilium/maps.ts";
import { serviceEntries } from "../../../src/engine/cilium/services.ts";
import type { MapEntry } from "../../../src/filter/bpf/index.ts";
import { Hook } from "../../../src/filter/index.ts";
import type { Node } from "../../../src/k8s/index.ts";
import { fragment, icmpEcho, icmpError, ipPacket, tcp, udp } from "../../../src/packet/index.ts";
import { ip, nodeAddress } from "../../filter/node.ts";
import { cluster, node, service, slice } from "../platform/cluster.ts";
import { emptyService6, podA, podB, type RawPolicy } from "./lone-node.ts";

/** Services with one backend each: which of several is drawn is chance. */
export function services(): Record<number, readonly MapEntry[]> {
  const state = cluster([
    node("n1", nodeAddress),
    node("n2", "192.0.2.2"),
    service("own", { clusterIP: "10.0.0.21", ports: [{ port: 80, targetPort: 80 }] }),
    slice("own", 80, [{ ip: podA, on: "n1" }]),
    service("here", { type: "NodePort", clusterIP: "10.0.0.22", ports: [{ port: 80, nodePort: 30_080 }] }),
    slice("here", 80, [{ ip: podB, on: "n1" }]),
    service("far", {
      type: "NodePort",
      clusterIP: "10.0.0.23",
      sessionAffinity: "ClientIP",
      ports: [{ port: 80, nodePort: 30_081 }],
    }),
    slice("far", 80, [{ ip: "10.0.1.7", on: "n2" }]),
    service("empty", { clusterIP: "10.0.0.24", ports: [{ port: 80 }] }),
  ]);
  const { shared, own } = serviceEntries(state);
  const mine = own(state.nodes.get("n1") as Node);
  const of4 = Object.values(MapPlace).map((place) => [
    place,
    [...(shared.get(place) ?? []), ...(mine.get(place) ?? [])],
  ]);
  return { ...Object.fromEntries(of4), [MapPlace.services6]: [emptyService6("fd00::99", 80)] };
}

const strangers4 = [
  nodeAddress,
  "192.0.2.2",
  "203.0.113.9",
  "198.51.100.3",
  "10.0.1.7",
  "169.254.42.1",
  podA,
  podB,
];
const targets4 = [...strangers4, "10.0.0.21", "10.0.0.22", "10.0.0.23", "10.0.0.24"];
const strangers6 = ["fd00::5", "fd00::6", "2001:db8::1", "2001:db8:9::9"];
const targets6 = [...strangers6, "fd00::99"];
const ports = fc.constantFrom(80, 80, 80, 81, 30_080, 30_081, 40_000, 40_000, 40_001);
const flags = fc.constantFrom(2, 2, 0x12, 0x10, 0x10, 0x18, 0x11, 0x14, 4, 1, 0);

/** Where a packet is, and mostly what it may look like there. */
export interface Spot {
  readonly hook: number;
  /** Number of the interface. */
  readonly index: number;
  readonly src?: readonly [string, string];
  readonly dst?: readonly [string, string];
}
const [a, b, host, empty] = [
  [podA, "fd00::5"],
  [podB, "fd00::6"],
  [nodeAddress, "2001:db8::1"],
  ["10.0.0.24", "fd00::99"],
] as const;
const spots: readonly Spot[] = [
  { hook: Hook.tcIngress, index: 3, src: a },
  { hook: Hook.tcIngress, index: 3, src: a, dst: b },
  { hook: Hook.tcIngress, index: 4, src: b },
  { hook: Hook.tcIngress, index: 4, src: b, dst: a },
  { hook: Hook.tcIngress, index: 3, src: a, dst: empty },
  { hook: Hook.tcEgress, index: 3, dst: a },
  { hook: Hook.tcEgress, index: 3, src: b, dst: a },
  { hook: Hook.tcEgress, index: 4, dst: b },
  { hook: Hook.tcEgress, index: 4, src: a, dst: b },
  { hook: Hook.tcIngress, index: 2, dst: host },
  { hook: Hook.tcIngress, index: 2 },
  { hook: Hook.tcEgress, index: 2, src: host },
  { hook: Hook.tcEgress, index: 1, src: host },
];

const placed = fc
  .record({
    spot: fc.constantFrom(...spots),
    isV6: fc.integer({ min: 0, max: 4 }).map((one) => one === 0),
    src4: fc.constantFrom(...strangers4),
    dst4: fc.constantFrom(...targets4),
    src6: fc.constantFrom(...strangers6),
    dst6: fc.constantFrom(...targets6),
    isOdd: fc.integer({ min: 0, max: 15 }).map((one) => one === 0),
  })
  .map(({ spot, isV6, src4, dst4, src6, dst6, isOdd }) => {
    const [src, dst] = isV6 ? [src6, dst6] : [src4, dst4];
    const of = (pair: readonly [string, string] | undefined, other: string): string =>
      isOdd ? other : (pair?.[isV6 ? 1 : 0] ?? other);
    return { spot, src: of(spot.src, src), dst: of(spot.dst, dst) };
  });

const mark = fc.constantFrom(
  0,
  0,
  0xc00,
  (1000 << 16) | 0xf00,
  (2000 << 16) | 0xf00,
  (6 << 16) | 0xf00,
  0x123,
);

export interface Placed {
  readonly spot: Spot;
  readonly bytes: Uint8Array;
  readonly mark: number;
}

/** Whole, cut behind its network header (the kernel runs nothing shorter), or one of two fragments. */
export const placedPackets: fc.Arbitrary<Placed> = fc
  .record({
    placed,
    sport: ports,
    dport: ports,
    flags,
    kind: fc.nat(15),
    cut: fc.oneof(
      { weight: 12, arbitrary: fc.constant(100_000) },
      { weight: 1, arbitrary: fc.integer({ min: 40, max: 70 }) },
    ),
    mark,
  })
  .map(({ placed: { spot, src, dst }, sport, dport, flags: bits, kind, cut, mark: value }) => {
    const bytes = packetOf({ src: ip(src), dst: ip(dst) }, sport, dport, bits, kind);
    return { spot, bytes: bytes.subarray(0, cut), mark: value >>> 0 };
  });

function packetOf(
  between: { readonly src: Ip; readonly dst: Ip },
  sport: number,
  dport: number,
  bits: number,
  kind: number,
): Uint8Array {
  const { src, dst } = between;
  switch (kind) {
    case 0:
    case 1:
    case 2:
      return udp({ ...between, sport, dport, payload: new Uint8Array(sport % 7) });
    case 3:
      return icmpEcho({ ...between, identifier: sport, sequence: 1, reply: bits > 8 });
    case 4: {
      const inner = tcp({ src: dst, dst: src, sport: dport, dport: sport, flags: 2 });
      return icmpError(inner, src, src.family === 4 ? 3 : 1, bits % 5);
    }
    case 5: {
      const protocol = [0, 6, 17, 41, 50, 132][bits % 6] ?? 47;
      return ipPacket({ ...between, protocol, payload: new Uint8Array(bits) });
    }
    case 6: {
      const whole = udp({ ...between, sport, dport, payload: new Uint8Array(1600), dontFragment: false });
      return fragment(whole, 1280, sport)[bits % 2] ?? whole;
    }
    default:
      return tcp({ ...between, sport, dport, flags: bits });
  }
}

const policy: fc.Arbitrary<RawPolicy> = fc.record(
  {
    identity: fc.constantFrom(0, 1, 6, 9, 10, 1000, 2000, 16_777_217),
    egress: fc.boolean(),
    protocol: fc.constantFrom(0, 1, 6, 17, 58),
    deny: fc.boolean(),
  },
  { requiredKeys: ["identity"] },
);
const ported = fc
  .tuple(policy, fc.option(fc.constantFrom(80, 81, 40_000)), fc.constantFrom(16, 15, 12, 1))
  .map(
    ([one, port, portBits]): RawPolicy =>
      port === null || (one.protocol ?? 0) === 0
        ? one
        : { ...one, port: port & (0xffff << (16 - portBits)), portBits },
  );
const some = fc.uniqueArray(ported, {
  maxLength: 8,
  selector: ({ identity, egress = false, protocol = 0, port, portBits }) =>
    `${identity} ${egress} ${protocol} ${port} ${portBits}`,
});

const open: readonly RawPolicy[] = [{ identity: 0 }, { identity: 0, egress: true }];
export const randomPolicies: fc.Arbitrary<readonly RawPolicy[]> = fc.oneof(fc.constant(open), some, some);

/** Prefixes outside the cluster with identities of their own. */
export const outerPrefixes = [
  ["192.0.2.2", 32, 6],
  ["198.51.100.0", 24, 16_777_217],
] as const;
