/** A node's maps as its own command line would list them: files by name, each once as text and once as `-o json`. */
import type { BpfTables, MapEntry } from "../../../filter/bpf/index.ts";
import { contentOf } from "../../../filter/bpf/index.ts";
import type { ListingContext } from "../../engine.ts";
import type { ClusterTables } from "../compile.ts";
import { hostEndpointId } from "../endpoints.ts";
import { MapPlace } from "../maps.ts";
import { hostIdentity } from "../policy/identities.ts";
import type { CiliumVariant } from "../variant.ts";
import { addressJson, addressText, ipcacheListing, lxcListing } from "./addresses.ts";
import {
  type EndpointListing,
  endpointsJson,
  endpointsText,
  type IdentityListing,
  identitiesJson,
  identitiesText,
  printedLabels,
} from "./endpoints.ts";
import { listingForms } from "./forms.ts";
import { goJson } from "./go-text.ts";
import { type PolicyListing, policyJson, policyText } from "./policy.ts";

/** Names of the files that are read back too. */
export const listingFiles = {
  policy: "policy.json",
  ipcache: "ipcache.json",
  endpoints: "endpoints.json",
} as const;

export function writeListings(
  variant: CiliumVariant,
  cluster: ClusterTables,
  { node, tables: { bpf }, interfaceIndex }: ListingContext,
): ReadonlyMap<string, string> {
  if (bpf === undefined) return new Map();
  const forms = listingForms[variant.version];
  const labelsOf = (identity: number): readonly string[] =>
    identity === 0 ? ["reserved:unknown"] : printedLabels(cluster.labelsOf(identity) ?? {});
  const policies = policyListings(bpf, variant);
  const ipcache = ipcacheListing(bpf.maps[MapPlace.ipcache] ?? { entries: [] }, forms);
  const lxc = lxcListing(contentAt(bpf, MapPlace.lxc), forms, interfaceIndex);
  const endpoints = endpointListings(cluster, node).map((one) => ({
    ...one,
    labels: labelsOf(one.identity),
  }));
  const identities = identitiesOf(endpoints, policies).map(
    (id): IdentityListing => ({ id, labels: labelsOf(id) }),
  );
  return new Map([
    ["policy.txt", policies.map((listing) => policyText(listing, forms, labelsOf)).join("")],
    [listingFiles.policy, goJson(policies.map(policyJson))],
    ["ipcache.txt", addressText(ipcache, ["IP PREFIX/ADDRESS", "IDENTITY"])],
    [listingFiles.ipcache, goJson(addressJson(ipcache))],
    ["endpoints.txt", endpointsText(endpoints)],
    [listingFiles.endpoints, endpointsJson(endpoints)],
    ["lxc.txt", addressText(lxc, ["IP ADDRESS", "LOCAL ENDPOINT INFO"])],
    ["lxc.json", goJson(addressJson(lxc))],
    ["identities.txt", identitiesText(identities)],
    ["identities.json", identitiesJson(identities)],
  ]);
}

/** With the host firewall the node itself is an endpoint too. */
function endpointListings(
  cluster: ClusterTables,
  node: ListingContext["node"],
): readonly Omit<EndpointListing, "labels">[] {
  const open = { ingressEnforced: false, egressEnforced: false };
  const pods = cluster
    .endpointsOf(node)
    .map((one) => ({ ...one, policy: cluster.policyOf(one.pod) ?? open }));
  const policy = cluster.policyOf(node);
  if (policy === undefined) return pods;
  const host = {
    id: hostEndpointId,
    identity: hostIdentity,
    interface: "cilium_host",
    pod: undefined,
    policy,
  };
  return [...pods, host];
}

function contentAt({ maps }: BpfTables, place: number): readonly MapEntry[] {
  const map = maps[place];
  return map === undefined ? [] : contentOf(map);
}

/** In the order of endpoint ids; endpoints that share a map list it each. */
function policyListings(bpf: BpfTables, { generation }: CiliumVariant): readonly PolicyListing[] {
  return contentAt(bpf, MapPlace.policies)
    .map(({ key, value }): PolicyListing => {
      const [endpoint, place] = [key, value].map((bytes) =>
        new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true),
      );
      return { endpoint: endpoint ?? 0, generation, entries: contentAt(bpf, place ?? 0) };
    })
    .sort((a, b) => a.endpoint - b.endpoint);
}

/** Ascending: those of the node's endpoints, and those that its policies speak of. */
function identitiesOf(
  endpoints: readonly EndpointListing[],
  policies: readonly PolicyListing[],
): readonly number[] {
  const numbers = new Set(endpoints.map(({ identity }) => identity));
  for (const { entries } of policies)
    for (const { key } of entries) numbers.add(new DataView(key.buffer, key.byteOffset).getUint32(4, true));
  numbers.delete(0);
  return [...numbers].sort((a, b) => a - b);
}
