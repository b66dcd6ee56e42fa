/**
 * Decoding of Pods (core/v1), and of the pod templates of workloads, with the checks of the API server that bear on
 * networking: names, labels, ports. What only a kubelet needs (images, probes, volumes) is not looked at, nor missed.
 */
import type { Ip } from "../addr/index.ts";
import type { SourceRef } from "../base/index.ts";
import { decodeIps } from "./decode.ts";
import type { Fields, Raw } from "./fields.ts";
import { decodeMeta } from "./meta.ts";
import { dnsSubdomainFaults, portNameFaults, portNumberFaults } from "./names.ts";
import type { ContainerPort, Labels, OwnerRef, Pod, Protocol } from "./types.ts";

/** A pod as given: what the virtual cluster assigns may be missing. */
export interface PodInput extends Omit<Pod, "nodeName"> {
  readonly nodeName: string | undefined;
  readonly nodeSelector: Labels;
  readonly hostIPs: readonly Ip[];
}

/** In the order in which core/v1 lists them (sorted). */
export const corePortProtocols: readonly Protocol[] = ["SCTP", "TCP", "UDP"];

/** Phases that are told apart; what else a kubelet reports (`Unknown`) is a pod that may be running. */
const phases = ["Pending", "Running", "Succeeded", "Failed"] as const;

export function decodePod(fields: Fields, raw: Raw, source: SourceRef | undefined): PodInput {
  const meta = decodeMeta(fields, raw, source, dnsSubdomainFaults);
  const status = fields.object(raw["status"], "status") ?? {};
  const rawMeta = fields.object(raw["metadata"], "metadata") ?? {};
  const owners = fields.list(rawMeta["ownerReferences"], "metadata.ownerReferences");
  return {
    ...decodePodBody(fields, raw["spec"], "spec"),
    kind: "Pod",
    ...meta,
    ips: decodeIps(fields, status, "podIPs", "podIP"),
    hostIPs: decodeIps(fields, status, "hostIPs", "hostIP"),
    phase: phases.find((phase) => phase === status["phase"]) ?? "Running",
    ready: !isCondition(fields, status, "Ready", "False"),
    terminating: rawMeta["deletionTimestamp"] !== undefined && rawMeta["deletionTimestamp"] !== null,
    owner: controller(fields, owners),
  };
}

function isCondition(fields: Fields, status: Raw, type: string, value: string): boolean {
  return fields.list(status["conditions"], "status.conditions").some((item, i) => {
    const condition = fields.object(item, `status.conditions[${i}]`) ?? {};
    return condition["type"] === type && condition["status"] === value;
  });
}

function controller(fields: Fields, owners: readonly unknown[]): OwnerRef | undefined {
  const refs = owners.map((owner, i) => fields.object(owner, `metadata.ownerReferences[${i}]`) ?? {});
  const ref = refs.find((owner) => owner["controller"] === true) ?? refs[0];
  const kind = ref?.["kind"];
  const name = ref?.["name"];
  return typeof kind === "string" && typeof name === "string" ? { kind, name } : undefined;
}

type PodBody = Pick<PodInput, "nodeName" | "hostNetwork" | "ports" | "nodeSelector">;

/** A pod's `spec`, or a workload's `spec.template.spec`. */
export function decodePodBody(fields: Fields, value: unknown, path: string): PodBody {
  const spec = fields.object(value, path) ?? {};
  const ports: ContainerPort[] = [];
  const containers = (field: string): readonly Raw[] =>
    fields
      .list(spec[field], `${path}.${field}`)
      .map((item, i) => fields.object(item, `${path}.${field}[${i}]`) ?? {});
  containers("initContainers").forEach((container, i) => {
    // only sidecars (restartPolicy Always) go on running beside the app containers
    const decoded = decodeContainerPorts(fields, container, `${path}.initContainers[${i}]`, true);
    if (container["restartPolicy"] === "Always") ports.push(...decoded);
  });
  containers("containers").forEach((container, i) => {
    ports.push(...decodeContainerPorts(fields, container, `${path}.containers[${i}]`, false));
  });
  return {
    nodeName: fields.text(spec["nodeName"], `${path}.nodeName`) || undefined,
    hostNetwork: fields.boolean(spec["hostNetwork"], `${path}.hostNetwork`),
    nodeSelector: fields.labels(spec["nodeSelector"], `${path}.nodeSelector`),
    ports,
  };
}

function decodeContainerPorts(
  fields: Fields,
  container: Raw,
  path: string,
  ofSidecar: boolean,
): readonly ContainerPort[] {
  const names = new Set<string>();
  return fields.list(container["ports"], `${path}.ports`).map((item, i): ContainerPort => {
    const at = `${path}.ports[${i}]`;
    const port = fields.object(item, at) ?? {};
    const name = fields.text(port["name"], `${at}.name`) || undefined;
    if (name !== undefined) {
      const faults = portNameFaults(name);
      fields.check(`${at}.name`, name, faults);
      if (faults.length === 0 && names.has(name)) fields.duplicate(`${at}.name`, name);
      names.add(name);
    }
    const number = fields.integer(port["containerPort"], `${at}.containerPort`) ?? 0;
    if (number === 0) fields.required(`${at}.containerPort`);
    else fields.check(`${at}.containerPort`, number, portNumberFaults(number));
    const protocol = fields.oneOf(port["protocol"], `${at}.protocol`, corePortProtocols, "TCP");
    return { name, containerPort: number, protocol, ofSidecar };
  });
}
