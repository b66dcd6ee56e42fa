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
  const ipcache = ipcacheListing(contentAt(bpf, MapPlace.ipcache), forms);
  const lxc = lxcListing(contentAt(bpf, MapPlace.lxc), forms, interfaceIndex);
  const endpoints = endpointListings(cluster, node).map((one) => ({
    ...one,
    labels: labelsOf(one.identity),
  }));
  const identities = identitiesOf(bpf, policies).map((id): IdentityListing => ({ id, labels: labelsOf(id) }));
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

/** Ascending: those of addresses, and those that policies speak of. */
function identitiesOf(bpf: BpfTables, policies: readonly PolicyListing[]): readonly number[] {
  const numberAt = (bytes: Uint8Array, offset: number): number =>
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset, true);
  const ofAddresses = contentAt(bpf, MapPlace.ipcache).map(({ value }) => numberAt(value, 0));
  const ofPolicies = policies.flatMap(({ entries }) => entries.map(({ key }) => numberAt(key, 4)));
  const numbers = new Set([...ofAddresses, ...ofPolicies]);
  numbers.delete(0);
  return [...numbers].sort((a, b) => a - b);
}
