/** Ends of a connection as people write them, on the command line and in scenarios. Names are checked for form only. */
import { formatIp, type Ip, parseIp } from "../addr/index.ts";
import { unreachable, usageError } from "../base/index.ts";

export type WorkloadKind = "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "CronJob";

/** An end of a connection as people write it; `resolveEnd` finds it in a cluster. */
export type End =
  | { readonly kind: "pod"; readonly namespace: string; readonly name: string }
  /** The first pod of a workload. */
  | {
      readonly kind: "workload";
      readonly namespace: string;
      readonly workload: WorkloadKind;
      readonly name: string;
    }
  | { readonly kind: "node"; readonly name: string }
  | { readonly kind: "service"; readonly namespace: string; readonly name: string }
  | { readonly kind: "load-balancer"; readonly namespace: string; readonly name: string }
  | { readonly kind: "node-port"; readonly node: string; readonly port: number }
  | { readonly kind: "ip"; readonly ip: Ip };

/** kubectl's names and short names. */
const workloads: Readonly<Record<string, WorkloadKind>> = {
  deploy: "Deployment",
  deployment: "Deployment",
  sts: "StatefulSet",
  statefulset: "StatefulSet",
  ds: "DaemonSet",
  daemonset: "DaemonSet",
  rs: "ReplicaSet",
  replicaset: "ReplicaSet",
  job: "Job",
  cronjob: "CronJob",
};

const objectName = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
const forms = "ns/pod, ns/deploy/name, node:NAME, svc:ns/name, lb:ns/name, nodeport:NODE:PORT or ip:ADDRESS";

/** The end, or what is wrong with the text. */
export function readEnd(text: string): End | string {
  const colon = text.indexOf(":");
  const slash = text.indexOf("/");
  if (colon >= 0 && (slash < 0 || colon < slash))
    return readPrefixed(text, text.slice(0, colon), text.slice(colon + 1));
  const parts = text.split("/");
  if (!parts.every((part) => objectName.test(part)) || parts.length < 2 || parts.length > 3)
    return `not an end of a connection: ${text || "(empty)"}; write ${forms}`;
  const [namespace = "", second = "", third] = parts;
  if (third === undefined) return { kind: "pod", namespace, name: second };
  const workload = workloads[second];
  if (workload === undefined)
    return `unknown workload kind ${second} in ${text}; known: ${Object.keys(workloads).join(", ")}`;
  return { kind: "workload", namespace, workload, name: third };
}

function readPrefixed(text: string, prefix: string, rest: string): End | string {
  switch (prefix) {
    case "node":
      return objectName.test(rest)
        ? { kind: "node", name: rest }
        : `not a node name: ${text}; write node:NAME`;
    case "svc":
    case "lb": {
      const [namespace = "", name = "", ...more] = rest.split("/");
      if (!objectName.test(namespace) || !objectName.test(name) || more.length > 0)
        return `not a Service: ${text}; write ${prefix}:namespace/name`;
      return { kind: prefix === "svc" ? "service" : "load-balancer", namespace, name };
    }
    case "nodeport": {
      const [node = "", portText = "", ...more] = rest.split(":");
      const port = Number(portText);
      if (!objectName.test(node) || more.length > 0 || !/^[0-9]+$/.test(portText) || port < 1 || port > 65535)
        return `not a node port: ${text}; write nodeport:NODE:PORT`;
      return { kind: "node-port", node, port };
    }
    case "ip": {
      const ip = parseIp(rest);
      return ip === undefined ? `not an IP address: ${text}; write ip:ADDRESS` : { kind: "ip", ip };
    }
    default:
      return `unknown kind of end ${prefix} in ${text}; write ${forms}`;
  }
}

/** @throws InputError with code `usage`. */
export function parseEnd(text: string): End {
  const end = readEnd(text);
  if (typeof end === "string") throw usageError(end);
  return end;
}

/** The text that `parseEnd` reads back. */
export function formatEnd(end: End): string {
  switch (end.kind) {
    case "pod":
      return `${end.namespace}/${end.name}`;
    case "workload":
      return `${end.namespace}/${end.workload.toLowerCase()}/${end.name}`;
    case "node":
      return `node:${end.name}`;
    case "service":
      return `svc:${end.namespace}/${end.name}`;
    case "load-balancer":
      return `lb:${end.namespace}/${end.name}`;
    case "node-port":
      return `nodeport:${end.node}:${end.port}`;
    case "ip":
      return `ip:${formatIp(end.ip)}`;
    default:
      return unreachable(end);
  }
}
