/**
 * Decision throughput: the step-faithful walk over one node's tables, and what it took to make them. The clock comes
 * from outside; what is computed is a function of profile, sizes and seed alone, and `resultHash` says whether it was
 * the same.
 */
import { createPrng, hashText } from "../base/index.ts";
import { createHookResults, type Datapath, Hook } from "../filter/index.ts";
import { buildCluster, type ClusterState, loadObjects, type Pod } from "../k8s/index.ts";
import { append, CtState, createBatch, decode, type PacketBatch } from "../packet/index.ts";
import { firstPacket, Network } from "../sim/index.ts";
import { compileCluster, linkContext } from "./compose.ts";
import { type ClusterSize, generateCluster } from "./generate.ts";
import { linkTables } from "./kinds.ts";
import type { ProductSelection } from "./selection.ts";
import { createTopology } from "./topology.ts";

/** Of a hundred packets: 80 TCP, 15 UDP, 5 SCTP. */
const protocolMix = [
  { protocol: "TCP", upTo: 80 },
  { protocol: "UDP", upTo: 95 },
  { protocol: "SCTP", upTo: 100 },
] as const;
const destinationPorts = [80, 443, 5432, 6379, 8080, 8443, 9090];

export interface BenchSetup {
  readonly state: ClusterState;
  readonly datapath: Datapath;
  readonly batch: PacketBatch;
  readonly rules: number;
  readonly setEntries: number;
  readonly sizes: ClusterSize;
  /** Milliseconds: objects to cluster, cluster to tables of all nodes, tables of one node to a datapath. */
  readonly buildMs: number;
  readonly compileMs: number;
  readonly linkMs: number;
}

export interface BenchOptions {
  readonly profile: string;
  readonly sizes?: Partial<ClusterSize>;
  readonly seed: number;
  /** Packets in a batch: at most 4,096. */
  readonly packets?: number;
  readonly nowMs: () => number;
}

export function prepareBench(selection: ProductSelection, options: BenchOptions): BenchSetup {
  const { seed, nowMs } = options;
  const loaded = loadObjects(options.profile, generateCluster(options.profile, seed, options.sizes));
  const started = nowMs();
  const { state } = buildCluster(loaded, selection.aks);
  const built = nowMs();
  const compiled = compileCluster(state, selection);
  const compiledAt = nowMs();
  const topology = createTopology(state).spec;
  const spec = topology.nodes[0];
  const tables = spec === undefined ? undefined : compiled.get(spec.name)?.tables;
  if (spec === undefined || tables === undefined)
    throw new RangeError("a cluster without nodes has nothing to measure");
  const network = new Network({
    nodes: [spec],
    endpoints: topology.endpoints.filter(({ node }) => node === spec.name),
  });
  const linkStarted = nowMs();
  const datapath = linkTables(tables, linkContext(network.node(spec.name), network.loop, seed))?.datapath;
  if (datapath === undefined) throw new RangeError("the node has no tables");
  const linkedAt = nowMs();
  const chains = Object.values(tables.iptables?.v4.tables ?? {}).flatMap((table) => table.chains);
  const sizes = {
    nodes: state.nodes.size,
    pods: state.pods.size,
    namespaces: state.namespaces.size,
    policies: state.networkPolicies.size,
  };
  return {
    state,
    datapath,
    batch: randomPackets(state, seed, options.packets ?? 1024),
    rules: chains.reduce((sum, chain) => sum + chain.rules.length, 0),
    setEntries: [...(tables.iptables?.sets.values() ?? [])].reduce((sum, set) => sum + set.entries.length, 0),
    sizes,
    buildMs: built - started,
    compileMs: compiledAt - built,
    linkMs: linkedAt - linkStarted,
  };
}

/** First packets between uniformly drawn pairs of pods. */
function randomPackets(state: ClusterState, seed: number, count: number): PacketBatch {
  const random = createPrng(seed).fork("traffic");
  const pods = [...state.pods.values()].filter((pod) => pod.ips.some((ip) => ip.family === 4));
  const batch = createBatch(count, 128);
  while (batch.length < count) {
    const [from, to] = [random.pick(pods), random.pick(pods)];
    const [src, dst] = [address(from), address(to)];
    const draw = random.below(100);
    const protocol = protocolMix.find((one) => draw < one.upTo)?.protocol ?? "TCP";
    const port = random.pick(destinationPorts);
    append(
      batch,
      firstPacket({ from: "", src, dst, protocol, port, sourcePort: 1024 + random.below(60_000) }),
    );
  }
  decode(batch, 0, batch.length);
  return batch;
}

function address(pod: Pod): Pod["ips"][number] {
  const ip = pod.ips.find((one) => one.family === 4);
  if (ip === undefined) throw new RangeError(`${pod.name} has no IPv4 address`);
  return ip;
}

/** Judges the whole batch once at FORWARD, as packets of the given connection state. */
export function walkBatch(
  setup: BenchSetup,
  ctState: number,
  verdicts: ReturnType<typeof createHookResults>,
): void {
  const { batch, datapath } = setup;
  batch.state.mark.fill(0);
  batch.state.ctState.fill(ctState);
  datapath.run(Hook.forward, batch, 0, batch.length, verdicts);
  verdicts.emitted.length = 0;
}

export interface WalkMeasure {
  readonly path: "new" | "established";
  readonly nsPerDecision: number;
  readonly decisionsPerSecond: number;
  readonly accepted: number;
  readonly packets: number;
  /** Of the verdicts: equal for equal profile, sizes and seed. */
  readonly resultHash: string;
}

/** The best of `rounds` rounds of at least `roundMs` each: the figure that noise can only make worse. */
export function measureWalk(
  setup: BenchSetup,
  path: "new" | "established",
  nowMs: () => number,
  rounds = 7,
  roundMs = 60,
): WalkMeasure {
  const verdicts = createHookResults(setup.batch.capacity);
  const state = path === "new" ? CtState.new : CtState.established;
  const once = (): void => walkBatch(setup, state, verdicts);
  once();
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const started = nowMs();
    let passes = 0;
    let elapsed = 0;
    while (elapsed < roundMs) {
      once();
      passes++;
      elapsed = nowMs() - started;
    }
    best = Math.min(best, elapsed / (passes * setup.batch.length));
  }
  const judged = verdicts.verdict.subarray(0, setup.batch.length);
  return {
    path,
    nsPerDecision: best * 1e6,
    decisionsPerSecond: 1000 / best,
    accepted: judged.reduce((sum, verdict) => sum + (verdict === 0 ? 1 : 0), 0),
    packets: setup.batch.length,
    resultHash: hashText(judged.join("")).toString(16).padStart(8, "0"),
  };
}
