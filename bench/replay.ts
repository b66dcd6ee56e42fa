/** How many packets of a capture are read and judged a second, by a node's dump and by engines on manifests? */
import { formatIp } from "../src/addr/index.ts";
import { hashText } from "../src/base/index.ts";
import { createCaptureReader } from "../src/capture/index.ts";
import {
  compileCluster,
  createOriginPlacer,
  DumpTarget,
  emulate,
  generateCluster,
  NetworkTarget,
  nodeFiles,
  type ProductSelection,
  parseSelection,
  Replayer,
  type ReplayTarget,
  readDump,
  readDumpedNode,
} from "../src/harness/index.ts";
import { buildCluster, type ClusterState, loadObjects } from "../src/k8s/index.ts";
import { type BenchmarkFile, seed } from "./benchmark.ts";
import { trafficCapture } from "./capture-traffic.ts";

const sizes = { nodes: 4, pods: 80, namespaces: 4, policies: 40 };

export const replayCaptures: BenchmarkFile = {
  name: "replay",
  question: "How many packets of a capture are read and judged a second?",
  prepare(size) {
    const packets = size === "full" ? 20_000 : 500;
    const objects = loadObjects("bench", generateCluster("aks-npm-limit", seed, sizes));
    const stateFor = ({ aks }: ProductSelection): ClusterState => buildCluster(objects, aks).state;
    const npm = productOf("azure-npm");
    const state = stateFor(npm);
    const capture = Buffer.concat([
      ...trafficCapture({
        seed,
        packets,
        flows: 200,
        packetsPerFlow: 40,
        addresses: [...state.pods.values()].flatMap(({ ips }) => ips.map(formatIp)),
        payloads: [0, 64, 512, 1400],
      }),
    ]);
    const counts = new Map<string, string>();
    const replayed = (name: string, makeTarget: () => ReplayTarget): { name: string; run: () => void } => ({
      name,
      run() {
        const replayer = new Replayer(makeTarget(), createOriginPlacer([]));
        read(capture, (packet) => replayer.judge(packet));
        counts.set(name, hashText(JSON.stringify(replayer.counts)).toString(16));
      },
    });
    const engine = (word: string): (() => ReplayTarget) => {
      const selection = productOf(word);
      const cluster = stateFor(selection);
      return () => new NetworkTarget(emulate(cluster, selection, { seed }).network, () => cluster);
    };
    return {
      unit: `takes ${packets} packets of TCP and UDP, ${capture.length} bytes`,
      cases: [
        {
          name: "read alone",
          run() {
            let bytes = 0;
            read(capture, ({ start, end }) => {
              bytes += end - start;
            });
            counts.set("read alone", hashText(String(bytes)).toString(16));
          },
        },
        replayed("dump", dumpTargets(state, npm)),
        replayed("azure-npm", engine("azure-npm")),
        replayed("cilium", engine("cilium")),
      ],
      facts: { ...sizes, packets, captureBytes: capture.length, flowsAtOnce: 200, trace: "off" },
      resultHash: () => [...counts.values()].join(" "),
    };
  },
};

function productOf(word: string): ProductSelection {
  const selection = parseSelection(word);
  if (selection.kind !== "product") throw new RangeError(`${word} is a product`);
  return selection;
}

function read(capture: Uint8Array, packet: Parameters<typeof createCaptureReader>[1]["packet"]): void {
  const reader = createCaptureReader("made up", { packet });
  reader.push(capture);
  reader.end();
}

/** The first node's tables, as its own tools would dump them. */
function dumpTargets(state: ClusterState, selection: ProductSelection): () => ReplayTarget {
  const [name = ""] = state.nodes.keys();
  const files = nodeFiles(state, name, compileCluster(state, selection).get(name)?.tables ?? {});
  const text = (file: string): { name: string; text: string } => ({
    name: file,
    text: files.get(file) ?? "",
  });
  const facts = readDumpedNode({ local: [], routes: [], node: text("node.json") });
  const place = { node: name, inInterface: undefined, outInterface: undefined, hook: undefined };
  return () => {
    const tables = readDump({ iptables: text("iptables.save"), ipset: text("ipset.save") });
    return new DumpTarget(tables, { ...place, families: [4] }, facts, seed);
  };
}
