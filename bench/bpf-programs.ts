/**
 * What does a packet cost in Cilium's programs: interpreted, compiled to WebAssembly, and in the kernel? One program (what
 * a pod sends) on one node of a large cluster, over the same maps and packets on all sides. "Alone" is the program's run
 * over a packet that lies in place, again and again, as BPF_PROG_TEST_RUN repeats it; "whole" is a row of a batch judged
 * at its hook: the packet copied in, compared and copied out, and the verdict. The kernel gives each run's time itself.
 */
import { createPrng, hashText } from "../src/base/index.ts";
import {
  type BpfDatapath,
  BpfMachine,
  type HelperEnvironment,
  helpersFor,
  type LinkedProgram,
  linkBpf,
  PacketBuffer,
  ProgramType,
} from "../src/filter/bpf/index.ts";
import { createHookResults, Hook, type LinkContext } from "../src/filter/index.ts";
import { type ClusterSize, compileCluster, generateCluster, parseSelection } from "../src/harness/index.ts";
import {
  buildCluster,
  type ClusterState,
  hasInterface,
  loadObjects,
  type Pod,
  podInterfaceName,
} from "../src/k8s/index.ts";
import { append, createBatch, decode, type PacketBatch, rowBytes, tcp, udp } from "../src/packet/index.ts";
import { type BenchmarkFile, seed } from "./benchmark.ts";
import { kernelPrograms } from "./kernel-programs.ts";

const programName = "cil_from_container";
const firstPodIndex = 10;
const nothingCompiled = Number.POSITIVE_INFINITY;

export const bpfPrograms: BenchmarkFile = {
  name: "bpf-programs",
  question: "What does a packet cost in Cilium's programs: interpreted, compiled, in the kernel?",
  prepare(size) {
    const sizes: Partial<ClusterSize> =
      size === "full" ? {} : { nodes: 2, pods: 20, namespaces: 2, policies: 6 };
    const { state, tables, context, local } = oneNode(sizes);
    const datapath = (compileAfter: number): BpfDatapath => linkBpf(tables, context, { compileAfter });
    const [compiled, interpreted] = [datapath(0), datapath(nothingCompiled)];
    const batch = traffic(state, local, size === "full" ? 64 : 8);
    const repeats = 16;
    const results = new Map<string, string>();
    const out = createHookResults(batch.capacity);
    const whole = (name: string, node: BpfDatapath) => ({
      name: `${name}, whole`,
      run: () => {
        for (let i = 0; i < repeats; i++) {
          batch.state.mark.fill(0);
          node.run(Hook.tcIngress, batch, 0, batch.length, out);
        }
        results.set("whole", hashText(out.verdict.subarray(0, batch.length).join()).toString(16));
      },
    });
    const alone = (name: string, node: BpfDatapath, compileAfter: number) => {
      const run = programAlone(node, context, batch, compileAfter);
      return {
        name: `${name}, alone`,
        run: () => results.set("alone", hashText(run(repeats).join()).toString(16)),
      };
    };
    const runs = batch.length * repeats;
    return {
      unit: `runs ${programName} on ${batch.length} packets ${repeats} times: ${runs} runs`,
      cases: [
        alone("interpreted", interpreted, nothingCompiled),
        alone("compiled", compiled, 0),
        whole("interpreted", interpreted),
        whole("compiled", compiled),
      ],
      peers: () => {
        const codes = programAlone(interpreted, context, batch, nothingCompiled)(1);
        const rows = rowsOf(batch).map((row, i) => ({ ...row, code: codes[i] ?? -1 }));
        return kernelPrograms(interpreted.tables(), programName, rows, runs);
      },
      facts: {
        ...sizesOf(state),
        podsOfNode: local.length,
        maps: tables.maps.length,
        packets: batch.length,
        instructions: tables.programs.find(({ name }) => name === programName)?.instructions.length ?? 0,
      },
      resultHash: () => `${results.get("alone") ?? "0"} ${results.get("whole") ?? "0"}`,
    };
  },
};

