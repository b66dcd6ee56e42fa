/**
 * Workloads expanded into the pods that Kubernetes' controllers would make: names, labels and owners as there, but
 * with suffixes derived from the workload instead of drawn, so that equal input gives equal names.
 */
import { hashText, type SourceRef, unreachable } from "../base/index.ts";
import { decodePodBody, type PodInput } from "./decode-pod.ts";
import type { Fields, Raw } from "./fields.ts";
import { derivedWord, generatedName } from "./generated-names.ts";
import { decodeMeta, type Meta } from "./meta.ts";
import { dnsSubdomainFaults } from "./names.ts";
import { matchesSelector } from "./selector.ts";
import type { Labels, Node, OwnerRef } from "./types.ts";

export const workloadKinds = [
  "Deployment",
  "ReplicaSet",
  "ReplicationController",
  "StatefulSet",
  "DaemonSet",
  "Job",
  "CronJob",
] as const;
export type WorkloadKind = (typeof workloadKinds)[number];

export interface Workload extends Meta {
  readonly kind: WorkloadKind;
  /** How many pods run at once; DaemonSets ignore it. */
  readonly replicas: number;
  /** Number of a StatefulSet's first pod. */
  readonly firstOrdinal: number;
  /** A Job whose pods are numbered. */
  readonly isIndexed: boolean;
  /** A pod of this workload, not yet named. */
  readonly template: PodInput;
  /** The workload's own controller, where it is not the outermost one (a ReplicaSet of a Deployment). */
  readonly owner: { readonly kind: string; readonly name: string } | undefined;
}

export function decodeWorkload(
  fields: Fields,
  kind: WorkloadKind,
  raw: Raw,
  source: SourceRef | undefined,
): Workload {
  const meta = decodeMeta(fields, raw, source, dnsSubdomainFaults);
  const outer = fields.object(raw["spec"], "spec") ?? {};
  const isCron = kind === "CronJob";
  const path = isCron ? "spec.jobTemplate.spec" : "spec";
  const spec = isCron
    ? (fields.object(fields.object(outer["jobTemplate"], "spec.jobTemplate")?.["spec"], path) ?? {})
    : outer;
  const isSuspended =
    fields.boolean(outer["suspend"], "spec.suspend") ||
    (isCron && fields.boolean(spec["suspend"], `${path}.suspend`));
  return {
    kind,
    ...meta,
    replicas: isSuspended ? 0 : countPods(fields, kind, spec, path),
    firstOrdinal:
      count(
        fields,
        fields.object(spec["ordinals"], `${path}.ordinals`)?.["start"],
        `${path}.ordinals.start`,
      ) ?? 0,
    isIndexed: spec["completionMode"] === "Indexed",
    owner: controllerOf(fields, raw),
    template: decodeTemplate(fields, { kind, name: meta.name }, meta, spec["template"], `${path}.template`),
  };
}

/** A number that may not be negative. */
function count(fields: Fields, value: unknown, path: string): number | undefined {
  const number = fields.integer(value, path);
  if (number === undefined || number >= 0) return number;
  fields.invalid(path, number, "must be greater than or equal to 0");
  return 0;
}

function countPods(fields: Fields, kind: WorkloadKind, spec: Raw, path: string): number {
  if (kind !== "Job" && kind !== "CronJob") return count(fields, spec["replicas"], `${path}.replicas`) ?? 1;
  const parallelism = count(fields, spec["parallelism"], `${path}.parallelism`) ?? 1;
  return Math.min(parallelism, count(fields, spec["completions"], `${path}.completions`) ?? parallelism);
}

function controllerOf(fields: Fields, raw: Raw): Workload["owner"] {
  const path = "metadata.ownerReferences";
  const owner = fields
    .list(fields.object(raw["metadata"], "metadata")?.["ownerReferences"], path)
    .map((item, i) => fields.object(item, `${path}[${i}]`))
    .find((ref) => ref?.["controller"] === true);
  return owner === undefined ? undefined : { kind: String(owner["kind"]), name: String(owner["name"]) };
}

function decodeTemplate(
  fields: Fields,
  owner: OwnerRef,
  { namespace, source }: Meta,
  value: unknown,
  path: string,
): PodInput {
  if (value === undefined || value === null) fields.required(path);
  const template = fields.object(value, path) ?? {};
  const meta = fields.object(template["metadata"], `${path}.metadata`) ?? {};
  return {
    kind: "Pod",
    ...decodePodBody(fields, template["spec"], `${path}.spec`),
    name: "",
    namespace,
    labels: fields.labels(meta["labels"], `${path}.metadata.labels`),
    annotations: fields.annotations(meta["annotations"], `${path}.metadata.annotations`),
    source,
    ips: [],
    hostIPs: [],
    phase: "Running",
    ready: true,
    terminating: false,
    owner,
  };
}

/** The pods of a workload; `nodes` matter to DaemonSets alone. */
export function expandWorkload(workload: Workload, nodes: Iterable<Node>): readonly PodInput[] {
  const { kind, namespace, name, template, replicas, firstOrdinal, isIndexed } = workload;
  const id = `${kind}/${namespace}/${name}`;
  const used = new Set<string>();
  /** A name that no other pod of this workload has: where two suffixes are equal, the later pod draws again. */
  const unused = (base: string, key: string): string => {
    let podName = generatedName(base, key);
    for (let again = 1; used.has(podName); again++) podName = generatedName(base, `${key}#${again}`);
    used.add(podName);
    return podName;
  };
  const make = (podName: string, extra: Labels, nodeName?: string): PodInput => ({
    ...template,
    name: podName,
    labels: { ...template.labels, ...extra },
    nodeName: nodeName ?? template.nodeName,
  });
  const numbered = (of: (i: number) => PodInput): readonly PodInput[] =>
    Array.from({ length: replicas }, (_, i) => of(i));
  const jobPods = (job: string): readonly PodInput[] =>
    numbered((i) => {
      const labels = { "job-name": job, "batch.kubernetes.io/job-name": job };
      if (!isIndexed) return make(unused(`${job}-`, `${id}/${i}`), labels);
      const index = { "batch.kubernetes.io/job-completion-index": `${i}` };
      return make(unused(`${job}-${i}-`, `${id}/${i}`), { ...labels, ...index });
    });
  switch (kind) {
    case "Deployment": {
      const hash = derivedWord(`${id}/template`, 10);
      return numbered((i) => make(unused(`${name}-${hash}-`, `${id}/${i}`), { "pod-template-hash": hash }));
    }
    case "ReplicaSet":
    case "ReplicationController":
      return numbered((i) => make(unused(`${name}-`, `${id}/${i}`), {}));
    case "StatefulSet":
      return numbered((i) => {
        const ordinal = firstOrdinal + i;
        return make(`${name}-${ordinal}`, {
          "statefulset.kubernetes.io/pod-name": `${name}-${ordinal}`,
          "apps.kubernetes.io/pod-index": `${ordinal}`,
        });
      });
    case "DaemonSet": {
      const selector = { matchLabels: template.nodeSelector, matchExpressions: [] };
      const eligible = [...nodes].filter((node) => matchesSelector(selector, node.labels));
      return eligible.map((node) => make(unused(`${name}-`, `${id}/${node.name}`), {}, node.name));
    }
    case "Job":
      return jobPods(name);
    case "CronJob":
      // runs are numbered by the minutes since 1970 at which they were due
      return jobPods(`${name}-${28_000_000 + (hashText(id) % 1_000_000)}`);
    default:
      return unreachable(kind);
  }
}
