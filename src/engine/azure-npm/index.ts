/** Azure NPM (Network Policy Manager) as an engine. */
import type { EngineDefinition, EngineFeatures } from "../engine.ts";
import { createLinuxAgent } from "./agent.ts";
import { npmCapacity } from "./capacity.ts";
import { npmDivergences } from "./divergences.ts";
import { compileLinux } from "./linux.ts";
import { type NpmVariant, npmDefaultVersion, npmSwitches, npmVariant, npmVersions } from "./versions.ts";
import { compileWindows } from "./windows.ts";
import { createWindowsAgent } from "./windows-agent.ts";

const linuxFeatures: EngineFeatures = {
  platforms: ["Linux"],
  networkPlugins: ["azure"],
  filters: "iptables and ipset, FORWARD of every node",
  features: {
    ingress: { support: "yes" },
    egress: { support: "yes", note: "not from a pod to its own node, which passes INPUT" },
    "selectors of peers": { support: "yes" },
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

/** What NPM Lite does otherwise. */
function featuresOf(full: EngineFeatures, { isLite, liteExcept, dataplane }: NpmVariant): EngineFeatures {
  if (!isLite) return full;
  const skipped = { support: "no", note: "NPM Lite skips the policy, its pods stay open" } as const;
  const except = {
    ignored: { support: "no", note: "NPM Lite lets the exceptions in" },
    blocked: { support: "partial", note: "NPM Lite blocks them whatever else allows them" },
  } as const;
  return {
    ...full,
    features: {
      ...full.features,
      "selectors of peers": skipped,
      "named ports": skipped,
      ...(dataplane === "windows" ? { "ipBlock except": except[liteExcept] } : {}),
    },
  };
}

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
      features: featuresOf(linuxFeatures, variant),
      divergences: npmDivergences(variant),
      compile: compileLinux(variant),
      agent: (context) => createLinuxAgent(variant, context),
      capacity: npmCapacity,
    };
  },
};

const windowsFeatures: EngineFeatures = {
  platforms: ["Windows Server 2022 (preview)"],
  networkPlugins: ["azure"],
  filters:
    "HNS ACLPolicy and SetPolicy, at the endpoint of each pod (after NPM's sources; no dump of a real node was at hand)",
  features: {
    ingress: { support: "yes", note: "the pod's own node always reaches it" },
    egress: { support: "yes", note: "to the pod's own node too" },
    "selectors of peers": { support: "yes" },
    ipBlock: { support: "yes", note: "matches pod and node addresses too" },
    "ipBlock except": { support: "no", note: "the policy is skipped, its pods stay open" },
    "named ports": { support: "no", note: "the policy is skipped, its pods stay open" },
    endPort: { support: "yes", note: "as a list of all its ports" },
    SCTP: { support: "no", note: "the policy is skipped, its pods stay open" },
    "negative selectors": {
      support: "no",
      note: "the policy is skipped, its pods stay open; in egress namespaceSelectors up to 2026-08 inverted",
    },
    IPv6: { support: "no", note: "policies with IPv6 blocks are skipped" },
    "hostNetwork pods": { support: "no", note: "in no set: never selected, never a peer" },
  },
};

export const azureNpmWindows: EngineDefinition = {
  ...azureNpmLinux,
  name: "azure-npm-windows",
  os: "windows",
  create(version, switches) {
    const variant = npmVariant(version, switches, "windows");
    return {
      name: "azure-npm-windows",
      product: "azure-npm",
      os: "windows",
      version,
      switches,
      features: featuresOf(windowsFeatures, variant),
      divergences: npmDivergences(variant),
      compile: compileWindows(variant),
      agent: (context) => createWindowsAgent(variant, context),
    };
  },
};
