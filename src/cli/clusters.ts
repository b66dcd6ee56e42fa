/** From the command line's manifests, engines and cluster options to clusters ready to emulate. */
import { InputError, usageError } from "../base/index.ts";
import {
  type ProductSelection,
  type SelectedCluster,
  type Selection,
  selectedCluster,
  vendorKinds,
} from "../harness/index.ts";
import {
  type BuildOptions,
  type ClusterState,
  type LoadedObjects,
  loadManifests,
  type ManifestInput,
} from "../k8s/index.ts";
import { loadEngines } from "./engines.ts";
import { readInputs } from "./input.ts";
import { type ClusterFlags, type CommonOptions, clusterWords, flagIssues } from "./options.ts";
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
  { anySize = false }: Pick<BuildOptions, "anySize"> = {},
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
      const cluster = selectedCluster(objects, selection, words, {
        force,
        anySize,
        inputs,
        ...poolSystem(selection),
      });
      for (const warning of cluster.warnings) warnings.add(warning);
      clusters.push(cluster);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      if (!isAll || !isRefusal(error)) throw new InputError(flagIssues(error.issues, words));
      note(leftOut(selection.label, error));
    }
  }
  for (const warning of warnings) note(warning);
  const [first, ...rest] = clusters;
  if (first === undefined) throw usageError("no engine can run in this cluster");
  checkIsNotEmpty(objects, names);
  return { inputs, clusters: [first, ...rest] };
}

/** True of what AKS refuses, and of nothing else. */
export function isRefusal(error: unknown): error is InputError {
  return error instanceof InputError && error.issues.every(({ code }) => code === "refused");
}

/** One of `all` that cannot run there, with the reasons. */
export function leftOut(name: string, { issues }: InputError): string {
  return `${name} is left out: ${issues.map(({ message }) => message).join("; ")}`;
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
