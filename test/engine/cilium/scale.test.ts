/** What nodes of a cluster share: programs, policy maps of equal identities and port names, the base of the ipcache. */
import { beforeAll, describe, expect, it } from "vitest";
import { firstPolicyPlace, MapPlace } from "../../../src/engine/cilium/maps.ts";
import type { BpfTables } from "../../../src/filter/bpf/index.ts";
import {
  compileCluster,
  generateCluster,
  type ProductSelection,
  parseSelection,
} from "../../../src/harness/index.ts";
import { buildCluster, type ClusterState, loadObjects, type Pod } from "../../../src/k8s/index.ts";

const cilium = parseSelection("cilium") as ProductSelection;

type RawObjects = ReturnType<typeof generateCluster>;

function stateOf(objects: RawObjects): ClusterState {
  return buildCluster(loadObjects("scale", objects), { ...cilium.aks }).state;
}

function tablesOf(state: ClusterState): ReadonlyMap<string, BpfTables> {
  return new Map(
    [...compileCluster(state, cilium)].flatMap(([name, { tables }]) =>
      tables.bpf === undefined ? [] : [[name, tables.bpf]],
    ),
  );
}

const policyMapsOf = ({ maps }: BpfTables): BpfTables["maps"] => maps.slice(firstPolicyPlace);

/** Namespaces of the generated clusters have no labels of their own: a pod's identity is its namespace and labels. */
function identityAndNamedPorts({ namespace, labels, ports }: Pod): string {
  const named = ports.filter(({ name }) => name !== undefined);
  return JSON.stringify([namespace, Object.entries(labels).sort(), named]);
}

/** Every third pod names a port, every sixth another one. */
function withNamedPorts(objects: RawObjects): RawObjects {
  let pods = 0;
  return objects.map((object) => {
    if (object["kind"] !== "Pod" || pods++ % 3 !== 0) return object;
    const spec = object["spec"] as Readonly<Record<string, unknown>>;
    const port = { name: "http", containerPort: pods % 2 === 0 ? 8080 : 8081, protocol: "TCP" };
    return { ...object, spec: { ...spec, containers: [{ name: "main", image: "x", ports: [port] }] } };
  });
}

describe.each([
  { name: "aks-npm-limit", size: { nodes: 20, pods: 600, namespaces: 5, policies: 60 } },
  { name: "cilium-report", size: { nodes: 20, pods: 400, namespaces: 10, policies: 10 } },
])("tables of $size.nodes nodes ($name)", ({ name, size }) => {
  let state: ClusterState;
  let tables: ReadonlyMap<string, BpfTables>;
  beforeAll(() => {
    state = stateOf(withNamedPorts(generateCluster(name, 1, size)));
    tables = tablesOf(state);
  });

  it("have four programs in all", () => {
    expect(tables.size).toBe(size.nodes);
    expect(new Set([...tables.values()].flatMap(({ programs }) => programs)).size).toBe(4);
  });

  it("have one policy map for each pair of identity and named ports, shared between nodes", () => {
    const pairs = new Set([...state.pods.values()].map(identityAndNamedPorts));
    const maps = new Set([...tables.values()].flatMap(policyMapsOf));
    expect(maps.size).toBe(pairs.size);
    expect(maps.size).toBeLessThan(state.pods.size);
    expect(new Set([...maps].map((map) => map.name)).size).toBe(maps.size);
  });

  it("have one content for policy maps of the same rules", () => {
    const maps = [...new Set([...tables.values()].flatMap(policyMapsOf))];
    const contents = new Set(maps.map(({ base }) => base));
    const texts = new Set(maps.map(({ base = [] }) => base.map(({ key }) => key.join()).join("\n")));
    expect(contents.size).toBeLessThan(maps.length);
    expect(texts.size).toBeLessThanOrEqual(contents.size);
  });

  it("hold on each node the maps of its own endpoints, and no others", () => {
    for (const [node, { maps }] of tables) {
      const own = [...state.pods.values()].filter(({ nodeName }) => nodeName === node);
      expect(maps.length - firstPolicyPlace).toBe(new Set(own.map(identityAndNamedPorts)).size);
      expect(maps[MapPlace.lxc]?.entries).toHaveLength(own.length);
    }
  });

  it("stand on one ipcache, each node with its own address laid over it", () => {
    const caches = [...tables.values()].map(({ maps }) => maps[MapPlace.ipcache]);
    expect(new Set(caches.map((cache) => cache?.base)).size).toBe(1);
    for (const cache of caches) expect(cache?.entries).toHaveLength(1);
    expect(caches[0]?.base?.length).toBeGreaterThanOrEqual(state.pods.size + size.nodes);
  });
});
