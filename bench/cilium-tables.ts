/**
 * What does Cilium cost on every node of a large cluster: compiling its policies, linking its maps and programs? Counted
 * beside it: distinct programs and policy maps, and the distinct pairs of identity and named ports that they serve.
 */
import { hashText } from "../src/base/index.ts";
import {
  compileCluster,
  emulate,
  generateCluster,
  parseSelection,
  retainedBytes,
} from "../src/harness/index.ts";
import { buildCluster, loadObjects } from "../src/k8s/index.ts";
import { type BenchmarkFile, nowMs, seed } from "./benchmark.ts";

/** One large cluster a case; the larger one has the sizes of the published scalability report. */
const clusters = [
  { profile: "aks-npm-limit", smoke: { nodes: 5, pods: 100, namespaces: 4, policies: 10 } },
  { profile: "cilium-report", smoke: { nodes: 10, pods: 200, namespaces: 4, policies: 10 } },
] as const;

export const ciliumTables: BenchmarkFile = {
  name: "cilium-tables",
  question: "What does Cilium cost on all nodes of a large cluster?",
  prepare(size) {
    const selection = parseSelection("cilium");
    if (selection.kind !== "product") throw new RangeError("cilium is a product");
    const facts: Record<string, string | number> = {};
    const last = new Map<string, number>();
    const cases = clusters.map(({ profile, smoke }) => {
      const objects = loadObjects("bench", generateCluster(profile, seed, size === "full" ? {} : smoke));
      const { state } = buildCluster(objects, { ...selection.aks, nodeSubnet: "172.16.0.0/12" });
      const startMs = nowMs();
      const compiled = compileCluster(state, selection);
      const compiledMs = nowMs() - startMs;
      const tables = [...compiled.values()].map((node) => node.tables.bpf);
      const distinct = <T>(items: readonly T[]): number => new Set(items).size;
      facts[`${profile} nodes`] = state.nodes.size;
      facts[`${profile} pods`] = state.pods.size;
      facts[`${profile} compileMs`] = Math.round(compiledMs);
      facts[`${profile} programs`] = distinct(tables.flatMap((bpf) => bpf?.programs ?? []));
      facts[`${profile} policyMaps`] = distinct(
        tables.flatMap((bpf) => bpf?.maps ?? []).filter(({ name }) => name.startsWith("cilium_policy_v2_")),
      );
      facts[`${profile} tableBytes`] = retainedBytes([...compiled.values()].map((node) => node.tables));
      const linkMs = nowMs();
      const linked = emulate(state, selection, { seed });
      facts[`${profile} emulateMs`] = Math.round(nowMs() - linkMs);
      last.set(profile, linked.datapaths.size);
      return {
        name: profile,
        run: () => void last.set(profile, compileCluster(state, selection).size),
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
