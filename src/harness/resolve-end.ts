/** Ends of a connection as people name them, looked up in a cluster state. */
import { formatIp, type Ip } from "../addr/index.ts";
import { InputError, type Issue, unreachable } from "../base/index.ts";
import type { CellEnd, ClusterState } from "../k8s/index.ts";
import { type End, formatEnd } from "../scenario/index.ts";
import type { TableEnd } from "./ends.ts";
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
    case "load-balancer":
    case "node-port":
      throw new InputError([
        {
          code: "refused",
          path: "",
          message: `${id}: this version judges pod, node and external addresses; Services are not emulated yet`,
        },
      ]);
    default:
      return unreachable(end);
  }
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

/** Whatever has the address: a pod, a node, or nobody in the cluster. */
function ownerOf(state: ClusterState, ip: Ip): CellEnd {
  const text = formatIp(ip);
  for (const node of state.nodes.values())
    if (node.addresses.some((one) => formatIp(one) === text)) return { kind: "node", node };
  for (const pod of state.pods.values())
    if (!pod.hostNetwork && pod.ips.some((one) => formatIp(one) === text)) return { kind: "pod", pod };
  return { kind: "external", ip };
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
