/**
 * Tables or programs that a person brings stand where an engine may stand: they are the same whatever the cluster's
 * policies say, and have no agent.
 */
import type { ClusterState } from "../../k8s/index.ts";
import type { Agent, CompiledNode, Diagnostic, Engine, TableSource } from "../engine.ts";

const idle: Agent = { start() {}, event() {}, wake() {}, stop() {} };

export function programEngine(source: TableSource, os: Engine["os"] = "linux"): Engine {
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
    name: `program-${os}`,
    product: "program",
    os,
    version: "1",
    switches: {},
    features: {
      platforms: [os === "linux" ? "Linux" : "Windows"],
      networkPlugins: os === "linux" ? ["azure", "kubenet"] : ["azure"],
      filters: source.filters,
      features: { ingress: { support: "partial" }, egress: { support: "partial" } },
    },
    divergences: [],
    isStatic: true,
    compile(state) {
      const diagnostics = diagnosticsOf(state);
      const on = source.on(state);
      return (node, base): CompiledNode => {
        const made = on(node, base);
        return { tables: made.tables, diagnostics: [...diagnostics, ...made.diagnostics] };
      };
    },
    agent: () => idle,
  };
}
