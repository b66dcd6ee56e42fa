/** Clusters for tests: objects with tweaks, built and edited. */
import { formatIp } from "../../src/addr/index.ts";
import {
  applyObjects,
  type BuildOptions,
  type BuiltCluster,
  buildCluster,
  type ClusterState,
  type ClusterWords,
  loadObjects,
  type Pod,
} from "../../src/k8s/index.ts";
import type { RawObject } from "./load.ts";

export interface PodTweaks {
  readonly labels?: RawObject;
  readonly spec?: RawObject;
  readonly status?: RawObject;
}

export const pod = (id: string, { labels = {}, spec = {}, status = {} }: PodTweaks = {}): RawObject => {
  const [namespace, name] = id.split("/");
  return { apiVersion: "v1", kind: "Pod", metadata: { namespace, name, labels }, spec, status };
};
export const node = (name: string, address?: string, more: RawObject = {}): RawObject => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, labels: { "kubernetes.io/os": "linux" } },
  status: address === undefined ? {} : { addresses: [{ type: "InternalIP", address }] },
  ...more,
});
export const build = (
  objects: readonly RawObject[],
  words: ClusterWords = {},
  options: BuildOptions = {},
): BuiltCluster => buildCluster(loadObjects("test", objects), words, options);
export const apply = (state: ClusterState, ...objects: readonly RawObject[]): BuiltCluster =>
  applyObjects(state, loadObjects("test", objects));
export const addresses = ({ ips }: Pick<Pod, "ips">): string => ips.map(formatIp).join(" ");
export const podAddresses = (state: ClusterState): readonly (readonly [string, string])[] =>
  [...state.pods].map(([id, one]) => [id, addresses(one)]);
export const get = (state: ClusterState, id: string): Pod => {
  const found = state.pods.get(id);
  if (found === undefined) throw new Error(`no pod ${id}`);
  return found;
};
export const two: readonly RawObject[] = [
  pod("x/a", { spec: { nodeName: "n1" } }),
  pod("x/b", { spec: { nodeName: "n2" } }),
];
