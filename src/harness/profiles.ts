/**
 * The shapes of synthetic clusters, by name: how pods are labelled and what policies select. Figures that a source
 * publishes are met as medians and shares where the source gives such, and exactly where it gives counts. Pod and
 * policy `index` live in namespace `index % namespaces`.
 */
import { type Prng, usageError } from "../base/index.ts";

/** Sizes of a cluster; each can be set by hand. */
export interface ClusterSize {
  readonly nodes: number;
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
}

/** An API object as a manifest has it. */
export type RawObject = Readonly<Record<string, unknown>>;
type Labels = Readonly<Record<string, string>>;

/** A kind of synthetic cluster. */
export interface Profile {
  readonly name: string;
  readonly summary: string;
  readonly source: string;
  readonly size: ClusterSize;
  /** Labels of pods by index; called once a cluster. */
  readonly labels: (random: Prng, size: ClusterSize) => (index: number) => Labels;
  /** What policies say, by index; called once a cluster. */
  readonly specs: (random: Prng, size: ClusterSize) => (index: number) => RawObject;
}

/** Name of namespace `index`. */
export const namespaceName = (index: number): string => `team-${String(index).padStart(3, "0")}`;

const apps = 40;
const tiers = ["frontend", "api", "worker", "cache", "store"];
const servicePorts = [80, 443, 5432, 6379, 8080, 8443, 9090];

const labelled = (matchLabels: Labels): RawObject => ({ matchLabels });
const named = (namespace: number): RawObject =>
  labelled({ "kubernetes.io/metadata.name": namespaceName(namespace) });
const oneOf = (key: string, values: readonly string[]): RawObject => ({
  matchExpressions: [{ key, operator: "In", values }],
});

const several = <T>(count: number, make: (place: number) => T): readonly T[] =>
  Array.from({ length: count }, (_, place) => make(place));

/** `count` different numbers below `below`, or all there are. */
function distinct(random: Prng, count: number, below: number): readonly number[] {
  const drawn = new Set<number>();
  while (drawn.size < Math.min(count, below)) drawn.add(random.below(below));
  return [...drawn].sort((a, b) => a - b);
}

/** A policy of one direction, with one rule or several. */
function oneWay(
  direction: "ingress" | "egress",
  podSelector: RawObject,
  rules: readonly RawObject[],
): RawObject {
  return {
    podSelector,
    policyTypes: [direction === "ingress" ? "Ingress" : "Egress"],
    [direction]: rules,
  };
}

const peersOf = (direction: "ingress" | "egress"): "from" | "to" => (direction === "ingress" ? "from" : "to");

/** A range outside the cluster, less a part of it. */
function blockPeer(random: Prng): RawObject {
  const start = `172.${16 + random.below(16)}`;
  return { ipBlock: { cidr: `${start}.0.0/16`, except: [`${start}.${random.below(256)}.0/24`] } };
}

/** Pods of 40 applications in five tiers and three releases. */
const appLabels: Profile["labels"] = (random, size) => (index) => {
  const app = Math.floor(index / size.namespaces) % apps;
  return { app: `app-${app}`, tier: tiers[app % tiers.length] ?? "api", release: `r${random.below(3)}` };
};

const appSelector = (random: Prng): RawObject => labelled({ app: `app-${random.below(apps)}` });

/** 10% ipBlock with except, the rest selectors of pods, of namespaces, and of both. */
function mixedPeer(random: Prng, size: ClusterSize): RawObject {
  const kind = random.below(100);
  if (kind < 10) return blockPeer(random);
  if (kind < 45) return { podSelector: appSelector(random) };
  if (kind < 65) return { podSelector: labelled({ tier: random.pick(tiers) }) };
  const namespaceSelector = named(random.below(size.namespaces));
  return kind < 85 ? { namespaceSelector, podSelector: appSelector(random) } : { namespaceSelector };
}

/** 5% named, 10% ranges, the rest numbers. */
function mixedPort(random: Prng): RawObject {
  const kind = random.below(100);
  if (kind < 5) return { port: "http", protocol: "TCP" };
  if (kind < 15) return { port: 8000, endPort: 8000 + random.below(100), protocol: "TCP" };
  return {
    port: random.pick(servicePorts),
    protocol: random.pick(["TCP", "TCP", "TCP", "TCP", "UDP", "SCTP"]),
  };
}

