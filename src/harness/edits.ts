/** What the steps of a scenario do to the cluster. */
import { unreachable } from "../base/index.ts";
import { vendorKinds } from "../engine/registry.ts";
import {
  applyObjects,
  type BuiltCluster,
  type ClusterState,
  deleteObject,
  loadManifests,
  setLabels,
} from "../k8s/index.ts";
import type { Step } from "../scenario/index.ts";

/** Steps that change the cluster's objects. */
export type EditStep = Extract<Step, { action: "apply" | "createPod" | "deletePod" | "delete" | "label" }>;

export function isEdit(step: Step): step is EditStep {
  return ["apply", "createPod", "deletePod", "delete", "label"].includes(step.action);
}

/** @throws InputError for bad manifests, and for an object that is not there. */
export function editedBy(state: ClusterState, step: EditStep): BuiltCluster {
  switch (step.action) {
    case "apply":
      return applyObjects(state, loadManifests(step.manifests, { vendorKinds }));
    case "createPod":
      return applyObjects(state, loadManifests([step.manifest]));
    case "deletePod":
      return deleteObject(state, "Pod", step.namespace, step.name);
    case "delete":
      return deleteObject(state, step.kind, step.namespace ?? "", step.name);
    case "label":
      return setLabels(state, step.kind, step.namespace ?? "", step.name, step.labels);
    default:
      return unreachable(step);
  }
}
