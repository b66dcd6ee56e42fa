/** Random edits of a cluster, for laws about agents. */
import fc from "fast-check";
import { type ClusterArbitraryOptions, clusterObjects } from "../../../src/harness/index.ts";
import {
  applyObjects,
  type ClusterState,
  deleteObject,
  loadObjects,
  setLabels,
} from "../../../src/k8s/index.ts";

/** A change of a cluster. */
export type Edit = (state: ClusterState) => ClusterState;
const isThere = (state: ClusterState, kind: string, id: string): boolean =>
  ({ Pod: state.pods, NetworkPolicy: state.networkPolicies, Namespace: state.namespaces })[kind]?.has(id) ??
  false;
const values = ["a", "b", null] as const;
/** Pods, policies and namespaces come, go and get other labels; `options` are those of what comes. */
export const clusterEdit = (options: ClusterArbitraryOptions = {}): fc.Arbitrary<Edit> =>
  fc.oneof(
    fc.tuple(fc.constantFrom("Pod", "NetworkPolicy"), fc.constantFrom("x", "y", "z"), fc.nat(5)).map(
      ([kind, ns, i]): Edit =>
        (state) => {
          const name = kind === "Pod" ? `p${i}` : `policy-${i}`;
          return isThere(state, kind, `${ns}/${name}`) ? deleteObject(state, kind, ns, name).state : state;
        },
    ),
    fc
      .tuple(
        fc.constantFrom("x", "y", "z"),
        fc.nat(5),
        fc.constantFrom("app", "tier"),
        fc.constantFrom(...values),
      )
      .map(
        ([ns, i, key, value]): Edit =>
          (state) =>
            state.pods.has(`${ns}/p${i}`)
              ? setLabels(state, "Pod", ns, `p${i}`, { [key]: value }).state
              : state,
      ),
    fc.tuple(fc.constantFrom("x", "y", "z"), fc.constantFrom("app", "tier"), fc.constantFrom(...values)).map(
      ([ns, key, value]): Edit =>
        (state) =>
          state.namespaces.has(ns) ? setLabels(state, "Namespace", "", ns, { [key]: value }).state : state,
    ),
    fc.constantFrom("x", "y").map(
      (ns): Edit =>
        (state) =>
          state.namespaces.has(ns) ? deleteObject(state, "Namespace", "", ns).state : state,
    ),
    clusterObjects({ ...options, podsMax: 3, policiesMax: 3 }).map(
      (objects): Edit =>
        (state) => {
          const own = objects.filter(({ kind }) => kind === "Pod" || kind === "NetworkPolicy");
          return applyObjects(state, loadObjects("test", own)).state;
        },
    ),
  );
