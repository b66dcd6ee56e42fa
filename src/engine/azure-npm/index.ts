/** Azure NPM (Network Policy Manager) as an engine. */
import type { EngineDefinition, EngineFeatures } from "../engine.ts";
import { createLinuxAgent } from "./agent.ts";
import { npmDivergences } from "./divergences.ts";
import { compileLinux } from "./linux.ts";
import { npmDefaultVersion, npmSwitches, npmVariant, npmVersions } from "./versions.ts";

const linuxFeatures: EngineFeatures = {
  platforms: ["Linux"],
  networkPlugins: ["azure"],
  filters: "iptables and ipset, FORWARD of every node",
  features: {
    ingress: { support: "yes" },
    egress: { support: "yes", note: "not from a pod to its own node, which passes INPUT" },
    ipBlock: { support: "yes", note: "matches pod and node addresses too" },
    "ipBlock except": { support: "yes" },
    "named ports": { support: "yes" },
    endPort: { support: "yes" },
    SCTP: { support: "yes" },
    "negative selectors": { support: "yes", note: "in namespaceSelectors with known bugs up to 2026-08" },
    IPv6: { support: "no", note: "policies with IPv6 blocks are skipped, IPv6 traffic is not filtered" },
    "hostNetwork pods": { support: "no", note: "in no set: never selected, never a peer" },
  },
};

export const azureNpmLinux: EngineDefinition = {
  name: "azure-npm-linux",
  product: "azure-npm",
  os: "linux",
  versions: npmVersions,
  defaultVersion: npmDefaultVersion,
  switches: npmSwitches,
  aks: { networkPlugin: "azure", networkPolicy: "azure" },
  create(version, switches) {
    const variant = npmVariant(version, switches);
    return {
      name: "azure-npm-linux",
      product: "azure-npm",
      os: "linux",
      version,
      switches,
      features: linuxFeatures,
      divergences: npmDivergences(variant),
      compile: compileLinux(variant),
      agent: (context) => createLinuxAgent(variant, context),
    };
  },
};
