/**
 * Workloads expanded into the pods that Kubernetes' controllers would make: names, labels and owners as there, but
 * with suffixes derived from the workload instead of drawn, so that equal input gives equal names.
 */
import { hashText, type SourceRef } from "../base/index.ts";
import { decodeMeta, decodePodBody, type Meta, type PodInput } from "./decode.ts";
import type { Fields, Raw } from "./fields.ts";
import { dnsSubdomainFault } from "./names.ts";
import { matchesSelector } from "./selector.ts";
import type { Labels, Node } from "./types.ts";

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
  /** DaemonSets ignore it. */
  readonly replicas: number;
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
  const meta = decodeMeta(fields, raw, source, dnsSubdomainFault);
  let spec = fields.object(raw["spec"], "spec") ?? {};
  let path = "spec";
  if (kind === "CronJob") {
    path = "spec.jobTemplate.spec";
    spec = fields.object(fields.object(spec["jobTemplate"], "spec.jobTemplate")?.["spec"], path) ?? {};
  }
  const counted = kind === "Job" || kind === "CronJob" ? "parallelism" : "replicas";
  const template = fields.object(spec["template"], `${path}.template`) ?? {};
  if (spec["template"] === undefined) fields.required(`${path}.template`);
  const templateMeta = fields.object(template["metadata"], `${path}.template.metadata`) ?? {};
  const owners = fields.list(
    fields.object(raw["metadata"], "metadata")?.["ownerReferences"],
    "metadata.ownerReferences",
  );
  const owner = owners
    .map((item) => fields.object(item, "metadata.ownerReferences"))
    .find((ref) => ref?.["controller"] === true);
  return {
    kind,
    ...meta,
    replicas: fields.integer(spec[counted], `${path}.${counted}`) ?? 1,
    owner: owner === undefined ? undefined : { kind: String(owner["kind"]), name: String(owner["name"]) },
    template: {
      kind: "Pod",
      ...decodePodBody(fields, template["spec"], `${path}.template.spec`),
      name: "",
      namespace: meta.namespace,
      labels: fields.labels(templateMeta["labels"], `${path}.template.metadata.labels`),
      annotations: fields.map(templateMeta["annotations"], `${path}.template.metadata.annotations`),
      source,
      ips: [],
      hostIPs: [],
      phase: "Running",
      ready: true,
      terminating: false,
      owner: { kind, name: meta.name },
    },
  };
}

/** Letters of Kubernetes' generated names: no vowels and nothing that looks like another. */
const alphabet = "bcdfghjklmnpqrstvwxz2456789";

function suffix(text: string, length: number): string {
  let word = "";
  for (let i = 0; i < length; i++) {
    // FNV's low bits alone would walk through the alphabet in step with a running number
    const hash = hashText(`${i}/${text}/${i}`);
    word += alphabet[((hash ^ (hash >>> 15)) >>> 0) % alphabet.length];
  }
  return word;
}

/** The pods of a workload; `nodes` matter to DaemonSets alone. */
export function expandWorkload(workload: Workload, nodes: Iterable<Node>): readonly PodInput[] {
  const { kind, namespace, name, template } = workload;
  const id = `${kind}/${namespace}/${name}`;
  const make = (podName: string, extra: Labels, nodeName?: string): PodInput => ({
    ...template,
    name: podName,
    labels: { ...template.labels, ...extra },
    nodeName: nodeName ?? template.nodeName,
  });
  const numbered = (of: (i: number) => PodInput): readonly PodInput[] =>
    Array.from({ length: Math.max(0, workload.replicas) }, (_, i) => of(i));
  switch (kind) {
    case "Deployment": {
      const hash = suffix(`${id}/template`, 10);
      return numbered((i) =>
        make(`${name}-${hash}-${suffix(`${id}/${i}`, 5)}`, { "pod-template-hash": hash }),
      );
    }
    case "ReplicaSet":
    case "ReplicationController":
      return numbered((i) => make(`${name}-${suffix(`${id}/${i}`, 5)}`, {}));
    case "StatefulSet":
      return numbered((i) =>
        make(`${name}-${i}`, {
          "statefulset.kubernetes.io/pod-name": `${name}-${i}`,
          "apps.kubernetes.io/pod-index": `${i}`,
        }),
      );
    case "DaemonSet": {
      const selector = { matchLabels: template.nodeSelector, matchExpressions: [] };
      const eligible = [...nodes].filter((node) => matchesSelector(selector, node.labels));
      return eligible.map((node) => make(`${name}-${suffix(`${id}/${node.name}`, 5)}`, {}, node.name));
    }
    case "Job":
      return numbered((i) =>
        make(`${name}-${suffix(`${id}/${i}`, 5)}`, {
          "job-name": name,
          "batch.kubernetes.io/job-name": name,
        }),
      );
    case "CronJob": {
      const job = `${name}-${28_000_000 + (hashText(id) % 1_000_000)}`; // minutes since 1970, as the controller numbers runs
      return numbered((i) =>
        make(`${job}-${suffix(`${id}/${i}`, 5)}`, { "job-name": job, "batch.kubernetes.io/job-name": job }),
      );
    }
  }
}
