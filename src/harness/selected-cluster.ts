/**
 * A cluster as a product has it on AKS: the product's own settings under the words that a person gave, and where AKS
 * ties the product's version to that of Kubernetes, the version that goes with the cluster's.
 */
import { InputError } from "../base/index.ts";
import { engineDefinitions, unpolicedEngine } from "../engine/registry.ts";
import {
  type BuildOptions,
  buildCluster,
  type ClusterState,
  type ClusterWords,
  type LoadedObjects,
} from "../k8s/index.ts";
import { followsApi, parseSelection, type Selection } from "./selection.ts";

/** A selection in a cluster of its own settings. */
export interface SelectedCluster<S extends Selection = Selection> {
  readonly selection: S;
  readonly state: ClusterState;
}

/** @throws InputError for options that AKS refuses, and where they install another product, unless forced. */
export function selectedCluster<S extends Selection>(
  objects: LoadedObjects,
  selection: S,
  words: ClusterWords,
  options: BuildOptions = {},
): SelectedCluster<S> & { readonly warnings: readonly string[] } {
  const { force = false } = options;
  if (!force) checkPolicy(selection, words);
  const defaults = selection.kind === "product" ? selection.aks : {};
  const { state, warnings } = buildCluster(objects, words, { ...options, defaults });
  const chosen = onKubernetes(selection, state.options.kubernetesVersion, force);
  return { selection: force ? onEveryNode(chosen, state) : chosen, state, warnings };
}

/** What `networkPolicy` installs is the engine asked for; a cluster may still be looked at as if it had none. */
function checkPolicy(selection: Selection, { networkPolicy }: ClusterWords): void {
  if (selection.kind !== "product" || !followsApi(selection) || selection.product === "none") return;
  if (networkPolicy === undefined || networkPolicy === selection.aks.networkPolicy) return;
  const message = `AKS refuses: networkPolicy ${networkPolicy} does not install ${selection.product}`;
  throw new InputError([{ code: "refused", path: "networkPolicy", message }]);
}

/** Nodes of a system that the product does not know are there all the same, and nobody polices them. */
function onEveryNode<S extends Selection>(selection: S, { nodes }: ClusterState): S {
  if (selection.kind !== "product") return selection;
  const lacking = [...new Set([...nodes.values()].map(({ os }) => os))].filter(
    (os) => selection.engines[os] === undefined,
  );
  const added = Object.fromEntries(lacking.map((os) => [os, unpolicedEngine(os)]));
  return lacking.length === 0 ? selection : { ...selection, engines: { ...selection.engines, ...added } };
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
