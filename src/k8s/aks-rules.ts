/**
 * Which clusters AKS does not make, and which parts of one it will not support for ever. Governing sources: the AKS
 * articles on network policies, on migrating from Azure NPM, on Azure CNI, Azure CNI Overlay and Azure CNI powered by
 * Cilium. Versions of an engine that AKS ties to Kubernetes' are the engine's own business.
 */
import { cidrCovers, formatCidr } from "../addr/index.ts";
import type { ClusterOptions, ClusterState, NodePool } from "./cluster.ts";
import type { ClusterWords } from "./options.ts";
import type { Node } from "./types.ts";

/** What is refused or retired depends on this much of a cluster. */
export interface AksFacts {
  readonly options: ClusterOptions;
  /** Made of the options' pools or given by name. */
  readonly nodes: readonly Pick<Node, "os" | "osSku" | "source">[];
  readonly podCount: number;
}

type Word = keyof ClusterWords;

/** A kind of cluster that AKS refuses to make, or does not stand by. */
export interface AksRule {
  readonly id: string;
  /** The options that it is about, the most telling first. */
  readonly words: readonly Word[];
  readonly reason: string;
  readonly source: string;
  refuses(facts: AksFacts): boolean;
  /** It is about how many there are, not about what goes together. */
  readonly isSize?: true;
  /** Nodes whose system is the matter. */
  readonly nodes?: (node: Pick<Node, "os" | "osSku">) => boolean;
}

/** One reason why AKS would refuse a cluster. */
export interface AksRefusal {
  readonly rule: string;
  readonly isSize?: true;
  readonly words: readonly Word[];
  readonly reason: string;
  /** The pool that is the matter, by its number in the options. */
  readonly pool: number | undefined;
  /** Likewise a node that is in no pool. */
  readonly node: Pick<Node, "source"> | undefined;
}

const policies = "AKS: use network policies";
const cilium = "AKS: Azure CNI powered by Cilium";

/** Azure NPM on more than this runs out of memory. */
export const npmNodesMax = 250;
export const npmPodsMax = 20_000;

const isWindows = ({ os }: Pick<Node, "os">): boolean => os === "windows";
const hasWindows = ({ nodes }: AksFacts): boolean => nodes.some(isWindows);