/** 2/3 ingress, 1-3 peers, 0-3 ports. */
const mixedSpecs: Profile["specs"] = (random, size) => () => {
  const direction = random.below(3) < 2 ? "ingress" : "egress";
  const peers = several(1 + random.below(3), () => mixedPeer(random, size));
  const ports = several(random.below(4), () => mixedPort(random));
  return oneWay(direction, appSelector(random), [{ [peersOf(direction)]: peers, ports }]);
};

const aksNpmLimit: Profile = {
  name: "aks-npm-limit",
  summary: "the documented limit of Azure NPM: 250 nodes, 20,000 pods, 1,000 mixed policies",
  source: "AKS: use network policies",
  size: { nodes: 250, pods: 20_000, namespaces: 250, policies: 1000 },
  labels: appLabels,
  specs: mixedSpecs,
};

const sharedLabels = 10;

/**
 * Two labels of its own a pod, whose keys nothing else has, and ten that all have. Policy `j` lets shared label j + 1
 * talk with j, the last but two from the eighth on: every policy selects every pod.
 */
const npmScaleCi: Profile = {
  name: "npm-scale-ci",
  summary: "one label to one label, 2 unique and 10 shared labels a pod",
  source: "Azure NPM's scale pipeline (test/scale/test-scale.sh, .pipelines/npm/npm-scale-test.yaml)",
  size: { nodes: 20, pods: 1000, namespaces: 1, policies: 800 },
  labels: () => (index) => {
    const labels: Record<string, string> = {};
    for (let i = 0; i < 2; i++) labels[`pod-${index}-label-${i}`] = "val";
    for (let i = 1; i <= sharedLabels; i++) labels[`shared-${i}`] = "true";
    return labels;
  },
  specs: () => (index) => {
    const label = Math.min(index + 1, sharedLabels - 2);
    const podSelector = labelled({ [`shared-${label + 1}`]: "true" });
    return {
      podSelector: labelled({ [`shared-${label}`]: "true" }),
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: [{ podSelector }] }],
      egress: [{ to: [{ podSelector }] }],
    };
  },
};

/** Pods of a namespace of the median size that carry the label of the median policy. */
const medianLocalPods = 6;

/**
 * Nine pods a namespace: six of one component, the rest of another; pairs of pods that share a label across
 * namespaces. Of the policies 26% have no rule; each count of the others is drawn around its published median.
 */
const realMedian: Profile = {
  name: "real-median",
  summary:
    "policies of a real cluster: in the median 6 local pods, one CIDR, one port, one selector, 2 peer pods; 26% empty",
  source: "statistics of a real cluster (npinaeva/k8s-netpol-scale, yaml-analysis)",
  size: { nodes: 100, pods: 5413, namespaces: 604, policies: 13_678 },
  labels: (_random, size) => (index) => ({
    component: Math.floor(index / size.namespaces) < medianLocalPods ? "main" : "side",
    pair: `pair-${index >> 1}`,
  }),
  specs: (random, size) => () => {
    const pairs = Math.max(1, size.pods >> 1);
    const local = random.pick<RawObject>([
      labelled({ component: "main" }),
      labelled({ component: "main" }),
      labelled({ component: "main" }),
      labelled({ component: "side" }),
      {},
    ]);
    const direction = random.below(3) < 2 ? "ingress" : "egress";
    if (random.below(100) < 26) return oneWay(direction, local, []);
    const peers = [
      ...several(random.pick([0, 1, 1, 1, 3]), () => blockPeer(random)),
      ...several(random.pick([1, 1, 1, 1, 2]), () => ({
        namespaceSelector: {},
        podSelector: labelled({ pair: `pair-${random.below(pairs)}` }),
      })),
    ];
    const ports = several(random.pick([0, 1, 1, 1, 3]), () => mixedPort(random));
    return oneWay(direction, local, [{ [peersOf(direction)]: peers, ports }]);
  },
};

const burnerPods = 10;

/**
 * Every policy selects its namespace's ten pods by number and has six rules: one for five pods in each of five
 * namespaces, and one for each of five ranges, each with five ports and five port ranges. Half of a namespace's
 * policies are of each direction.
 */
