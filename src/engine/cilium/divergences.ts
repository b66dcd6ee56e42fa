/**
 * Where Cilium on AKS departs from the API, as predicates over API objects: each quirk is stated by what documents and
 * issues say, `Judge` is NetworkPolicy's decision procedure with some of them applied.
 */
import type { Divergence } from "../engine.ts";
import { type QuirkStatement, quirkDivergences } from "../index.ts";
import { Judge, type Quirk } from "./judge.ts";
import { sctpService, unrangedService } from "./service-divergences.ts";
import type { CiliumVariant } from "./variant.ts";

const statements: readonly QuirkStatement<Quirk>[] = [
  {
    quirk: "ipblock-pods",
    id: "ipblock-pods",
    cause:
      "an ipBlock never matches the address of a pod, 0.0.0.0/0 included: pods have identities of their own",
    source: "AKS: Azure CNI powered by Cilium (limitations); cilium/cilium #9209",
    versions: "all",
  },
  {
    quirk: "ipblock-nodes",
    id: "ipblock-nodes",
    cause: "an ipBlock never matches the address of a node: nodes are `host` and `remote-node`",
    source: "AKS: Azure CNI powered by Cilium (limitations); cilium/cilium #20550",
    versions: "all (policy-cidr-match-mode is not set)",
  },
  {
    quirk: "other-family",
    id: "ipblock-other-family",
    cause:
      "an ipBlock of all addresses of one family (::/0) matches addresses outside of the other: both are the identity `world`",
    source: "cilium/cilium pkg/policy/api/cidr.go, pkg/labels/cidr.go; #22625",
    versions: "1.17 on, on clusters of one family; 1.14 on all",
  },
  {
    quirk: "unlisted-rules",
    id: "unlisted-rules",
    cause: "rules of a direction that policyTypes does not name isolate and allow all the same",
    source: "cilium/cilium #48703; pkg/k8s/network_policy.go (ParseNetworkPolicy)",
    versions: "all",
  },
  {
    quirk: "end-port",
    id: "endport-before-1.16",
    cause: "endPort is ignored: the rule covers `port` alone",
    source: "cilium/cilium #16622, #32807 (1.16.0)",
    versions: "up to 1.15",
  },
  {
    quirk: "duplicate-names",
    id: "named-port-duplicates",
    cause:
      "a port name of an egress rule that has several numbers in the cluster for one protocol yields no entry: nothing is allowed by it",
    source: "cilium/cilium #30003; #44429",
    versions: "up to 1.19",
  },
  {
    quirk: "cluster-names",
    id: "named-port-cluster-wide",
    cause:
      "a port name of an egress rule is looked up among all pods: its number is allowed to every peer of the rule, whether that pod declares the name or not",
    source: "cilium/cilium #30003; #44429",
    versions: "up to 1.19",
  },
  {
    quirk: "sctp",
    id: "sctp-off",
    cause:
      "enable-sctp is off: connection tracking drops SCTP of pods, and with the host firewall that of nodes, whatever policies say",
    source: "Azure/azure-container-networking test/integration/manifests/cilium (enable-sctp: false)",
    versions: "all, unless +sctp",
  },
  {
    quirk: "own-node",
    id: "egress-own-node",
    cause: "a pod's egress to its own node is policed like any other: the node is the identity `host`",
    source: "AKS: migrate from Azure NPM to Cilium",
    versions: "all",
  },
  {
    quirk: "service-source",
    id: "service-ingress-snat",
    cause:
      "a Service's connection keeps its source where the node that translates it has the backend, and comes from `remote-node` where another node forwards it; a pod's own node translates without changing the source",
    source: "cilium/cilium Documentation/security/policy/caveats.rst; AKS: migrate from Azure NPM to Cilium",
    versions: "all",
  },
  {
    quirk: "source-ranges",
    id: "service-source-ranges",
    cause: "loadBalancerSourceRanges bind clients from outside alone: pods and nodes are not asked",
    source: "cilium/cilium bpf/lib/nodeport.h (lb4_src_range_ok), bpf/bpf_lxc.c",
    versions: "all",
  },
  {
    quirk: "labels",
    id: "identity-labels",
    cause: "labels that are left out of identities (pod-template-hash and the like) are seen by no selector",
    source: "cilium/cilium Documentation/operations/performance/scalability/identity-relevant-labels.rst",
    versions: "all",
  },
];

export function ciliumDivergences(variant: CiliumVariant): readonly Divergence[] {
  const active = new Set<Quirk>(statements.map(({ quirk }) => quirk));
  if (variant.endPort) active.delete("end-port");
  if (variant.sctp) active.delete("sctp");
  if (!variant.otherFamilyIsWorld.includes("cidr-set")) active.delete("other-family");
  const all = new Judge(variant, active);
  return quirkDivergences(statements, active, (quirks) => {
    const judge = new Judge(variant, quirks);
    return (state, cell) => judge.verdictOf(state, cell);
  }).map((divergence) => ({ ...divergence, ...whenService(divergence.quirk, variant, all) }));
}

function whenService(quirk: Quirk, variant: CiliumVariant, judge: Judge): Pick<Divergence, "whenService"> {
  switch (quirk) {
    case "sctp":
      return { whenService: sctpService(variant) };
    case "source-ranges":
      return { whenService: unrangedService(judge) };
    default:
      return {};
  }
}
