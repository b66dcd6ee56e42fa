/**
 * A node's BPF tables out of what differs between nodes: its addresses, its endpoints, and which policy map each of
 * them has. Programs and the shapes of maps are the variant's, the entries of Services those of the cluster.
 */
import type { BpfTables, MapEntry, MapRepr } from "../../filter/bpf/index.ts";
import type { ClusterState, Node } from "../../k8s/index.ts";
import { hostEndpointId } from "./endpoints.ts";
import { configEntry, policyMapEntry } from "./entries.ts";
import { datapathMaps, firstPolicyPlace, MapPlace } from "./maps.ts";
import { worldIdentityOf } from "./policy/identities.ts";
import { datapathPrograms } from "./programs/index.ts";
import { serviceEntries } from "./services.ts";
import type { CiliumVariant } from "./variant.ts";

/** The interface that leads off a node. */
const uplink = "eth0";

export interface NodeContent {
  /** What all nodes know alike. */
  readonly ipcacheBase?: readonly MapEntry[];
  readonly ipcache: readonly MapEntry[];
  readonly lxc: readonly MapEntry[];
  /** By endpoint id; endpoints may share one. */
  readonly policyMaps: ReadonlyMap<number, MapRepr>;
  readonly questions?: NonNullable<BpfTables["questions"]>;
}

/** Policy maps stand behind the fixed ones, each once, in the order of their names. */
export function nodeTables(
  state: ClusterState,
  variant: CiliumVariant,
  node: Node,
  { ipcacheBase = [], ipcache, lxc, policyMaps, questions }: NodeContent,
): BpfTables {
  const services = serviceEntries(state);
  const maps = [...new Set(policyMaps.values())].sort((a, b) => (a.name < b.name ? -1 : 1));
  const places = new Map(maps.map((map, i) => [map, firstPolicyPlace + i]));
  const policies = [...policyMaps].map(([id, map]) => policyMapEntry(id, places.get(map) ?? 0));
  const bases = new Map([...services.shared, [MapPlace.ipcache, ipcacheBase] as const]);
  const own = new Map<number, readonly MapEntry[]>([
    ...services.own(node),
    [MapPlace.config, [configOf(state, variant, node)]],
    [MapPlace.ipcache, ipcache],
    [MapPlace.lxc, lxc],
    [MapPlace.policies, policies],
  ]);
  const fixed = datapathMaps(variant).map((shape, place): MapRepr => {
    const base = bases.get(place);
    return { ...shape, ...(base === undefined ? {} : { base }), entries: own.get(place) ?? [] };
  });
  return Object.freeze({
    ...datapathPrograms(variant),
    maps: Object.freeze([...fixed, ...maps]),
    ...(questions === undefined ? {} : { questions }),
  });
}

function configOf({ options }: ClusterState, variant: CiliumVariant, { addresses }: Node): MapEntry {
  return configEntry({
    uplink,
    addresses,
    world4: worldIdentityOf(options.ipFamilies, 4, variant),
    world6: worldIdentityOf(options.ipFamilies, 6, variant),
    ...(variant.hostFirewall ? { hostEndpoint: hostEndpointId } : {}),
  });
}