function oneNode(sizes: Partial<ClusterSize>) {
  const selection = parseSelection("cilium");
  if (selection.kind !== "product") throw new RangeError("cilium is a product");
  const objects = loadObjects("bench", generateCluster("aks-npm-limit", seed, sizes));
  const { state } = buildCluster(objects, selection.aks);
  const [[nodeName, node] = ["", undefined]] = compileCluster(state, selection);
  const tables = node?.tables.bpf;
  if (tables === undefined) throw new RangeError("a node of Cilium's has BPF");
  const local = [...state.pods.values()].filter((pod) => pod.nodeName === nodeName && hasInterface(pod));
  const named = (name: string, index: number) => ({ name, index, isLoopback: index === 1, addresses: [] });
  const context: LinkContext = {
    facts: {
      name: nodeName,
      generation: 0,
      interfaces: [
        named("lo", 1),
        named("eth0", 2),
        ...local.map((pod, i) => named(podInterfaceName(state, pod), firstPodIndex + i)),
      ],
      localAddresses: [],
      routeTo: () => 2,
    },
    nowNs: () => 2e9,
    random: createPrng(seed),
  };
  return { state, tables, context, local };
}

function sizesOf({ nodes, pods, networkPolicies }: ClusterState): Readonly<Record<string, number>> {
  return { nodes: nodes.size, pods: pods.size, policies: networkPolicies.size };
}

/** From pods of the node to pods anywhere: six TCP to one UDP, ports that policies name. */
function traffic(state: ClusterState, local: readonly Pod[], count: number): PacketBatch {
  const random = createPrng(seed).fork("traffic");
  const batch = createBatch(count, 128);
  const pods = [...state.pods.values()].filter(hasInterface);
  while (batch.length < count) {
    const place = random.below(local.length);
    const [src, dst] = [local[place]?.ips[0], random.pick(pods).ips[0]];
    if (src === undefined || dst === undefined) continue;
    const ports = { sport: 1024 + random.below(60_000), dport: random.pick([80, 443, 8080, 5432]) };
    const isUdp = random.below(7) === 0;
    append(batch, isUdp ? udp({ src, dst, ...ports }) : tcp({ src, dst, ...ports, flags: 2 }));
    batch.state.iif[batch.length - 1] = firstPodIndex + place;
  }
  decode(batch, 0, batch.length);
  return batch;
}

/** Frames, and the interfaces that they come in by. */
function rowsOf(batch: PacketBatch): readonly { readonly frame: Uint8Array; readonly index: number }[] {
  return Array.from({ length: batch.length }, (_, row) => {
    const packet = rowBytes(batch, row);
    const frame = new Uint8Array(14 + packet.length);
    frame[12] = 0x08;
    frame.set(packet, 14);
    return { frame, index: batch.state.iif[row] ?? 0 };
  });
}

/** Runs the program over each packet some times; answers the return codes of the last. */
function programAlone(
  { space }: BpfDatapath,
  { nowNs, random }: LinkContext,
  batch: PacketBatch,
  compileAfter: number,
): (repeats: number) => readonly number[] {
  const program = programNamed(space, programName);
  const packet = new PacketBuffer(space.memory, ProgramType.schedCls);
  const environment: HelperEnvironment = { space, nowNs, random, packet, events: [], redirects: [] };
  const helpers = helpersFor(ProgramType.schedCls, environment);
  const { memory } = space;
  const machine = new BpfMachine({ memory, helpers, compileAfter, lookupOf: (map) => space.lookupOf(map) });
  const rows = rowsOf(batch);
  return (repeats) =>
    rows.map(({ frame, index }) => {
      packet.load(frame, 14, { protocol: 8, ifindex: index, ingress_ifindex: index });
      for (let i = 0; i < repeats; i++) {
        machine.start(program, packet.contextAt, 0);
        environment.events.length = 0;
        environment.redirects.length = 0;
      }
      return machine.low(0);
    });
}

function programNamed(space: BpfDatapath["space"], name: string): LinkedProgram {
  for (let number = 0; ; number++) {
    const program = space.program(number);
    if (program === undefined) throw new RangeError(`no program ${name}`);
    if (program.name === name) return program;
  }
}
