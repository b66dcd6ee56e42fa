/**
 * What does Cilium cost on all nodes of a large cluster: compiling its policies, linking its maps and programs? Counted
 * beside it: distinct programs and policy maps, and the distinct pairs of identity and named ports that they serve; and
 * bytes: of the tables, of the process, and of the maps as a kernel would hold them.
 */
import { hashText } from "../src/base/index.ts";
import { type BpfTables, contentOf, type MapRepr } from "../src/filter/bpf/index.ts";
import {
  type ClusterSize,
  compileCluster,
  emulate,
  generateCluster,
  type ProductSelection,
  parseSelection,
  retainedBytes,
} from "../src/harness/index.ts";
import { buildCluster, type ClusterState, loadObjects, type Pod } from "../src/k8s/index.ts";
import { type BenchmarkFile, nowMs, seed } from "./benchmark.ts";

interface Case {
  readonly profile: string;
  /** Where it is not the profile's own. */
  readonly full: Partial<ClusterSize>;
  readonly smoke: ClusterSize;
}

/** Azure NPM's limit, the sizes of Cilium's scalability report, and those of the report with five policies a node. */
const clusters: readonly (readonly [name: string, Case])[] = [
  [
    "aks-npm-limit",
    {
      profile: "aks-npm-limit",
      full: {},
      smoke: { nodes: 5, pods: 100, namespaces: 4, policies: 10 },
    },
  ],
  [
    "cilium-report",
    {
      profile: "cilium-report",
      full: {},
      smoke: { nodes: 10, pods: 200, namespaces: 4, policies: 10 },
    },
  ],
  [
    "5000-policies",
    {
      profile: "aks-npm-limit",
      full: { nodes: 1000, pods: 50_000, policies: 5000 },
      smoke: { nodes: 10, pods: 200, namespaces: 4, policies: 50 },
    },
  ],
];

export const ciliumTables: BenchmarkFile = {
  name: "cilium-tables",
  question: "What does Cilium cost on all nodes of a large cluster?",
  prepare(size) {
    const selection = parseSelection("cilium");
    if (selection.kind !== "product") throw new RangeError("cilium is a product");
    const facts: Record<string, string | number> = {};
    const last = new Map<string, number>();
    const cases = clusters.map(([name, { profile, full, smoke }]) => {
      const objects = loadObjects("bench", generateCluster(profile, seed, size === "full" ? full : smoke));
      const { state } = buildCluster(objects, { ...selection.aks, nodeSubnet: "172.16.0.0/12" });
      for (const [fact, value] of Object.entries(measure(state, selection))) facts[`${name} ${fact}`] = value;
      return {
        name,
        // of a state that is no object compiled before, whose tables are known
        run: () => {
          const compiled = compileCluster({ ...state }, selection);
          const maps = [...compiled.values()].map(({ tables }) => tables.bpf?.maps.length ?? 0);
          last.set(
            name,
            maps.reduce((sum, count) => sum + count, 0),
          );
        },
      };
    });
    return {
      unit: "compiles the cluster",
      cases,
      facts,
      resultHash: () => hashText([...last].map((pair) => pair.join(" ")).join("\n")).toString(16),
    };
  },
};

/** `linkMs`: network and links of a cluster whose tables are known. `rssMb`: of the process after both. */
function measure(state: ClusterState, selection: ProductSelection): Readonly<Record<string, number>> {
  const startMs = nowMs();
  const compiled = compileCluster(state, selection);
  const compiledMs = nowMs();
  emulate(state, selection, { seed });
  const linkedMs = nowMs();
  const rssMb = Math.round(process.memoryUsage().rss / 1e6);
  const nodes = [...compiled.values()].flatMap(({ tables }) => tables.bpf ?? []);
  const maps = nodes.flatMap(policyMapsOf);
  const distinct = new Set(maps);
  return {
    nodes: state.nodes.size,
    pods: state.pods.size,
    policies: state.networkPolicies.size,
    compileMs: Math.round(compiledMs - startMs),
    linkMs: Math.round(linkedMs - compiledMs),
    rssMb,
    programs: new Set(nodes.flatMap(({ programs }) => programs)).size,
    identitiesAndNamedPorts: new Set([...state.pods.values()].map(labelsAndNamedPorts)).size,
    policyMaps: distinct.size,
    policyMapContents: new Set([...distinct].map(({ base }) => base)).size,
    kernelPolicyMapBytes: maps.reduce((bytes, map) => bytes + kernelBytes(map), 0),
    tableBytes: retainedBytes([...compiled.values()].map(({ tables }) => tables)),
  };
}

function policyMapsOf({ maps }: BpfTables): readonly MapRepr[] {
  return maps.filter(({ name }) => name.startsWith("cilium_policy_v2_"));
}

function labelsAndNamedPorts({ namespace, labels, ports }: Pod): string {
  return JSON.stringify([namespace, labels, ports.filter(({ name }) => name !== undefined)]);
}

/**
 * Of a trie without preallocation (kernel/bpf/lpm_trie.c): a node has 40 bytes of RCU head, children, prefix length and
 * flags, then the key's data and the value.
 */
function kernelBytes(map: MapRepr): number {
  return contentOf(map).length * (40 + map.keySize - 4 + map.valueSize);
}
