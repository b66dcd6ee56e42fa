/** No policy engine: the platform alone. NetworkPolicies are stored by the API server and enforced by nobody. */

import { formatIp } from "../../addr/index.ts";
import type { ClusterState, NetworkPolicy } from "../../k8s/index.ts";
import type { Agent, Diagnostic, Divergence, EngineDefinition, EngineFeatures } from "../engine.ts";
import { windowsServiceDivergences, wireserverAddress } from "../platform/index.ts";

const version = "1";

const divergences: readonly Divergence[] = [
  {
    id: "none-not-enforced",
    cause: "no engine is installed: NetworkPolicy objects have no effect",
    source: "AKS: use network policies (uninstalling keeps the objects, which are no longer enforced)",
    versions: "all",
    when: (_state, _cell, expected) => (expected === "deny" ? "allow" : null),
  },
  {
    id: "platform-wireserver",
    cause: "AKS nodes drop forwarded TCP to port 80 of Azure's wireserver",
    source: "live dumps of AKS nodes (FORWARD -d 168.63.129.16/32 -p tcp --dport 80 -j DROP)",
    versions: "all",
    when: (_state, cell, expected) =>
      expected === "allow" &&
      cell.from.kind === "pod" &&
      !cell.from.pod.hostNetwork &&
      cell.to.kind === "external" &&
      formatIp(cell.to.ip) === wireserverAddress &&
      cell.protocol === "TCP" &&
      cell.port === 80
        ? "deny"
        : null,
  },
];

function diagnosticsOf(state: ClusterState): readonly Diagnostic[] {
  return [...state.networkPolicies.values()].map(
    ({ namespace, name }: NetworkPolicy): Diagnostic => ({
      code: "not-enforced",
      severity: "warning",
      policy: `${namespace}/${name}`,
      message: `NetworkPolicy ${namespace}/${name} is not enforced: no policy engine is installed`,
    }),
  );
}

const idle: Agent = { start() {}, event() {}, wake() {}, stop() {} };

const windowsDivergences: readonly Divergence[] = [
  ...windowsServiceDivergences(() => "allow"),
  ...divergences,
];

function definition(os: EngineDefinition["os"], features: EngineFeatures): EngineDefinition {
  const name = `none-${os}`;
  return {
    name,
    product: "none",
    os,
    versions: [version],
    defaultVersion: version,
    switches: [],
    aks: { networkPlugin: "azure", networkPolicy: "none" },
    create: (chosen, switches) => ({
      name,
      product: "none",
      os,
      version: chosen,
      switches,
      features,
      divergences: os === "windows" ? windowsDivergences : divergences,
      compile(state) {
        const diagnostics = diagnosticsOf(state);
        return (_node, base) => ({ tables: base, diagnostics });
      },
      agent: () => idle,
    }),
  };
}

export const noneLinux: EngineDefinition = definition("linux", {
  platforms: ["Linux"],
  networkPlugins: ["azure", "kubenet"],
  filters: "kube-proxy and CNI rules only",
  features: { ingress: { support: "no" }, egress: { support: "no" } },
});

export const noneWindows: EngineDefinition = definition("windows", {
  platforms: ["Windows Server 2019", "Windows Server 2022"],
  networkPlugins: ["azure"],
  filters: "the CNI's ACLs only",
  features: { ingress: { support: "no" }, egress: { support: "no" } },
});
