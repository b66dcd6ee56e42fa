/**
 * A cluster that lives: agents on every node, a network with hosts, and edits that happen at virtual instants. Agents
 * are told of changes at once; what they do to their tables takes effect at once (latencies are not modelled yet).
 */
import { assert, createPrng, InputError, type Prng } from "../base/index.ts";
import type { Agent, Diagnostic } from "../engine/index.ts";
import { endpointUpdate, platformTables, platformUpdate } from "../engine/platform/index.ts";
import type { Datapath } from "../filter/index.ts";
import {
  type BuiltCluster,
  type ClusterState,
  hasInterface,
  type Node,
  type Pod,
  stateChanges,
} from "../k8s/index.ts";
import { Hosts, Network, type NetworkOptions } from "../sim/index.ts";
import { clusterDiagnostics } from "./cluster-diagnostics.ts";
import { linkContext } from "./compose.ts";
import { frontendsOf, outsideEndpoints } from "./frontends.ts";
import { linkTables } from "./kinds.ts";
import { listenOnNodes } from "./probe.ts";
import { engineFor, type ProductSelection } from "./selection.ts";
import { createTopology, podKey, type Topology } from "./topology.ts";

export interface LiveOptions {
  readonly seed: number;
  /** What nodes and load balancers draw from; default: seeded. */
  readonly random?: Prng;
  readonly network?: NetworkOptions;
}

/** Agents on every node, a network with hosts, and virtual time. */
export class LiveCluster {
  state: ClusterState;
  readonly selection: ProductSelection;
  readonly network: Network;
  readonly hosts: Hosts;
  readonly diagnostics: Diagnostic[] = [];
  readonly datapaths: Map<string, Datapath> = new Map();
  readonly #topology: Topology;
  readonly #agents = new Map<string, Agent>();
  readonly #uninstalled = new Set<string>();
  readonly #seed: number;

