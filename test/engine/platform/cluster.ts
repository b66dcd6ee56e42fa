/** Clusters of Services for tests of the platform's tables. */
import { platformTables } from "../../../src/engine/platform/index.ts";
import { type Ruleset, ruleText, type TableName } from "../../../src/filter/iptables/index.ts";
import {
  buildCluster,
  type ClusterState,
  type ClusterWords,
  loadObjects,
  type Node,
} from "../../../src/k8s/index.ts";

export type RawObject = Readonly<Record<string, unknown>>;

export function node(name: string, ip: string, podCidr?: string): RawObject {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name },
    spec: podCidr === undefined ? {} : { podCIDR: podCidr },
    status: { addresses: [{ type: "InternalIP", address: ip }] },
  };
}

export function service(name: string, spec: RawObject, status: RawObject = {}): RawObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "x", name },
    spec: { clusterIP: "10.0.0.20", ...spec },
    status,
  };
}

export interface SliceEndpoint {
  readonly ip: string;
  readonly on?: string;
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
}

/** A slice of one unnamed port. */
export function slice(
  owner: string,
  port: number,
  endpoints: readonly SliceEndpoint[],
  name?: string,
): RawObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      namespace: "x",
      name: `${owner}-${name ?? port}`,
      labels: { "kubernetes.io/service-name": owner },
    },
    addressType: "IPv4",
    ports: [{ port, ...(name === undefined ? {} : { name }) }],
    endpoints: endpoints.map(({ ip, on, ...conditions }) => ({
      addresses: [ip],
      conditions,
      ...(on === undefined ? {} : { nodeName: on }),
    })),
  };
}

export const twoNodes: readonly RawObject[] = [node("n1", "10.224.0.4"), node("n2", "10.224.0.5")];

export function cluster(objects: readonly RawObject[], words: ClusterWords = {}): ClusterState {
  const given = objects.some((one) => one["kind"] === "Node") ? objects : [...twoNodes, ...objects];
  return buildCluster(loadObjects("test", given), words).state;
}

export function rulesetOf(state: ClusterState, nodeName = "n1", family: 4 | 6 = 4): Ruleset {
  const tables = platformTables(state, state.nodes.get(nodeName) as Node).iptables;
  if (tables === undefined) throw new Error("a Linux node has iptables");
  return family === 4 ? tables.v4 : tables.v6;
}

/** A chain's rules as iptables-save prints them, without `-A CHAIN `; `undefined` when there is no such chain. */
export function chainText(ruleset: Ruleset, table: TableName, name: string): readonly string[] | undefined {
  const chain = ruleset.tables[table]?.chains.find((one) => one.name === name);
  return chain?.rules.map((rule) => ruleText(name, rule, ruleset.family).slice(`-A ${name} `.length));
}

/** Names of the chains of a table that begin with one of the prefixes. */
export function chainNames(ruleset: Ruleset, ...prefixes: readonly string[]): readonly string[] {
  return (ruleset.tables.nat?.chains ?? [])
    .map(({ name }) => name)
    .filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
}
