/**
 * Objects to a virtual cluster, and edits of one. An edit is the same act as the first build: objects are applied to
 * a state (at first the empty one), and what they leave open - nodes, addresses, slices - is filled in. States are
 * values: an edit makes a new one that shares what did not change.
 */
import type { Family } from "../addr/index.ts";
import { InputError, type Issue, type Place } from "../base/index.ts";
import {
  type AksFacts,
  type AksRefusal,
  aksFacts,
  aksRefusals,
  aksRetirements,
  poolFacts,
} from "./aks-rules.ts";
import type { ClusterOptions, ClusterState } from "./cluster.ts";
import { type BuiltCluster, ClusterEditor, scopedName } from "./editor.ts";
import { Fields } from "./fields.ts";
import { type LoadedObjects, noObjects } from "./load.ts";
import { locate } from "./locate.ts";
import { poolNode } from "./nodes.ts";
import { type ClusterWords, parseClusterOptions } from "./options.ts";
import type { ManifestInput } from "./parse.ts";

export interface BuildOptions {
  /** Settings under the words that a person gave: those of an engine. */
  readonly defaults?: ClusterWords;
  /** Emulate combinations that AKS refuses. */
  readonly force?: boolean;
  /** Take a cluster of more nodes or pods than AKS supports. */
  readonly anySize?: boolean;
  /** The manifests' texts, for the lines of what is refused. */
  readonly inputs?: readonly ManifestInput[];
  /** System of the nodes that are made up when the input names none. */
  readonly defaultOs?: "Linux" | "Windows";
}

/**
 * Builds the cluster: nodes of the pools (or those given, or three Linux nodes), every object, addresses.
 * @throws InputError for options that AKS refuses (unless forced) and for exhausted ranges.
 */
export function buildCluster(
  objects: LoadedObjects,
  words: ClusterWords = {},
  build: BuildOptions = {},
): BuiltCluster {
  const all = withFamilies({ ...build.defaults, ...words }, objects);
  const options = withPools(parseClusterOptions(all), objects, build);
  const asked = { options, nodes: [...poolFacts(options), ...objects.nodes], podCount: objects.pods.length };
  if (!build.force) checkRefusals(asked, words, build);
  const empty: ClusterState = {
    options,
    namespaces: new Map(),
    nodes: new Map(),
    pods: new Map(),
    services: new Map(),
    endpointSlices: new Map(),
    networkPolicies: new Map(),
    vendor: new Map(),
  };
  const nodes = options.nodePools.flatMap((pool) =>
    Array.from({ length: pool.count }, (_, i) => poolNode(pool, i)),
  );
  const given = new Set(objects.nodes.map((node) => node.name));
  const built = applyObjects(empty, {
    ...objects,
    nodes: [...objects.nodes, ...nodes.filter((node) => !given.has(node.name))],
  });
  const facts = aksFacts(built.state);
  if (!build.force) checkRefusals(facts, words, build);
  const notes = [...objects.ignored].map(([kind, count]) => `ignored ${count} ${kind}`);
  const replaced = objects.replaced.map((id) => `${id} is given more than once; the last one counts`);
  return {
    state: built.state,
    warnings: [...notes, ...replaced, ...retirements(facts, words), ...built.warnings],
  };
}

/** @throws InputError of what AKS refuses, each at an option that a person gave, else at a node of theirs. */
function checkRefusals(
  facts: AksFacts,
  words: ClusterWords,
  { inputs = [], anySize = false }: BuildOptions,
): void {
  const refusals = aksRefusals(facts).filter(({ isSize }) => !(anySize && isSize === true));
  if (refusals.length === 0) return;
  throw new InputError(
    refusals.map((refusal) => ({
      code: "refused",
      ...placeOf(refusal, words, inputs),
      message: `AKS refuses: ${refusal.reason}`,
    })),
  );
}

