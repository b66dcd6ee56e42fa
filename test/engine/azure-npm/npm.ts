/** NPM for tests: policies in, rules out, with the readable names of sets in place of hashed ones. */
import type { NodeTables } from "../../../src/engine/index.ts";
import { platformTables } from "../../../src/engine/platform/index.ts";
import { entryText, type IpsetRepr } from "../../../src/filter/ipset/index.ts";
import { type Chain, type IptablesTables, ruleText } from "../../../src/filter/iptables/index.ts";
import { type ProductSelection, parseSelection } from "../../../src/harness/index.ts";
import { buildCluster, type ClusterState, loadObjects } from "../../../src/k8s/index.ts";

export type RawObject = Readonly<Record<string, unknown>>;

export function npm(label = "azure-npm"): ProductSelection {
  const selection = parseSelection(label);
  if (selection.kind !== "product") throw new Error(`${label} is no product`);
  return selection;
}

export function policy(id: string, spec: RawObject): RawObject {
  const [namespace, name] = id.split("/");
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { namespace, name }, spec };
}

export function pod(id: string, labels: RawObject = {}, more: RawObject = {}): RawObject {
  const [namespace, name] = id.split("/");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name, labels },
    spec: { nodeName: "n1", containers: [], ...more },
  };
}

export function namespace(name: string, labels: RawObject = {}): RawObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

const oneNode: RawObject = {
  apiVersion: "v1",
  kind: "Node",
  metadata: { name: "n1", labels: { "kubernetes.io/os": "linux" } },
};

export function cluster(objects: readonly RawObject[], selection: ProductSelection = npm()): ClusterState {
  return buildCluster(loadObjects("objects", [oneNode, ...objects]), selection.aks).state;
}

export interface Compiled {
  readonly tables: IptablesTables;
  readonly diagnostics: readonly string[];
  /** Rules of a chain as iptables-save prints them, sets by their readable names: `<podlabel-app:web>`. */
  rules(chain: string): readonly string[];
  /** Members of a set by its readable name, as `ipset save` prints them; `undefined`: there is no such set. */
  members(title: string): readonly string[] | undefined;
}

export function compile(objects: readonly RawObject[], label?: string): Compiled {
  const selection = npm(label);
  const state = cluster(objects, selection);
  const node = state.nodes.get("n1");
  const engine = selection.engines.linux;
  if (node === undefined || engine === undefined) throw new Error("there is a node n1, and NPM runs on it");
  const { tables, diagnostics } = engine.compile(state)(node, platformTables(state, node));
  return readable(
    tables,
    diagnostics.map(({ message }) => message),
  );
}

export function readable(nodeTables: NodeTables, diagnostics: readonly string[] = []): Compiled {
  const tables = nodeTables.iptables;
  if (tables === undefined) throw new Error("a Linux node has iptables");
  const titled = new Map([...tables.sets.values()].map((set) => [set.title ?? set.name, set]));
  const title = (name: string): string => `<${tables.sets.get(name)?.title ?? name}>`;
  return {
    tables,
    diagnostics,
    rules: (chain) =>
      (chainOf(tables, chain)?.rules ?? []).map((rule) =>
        ruleText(chain, rule).replaceAll(/azure-npm-[0-9a-z]+/g, title),
      ),
    members: (name) => {
      const set: IpsetRepr | undefined = titled.get(name);
      return set?.entries.map((entry) => entryText(entry).replaceAll(/azure-npm-[0-9a-z]+/g, title));
    },
  };
}

export function chainOf(tables: IptablesTables, name: string): Chain | undefined {
  return tables.v4.tables.filter?.chains.find((chain) => chain.name === name);
}

/** The only policy chain of a direction. */
export function policyChain(tables: IptablesTables, direction: "INGRESS" | "EGRESS"): string {
  const names = (tables.v4.tables.filter?.chains ?? [])
    .map(({ name }) => name)
    .filter((name) => new RegExp(`^AZURE-NPM-${direction}-[0-9a-z]+$`).test(name));
  const [name, ...more] = names;
  if (name === undefined || more.length > 0)
    throw new Error(`one chain expected, there are: ${names.join()}`);
  return name;
}
