/** What changed between two states, as a watch would tell it. */
import type { ClusterState } from "./cluster.ts";
import type { Namespace, NetworkPolicy, Node, Pod, Service } from "./types.ts";

export type WatchedObject = Namespace | Node | Pod | Service | NetworkPolicy;

export interface StateChange {
  readonly type: "added" | "modified" | "deleted";
  /** The object after the change; for `deleted`, its last form. */
  readonly object: WatchedObject;
  readonly old: WatchedObject | undefined;
}

/**
 * Additions and other changes in the order namespaces, nodes, pods, Services, policies; then deletions in the opposite
 * order, so that a namespace goes after what was in it.
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
  compare(before.networkPolicies, after.networkPolicies);
  return [...changes, ...deletions.reverse()];
}