  /** @throws InputError when the product has no engine for the system of one of the nodes. */
  constructor(state: ClusterState, selection: ProductSelection, options: LiveOptions) {
    this.state = state;
    this.selection = selection;
    this.#seed = options.seed;
    this.#topology = createTopology(state);
    const random = options.random ?? createPrng(options.seed);
    this.network = new Network(this.#topology.spec, {
      random: random.fork("load balancers"),
      ...options.network,
    });
    for (const ip of outsideEndpoints(state)) this.network.addExternal(ip);
    this.hosts = new Hosts(this.network);
    for (const spec of this.#topology.spec.nodes) {
      const node = state.nodes.get(spec.name);
      assert(node !== undefined, "the topology was made from this state");
      const base = platformTables(state, node);
      const engine = engineFor(selection, node.os);
      const compiled = engine.isStatic === true ? engine.compile(state)(node, base) : undefined;
      if (compiled !== undefined && this.diagnostics.length === 0)
        this.diagnostics.push(...compiled.diagnostics);
      const linked = linkTables(
        compiled?.tables ?? { ...engine.firstTables, ...base },
        linkContext(this.network.node(spec.name), this.network.loop, random),
      );
      this.network.setDatapath(spec.name, linked?.datapath);
      if (linked === undefined) continue;
      this.datapaths.set(spec.name, linked.datapath);
      const agent = this.#createAgent(node, linked);
      this.#agents.set(spec.name, agent);
      agent.start(state);
    }
    this.diagnostics.push(...clusterDiagnostics(state));
    listenOnNodes(this.state, this.hosts);
  }

  #createAgent(node: Node, linked: NonNullable<ReturnType<typeof linkTables>>): Agent {
    const { loop } = this.network;
    let wakeTimer: number | undefined;
    const agent: Agent = engineFor(this.selection, node.os).agent({
      node,
      random: createPrng(this.#seed).fork(`agent ${node.name}`),
      nowNs: () => loop.nowNs(),
      tables: () => linked.tables(),
      apply: (op) => linked.datapath.apply(op),
      log: (diagnostic) => this.diagnostics.push(diagnostic),
      wakeAt: (atNs) => {
        if (wakeTimer !== undefined) loop.cancel(wakeTimer);
        wakeTimer = loop.after(atNs - loop.nowNs(), () => {
          wakeTimer = undefined;
          if (!this.#uninstalled.has(node.name)) agent.wake();
        });
      },
    });
    return agent;
  }

  /** The cluster becomes `built.state`: pods come and go, agents hear of every change. */
  edit(built: BuiltCluster): void {
    const before = this.state;
    const after = built.state;
    this.state = after;
    const changes = stateChanges(before, after);
    // interfaces are there before anybody is told
    for (const { type, object, old } of changes)
      if (object.kind === "Pod") this.#plug(type, object, old?.kind === "Pod" ? old : undefined);
    this.#updateEndpoints(before);
    for (const { type, object, old } of changes) {
      for (const [name, agent] of this.#agents)
        if (!this.#uninstalled.has(name)) agent.event({ type, object, old, state: after });
    }
    this.#updatePlatform(before);
    listenOnNodes(this.state, this.hosts);
  }

  /** The CNI's endpoints on Windows nodes follow pods, before any agent hears of them. */
  #updateEndpoints(before: ClusterState): void {
    if (this.state.pods === before.pods) return;
    for (const [name, datapath] of this.datapaths) {
      const [old, now] = [before.nodes.get(name), this.state.nodes.get(name)];
      if (old === undefined || now === undefined) continue;
      for (const op of endpointUpdate(platformTables(before, old), platformTables(this.state, now))) {
        const result = datapath.apply(op);
        assert(result.ok, `the CNI's own endpoint was refused: ${result.ok ? "" : result.message}`);
      }
    }
  }

  /** kube-proxy and the load balancers follow Services and their endpoints. */
  #updatePlatform(before: ClusterState): void {
    const parts = ["services", "endpointSlices", "nodes", "pods"] as const;
    if (parts.every((part) => this.state[part] === before[part])) return;
    for (const [name, datapath] of this.datapaths) {
      const [old, now] = [before.nodes.get(name), this.state.nodes.get(name)];
      if (old === undefined || now === undefined) continue;
      for (const op of platformUpdate(platformTables(before, old), platformTables(this.state, now))) {
        const result = datapath.apply(op);
        assert(result.ok, `kube-proxy's own rules were refused: ${result.ok ? "" : result.message}`);
      }
    }
    this.network.setFrontends(frontendsOf(this.state));
    for (const ip of outsideEndpoints(this.state)) this.network.addExternal(ip);
  }

  /** Restarts the engine on a node, or on all: what the agent knew is gone, the tables are as it left them. */
  restart(nodeName: string | undefined): void {
    for (const [name, agent] of this.#agentsOn(nodeName))
      if (!this.#uninstalled.has(name)) agent.start(this.state);
  }

  /** The engine goes from a node, or from all, and takes away what it made. API objects stay. */
  uninstall(nodeName: string | undefined): void {
    for (const [name, agent] of this.#agentsOn(nodeName)) {
      if (this.#uninstalled.has(name)) continue;
      this.#uninstalled.add(name);
      agent.stop();
    }
  }

  /** The engine comes back to where it was uninstalled. */
  install(nodeName: string | undefined): void {
    for (const [name, agent] of this.#agentsOn(nodeName))
      if (this.#uninstalled.delete(name)) agent.start(this.state);
  }

  /** @throws InputError for a node that is not there. */
  #agentsOn(nodeName: string | undefined): Iterable<[string, Agent]> {
    if (nodeName === undefined) return this.#agents;
    if (!this.state.nodes.has(nodeName))
      throw new InputError([
        { code: "unknown-name", path: "", message: `no node ${nodeName} in the cluster` },
      ]);
    return [...this.#agents].filter(([name]) => name === nodeName);
  }

  advance(durationNs: number): void {
    const { loop } = this.network;
    loop.runUntil(loop.nowNs() + durationNs);
  }

  #plug(type: "added" | "modified" | "deleted", pod: Pod, old: Pod | undefined): void {
    const was = old !== undefined && hasInterface(old);
    const is = type !== "deleted" && hasInterface(pod);
    const moved =
      was && is && (old.ips !== pod.ips || old.nodeName !== pod.nodeName || old.ports !== pod.ports);
    if (was && (!is || moved)) {
      this.network.removeEndpoint(podKey(old));
      this.hosts.forget(podKey(old));
    }
    if (is && (!was || moved))
      this.network.addEndpoint(this.#topology.endpoint(pod), this.#topology.podInterface(pod));
  }
}
