/** The cluster states that a scenario's steps lead through. */
import { vendorKinds } from "../../src/engine/registry.ts";
import {
  applyObjects,
  buildCluster,
  type ClusterState,
  type ClusterWords,
  deleteObject,
  loadManifests,
  setLabels,
} from "../../src/k8s/index.ts";
import type { Scenario, Step } from "../../src/scenario/index.ts";

/** The state before the first step. `forced` settings are an engine's own, even where AKS would refuse them. */
export function firstState({ cluster, manifests }: Scenario, forced?: ClusterWords): ClusterState {
  const { force = false, ...words } = cluster;
  const options = { force: force || forced !== undefined };
  return buildCluster(loadManifests(manifests, { vendorKinds }), { ...forced, ...words }, options).state;
}

/** The state after a step: the same object where the step edits nothing. */
export function edited(state: ClusterState, step: Step): ClusterState {
  switch (step.action) {
    case "apply":
      return applyObjects(state, loadManifests(step.manifests, { vendorKinds })).state;
    case "createPod":
      return applyObjects(state, loadManifests([step.manifest])).state;
    case "deletePod":
      return deleteObject(state, "Pod", step.namespace, step.name).state;
    case "delete":
      return deleteObject(state, step.kind, step.namespace ?? "", step.name).state;
    case "label":
      return setLabels(state, step.kind, step.namespace ?? "", step.name, step.labels).state;
    default:
      return state;
  }
}
