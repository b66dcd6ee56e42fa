/** From the command line's manifests, engines and cluster options to clusters ready to emulate. */
import { InputError, usageError } from "../base/index.ts";
import {
  type ProductSelection,
  type SelectedCluster,
  type Selection,
  selectedCluster,
  vendorKinds,
} from "../harness/index.ts";
import { type ClusterState, type LoadedObjects, loadManifests, type ManifestInput } from "../k8s/index.ts";
import { loadEngines } from "./engines.ts";
import { readInputs } from "./input.ts";
import { type ClusterFlags, type CommonOptions, clusterWords } from "./options.ts";
import { createLoadingBar } from "./progress.ts";

export interface LoadedClusters {
  readonly inputs: readonly ManifestInput[];
  readonly clusters: readonly [SelectedCluster, ...SelectedCluster[]];
}

/**
 * Reads manifests once and builds a cluster for each engine with its own AKS settings (the user's words win).
 * With `all`, products that cannot run there are left out with the reason; a product that was named is an error.
 */
export async function loadClusters(
  names: readonly string[],
  engines: string,
  flags: ClusterFlags & Pick<CommonOptions, "quiet">,
  note: (text: string) => void,
): Promise<LoadedClusters> {
  const selections = await loadEngines(engines);
  const inputs = readInputs(names);
  const loading = createLoadingBar("objects", flags);
  const objects = loadManifests(inputs, { vendorKinds, onProgress: loading.update });
  loading.stop();
  const words = clusterWords(flags);
  const isAll = engines.split(",").includes("all");
  const warnings = new Set<string>();
  const clusters: SelectedCluster[] = [];
  for (const selection of selections) {
    try {
      const force = flags.force ?? false;
      const cluster = selectedCluster(objects, selection, words, { force, ...poolSystem(selection) });
      for (const warning of cluster.warnings) warnings.add(warning);
      clusters.push(cluster);
    } catch (error) {
      if (
        !isAll ||
        !(error instanceof InputError) ||
        !error.issues.every((issue) => issue.code === "refused")
      )
        throw error;
      note(`${selection.label} is left out: ${error.issues.map((issue) => issue.message).join("; ")}`);
    }
  }
  for (const warning of warnings) note(warning);
  const [first, ...rest] = clusters;
  if (first === undefined) throw usageError("no engine can run in this cluster");
  checkIsNotEmpty(objects, names);
  return { inputs, clusters: [first, ...rest] };
}

function poolSystem(selection: Selection): { readonly defaultOs?: "Linux" | "Windows" } {
  return selection.kind === "product" && selection.poolOs === "windows" ? { defaultOs: "Windows" } : {};
}

function checkIsNotEmpty(objects: LoadedObjects, names: readonly string[]): void {
  const { pods, workloads, policies, nodes, namespaces, services } = objects;
  if ([pods, workloads, policies, nodes, namespaces, services].every((list) => list.length === 0))
    throw usageError(`no Kubernetes objects that podwire knows in ${names.join(", ")}`);
}

export interface OneCluster {
  readonly inputs: readonly ManifestInput[];
  readonly state: ClusterState;
  readonly selection: ProductSelection;
}

/** For commands that work on one engine and cannot take the oracle. */
export async function loadCluster(
  names: readonly string[],
  engine: string,
  flags: ClusterFlags & Pick<CommonOptions, "quiet">,
  command: string,
  note: (text: string) => void,
): Promise<OneCluster> {
  const { inputs, clusters } = await loadClusters(names, engine, flags, note);
  const [{ selection, state }] = clusters;
  if (clusters.length > 1) throw usageError(`${command} works on one engine, not on ${clusters.length}`);
  if (selection.kind === "oracle")
    throw usageError(`${command} needs an engine with tables; the oracle has none`);
  return { inputs, state, selection };
}
