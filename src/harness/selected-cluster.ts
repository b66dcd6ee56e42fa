/**
 * A cluster as a product has it on AKS: the product's own settings under the words that a person gave, and where AKS
 * ties the product's version to that of Kubernetes, the version that goes with the cluster's.
 */
import { InputError } from "../base/index.ts";
import { engineDefinitions } from "../engine/registry.ts";
import {
  type BuildOptions,
  buildCluster,
  type ClusterState,
  type ClusterWords,
  type LoadedObjects,
} from "../k8s/index.ts";
import { parseSelection, type Selection } from "./selection.ts";

/** A selection in a cluster of its own settings. */
export interface SelectedCluster<S extends Selection = Selection> {
  readonly selection: S;
  readonly state: ClusterState;
}

/** @throws InputError for options that AKS refuses, unless forced. */
export function selectedCluster<S extends Selection>(
  objects: LoadedObjects,
  selection: S,
  words: ClusterWords,
  options: BuildOptions = {},
): SelectedCluster<S> & { readonly warnings: readonly string[] } {
  const settings = selection.kind === "product" ? selection.aks : {};
  const { state, warnings } = buildCluster(objects, { ...settings, ...words }, options);
  const { kubernetesVersion } = state.options;
  return { selection: onKubernetes(selection, kubernetesVersion, options.force ?? false), state, warnings };
}

/** A name with a version keeps it, whatever Kubernetes' is. */
function onKubernetes<S extends Selection>(selection: S, kubernetesVersion: string, force: boolean): S {
  const [name = "", ...switches] = selection.label.split("+");
  const definition = engineDefinitions.find((one) => one.product === name || one.name === name);
  const { kubernetesVersions } = definition ?? {};
  if (kubernetesVersions === undefined) return selection;
  const [minor = ""] = /^1\.[0-9]+/.exec(kubernetesVersion) ?? [];
  const version = kubernetesVersions.get(minor);
  if (version === selection.version || (version === undefined && force)) return selection;
  if (version === undefined) {
    const known = [...kubernetesVersions.keys()];
    const message = `AKS runs no ${name} on Kubernetes ${kubernetesVersion}, but on ${known[0]} to ${known.at(-1)}; another version, or one of ${name}'s own (${name}@${selection.version}), may be named`;
    throw new InputError([{ code: "refused", path: "kubernetesVersion", message }]);
  }
  const named = parseSelection([`${name}@${version}`, ...switches].join("+"));
  return { ...named, label: selection.label } as S;
}
