/** Cilium as an engine: Azure CNI powered by Cilium, with the settings that AKS gives it. */
import { noBpfTables } from "../../filter/bpf/index.ts";
import type { ClusterState } from "../../k8s/index.ts";
import type { EngineDefinition, EngineFeatures } from "../engine.ts";
import { createCiliumAgent } from "./agent.ts";
import { ciliumCapacity } from "./capacity.ts";
import { ciliumTables, compileCilium } from "./compile.ts";
import { ciliumDivergences } from "./divergences.ts";
import { isListing, readListings } from "./listings/read.ts";
import { isListingOf, listedTables } from "./listings/tables.ts";
import { writeListings } from "./listings/write.ts";
import { ciliumKinds } from "./resources/kinds.ts";
import type { CiliumPolicySpec, CiliumRuleSpec } from "./resources/spec.ts";
import {
  type CiliumVariant,
  ciliumDefaultVersion,
  ciliumOfKubernetes,
  ciliumSwitches,
  ciliumVariant,
  ciliumVersions,
} from "./variant.ts";

function featuresOf({ endPort, sctp, hostFirewall, l7 }: CiliumVariant): EngineFeatures {
  return {
    platforms: ["Linux"],
    networkPlugins: ["azure"],
    filters: "BPF at the pods' interfaces, identities and policy maps; no kube-proxy",
    beyond: ciliumKinds.map(({ kind }) => kind),
    ownUses: {
      "CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy": (state) => rulesIn(state).length > 0,
      "host firewall": (state) => rulesIn(state).some(({ nodeSelector }) => nodeSelector !== undefined),
      "layer 7 and FQDN rules": (state) =>
        rulesIn(state).some((rule) => rule.beyond.some(({ need }) => need === "l7" || need === "fqdn")),
    },
    features: {
      ingress: { support: "yes", note: "a pod's own node always reaches it" },
      egress: { support: "yes", note: "to the pod's own node too" },
      "selectors of peers": { support: "yes" },
      ipBlock: { support: "partial", note: "never matches pod or node addresses, 0.0.0.0/0 included" },
      "ipBlock except": { support: "yes" },
      "named ports": {
        support: "partial",
        note: "in egress rules only where a name has one number in the whole cluster",
      },
      endPort: endPort
        ? { support: "yes" }
        : { support: "no", note: "before 1.16: the rule covers port alone" },
      SCTP: sctp
        ? { support: "yes" }
        : { support: "no", note: "enable-sctp is off on AKS: SCTP is dropped, policy or not" },
      "negative selectors": { support: "yes" },
      IPv6: { support: "yes" },
      "hostNetwork pods": hostFirewall
        ? { support: "partial", note: "have their node's identity: policed as the node is" }
        : { support: "no", note: "have their node's identity: never policed" },
      "CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy": { support: "yes", note: "layers 3 and 4" },
      "host firewall": hostFirewall
        ? { support: "yes", note: "policies with a nodeSelector; the node's SCTP is dropped unless +sctp" }
        : { support: "no", note: "off on AKS: a policy with a nodeSelector has no effect" },
      "layer 7 and FQDN rules": l7
        ? { support: "partial", note: "redirected to a proxy, whose rules are not emulated" }
        : { support: "no", note: "needs Advanced Container Networking Services" },
    },
  };
}

function rulesIn({ vendor }: ClusterState): readonly CiliumRuleSpec[] {
  const policies = ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"].flatMap((kind) => [
    ...(vendor.get(kind)?.values() ?? []),
  ]);
  return policies.flatMap(({ spec }) => (spec as CiliumPolicySpec).rules);
}

export const ciliumLinux: EngineDefinition = {
  name: "cilium-linux",
  product: "cilium",
  os: "linux",
  versions: ciliumVersions,
  defaultVersion: ciliumDefaultVersion,
  switches: ciliumSwitches,
  kubernetesVersions: ciliumOfKubernetes,
  resources: ciliumKinds,
  listings: {
    filters: "Cilium's programs, and policy maps, ipcache and endpoints as a node's listings say",
    isListing,
    read(files) {
      const listing = readListings(files);
      return {
        isOf: (node) => isListingOf(listing, node),
        on: (state) => listedTables(state, listing),
      };
    },
  },
  aks: {
    networkPlugin: "azure",
    networkDataplane: "cilium",
    networkPolicy: "cilium",
  },
  create(version, switches) {
    const variant = ciliumVariant(version, switches);
    const tablesOf = ciliumTables(variant);
    return {
      name: "cilium-linux",
      product: "cilium",
      os: "linux",
      version,
      switches,
      features: featuresOf(variant),
      divergences: ciliumDivergences(variant),
      firstTables: { bpf: noBpfTables },
      compile: compileCilium(variant, tablesOf),
      agent: (context) => createCiliumAgent(variant, tablesOf, context),
      capacity: ciliumCapacity,
      listings: (state, context) => writeListings(variant, tablesOf(state), context),
    };
  },
};
