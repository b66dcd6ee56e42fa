/**
 * Names of the host-side interfaces of pods, by CNI. Sources: azure-container-networking (azv + 11 hex digits of a
 * SHA-1), projectcalico/calico (cali + 11 hex digits of SHA-1 of namespace.name), kubenet (veth + 8 hex digits), cilium/cilium
 * pkg/datapath/connector (lxc + 12 hex digits of a SHA-256).
 */
import { createHash } from "node:crypto";
import type { ClusterState } from "./cluster.ts";
import { isEnded } from "./phase.ts";
import type { Pod } from "./types.ts";

function digest(algorithm: "sha1" | "sha256", text: string): string {
  return createHash(algorithm).update(text).digest("hex");
}

/** Pods of the host network and pods without an address have no interface of their own. */
export function hasInterface(pod: Pod): boolean {
  return !pod.hostNetwork && pod.ips.length > 0 && !isEnded(pod);
}

/** At most 15 characters, unique per pod of a node. */
export function podInterfaceName(state: ClusterState, pod: Pod): string {
  const id = `${pod.namespace}.${pod.name}`;
  if (state.options.networkPlugin === "kubenet") return `veth${digest("sha1", id).slice(0, 8)}`;
  if (state.options.networkDataplane === "cilium") return `lxc${digest("sha256", id).slice(0, 12)}`;
  if (state.options.networkPolicy === "calico") return `cali${digest("sha1", id).slice(0, 11)}`;
  return `azv${digest("sha1", id).slice(0, 11)}`;
}

/** Stands for every interface that pods hang on, as iptables and attachments of programs name interfaces. */
export function podInterfacePattern({ options }: ClusterState): string {
  if (options.networkPlugin === "kubenet") return kubenetBridge;
  if (options.networkDataplane === "cilium") return "lxc+";
  return options.networkPolicy === "calico" ? "cali+" : "azv+";
}

/** The bridge that pods of kubenet hang on; their packets enter the host through it. */
export const kubenetBridge = "cbr0";
