/** Ends of a connection as people name them, looked up in a cluster state. */
import { formatIp, type Ip } from "../addr/index.ts";
import { InputError, type Issue, unreachable } from "../base/index.ts";
import type { CellEnd, ClusterState, Service, ServiceEnd } from "../k8s/index.ts";
import { type End, formatEnd } from "../scenario/index.ts";
import { isSource, type SourceEnd, type TableEnd } from "./ends.ts";
import { serviceAt, serviceEnd } from "./service-ends.ts";
import { podKey } from "./topology.ts";

/** @throws InputError (code `unknown-name`) when the cluster has no such end; the message names near ones. */
export function resolveEnd(state: ClusterState, end: End): TableEnd {
  const id = formatEnd(end);
  switch (end.kind) {
    case "pod": {
      const pod = state.pods.get(id);
      if (pod === undefined) throw unknownEnd("pod", id, state.pods.keys());
      return { id, end: { kind: "pod", pod } };
    }
    case "workload": {
      const pod = [...state.pods.values()].find(
        (one) => isOf(one.owner, end) && one.namespace === end.namespace,
      );
      if (pod === undefined)
        throw unknownEnd(end.workload, `${end.namespace}/${end.name}`, ownerNames(state, end.workload));
      return { id: podKey(pod), end: { kind: "pod", pod } };
    }
    case "node": {
      const node = state.nodes.get(end.name);
      if (node === undefined) throw unknownEnd("node", end.name, state.nodes.keys());
      return { id, end: { kind: "node", node } };
    }
    case "ip":
      return { id, end: ownerOf(state, end.ip) };
    case "service":
    case "load-balancer": {
      const name = `${end.namespace}/${end.name}`;
      const service = state.services.get(name);
      if (service === undefined) throw unknownEnd("Service", name, state.services.keys());
      const found = serviceEnd(state, service, end.kind === "service" ? "svc" : "lb");
      if (found === undefined) throw refused(`${id}: ${addressless(service, end.kind)}`);
      return { id, end: found };
    }
    case "node-port": {
      const node = state.nodes.get(end.node);
      if (node === undefined) throw unknownEnd("node", end.node, state.nodes.keys());
      return {
        id,
        end: { kind: "node-port", node, port: end.port, service: nodePortOwner(state, end.port) },
      };
    }
    default:
      return unreachable(end);
  }
}

/** The end as one that opens connections. @throws InputError for a Service: it only answers. */
export function resolveSource(state: ClusterState, end: End): SourceEnd {
  const found = resolveEnd(state, end);
  if (!isSource(found)) throw refused(`${found.id}: a Service opens no connections; take one of its pods`);
  return found;
}

function refused(message: string): InputError {
  return new InputError([{ code: "refused", path: "", message }]);
}

function addressless(service: Service, kind: "service" | "load-balancer"): string {
  if (kind === "load-balancer")
    return `the Service is of type ${service.type}: no load balancer stands before it`;
  if (service.headless) return "a headless Service without ready endpoints resolves to nothing";
  return `a Service of type ${service.type} has no cluster address`;
}

/** Ports of one number and different protocols may belong to several Services: the first is as good as any. */
function nodePortOwner(state: ClusterState, port: number): Service | undefined {
  return [...state.services.values()].find((service) =>
    service.ports.some(({ nodePort }) => nodePort === port),
  );
}

/** Pods of a Deployment that came from a live dump belong to its ReplicaSet, whose name starts with the Deployment's. */
function isOf(
  owner: { readonly kind: string; readonly name: string } | undefined,
  end: Extract<End, { kind: "workload" }>,
): boolean {
  if (owner === undefined) return false;
  if (owner.kind === end.workload && owner.name === end.name) return true;
  return (
    end.workload === "Deployment" &&
    owner.kind === "ReplicaSet" &&
    /^[a-z0-9]+$/.test(owner.name.slice(end.name.length + 1)) &&
    owner.name.startsWith(`${end.name}-`)
  );
}

function* ownerNames(state: ClusterState, kind: string): Iterable<string> {
  for (const { namespace, owner } of state.pods.values())
    if (owner?.kind === kind) yield `${namespace}/${owner.name}`;
}

/** Whatever has the address: a pod, a node, a Service, or nobody in the cluster. */
function ownerOf(state: ClusterState, ip: Ip): CellEnd | ServiceEnd {
  const text = formatIp(ip);
  for (const node of state.nodes.values())
    if (node.addresses.some((one) => formatIp(one) === text)) return { kind: "node", node };
  for (const pod of state.pods.values())
    if (!pod.hostNetwork && pod.ips.some((one) => formatIp(one) === text)) return { kind: "pod", pod };
  return serviceAt(state, ip) ?? { kind: "external", ip };
}

function unknownEnd(what: string, name: string, known: Iterable<string>): InputError {
  const names = [...new Set(known)];
  const near = names
    .filter((one) => one.includes(name.split("/").at(-1) ?? name) || name.includes(one))
    .slice(0, 5);
  const some = near.length > 0 ? near : names.slice(0, 5);
  const hint =
    some.length > 0 ? `; there is ${some.join(", ")}${names.length > some.length ? ", ..." : ""}` : "";
  const issue: Issue = {
    code: "unknown-name",
    path: "",
    message: `no ${what} ${name} in the cluster${hint}`,
  };
  return new InputError([issue]);
}