/** Every combination that is refused. Two ranges that overlap are another matter, told by their addresses. */
export const aksRules: readonly AksRule[] = [
  {
    id: "overlay-without-azure-cni",
    words: ["networkPluginMode", "networkPlugin"],
    reason: "networkPluginMode overlay needs networkPlugin azure",
    source: "AKS: Azure CNI Overlay",
    refuses: ({ options }) => options.networkPluginMode === "overlay" && options.networkPlugin !== "azure",
  },
  {
    id: "cilium-without-azure-cni",
    words: ["networkDataplane", "networkPlugin"],
    reason: "networkDataplane cilium needs networkPlugin azure",
    source: cilium,
    refuses: ({ options }) => options.networkDataplane === "cilium" && options.networkPlugin !== "azure",
  },
  {
    id: "npm-without-azure-cni",
    words: ["networkPlugin", "networkPolicy"],
    reason: "networkPolicy azure (Azure NPM) needs networkPlugin azure",
    source: policies,
    refuses: ({ options }) => options.networkPolicy === "azure" && options.networkPlugin !== "azure",
  },
  {
    id: "npm-on-cilium",
    words: ["networkDataplane", "networkPolicy"],
    reason: "networkPolicy azure does not go with networkDataplane cilium",
    source: cilium,
    refuses: ({ options }) => options.networkPolicy === "azure" && options.networkDataplane === "cilium",
  },
  {
    id: "calico-on-cilium",
    words: ["networkDataplane", "networkPolicy"],
    reason: "networkPolicy calico does not go with networkDataplane cilium",
    source: cilium,
    refuses: ({ options }) => options.networkPolicy === "calico" && options.networkDataplane === "cilium",
  },
  {
    id: "calico-without-cni",
    words: ["networkPlugin", "networkPolicy"],
    reason: "networkPolicy calico needs networkPlugin azure or kubenet",
    source: policies,
    refuses: ({ options }) => options.networkPolicy === "calico" && options.networkPlugin === "none",
  },
  {
    id: "cilium-policy-without-dataplane",
    words: ["networkPolicy", "networkDataplane"],
    reason: "networkPolicy cilium needs networkDataplane cilium",
    source: cilium,
    refuses: ({ options }) => options.networkPolicy === "cilium" && options.networkDataplane !== "cilium",
  },
  {
    id: "kubenet-windows",
    words: ["nodePools", "networkPlugin"],
    reason: "kubenet has no Windows node pools",
    source: "AKS: use kubenet networking",
    refuses: (facts) => facts.options.networkPlugin === "kubenet" && hasWindows(facts),
    nodes: isWindows,
  },
  {
    id: "calico-windows-without-azure-cni",
    words: ["nodePools", "networkPlugin", "networkPolicy"],
    reason: "networkPolicy calico on Windows needs networkPlugin azure",
    source: policies,
    refuses: (facts) =>
      facts.options.networkPolicy === "calico" &&
      facts.options.networkPlugin !== "azure" &&
      hasWindows(facts),
    nodes: isWindows,
  },
  {
    id: "calico-windows-kubernetes",
    words: ["kubernetesVersion", "nodePools", "networkPolicy"],
    reason: "networkPolicy calico on Windows needs Kubernetes 1.20 or later",
    source: policies,
    refuses: (facts) =>
      facts.options.networkPolicy === "calico" && minorOf(facts.options) < 20 && hasWindows(facts),
    nodes: isWindows,
  },
  {
    id: "cilium-windows",
    words: ["nodePools", "networkDataplane"],
    reason: "networkDataplane cilium has no Windows node pools",
    source: cilium,
    refuses: (facts) => facts.options.networkDataplane === "cilium" && hasWindows(facts),
    nodes: isWindows,
  },
  {
    id: "npm-windows-2019",
    words: ["nodePools", "networkPolicy"],
    reason: "networkPolicy azure on Windows needs osSku Windows2022",
    source: policies,
    refuses: ({ options, nodes }) => options.networkPolicy === "azure" && nodes.some(isWindows2019),
    nodes: isWindows2019,
  },
  {
    id: "dual-stack-without-overlay",
    words: ["ipFamilies", "networkPluginMode"],
    reason: "dual stack needs networkPluginMode overlay or kubenet",
    source: "AKS: dual-stack networking",
    refuses: ({ options }) =>
      options.ipFamilies.length > 1 &&
      options.networkPlugin === "azure" &&
      options.networkPluginMode !== "overlay",
  },
  {
    id: "ipv6-alone",
    words: ["ipFamilies"],
    reason: "AKS has no clusters with IPv6 alone",
    source: "AKS: dual-stack networking",
    refuses: ({ options }) => options.ipFamilies.length === 1 && options.ipFamilies[0] === 6,
  },
  {
    id: "npm-ipv6",
    words: ["ipFamilies", "networkPolicy"],
    reason: "networkPolicy azure (Azure NPM) does not support IPv6",
    source: policies,
    refuses: ({ options }) => options.networkPolicy === "azure" && options.ipFamilies.includes(6),
  },
  {
    id: "npm-scale",
    words: ["nodePools", "networkPolicy"],
    reason: `networkPolicy azure (Azure NPM) is not supported beyond ${npmNodesMax} nodes or ${npmPodsMax} pods: it runs out of memory`,
    source: policies,
    refuses: ({ options, nodes, podCount }) =>
      options.networkPolicy === "azure" && (nodes.length > npmNodesMax || podCount > npmPodsMax),
    isSize: true,
  },
];

/** Id of the refusal of ranges that overlap, and what it says without naming them. */
export const overlapRule = "overlapping-ranges";
export const overlapReason = "the ranges of nodes, Services and pods do not overlap";

function isWindows2019({ os, osSku }: Pick<Node, "os" | "osSku">): boolean {
  return os === "windows" && osSku === "Windows2019";
}

