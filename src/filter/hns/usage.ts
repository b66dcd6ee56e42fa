/**
 * What a Windows node's HNS holds: ACLs of each endpoint and of each network, and sets of addresses. Nobody publishes
 * what they take in memory, nor how many there may be: counts alone.
 */
import type { StoreKind, StoreUsage } from "../usage.ts";
import type { HnsTables } from "./tables.ts";

const aclStore: StoreKind = { name: "HNS ACL list", entries: "ACLs" };
const setStore: StoreKind = { name: "HNS set", entries: "members" };
const balancerStore: StoreKind = { name: "HNS load balancers", entries: "load balancers" };

export function hnsUsage({ networks, endpoints, loadBalancers }: HnsTables): readonly StoreUsage[] {
  const usages: StoreUsage[] = [];
  for (const { name, acls, tiers } of endpoints) {
    const entries = tiers.reduce((sum, tier) => sum + tier.rules.length, acls.length);
    usages.push({ kind: aclStore, name: `endpoint ${name}`, group: "endpoints", entries, bytes: undefined });
  }
  for (const { name, acls, sets } of networks) {
    usages.push({
      kind: aclStore,
      name: `network ${name}`,
      group: "networks",
      entries: acls.length,
      bytes: undefined,
    });
    for (const set of sets)
      usages.push({
        kind: setStore,
        name: set.name,
        group: set.type,
        entries: set.values.length,
        bytes: undefined,
      });
  }
  if (loadBalancers.length > 0)
    usages.push({
      kind: balancerStore,
      name: "load balancers",
      group: "load balancers",
      entries: loadBalancers.length,
      bytes: undefined,
    });
  return usages;
}
