/**
 * Cilium's agent on a node: watch events in, map operations out. What it knows of the cluster is what it has heard of,
 * and with `delays` it hears as late as in a real one: a policy is taken up at the next trigger, an endpoint on another
 * node comes in a slice, a pod with other labels keeps its identity for a grace period. Its tables are always those
 * that the compiler makes of what it knows; `map-changes` says in which order it gets there.
 *
 * Programs and maps stay when the agent stops working, or starts again: what they enforce is what was written last.
 * Governing source: cilium/cilium pkg/endpoint, pkg/policy, daemon/cmd; defaults of Documentation/cmdref/cilium-agent.md.
 * Left out: the operator's garbage collection of identities (numbers follow from labels here), checkpoints.
 */
import { type BpfOp, type BpfTables, noBpfTables } from "../../filter/bpf/index.ts";
import type { IptablesRestoreOp, Ruleset } from "../../filter/iptables/index.ts";
import type { ClusterState, Node } from "../../k8s/index.ts";
import type { Agent, AgentContext, Diagnostic, WatchEvent } from "../engine.ts";
import type { TablesOfCluster } from "./compile.ts";
import { connectionsOf, expiredConnections } from "./connections.ts";
import { endpointsOf } from "./endpoints.ts";
import { type ChainCommands, installCommands, removeCommands } from "./iptables.ts";
import { Knowledge } from "./knowledge.ts";
import { mapChanges } from "./map-changes.ts";
import type { CiliumVariant } from "./variant.ts";

/** Between two collections of expired connections (the real interval begins there and follows how many expire). */
const collectionNs = 300e9;

export function createCiliumAgent(
  variant: CiliumVariant,
  tablesOf: TablesOfCluster,
  context: AgentContext,
): Agent {
  return new CiliumAgent(variant, tablesOf, context);
}

class CiliumAgent implements Agent {
  readonly #variant: CiliumVariant;
  readonly #tablesOf: TablesOfCluster;
  readonly #context: AgentContext;
  #knowledge: Knowledge | undefined;
  /** Maps as they were last written. */
  #written: BpfTables = noBpfTables;
  #said = new Set<string>();
  #collectAtNs = 0;

  constructor(variant: CiliumVariant, tablesOf: TablesOfCluster, context: AgentContext) {
    this.#variant = variant;
    this.#tablesOf = tablesOf;
    this.#context = context;
  }

  /** Boot: chains are written anew, programs loaded; maps that an earlier life left are brought up to date. */
  start(state: ClusterState): void {
    this.#knowledge = new Knowledge(state, this.#context, this.#variant.delays);
    this.#said = new Set();
    this.#chains((present) => installCommands(this.#variant, present));
    const wanted = this.#tablesOf(state).bpfOf(this.#nodeIn(state));
    const isFirstLife = (this.#context.tables().bpf?.programs.length ?? 0) === 0;
    this.#apply([{ kind: "bpf-load", tables: wanted }]);
    this.#written = isFirstLife ? wanted : (this.#context.tables().bpf ?? noBpfTables);
    this.#collectAtNs = this.#context.nowNs() + collectionNs;
    this.#update(state);
    this.#sleep();
  }

  event(event: WatchEvent): void {
    if (this.#knowledge === undefined) return;
    const before = this.#knowledge.state;
    this.#knowledge.hear(event);
    this.#learn(before);
    this.#sleep();
  }

  wake(): void {
    if (this.#knowledge === undefined) return;
    const before = this.#knowledge.state;
    this.#knowledge.advance();
    this.#learn(before);
    if (this.#context.nowNs() >= this.#collectAtNs) {
      this.#apply(expiredConnections(this.#context.tables().bpf ?? noBpfTables, this.#context.nowNs()));
      this.#collectAtNs = this.#context.nowNs() + collectionNs;
    }
    this.#sleep();
  }

  /** Uninstall: programs are detached, maps and chains removed. */
  stop(): void {
    this.#knowledge = undefined;
    this.#apply([{ kind: "bpf-load", tables: noBpfTables }]);
    this.#written = noBpfTables;
    this.#chains((present) => removeCommands(this.#variant, present));
  }

  #learn(before: ClusterState): void {
    const { state } = this.#knowledge ?? {};
    if (state === undefined || state === before) return;
    this.#scrub(before, state);
    this.#update(state);
  }

  /** A new endpoint begins without the connections of who had its address before. */
  #scrub(before: ClusterState, after: ClusterState): void {
    if (before.pods === after.pods) return;
    const { name } = this.#context.node;
    const known = new Set(endpointsOf(before, name).map(({ pod }) => pod.ips));
    const fresh = endpointsOf(after, name).filter(({ pod }) => !known.has(pod.ips));
    const ips = fresh.flatMap(({ pod }) => pod.ips);
    if (ips.length > 0) this.#apply(connectionsOf(this.#context.tables().bpf ?? noBpfTables, ips));
  }

  #update(state: ClusterState): void {
    const cluster = this.#tablesOf(state);
    const wanted = cluster.bpfOf(this.#nodeIn(state));
    this.#apply(mapChanges(this.#written, wanted));
    this.#written = wanted;
    for (const diagnostic of cluster.diagnostics) this.#say(diagnostic);
  }

  /** The own node as it is now: policies may select it by labels that come and go. */
  #nodeIn({ nodes }: ClusterState): Node {
    return nodes.get(this.#context.node.name) ?? this.#context.node;
  }

  #say(diagnostic: Diagnostic): void {
    const text = `${diagnostic.code} ${diagnostic.policy} ${diagnostic.message}`;
    if (this.#said.has(text)) return;
    this.#said.add(text);
    this.#context.log(diagnostic);
  }

  #sleep(): void {
    this.#context.wakeAt(Math.min(this.#collectAtNs, this.#knowledge?.nextNs ?? this.#collectAtNs));
  }

  #chains(commandsFor: (present: Ruleset) => readonly ChainCommands[]): void {
    const { iptables } = this.#context.tables();
    if (iptables === undefined) return;
    for (const present of [iptables.v4, iptables.v6])
      for (const { table, commands } of commandsFor(present)) {
        const { family } = present;
        const op: IptablesRestoreOp = { kind: "iptables-restore", family, table, commands };
        this.#check(this.#context.apply(op));
      }
  }

  #apply(ops: readonly BpfOp[]): void {
    for (const op of ops) this.#check(this.#context.apply(op));
  }

  #check(result: ReturnType<AgentContext["apply"]>): void {
    if (result.ok) return;
    this.#context.log({
      code: "apply-failed",
      severity: "error",
      policy: undefined,
      message: `Unable to update the datapath: ${result.message}`,
    });
  }
}
