/**
 * Tables or programs that a person brings stand where an engine may stand: they are the same whatever the cluster's
 * policies say, and have no agent.
 */
import { type ClusterState, type Node, podInterfacePattern } from "../../k8s/index.ts";
import type { Agent, CompiledNode, Diagnostic, Engine, NodeTables } from "../engine.ts";

export interface ProgramSource {
  /** What its filter is, for the feature table (`iptables and ipset dump`, `BPF program at tc-ingress`). */
  readonly filters: string;
  /** What is on a node, `podInterfaces` being the pattern of the interfaces that pods hang on: dumps take the place of the platform's tables of their kind, programs stand beside them. */
  tables(node: Node, base: NodeTables, podInterfaces: string): NodeTables;
}

const idle: Agent = { start() {}, event() {}, wake() {}, stop() {} };

export function programEngine(source: ProgramSource): Engine {
  const diagnosticsOf = (state: ClusterState): readonly Diagnostic[] =>
    state.networkPolicies.size === 0
      ? []
      : [
          {
            code: "not-compiled",
            severity: "info",
            policy: undefined,
            message: `tables are taken as given: ${state.networkPolicies.size} NetworkPolicies are not compiled`,
          },
        ];
  return {
    name: "program-linux",
    product: "program",
    os: "linux",
    version: "1",
    switches: {},
    features: {
      platforms: ["Linux"],
      networkPlugins: ["azure", "kubenet"],
      filters: source.filters,
      features: { ingress: { support: "partial" }, egress: { support: "partial" } },
    },
    divergences: [],
    isStatic: true,
    compile(state) {
      const diagnostics = diagnosticsOf(state);
      const pattern = podInterfacePattern(state);
      return (node, base): CompiledNode => ({ tables: source.tables(node, base, pattern), diagnostics });
    },
    agent: () => idle,
  };
}
