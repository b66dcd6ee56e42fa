/** What changed between two states, as a watch would tell it. */
import type { ClusterState } from "./cluster.ts";
import type { EndpointSlice, Namespace, NetworkPolicy, Node, Pod, Service, VendorObject } from "./types.ts";

/** An object of a kind that an engine declares, told apart from the API's own. */
export interface WatchedVendorObject {
  readonly kind: "VendorObject";
  /** `Kind namespace/name`, or `Kind name`. */
  readonly name: string;
  readonly object: VendorObject;
}

export type WatchedObject =
  | Namespace
  | Node
  | Pod
  | Service
  | EndpointSlice
  | NetworkPolicy
  | WatchedVendorObject;

export interface StateChange {
  readonly type: "added" | "modified" | "deleted";
  /** The object after the change; for `deleted`, its last form. */
  readonly object: WatchedObject;
  readonly old: WatchedObject | undefined;
}

/**
 * Additions and other changes in the order namespaces, nodes, pods, Services and their endpoints, policies; then deletions
 * in the opposite order, so that a namespace goes after what was in it.
 */
export function stateChanges(before: ClusterState, after: ClusterState): readonly StateChange[] {
  const changes: StateChange[] = [];
  const deletions: StateChange[] = [];
  const compare = (
    old: ReadonlyMap<string, WatchedObject>,
    now: ReadonlyMap<string, WatchedObject>,
  ): void => {
    if (old === now) return;
    for (const [key, object] of now) {
      const was = old.get(key);
      if (was !== object) changes.push({ type: was === undefined ? "added" : "modified", object, old: was });
    }
    for (const [key, object] of old)
      if (!now.has(key)) deletions.push({ type: "deleted", object, old: object });
  };
  compare(before.namespaces, after.namespaces);
  compare(before.nodes, after.nodes);
  compare(before.pods, after.pods);
  compare(before.services, after.services);
  compare(before.endpointSlices, after.endpointSlices);
  compare(before.networkPolicies, after.networkPolicies);
  if (before.vendor !== after.vendor) compare(vendorObjects(before), vendorObjects(after));
  return [...changes, ...deletions.reverse()];
}

/** The same wrapper for the same object, so that objects that did not change compare equal. */
const wrapped = new WeakMap<VendorObject, WatchedVendorObject>();

function vendorObjects({ vendor }: ClusterState): ReadonlyMap<string, WatchedVendorObject> {
  const objects = new Map<string, WatchedVendorObject>();
  for (const [kind, ofKind] of vendor)
    for (const [key, object] of ofKind) {
      const name = `${kind} ${key}`;
      const one = wrapped.get(object) ?? { kind: "VendorObject", name, object };
      wrapped.set(object, one);
      objects.set(name, one);
    }
  return objects;
}
