/** What NPM does otherwise than the API says, as its documents and issues state it: one quirk each. */

import type { QuirkStatement } from "../index.ts";

export type Quirk =
  | "namespace-not-in"
  | "bare-negation"
  | "ipv6-policy"
  | "ipv6-unfiltered"
  | "all-namespaces-key"
  | "sidecar-ports"
  | "marked-ingress"
  | "marked-egress"
  | "mark-collision"
  | "wireserver"
  | "windows-wireserver"
  | "windows-named-port"
  | "windows-pod-negation"
  | "windows-except"
  | "windows-sctp"
  | "windows-namespace-negation"
  | "windows-egress-negation"
  | "windows-inverted-egress"
  | "windows-own-node"
  | "windows-service-ingress"
  | "lite-peers"
  | "lite-own-pods"
  | "lite-except-ignored"
  | "lite-except-first";

export interface Statement extends QuirkStatement<Quirk> {
  /** Nodes that show it; default: Linux. */
  readonly system?: "windows" | "both";
}

export const statements: readonly Statement[] = [
  {
    quirk: "namespace-not-in",
    id: "npm-namespace-not-in",
    cause:
      "NotIn with several values in a namespaceSelector becomes one rule a value, so that being outside one of them is enough",
    source: "Azure/azure-container-networking #4866, #4662",
    versions: "up to 2026-08",
  },
  {
    quirk: "bare-negation",
    id: "npm-bare-negation",
    cause:
      "a namespaceSelector of negations only becomes a bare `! set`, which also matches node and external addresses",
    source: "Azure/azure-container-networking #4868",
    versions: "up to 2026-08",
  },
  {
    quirk: "ipv6-policy",
    system: "both",
    id: "npm-ipv6-policy-skipped",
    cause:
      "a policy with an ipBlock of IPv6, or of all addresses written other than 0.0.0.0/0, is not translated at all: its pods stay open",
    source:
      "azure-container-networking npm/pkg/controlplane/translation (unsupported IP address), npm/util IsIPV4; AKS: no IPv6",
    versions: "all",
  },
  {
    quirk: "ipv6-unfiltered",
    id: "npm-ipv6-unfiltered",
    cause: "NPM programs iptables only, ip6tables stays as it was: IPv6 is not filtered",
    source: "AKS: Azure NPM does not support IPv6",
    versions: "all",
  },
  {
    quirk: "all-namespaces-key",
    system: "both",
    id: "npm-all-namespaces-key",
    cause:
      "the set of all namespaces has the name that a namespace label key `all-namespaces` gets: selecting on that key selects every namespace",
    source:
      "azure-container-networking npm/util/const.go (KubeAllNamespacesFlag) and the namespace controller",
    versions: "all",
  },
  {
    quirk: "sidecar-ports",
    id: "npm-sidecar-port-names",
    cause:
      "port names of sidecars (init containers that go on running) are in no set: a rule that uses one matches nothing",
    source:
      "azure-container-networking npm/pkg/controlplane/controllers (getContainerPortList: spec.containers alone)",
    versions: "all",
  },
  {
    quirk: "marked-ingress",
    id: "service-ingress-snat",
    cause:
      "what a node masquerades for a Service (load balancer, node port, hairpin) carries kube-proxy's mark 0x4000, which KUBE-FORWARD accepts before AZURE-NPM: a backend on that node is reached whatever its policies say",
    source: "AKS: use network policies; Azure/azure-container-networking #940, #1086",
    versions: "all, unless PlaceAzureChainFirst",
  },
  {
    quirk: "marked-egress",
    id: "egress-own-node",
    cause:
      "a pod's connection to a load balancer or a node port of its own node carries kube-proxy's mark 0x4000, which KUBE-FORWARD accepts before AZURE-NPM: its egress policies are not asked",
    source: "AKS: migrate from Azure NPM to Cilium; Azure/azure-container-networking #1086",
    versions: "all, unless PlaceAzureChainFirst",
  },
  {
    quirk: "mark-collision",
    id: "npm-mark-collision",
    cause:
      "NPM's own mark for dropped ingress was kube-proxy's mark for masquerading, 0x4000, and AZURE-NPM came first: what a node is to masquerade for a Service is dropped there; where an ingress policy of the backend's lets it in, the mark is overwritten and the source stays",
    source:
      "a live dump of April 2022 (AZURE-NPM-INGRESS -m mark --mark 0x4000 -j DROP; KUBE-MARK-MASQ --set-xmark 0x4000/0x4000)",
    versions: "2022-04",
  },
  {
    quirk: "wireserver",
    id: "platform-wireserver",
    cause:
      "AKS nodes drop forwarded TCP to port 80 of Azure's wireserver, unless NPM accepts the packet first, which it does once there is a policy",
    source: "live dumps of AKS nodes (FORWARD -d 168.63.129.16/32 -p tcp --dport 80 -j DROP)",
    versions: "all",
  },
  {
    quirk: "windows-wireserver",
    system: "windows",
    id: "platform-windows-wireserver",
    cause: "endpoints of Azure CNI block TCP to port 80 of Azure's wireserver before any policy is asked",
    source: "Azure/azure-container-networking PR 1752 (base ACL of priority 200)",
    versions: "all",
  },
  {
    quirk: "windows-named-port",
    system: "windows",
    id: "npm-windows-named-port",
    cause:
      "a policy with a named port is not programmed on Windows nodes: their pods stay as open as without it",
    source:
      "AKS: use network policies (not supported on Windows); azure-container-networking npm/pkg/controlplane/translation",
    versions: "all",
  },
  {
    quirk: "windows-pod-negation",
    system: "windows",
    id: "npm-windows-pod-negation",
    cause:
      "a policy with NotIn or DoesNotExist in a podSelector is not programmed on Windows nodes: their pods stay as open as without it",
    source:
      "AKS: use network policies (negative label selectors are not supported on Windows); azure-container-networking npm/pkg/controlplane/translation",
    versions: "all",
  },
  {
    quirk: "windows-except",
    system: "windows",
    id: "npm-windows-except",
    cause:
      "a policy with an ipBlock that has exceptions is not programmed on Windows nodes: their pods stay as open as without it",
    source:
      "AKS: use network policies (except is not supported on Windows); azure-container-networking npm/pkg/controlplane/translation",
    versions: "all",
  },
  {
    quirk: "windows-sctp",
    system: "windows",
    id: "npm-windows-sctp",
    cause: "a policy with SCTP is not programmed on Windows nodes: their pods stay as open as without it",
    source:
      "AKS: use network policies (SCTP is not supported on Windows); azure-container-networking npm/pkg/dataplane/policies",
    versions: "all",
  },
  {
    quirk: "windows-namespace-negation",
    system: "windows",
    id: "npm-windows-namespace-negation",
    cause:
      "a policy with NotIn or DoesNotExist in a namespaceSelector of ingress rules is not programmed on Windows nodes: their pods stay as open as without it",
    source:
      "AKS: use network policies (negative namespace selectors are not supported on Windows); azure-container-networking npm/pkg/dataplane/policies/policy_windows.go",
    versions: "all",
  },
  {
    quirk: "windows-egress-negation",
    system: "windows",
    id: "npm-windows-egress-negation",
    cause:
      "a policy with NotIn or DoesNotExist in a namespaceSelector of egress rules is not programmed on Windows nodes: their pods stay as open as without it",
    source: "Azure/azure-container-networking #4866",
    versions: "from 2026-09",
  },
  {
    quirk: "windows-inverted-egress",
    system: "windows",
    id: "npm-windows-inverted-egress",
    cause:
      "in egress rules on Windows nodes the namespaces that NotIn or DoesNotExist exclude are those that are let in",
    source: "azure-container-networking npm/pkg/dataplane/policies/policy_windows.go; fixed by #4866",
    versions: "up to 2026-08",
  },
  {
    quirk: "windows-own-node",
    system: "windows",
    id: "npm-windows-own-node",
    cause: "a pod's connection to its own node passes its endpoint like any other: egress policies are asked",
    source:
      "azure-container-networking npm/pkg/dataplane/policies/policy_windows.go (ACLs of direction Out; read, not run)",
    versions: "all",
  },
  {
    quirk: "windows-service-ingress",
    system: "windows",
    id: "windows-service-ingress-snat",
    cause:
      "what a Windows node translates for a node port or a load balancer comes from that node, which every policy lets in to the pods there: a backend on it is reached whatever its policies say",
    source:
      "azure-container-networking #1881 (ACL of priority 201 for the node's address); kubernetes pkg/proxy/winkernel/proxier.go (no DSR but for Local policies)",
    versions: "all",
  },
  {
    quirk: "lite-peers",
    system: "both",
    id: "npm-lite-peers",
    cause:
      "NPM Lite programs no policy with a peer that is not a CIDR, or with a named port: its pods stay as open as without it",
    source:
      "azure-container-networking npm/pkg/controlplane/translation (EnableNPMLite: only CIDR-based policies)",
    versions: "all, with +lite",
  },
  {
    quirk: "lite-own-pods",
    id: "npm-lite-own-pods",
    cause:
      "an NPM Lite knows the pods of its own node alone: of what a node forwards for a Service between pods of others it asks no policy",
    source: "azure-container-networking npm (EnableNPMLite: pods of the own node are watched); read, not run",
    versions: "all, with +lite",
  },
  {
    quirk: "lite-except-ignored",
    system: "windows",
    id: "npm-lite-except-ignored",
    cause: "NPM Lite on Windows does not look at the exceptions of an ipBlock: they are let in with it",
    source: "Azure/azure-container-networking #4823",
    versions: "up to 2026-08, with +lite",
  },
  {
    quirk: "lite-except-first",
    system: "windows",
    id: "npm-lite-except-first",
    cause:
      "NPM Lite on Windows blocks the exceptions of an ipBlock (221) before it asks what policies allow (222): what another rule or policy lets in is shut out as well",
    source: "Azure/azure-container-networking #4823 (priorities; that ports are the rule's own is inferred)",
    versions: "from 2026-09, with +lite",
  },
];

/** The quirks that nodes of one system show. */
export function quirksOn(system: "linux" | "windows", quirks: ReadonlySet<Quirk>): ReadonlySet<Quirk> {
  const own = statements.filter((one) => one.system === "both" || (one.system ?? "linux") === system);
  return new Set(own.map(({ quirk }) => quirk).filter((quirk) => quirks.has(quirk)));
}
