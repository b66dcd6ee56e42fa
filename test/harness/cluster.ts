/** Small clusters from a line of YAML a thing, for tests of the harness. */
import { parseSelections, type SelectedCluster, vendorKinds } from "../../src/harness/index.ts";
import {
  buildCluster,
  type ClusterState,
  type ClusterWords,
  loadManifests,
  type ManifestInput,
} from "../../src/k8s/index.ts";

export interface PodTweaks {
  readonly labels?: string;
  readonly node?: string;
  readonly more?: string;
}

export const pod = (id: string, { labels = "", node = "n1", more = "" }: PodTweaks = {}): string => {
  const [namespace, name] = id.split("/");
  return `apiVersion: v1
kind: Pod
metadata: { namespace: ${namespace}, name: ${name}, labels: { ${labels || `app: ${name}`} } }
spec: { nodeName: ${node}, containers: [{ name: c, image: i, ports: [{ containerPort: 80 }] }]${more} }
`;
};

export const policy = (id: string, spec: string): string => {
  const [namespace, name] = id.split("/");
  return `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: ${namespace}, name: ${name} }
spec: ${spec}
`;
};

export const manifest = (...objects: readonly string[]): readonly ManifestInput[] => [
  { name: "cluster.yaml", text: objects.join("---\n") },
];

export function stateOf(...objects: readonly string[]): ClusterState {
  return stateWith({}, ...objects);
}

export function stateWith(words: ClusterWords, ...objects: readonly string[]): ClusterState {
  return buildCluster(loadManifests(manifest(...objects), { vendorKinds }), words).state;
}

export function selected(engines: string, state: ClusterState): [SelectedCluster, ...SelectedCluster[]] {
  const [first, ...rest] = parseSelections(engines).map((selection) => ({ selection, state }));
  if (first === undefined) throw new Error("no engine");
  return [first, ...rest];
}
