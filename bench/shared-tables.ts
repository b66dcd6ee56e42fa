/** What do the tables of 250 nodes cost beside those of one node of the same cluster? */
import { hashText } from "../src/base/index.ts";
import {
  compileCluster,
  generateCluster,
  nodeFiles,
  parseSelection,
  retainedBytes,
} from "../src/harness/index.ts";
import { buildCluster, type ClusterState, loadObjects } from "../src/k8s/index.ts";
import { type BenchmarkFile, seed } from "./benchmark.ts";

export const sharedTables: BenchmarkFile = {
  name: "shared-tables",
  question: "What do the tables of all nodes cost beside those of one node of the same cluster?",
  prepare(size) {
    const selection = parseSelection("azure-npm");
    if (selection.kind !== "product") throw new RangeError("azure-npm is a product");
    const sizes = size === "full" ? {} : { nodes: 20, pods: 200, namespaces: 8, policies: 20 };
    const objects = loadObjects("bench", generateCluster("aks-npm-limit", seed, sizes));
    const { state: all } = buildCluster(objects, selection.aks);
    const [first] = all.nodes;
    if (first === undefined) throw new RangeError("a cluster without nodes has nothing to measure");
    // pods elsewhere stay: they are members of the sets on every node
    const one: ClusterState = { ...all, nodes: new Map([first]) };
    const compiled = { all: compileCluster(all, selection), one: compileCluster(one, selection) };
    const bytes = (which: keyof typeof compiled): number =>
      retainedBytes([...compiled[which].values()].map((node) => node.tables));
    const [oneBytes, allBytes] = [bytes("one"), bytes("all")];
    return {
      unit: "compiles the cluster",
      cases: [
        { name: "one node", run: () => (compiled.one = compileCluster(one, selection)) },
        { name: "all nodes", run: () => (compiled.all = compileCluster(all, selection)) },
      ],
      facts: {
        nodes: all.nodes.size,
        pods: all.pods.size,
        policies: all.networkPolicies.size,
        oneBytes,
        allBytes,
        bytesRatio: Number((allBytes / oneBytes).toFixed(3)),
      },
      resultHash: () => {
        const tables = compiled.all.get(first[0])?.tables;
        const files = tables === undefined ? [] : [...nodeFiles(all, first[0], tables)];
        return hashText(files.map(([name, text]) => `${name}\n${text}`).join("\n")).toString(16);
      },
    };
  },
};
