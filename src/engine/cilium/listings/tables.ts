/**
 * Tables of a node out of its listings: the programs of the version that prints such, and the maps with the entries that
 * are listed. What policies allow is taken from there alone. Services are translated as the cluster's Services and
 * slices say; pods of the cluster are found in the listing by their addresses.
 */
import { formatIp, type Ip, ipEquals } from "../../../addr/index.ts";
import type { MapEntry, MapRepr } from "../../../filter/bpf/index.ts";
import { type ClusterState, type Node, podInterfaceName } from "../../../k8s/index.ts";
import type { CompiledNode, Diagnostic, NodeTables } from "../../engine.ts";
import { endpointsOf, hostEndpointId } from "../endpoints.ts";
import { lxcEntry } from "../entries.ts";
import { withCiliumChains } from "../iptables.ts";
import { policyMapName, policyMapShape } from "../maps.ts";
import { nodeTables } from "../node-tables.ts";
import { hostIdentity } from "../policy/identities.ts";
import { type CiliumVariant, type CiliumVersion, ciliumDefaultVersion, ciliumVariant } from "../variant.ts";
import type { ListedEndpoint, NodeListing } from "./read.ts";
import { keyFields, readRecord } from "./records.ts";

/** Are these the listings of this node? It is known by the addresses that it calls its own. */
export function isListingOf({ hostIps }: NodeListing, { addresses }: Node): boolean {
  return addresses.some((ip) => hostIps.some((one) => ipEquals(ip, one)));
}

export function listedTables(
  state: ClusterState,
  listing: NodeListing,
): (node: Node, base: NodeTables) => CompiledNode {
  const variant = variantOf(listing);
  const hostId = hostOf(listing)?.id;
  const policyMaps = new Map(
    [...listing.policies].flatMap(([id, entries]): [number, MapRepr][] => {
      if (id !== hostId) return [[id, policyMap(variant, id, entries)]];
      return variant.hostFirewall ? [[hostEndpointId, policyMap(variant, id, entries)]] : [];
    }),
  );
  return (node, base) => {
    const { lxc, diagnostics } = endpointEntries(state, listing, node);
    const bpf = nodeTables(state, variant, node, { ipcache: listing.ipcache, lxc, policyMaps });
    const { iptables } = base;
    const chains = iptables === undefined ? {} : { iptables: withCiliumChains(iptables, variant) };
    return { tables: { ...base, ...chains, bpf }, diagnostics };
  };
}

/** The node itself, which is an endpoint without an address. */
function hostOf({ endpoints }: NodeListing): ListedEndpoint | undefined {
  return endpoints.find(({ identity }) => identity === hostIdentity);
}

/**
 * The latest version that prints such listings. Settings are AKS's, but that the host firewall is on where the node's own
 * policy map holds more than the two entries that let everything in and out.
 */
function variantOf(listing: NodeListing): CiliumVariant {
  const { generation, policies, hasFlags } = listing;
  const versions: Readonly<Record<NonNullable<typeof generation>, CiliumVersion>> = {
    G1: hasFlags ? "1.16" : "1.14",
    G2: "1.18",
    G3: "1.19",
  };
  const variant = ciliumVariant(generation === undefined ? ciliumDefaultVersion : versions[generation]);
  const most = Math.max(0, ...[...policies.values()].map(({ length }) => length));
  const host = policies.get(hostOf(listing)?.id ?? 0) ?? [];
  return {
    ...variant,
    hostFirewall: !host.every(letsAllThrough),
    policyMapMax: Math.max(variant.policyMapMax, most),
  };
}

function letsAllThrough({ key, origin }: MapEntry): boolean {
  const { Prefixlen, Identity } = readRecord(key, keyFields);
  return origin?.role === "allow" && Identity === 0 && Prefixlen === 40;
}

function policyMap(variant: CiliumVariant, id: number, entries: readonly MapEntry[]): MapRepr {
  return Object.freeze({ ...policyMapShape(variant, policyMapName(variant, id)), entries });
}

/** A listed address hangs on the interface that the pod with this address has here. */
function endpointEntries(
  state: ClusterState,
  { name, endpoints }: NodeListing,
  node: Node,
): { readonly lxc: readonly MapEntry[]; readonly diagnostics: readonly Diagnostic[] } {
  const pods = endpointsOf(state, node.name).map(({ pod }) => pod);
  const interfaceOf = new Map(
    pods.flatMap((pod) => pod.ips.map((ip) => [formatIp(ip), podInterfaceName(state, pod)])),
  );
  const listed = new Set<string>();
  const lxc = endpoints.flatMap(({ id, identity, ips, interface: own }) =>
    ips.map((ip: Ip) => {
      listed.add(formatIp(ip));
      return lxcEntry({ ip, id, identity, interface: interfaceOf.get(formatIp(ip)) ?? own });
    }),
  );
  const absent = pods.filter(({ ips }) => ips.length > 0 && !ips.some((ip) => listed.has(formatIp(ip))));
  const diagnostics = absent.map(
    (pod): Diagnostic => ({
      code: "not-listed",
      severity: "warning",
      policy: undefined,
      message: `pod ${pod.namespace}/${pod.name} (${pod.ips.map(formatIp).join(", ")}) is no endpoint in the listings of ${node.name} (${name}): the datapath does not know it`,
    }),
  );
  return { lxc, diagnostics };
}
