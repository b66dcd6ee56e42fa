/**
 * The maps of a node's datapath, in the one order that programs know them by: what is fixed first, the policy maps of
 * the node's endpoints behind it. Names and default sizes are Cilium's (Documentation/network/ebpf/maps.rst); the tables of
 * connections are sized as for a small node (`bpf-map-dynamic-size-ratio` gives bigger ones on bigger nodes).
 */
import { MapFlag, type MapLayout, type MapShape, MapType } from "../../filter/bpf/index.ts";
import { eventRecords } from "./events.ts";
import {
  affinityKeyBytes,
  affinityLayout,
  affinityValueBytes,
  backendFields,
  backendLayout,
  configBytes,
  configLayout,
  connectionBytes,
  connectionLayout,
  type Family,
  fragmentKeyOffsets,
  fragmentLayout,
  ipcacheKeyBytes,
  ipcacheLayout,
  ipcacheValueBytes,
  lxcKeyBytes,
  lxcLayout,
  lxcValueBytes,
  natLayout,
  natValueBytes,
  policiesLayout,
  policyKeyBytes,
  policyLayouts,
  policyValueBytes,
  revNatBytes,
  revNatLayout,
  serviceFields,
  serviceKeyOffsets,
  serviceLayout,
  sourceRangeKeyBytes,
  sourceRangeLayout,
  tupleOffsets,
} from "./layouts.ts";

/** What of a variant shapes its maps. */
export interface PolicyMapWords {
  readonly generation: "G1" | "G2" | "G3";
  readonly policyMapMax: number;
}

/** Places of the fixed maps in a node's tables. */
export const MapPlace = {
  config: 0,
  lxc: 1,
  ipcache: 2,
  policies: 3,
  events: 4,
  connections4: 5,
  otherConnections4: 6,
  connections6: 7,
  otherConnections6: 8,
  services4: 9,
  services6: 10,
  backends4: 11,
  backends6: 12,
  reverseNat4: 13,
  reverseNat6: 14,
  affinity4: 15,
  affinity6: 16,
  sourceRanges4: 17,
  sourceRanges6: 18,
  fragments4: 19,
  fragments6: 20,
  snat4: 21,
  snat6: 22,
} as const;

/** Place of the first policy map. */
export const firstPolicyPlace = 23;

const sized = (
  name: string,
  type: MapShape["type"],
  [keySize, valueSize, maxEntries]: readonly [number, number, number],
  layout?: MapLayout,
): MapShape => ({
  name,
  type,
  keySize,
  valueSize,
  maxEntries,
  flags: type === MapType.lpmTrie ? MapFlag.noPrealloc : 0,
  ...(layout === undefined ? {} : { layout }),
});

const connections = (name: string, family: Family, maxEntries: number): MapShape =>
  sized(
    name,
    MapType.lruHash,
    [tupleOffsets[family].bytes, connectionBytes, maxEntries],
    connectionLayout(family),
  );
const services = (family: Family): MapShape =>
  sized(
    `cilium_lb${family}_services_v2`,
    MapType.hash,
    [serviceKeyOffsets(family).bytes, serviceFields.bytes, 65_536],
    serviceLayout(family),
  );
const backends = (family: Family): MapShape =>
  sized(
    `cilium_lb${family}_backends_v3`,
    MapType.hash,
    [4, backendFields(family).bytes, 65_536],
    backendLayout(family),
  );
const reverseNat = (family: Family): MapShape =>
  sized(
    `cilium_lb${family}_reverse_nat`,
    MapType.hash,
    [2, revNatBytes(family), 65_536],
    revNatLayout(family),
  );
const affinity = (family: Family): MapShape => ({
  ...sized(
    `cilium_lb${family}_affinity`,
    MapType.lruHash,
    [affinityKeyBytes(family), affinityValueBytes, 65_536],
    affinityLayout(family),
  ),
  remembersClients: true,
});
const sourceRanges = (family: Family): MapShape =>
  sized(
    `cilium_lb${family}_source_range`,
    MapType.lpmTrie,
    [sourceRangeKeyBytes(family), 1, 65_536],
    sourceRangeLayout(family),
  );
const fragments = (family: Family): MapShape =>
  sized(
    `cilium_ipv${family}_frag_datagrams`,
    MapType.lruHash,
    [fragmentKeyOffsets(family).bytes, 4, 8192],
    fragmentLayout(family),
  );
const snat = (family: Family): MapShape =>
  sized(
    `cilium_snat_v${family}_external`,
    MapType.lruHash,
    [tupleOffsets[family].bytes, natValueBytes(family), 524_288],
    natLayout(family),
  );

/** A policy map under a name of its own. */
export function policyMapShape({ generation, policyMapMax }: PolicyMapWords, name: string): MapShape {
  return sized(
    name,
    MapType.lpmTrie,
    [policyKeyBytes, policyValueBytes[generation], policyMapMax],
    policyLayouts[generation],
  );
}

/** Name of an endpoint's policy map. */
export function policyMapName({ generation }: Pick<PolicyMapWords, "generation">, endpoint: number): string {
  return `cilium_policy_${generation === "G1" ? "" : "v2_"}${String(endpoint).padStart(5, "0")}`;
}

/** The fixed maps, each at its place; their entries are the node's. */
export function datapathMaps(variant: PolicyMapWords): readonly MapShape[] {
  return [
    sized(".rodata.config", MapType.array, [4, configBytes, 1], configLayout),
    sized("cilium_lxc", MapType.hash, [lxcKeyBytes, lxcValueBytes, 65_535], lxcLayout),
    sized("cilium_ipcache", MapType.lpmTrie, [ipcacheKeyBytes, ipcacheValueBytes, 512_000], ipcacheLayout),
    {
      ...sized("cilium_policy_by_endpoint", MapType.hashOfMaps, [4, 4, 65_536], policiesLayout),
      inner: policyMapShape(variant, "cilium_policy"),
    },
    { ...sized("cilium_events", MapType.perfEventArray, [4, 4, 128]), records: eventRecords },
    connections("cilium_ct4_global", 4, 524_288),
    connections("cilium_ct_any4_global", 4, 262_144),
    connections("cilium_ct6_global", 6, 524_288),
    connections("cilium_ct_any6_global", 6, 262_144),
    services(4),
    services(6),
    backends(4),
    backends(6),
    reverseNat(4),
    reverseNat(6),
    affinity(4),
    affinity(6),
    sourceRanges(4),
    sourceRanges(6),
    fragments(4),
    fragments(6),
    snat(4),
    snat(6),
  ];
}
