/**
 * What differs between Cilium's versions and settings, as data: compilers ask here, never for a version. AKS ties the
 * Cilium version to that of Kubernetes, and its agent settings are those of the manifests in
 * Azure/azure-container-networking test/integration/manifests/cilium.
 * Governing sources: AKS "Azure CNI powered by Cilium" (version table), cilium Documentation/cmdref/cilium-agent.md.
 */
import type { SwitchSpec } from "../engine.ts";

export type CiliumVersion = "1.14" | "1.16" | "1.17" | "1.18" | "1.19";

/** How policy maps are laid out and looked up (bpf/lib/policy.h). */
export type MapGeneration = "G1" | "G2" | "G3";

/** `fromCIDR` and `toCIDR`, or `fromCIDRSet` and `toCIDRSet`, which an `ipBlock` becomes too. */
export type CidrField = "cidr" | "cidr-set";

export interface CiliumVariant {
  readonly version: CiliumVersion;
  readonly generation: MapGeneration;
  /** `enable-sctp`; off, conntrack knows no SCTP ports and drops it, policy or not. */
  readonly sctp: boolean;
  /** `enable-endpoint-lockdown-on-policy-overflow`: a policy that does not fit closes the pod instead of fitting in part. */
  readonly lockdown: boolean;
  /** `bpf-policy-map-max`: entries of one endpoint's policy map. */
  readonly policyMapMax: number;
  /** A port block that begins at port 0 is written as "every port". */
  readonly zeroStartDefect: boolean;
  /** `endPort` of NetworkPolicy and of Cilium's own policies is honoured (1.16 on); before, a rule covers `port` alone. */
  readonly endPort: boolean;
  /** A named port of an egress rule is looked up among all pods of the cluster, and dropped if its number is not unique. */
  readonly egressNamedPorts: "unique-in-cluster" | "of-selected-identities";
  /** `enable-non-default-deny-policies`: `enableDefaultDeny: false` is honoured. */
  readonly nonDefaultDeny: boolean;
  /** On a cluster of both families the world has an identity for each (1.15 on, cilium #22625); before, one for both. */
  readonly worldByFamily: boolean;
  /**
   * In which fields a block of all addresses of one family (`::/0`) is the world's identity although that has addresses
   * of the other family, or of both (pkg/policy/api/cidr.go).
   */
  readonly otherFamilyIsWorld: readonly CidrField[];
  /** A block with exceptions selects what is in it but not in them (1.17 on); before, it was the blocks that are left. */
  readonly cidrHoles: boolean;
  /** `enable-host-firewall`; off, policies with a `nodeSelector` have no effect. */
  readonly hostFirewall: boolean;
  /** Endpoints, identities and policies reach nodes as late as in a real cluster. */
  readonly delays: boolean;
  /** AKS's add-on (Advanced Container Networking Services): layer 7 and FQDN rules are taken. */
  readonly l7: boolean;
}

const of116 = {
  sctp: false,
  lockdown: false,
  policyMapMax: 16_384,
  zeroStartDefect: false,
  endPort: true,
  egressNamedPorts: "unique-in-cluster",
  nonDefaultDeny: true,
  worldByFamily: true,
  otherFamilyIsWorld: [],
  cidrHoles: false,
  hostFirewall: false,
  delays: false,
  l7: false,
} as const;

const of117 = { ...of116, generation: "G2", otherFamilyIsWorld: ["cidr-set"], cidrHoles: true } as const;

const variants: Readonly<Record<CiliumVersion, CiliumVariant>> = {
  // port ranges came with 1.16.0 (cilium #32807), enableDefaultDeny with 1.15 and 1.16 (cilium #30572)
  "1.14": {
    ...of116,
    version: "1.14",
    generation: "G1",
    endPort: false,
    nonDefaultDeny: false,
    worldByFamily: false,
    otherFamilyIsWorld: ["cidr", "cidr-set"],
  },
  "1.16": { ...of116, version: "1.16", generation: "G1" },
  "1.17": { ...of117, version: "1.17" },
  "1.18": { ...of117, version: "1.18" },
  "1.19": { ...of117, version: "1.19", generation: "G3", otherFamilyIsWorld: ["cidr", "cidr-set"] },
};

/** Oldest first. */
export const ciliumVersions: readonly CiliumVersion[] = ["1.14", "1.16", "1.17", "1.18", "1.19"];
export const ciliumDefaultVersion: CiliumVersion = "1.18";

const toggle = (name: string, summary: string): SwitchSpec => ({ name, values: ["true", "false"], summary });

export const ciliumSwitches: readonly SwitchSpec[] = [
  toggle("sctp", "SCTP is tracked (enable-sctp; AKS: off)"),
  toggle(
    "lockdown",
    "a policy too big for its map closes the pod (enable-endpoint-lockdown-on-policy-overflow)",
  ),
  {
    name: "policy-map-max",
    values: ["256", "1024", "4096", "16384", "65536"],
    summary: "entries of one endpoint's policy map (bpf-policy-map-max)",
  },
  toggle("zero-start-defect", "a port range that begins at 0 is written as every port"),
  toggle("fix-30003", "named ports of egress rules are looked up among the selected pods only (#44429)"),
  toggle(
    "host-firewall",
    "policies with a nodeSelector are enforced for nodes (enable-host-firewall; AKS: off)",
  ),
  toggle("delays", "endpoints, identities and policies reach nodes as late as in a real cluster"),
  toggle("acns", "Advanced Container Networking Services: layer 7 and FQDN rules are taken"),
];

/** `version` and `switches` have been checked against the lists above. */
export function ciliumVariant(
  version: string,
  switches: Readonly<Record<string, string>> = {},
): CiliumVariant {
  const base = variants[version as CiliumVersion];
  const on = (name: string, otherwise: boolean): boolean =>
    switches[name] === undefined ? otherwise : switches[name] === "true";
  return {
    ...base,
    sctp: on("sctp", base.sctp),
    lockdown: on("lockdown", base.lockdown),
    policyMapMax: Number(switches["policy-map-max"] ?? base.policyMapMax),
    zeroStartDefect: on("zero-start-defect", base.zeroStartDefect),
    egressNamedPorts: on("fix-30003", base.egressNamedPorts === "of-selected-identities")
      ? "of-selected-identities"
      : "unique-in-cluster",
    hostFirewall: on("host-firewall", base.hostFirewall),
    delays: on("delays", base.delays),
    l7: on("acns", base.l7),
  };
}

/** The Cilium that AKS runs, by the minor version of Kubernetes. */
export const ciliumOfKubernetes: ReadonlyMap<string, CiliumVersion> = new Map([
  ["1.29", "1.14"],
  ["1.30", "1.14"],
  ["1.31", "1.16"],
  ["1.32", "1.17"],
  ["1.33", "1.17"],
  ["1.34", "1.18"],
  ["1.35", "1.18"],
]);