/** Of Kubernetes 1. */
function minorOf({ kubernetesVersion }: ClusterOptions): number {
  return Number(kubernetesVersion.split(".")[1]);
}

/** Why AKS would refuse to make such a cluster; empty when it would not. */
export function aksRefusals(facts: AksFacts): readonly AksRefusal[] {
  const { options, nodes } = facts;
  const refused = aksRules
    .filter((rule) => rule.refuses(facts))
    .map(({ id, words, reason, isSize, nodes: isMatter }): AksRefusal => {
      const pool = isMatter && options.nodePools.findIndex((one) => one.count > 0 && isMatter(nodeOf(one)));
      return {
        rule: id,
        ...(isSize === undefined ? {} : { isSize }),
        words,
        reason,
        pool: pool === undefined || pool < 0 ? undefined : pool,
        node: isMatter && nodes.find((node) => node.source !== undefined && isMatter(node)),
      };
    });
  return [...refused, ...overlaps(options)];
}

/** What the nodes of a pool are. */
function nodeOf({ osType, osSku }: NodePool): Pick<Node, "os" | "osSku"> {
  return { os: osType === "Windows" ? "windows" : "linux", osSku };
}

/** The nodes of the options' pools, as far as the rules ask. */
export function poolFacts({ nodePools }: ClusterOptions): AksFacts["nodes"] {
  return nodePools.flatMap((pool) => {
    const node = { ...nodeOf(pool), source: undefined };
    return Array.from({ length: pool.count }, () => node);
  });
}

/** What the rules ask of a cluster that is made. */
export function aksFacts({ options, nodes, pods }: ClusterState): AksFacts {
  return { options, nodes: [...nodes.values()], podCount: pods.size };
}

function overlaps(options: ClusterOptions): readonly AksRefusal[] {
  const { podCidrs, serviceCidrs, nodeSubnets, networkPlugin, networkPluginMode } = options;
  const hasPodRange = networkPlugin !== "azure" || networkPluginMode === "overlay";
  const ranges = [
    ...nodeSubnets.map((cidr) => ({ word: "nodeSubnet" as const, cidr })),
    ...serviceCidrs.map((cidr) => ({ word: "serviceCidr" as const, cidr })),
    ...(hasPodRange ? podCidrs.map((cidr) => ({ word: "podCidr" as const, cidr })) : []),
  ];
  return ranges.flatMap((a, i) =>
    ranges
      .slice(i + 1)
      .filter((b) => cidrCovers(a.cidr, b.cidr) || cidrCovers(b.cidr, a.cidr))
      .map(
        (b): AksRefusal => ({
          rule: overlapRule,
          words: [b.word, a.word],
          reason: `${b.word} ${formatCidr(b.cidr)} overlaps ${a.word} ${formatCidr(a.cidr)}`,
          pool: undefined,
          node: undefined,
        }),
      ),
  );
}

/** A part of AKS with a last day. */
export interface AksRetirement {
  readonly id: string;
  readonly words: readonly Word[];
  readonly what: string;
  /** The day that its support ends, or ended. */
  readonly until: string;
  readonly source: string;
  concerns(facts: AksFacts): boolean;
}

/** Parts of AKS that a cluster may have, and that will be gone. */
export const aksRetirements: readonly AksRetirement[] = [
  {
    id: "npm-windows",
    words: ["nodePools", "networkPolicy"],
    what: "Azure NPM on Windows nodes",
    until: "2026-09-30",
    source: policies,
    concerns: (facts) => facts.options.networkPolicy === "azure" && hasWindows(facts),
  },
  {
    id: "npm-linux",
    words: ["networkPolicy"],
    what: "Azure NPM on Linux nodes",
    until: "2028-09-30",
    source: `${policies} (an older copy says 2026)`,
    concerns: ({ options }) => options.networkPolicy === "azure",
  },
  {
    id: "kubenet",
    words: ["networkPlugin"],
    what: "networkPlugin kubenet",
    until: "2028-03-31",
    source: "AKS: use kubenet networking",
    concerns: ({ options }) => options.networkPlugin === "kubenet",
  },
];
