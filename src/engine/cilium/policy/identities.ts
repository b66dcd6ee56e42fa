/**
 * Security identities of pods: equal relevant labels, equal number, on all nodes. The real operator hands numbers out as
 * label sets appear; here a hash of the set chooses one of 256 to 65535, the next free one where two sets meet, so that a
 * number mostly stays with its set while others come and go.
 * Governing source: cilium Documentation/operations/performance/scalability/identity-relevant-labels.rst,
 * pkg/identity/numericidentity.go, pkg/labelsfilter.
 */
import { hashText } from "../../../base/index.ts";
import type { ClusterState, Labels, Namespace, Pod } from "../../../k8s/index.ts";
import type { IdentityLabels } from "./entry.ts";

const first = 256;
const last = 65_535;

/** What selectors see of the pods that have an identity. */
export interface PodIdentity {
  readonly number: number;
  readonly namespace: string;
  readonly labels: Labels;
  readonly namespaceLabels: Labels;
}

export interface PodIdentities {
  of(pod: Pod): PodIdentity | undefined;
  /** In the order of numbers. */
  readonly all: readonly PodIdentity[];
}

export function podIdentities(state: ClusterState): PodIdentities {
  const sets = new Map<string, Omit<PodIdentity, "number">>();
  const textOf = new Map<Pod, string>();
  for (const pod of state.pods.values()) {
    if (pod.hostNetwork) continue;
    const labels = relevantLabels(pod.labels);
    const namespaceLabels = labelsOf(state.namespaces.get(pod.namespace));
    const text = JSON.stringify([pod.namespace, sorted(labels), sorted(namespaceLabels)]);
    textOf.set(pod, text);
    if (!sets.has(text)) sets.set(text, { namespace: pod.namespace, labels, namespaceLabels });
  }
  const taken = new Set<number>();
  const byText = new Map<string, PodIdentity>();
  for (const text of [...sets.keys()].sort()) {
    let number = first + (hashText(text) % (last - first + 1));
    while (taken.has(number)) number = number === last ? first : number + 1;
    taken.add(number);
    byText.set(text, { number, ...(sets.get(text) as Omit<PodIdentity, "number">) });
  }
  return {
    of: (pod) => byText.get(textOf.get(pod) ?? ""),
    all: [...byText.values()].sort((a, b) => a.number - b.number),
  };
}

/** As Cilium prints the labels of an identity. */
export function identityLabels({ namespace, labels, namespaceLabels }: PodIdentity): IdentityLabels {
  return Object.fromEntries([
    ...Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value]),
    ["k8s:io.kubernetes.pod.namespace", namespace],
    ...Object.entries(namespaceLabels).map(([key, value]) => [
      `k8s:io.cilium.k8s.namespace.labels.${key}`,
      value,
    ]),
  ]);
}

/** Beginnings of label keys that are left out by default. */
const leftOut =
  /^(io\.kubernetes|kubernetes\.io|.*beta\.kubernetes\.io|k8s\.io|pod-template-hash|pod-template-generation|controller-revision-hash|controller-uid|annotation.*|etcd_node|statefulset\.kubernetes\.io\/pod-name|apps\.kubernetes\.io\/pod-index|batch\.kubernetes\.io\/(job-completion-index|controller-uid))/;

export function relevantLabels(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !leftOut.test(key)));
}

function labelsOf(namespace: Namespace | undefined): Labels {
  return namespace?.labels ?? {};
}

function sorted(labels: Labels): readonly (readonly [string, string])[] {
  return Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
}
