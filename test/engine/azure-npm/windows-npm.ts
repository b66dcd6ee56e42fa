/** Clusters of Windows nodes under NPM, and what stands in their HNS. */
import { aclSettings, type HnsTables } from "../../../src/filter/hns/index.ts";
import { compileCluster } from "../../../src/harness/index.ts";
import { applyObjects, buildCluster, type ClusterState, loadObjects } from "../../../src/k8s/index.ts";
import { namespace, npm, pod, type RawObject } from "./npm.ts";

export const windowsNode = (name: string): RawObject => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, labels: { "kubernetes.io/os": "windows" } },
  status: { addresses: [{ type: "InternalIP", address: name === "n1" ? "10.224.0.4" : "10.224.0.5" }] },
});

export function clusterOf(objects: readonly RawObject[], label = "azure-npm"): ClusterState {
  const nodes = ["n1", "n2"].map(windowsNode);
  return buildCluster(loadObjects("objects", [...nodes, ...objects]), npm(label).aks).state;
}

export const apply = (state: ClusterState, ...objects: readonly RawObject[]): ClusterState =>
  applyObjects(state, loadObjects("test", objects)).state;

/** Names of sets in place of ids. */
export function named(tables: HnsTables, text: string): string {
  const names = new Map(tables.networks.flatMap(({ sets }) => sets.map(({ id, name }) => [id, name])));
  return text.replaceAll(/azure-npm-[0-9a-z]+/g, (id) => names.get(id) ?? id);
}

export interface CompiledWindows {
  readonly diagnostics: readonly string[];
  /** ACLs of NPM's on the endpoint of a pod, in v2's settings. */
  acls(id: string): readonly unknown[];
  /** Members of a set by its name. */
  members(name: string): readonly string[] | undefined;
}

export function compiledOf(state: ClusterState, label = "azure-npm"): ReadonlyMap<string, HnsTables> {
  const nodes = [...compileCluster(state, npm(label))];
  return new Map(
    nodes.map(([name, { tables }]) => {
      if (tables.hns === undefined) throw new Error("a Windows node has HNS");
      return [name, tables.hns];
    }),
  );
}

export function compile(objects: readonly RawObject[], label = "azure-npm"): CompiledWindows {
  const state = clusterOf(objects, label);
  const tables = [...compiledOf(state, label).values()];
  const [first] = tables;
  if (first === undefined) throw new Error("there are nodes");
  const diagnostics = compileCluster(state, npm(label)).get("n1")?.diagnostics ?? [];
  const setsByName = new Map(first.networks.flatMap(({ sets }) => sets.map((set) => [set.name, set])));
  return {
    diagnostics: diagnostics.map(({ message }) => message),
    acls: (id) => {
      const endpoint = tables.flatMap(({ endpoints }) => endpoints).find(({ name }) => name === id);
      if (endpoint === undefined) throw new Error(`${id} has no endpoint`);
      const own = endpoint.acls.filter((acl) => acl.id?.startsWith("azure-acl"));
      return own.map((acl) => JSON.parse(named(first, JSON.stringify(aclSettings(acl)))) as unknown);
    },
    members: (name) => {
      const set = setsByName.get(name);
      if (set === undefined) return undefined;
      const values = set.values.map((one) =>
        typeof one === "string"
          ? named(first, one)
          : `${one.words.map((word) => word >>> 0).join()}/${one.prefix}`,
      );
      return values;
    },
  };
}

export const objects: readonly RawObject[] = [
  namespace("x", { team: "t" }),
  pod("x/a", { app: "a" }),
  pod("x/b", { app: "b" }),
];
export const id = "azure-acl-x-p";
const base: RawObject = { RuleType: "Switch" };
export const node: RawObject = {
  Id: id,
  RemoteAddresses: "10.224.0.4",
  Action: "Allow",
  Direction: "In",
  ...base,
  Priority: 201,
};
export const blockIn: RawObject = { Id: id, Action: "Block", Direction: "In", ...base, Priority: 3000 };
export const blockOut: RawObject = { ...blockIn, Direction: "Out" };
export const allowIn: RawObject = { Id: id, Action: "Allow", Direction: "In", ...base, Priority: 222 };
export const allowOut: RawObject = { ...allowIn, Direction: "Out" };
export const selectA: RawObject = { podSelector: { matchLabels: { app: "a" } } };