const ovnBurner: Profile = {
  name: "ovn-burner",
  summary: "20 policies a namespace: 5 ports, 5 port ranges, 5 namespaces, 5 pods, 5 CIDRs, 10 local pods",
  source: "kube-burner-ocp's network-policy workload, as Red Hat ran it on 24 workers",
  size: { nodes: 24, pods: 2400, namespaces: 240, policies: 4800 },
  labels: (_random, size) => (index) => ({
    num: `${(Math.floor(index / size.namespaces) % burnerPods) + 1}`,
  }),
  specs: (random, size) => (index) => {
    const direction = Math.floor(index / size.namespaces) % 2 === 0 ? "ingress" : "egress";
    const numbers = (count: number): readonly string[] =>
      distinct(random, count, burnerPods).map((number) => `${number + 1}`);
    const pods = {
      namespaceSelector: oneOf(
        "kubernetes.io/metadata.name",
        distinct(random, 5, size.namespaces).map(namespaceName),
      ),
      podSelector: oneOf("num", numbers(5)),
    };
    const blocks = distinct(random, 5, 4096).map((block) => ({
      ipBlock: { cidr: `172.${16 + (block >> 8)}.${block & 255}.0/24` },
    }));
    const ranges = several(5, (place) => ({
      port: 5000 + 10 * place,
      endPort: 5005 + 10 * place,
      protocol: "TCP",
    }));
    const portsFrom = (first: number): readonly RawObject[] => [
      ...several(5, (place) => ({ port: first + place, protocol: "TCP" })),
      ...ranges,
    ];
    const rules = [pods, ...blocks].map((peer, place) => ({
      [peersOf(direction)]: [peer],
      ports: portsFrom(place === 0 ? 8080 : 1001),
    }));
    return oneWay(
      direction,
      oneOf(
        "num",
        several(burnerPods, (place) => `${place + 1}`),
      ),
      rules,
    );
  },
};

/** All pods of a namespace are alike: as many identities as namespaces. */
const ciliumReport: Profile = {
  name: "cilium-report",
  summary: "1,000 nodes, 50,000 pods of 250 identities, 250 policies",
  source: "Cilium's scalability report",
  size: { nodes: 1000, pods: 50_000, namespaces: 250, policies: 250 },
  labels: () => () => ({ app: "workload" }),
  specs: (random, size) => () =>
    oneWay("ingress", {}, [{ from: [{ namespaceSelector: named(random.below(size.namespaces)) }] }]),
};

const aksMax: Profile = {
  name: "aks-max",
  summary: "AKS's ceiling with Cilium: 5,000 nodes, 200,000 pods, 5,000 mixed policies",
  source: "AKS: Azure CNI powered by Cilium, large clusters",
  size: { nodes: 5000, pods: 200_000, namespaces: 1000, policies: 5000 },
  // 40,000 sets of labels: within Cilium's 65,535 identities
  labels: (_random, size) => (index) => {
    const app = Math.floor(index / size.namespaces) % apps;
    return { app: `app-${app}`, tier: tiers[app % tiers.length] ?? "api" };
  },
  specs: mixedSpecs,
};

/**
 * No two pods answer every selector alike: each pod is a peer of some policy by a label of its own, however few the
 * policies are. This is the most classes that a cluster can have, one a pod, so that a table between classes has
 * pods x pods cells a port atom, and no memo is smaller than the cluster.
 */
const adversarial: Profile = {
  name: "adversarial",
  summary: "every pod has a label of its own that some policy names: as many classes as pods, the worst case",
  source: "worst case",
  size: { nodes: 20, pods: 2000, namespaces: 1, policies: 2000 },
  labels: () => (index) => ({ id: `${index}` }),
  specs: (random, size) => {
    const shift = random.below(size.pods);
    return (index) => {
      const podsOfNamespace = Math.max(
        1,
        Math.ceil((size.pods - (index % size.namespaces)) / size.namespaces),
      );
      const place = Math.floor(index / size.namespaces) % podsOfNamespace;
      const local = (index % size.namespaces) + place * size.namespaces;
      const from = several(Math.ceil(size.pods / size.policies), (turn) => ({
        namespaceSelector: {},
        podSelector: labelled({ id: `${(index + turn * size.policies + shift) % size.pods}` }),
      }));
      return oneWay("ingress", labelled({ id: `${local}` }), [{ from, ports: [mixedPort(random)] }]);
    };
  },
};

/** Synthetic clusters by name. */
export const profiles: readonly Profile[] = [
  aksNpmLimit,
  npmScaleCi,
  realMedian,
  ovnBurner,
  ciliumReport,
  aksMax,
  adversarial,
];

/** @throws InputError for an unknown name, naming what is known. */
export function profileOf(name: string): Profile {
  const profile = profiles.find((one) => one.name === name);
  if (profile === undefined)
    throw usageError(`unknown profile ${name}; known: ${profiles.map((one) => one.name).join(", ")}`);
  return profile;
}