function placeOf(
  { words, pool, node }: AksRefusal,
  given: ClusterWords,
  inputs: readonly ManifestInput[],
): Place & Pick<Issue, "path"> {
  const word = words.find((one) => given[one] !== undefined);
  if (word !== undefined)
    return { path: word === "nodePools" && pool !== undefined ? `nodePools[${pool}]` : word };
  const source = node?.source;
  const input = inputs.find(({ name }) => name === source?.file);
  if (source === undefined) return { path: "" };
  return { path: "", ...(input === undefined ? { file: source.file } : locate(input, source, "metadata")) };
}

/** Of what a person asked for by name; what an engine needs of itself is not theirs to change. */
function retirements(facts: AksFacts, words: ClusterWords): readonly string[] {
  return aksRetirements
    .filter((one) => one.words.some((word) => words[word] !== undefined) && one.concerns(facts))
    .map(({ what, until }) => `AKS supports ${what} until ${until}`);
}

/** Families that given addresses show, where the words do not say. */
function withFamilies(words: ClusterWords, objects: LoadedObjects): ClusterWords {
  if (words.ipFamilies !== undefined) return words;
  const seen = new Set<Family>();
  for (const pod of objects.pods) for (const ip of pod.ips) seen.add(ip.family);
  for (const node of objects.nodes) for (const ip of node.addresses) seen.add(ip.family);
  if (!seen.has(6)) return words;
  return { ...words, ipFamilies: [...seen].map((family) => (family === 4 ? "ipv4" : "ipv6")) };
}

function withPools(options: ClusterOptions, objects: LoadedObjects, build: BuildOptions): ClusterOptions {
  const named = objects.nodes.length > 0 || objects.pods.some((pod) => pod.nodeName !== undefined);
  if (options.nodePools.length > 0 || named) return options;
  const windows = build.defaultOs === "Windows";
  const pods =
    objects.pods.length +
    objects.workloads.reduce((sum, workload) => sum + Math.max(0, workload.replicas), 0);
  const pool = {
    name: windows ? "win" : "nodepool1",
    osType: windows ? ("Windows" as const) : ("Linux" as const),
    osSku: windows ? "Windows2022" : "Ubuntu",
    count: Math.max(3, Math.ceil(pods / 100)),
  };
  return { ...options, nodePools: [pool] };
}

/**
 * Applies objects as `kubectl apply` would: new ones are added, known ones replaced (a pod keeps its node and
 * addresses, a Service its cluster addresses). Namespaces that are only referred to come to exist.
 */
export function applyObjects(state: ClusterState, objects: LoadedObjects): BuiltCluster {
  const editor = new ClusterEditor(state);
  editor.apply(objects);
  return editor.finish();
}

/**
 * Deletes an object; a namespace takes everything in it along, a node its pods.
 * @throws InputError when there is no such object.
 */
export function deleteObject(
  state: ClusterState,
  kind: string,
  namespace: string,
  name: string,
): BuiltCluster {
  const editor = new ClusterEditor(state);
  if (!editor.delete(kind, namespace, name))
    throw new InputError([
      {
        code: "unknown-name",
        path: "",
        message: `no ${kind} ${scopedName(kind, namespace, name)} in the cluster`,
      },
    ]);
  return editor.finish();
}

/**
 * Sets (or with `null` removes) labels of a pod, namespace or node.
 * @throws InputError when there is no such object, and for labels that the API server would refuse.
 */
export function setLabels(
  state: ClusterState,
  kind: "Namespace" | "Node" | "Pod",
  namespace: string,
  name: string,
  changes: Readonly<Record<string, string | null>>,
): BuiltCluster {
  const fields = new Fields();
  fields.labels(
    Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== null)),
    "metadata.labels",
  );
  if (fields.issues.length > 0)
    throw new InputError(fields.issues.map(({ code, path, message }) => ({ code, path, message })));
  const editor = new ClusterEditor(state);
  if (!editor.label(kind, scopedName(kind, namespace, name), changes))
    throw new InputError([
      {
        code: "unknown-name",
        path: "",
        message: `no ${kind} ${scopedName(kind, namespace, name)} in the cluster`,
      },
    ]);
  return editor.finish();
}

/** A cluster without objects but its nodes. */
export function emptyCluster(words: ClusterWords = {}, build: BuildOptions = {}): ClusterState {
  return buildCluster(noObjects, words, build).state;
}
