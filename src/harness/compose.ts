/**
 * Where cluster, engine and network meet: the platform's base tables and on top of them what the engine makes, linked
 * and put on every node of a running network.
 */
import { createPrng, type Prng } from "../base/index.ts";
import type { CompiledNode, Diagnostic, NodeTables } from "../engine/index.ts";
import { platformTables } from "../engine/platform/index.ts";
import { compileClassicProgram } from "../filter/bpf/index.ts";
import type { Datapath, LinkContext } from "../filter/index.ts";
import type { ClusterState, Node } from "../k8s/index.ts";
import { type EventLoop, Network, type NetworkOptions, type NodeStack } from "../sim/index.ts";
import { clusterDiagnostics } from "./cluster-diagnostics.ts";
import { outsideEndpoints } from "./frontends.ts";
import { linkTables } from "./kinds.ts";
import { engineFor, type ProductSelection } from "./selection.ts";
import { createTopology, type Topology } from "./topology.ts";

/** A cluster under one product in steady state. */
export interface EmulatedCluster {
  readonly state: ClusterState;
  readonly selection: ProductSelection;
  readonly network: Network;
  readonly topology: Topology;
  readonly datapaths: ReadonlyMap<string, Datapath>;
  readonly diagnostics: readonly Diagnostic[];
}

export interface ComposeOptions {
  readonly seed: number;
  /** What nodes and load balancers draw from; default: seeded, each on its own. */
  readonly random?: Prng;
  readonly network?: NetworkOptions;
}

/** Tables of every node as `compile` makes them: node-independent parts are the same objects on all nodes. */
export function compileCluster(
  state: ClusterState,
  selection: ProductSelection,
): ReadonlyMap<string, CompiledNode> {
  const compilers = new Map<string, (node: Node, base: NodeTables) => CompiledNode>();
  const compiled = new Map<string, CompiledNode>();
  for (const node of state.nodes.values()) {
    let compile = compilers.get(node.os);
    if (compile === undefined) {
      compile = engineFor(selection, node.os).compile(state);
      compilers.set(node.os, compile);
    }
    compiled.set(node.name, compile(node, platformTables(state, node)));
  }
  return compiled;
}

/** @throws InputError when the product has no engine for the system of one of the nodes. */
export function emulate(
  state: ClusterState,
  selection: ProductSelection,
  options: ComposeOptions,
): EmulatedCluster {
  const topology = createTopology(state);
  const random = options.random ?? createPrng(options.seed);
  const network = new Network(topology.spec, { random: random.fork("load balancers"), ...options.network });
  for (const ip of outsideEndpoints(state)) network.addExternal(ip);
  const datapaths = new Map<string, Datapath>();
  const diagnostics = new Map<string, Diagnostic>(
    clusterDiagnostics(state).map((diagnostic) => [diagnostic.code, diagnostic]),
  );
  const compiled = compileCluster(state, selection);
  for (const spec of topology.spec.nodes) {
    const node = compiled.get(spec.name);
    if (node === undefined) continue;
    for (const diagnostic of node.diagnostics)
      diagnostics.set(`${diagnostic.code} ${diagnostic.policy ?? ""} ${diagnostic.message}`, diagnostic);
    const linked = linkTables(node.tables, linkContext(network.node(spec.name), network.loop, random));
    network.setDatapath(spec.name, linked?.datapath);
    if (linked !== undefined) datapaths.set(spec.name, linked.datapath);
  }
  return { state, selection, network, topology, datapaths, diagnostics: [...diagnostics.values()] };
}

/** The node's own stack is what its tables ask for interfaces, addresses and routes, as they are at that time. */
export function linkContext(node: NodeStack, loop: EventLoop, random: Prng): LinkContext {
  return {
    facts: node,
    nowNs: () => loop.nowNs(),
    random: random.fork(`node ${node.name}`),
    compileClassic: compileClassicProgram,
  };
}
