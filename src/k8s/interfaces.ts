/**
 * Names of the host-side interfaces of pods, by CNI. Sources: azure-container-networking (azv + 11 hex digits of a
 * SHA-1), projectcalico/calico (cali + 11 hex digits of SHA-1 of namespace.name), kubenet (veth + 8 hex digits).
 */
import { createHash } from "node:crypto";
import type { ClusterState } from "./cluster.ts";
import type { Pod } from "./types.ts";

function sha1(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}

/** At most 15 characters, unique per pod of a node. */
export function podInterfaceName(state: ClusterState, pod: Pod): string {
  const id = `${pod.namespace}.${pod.name}`;
  if (state.options.networkPlugin === "kubenet") return `veth${sha1(id).slice(0, 8)}`;
  if (state.options.networkPolicy === "calico") return `cali${sha1(id).slice(0, 11)}`;
  return `azv${sha1(id).slice(0, 11)}`;
}

/** The bridge that pods of kubenet hang on; their packets enter the host through it. */
export const kubenetBridge = "cbr0";
