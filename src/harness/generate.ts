/**
 * Synthetic clusters as plain API objects: the workloads that engines are measured on. Seeded; equal arguments give
 * equal objects.
 */
import { createPrng, type Prng, usageError } from "../base/index.ts";

/** Sizes of a cluster; each can be set by hand. */
export interface ClusterSize {
  readonly nodes: number;
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
}

type RawObject = Readonly<Record<string, unknown>>;
type PolicyMaker = (random: Prng, size: ClusterSize, index: number) => RawObject;

/** A kind of synthetic cluster. */
export interface Profile {
  readonly name: string;
  readonly summary: string;
  readonly source: string;
  readonly size: ClusterSize;
  /** Labels of pod `index`. */
  readonly labels: (random: Prng, size: ClusterSize, index: number) => Readonly<Record<string, string>>;
  readonly policy: PolicyMaker;
}

const apps = 40;
const tiers = ["frontend", "api", "worker", "cache", "store"];
const ports = [80, 443, 5432, 6379, 8080, 8443, 9090];

const namespaceName = (index: number): string => `team-${String(index).padStart(3, "0")}`;

function appLabels(random: Prng, size: ClusterSize, index: number): Readonly<Record<string, string>> {
  const app = Math.floor(index / size.namespaces) % apps;
  return { app: `app-${app}`, tier: tiers[app % tiers.length] ?? "api", release: `r${random.below(3)}` };
}

const appSelector = (random: Prng): RawObject => ({ matchLabels: { app: `app-${random.below(apps)}` } });
const tierSelector = (random: Prng): RawObject => ({ matchLabels: { tier: random.pick(tiers) } });
const namespaceSelector = (random: Prng, size: ClusterSize): RawObject => ({
  matchLabels: { "kubernetes.io/metadata.name": namespaceName(random.below(size.namespaces)) },
});

function blockPeer(random: Prng): RawObject {
  const second = random.below(256);
  return {
    ipBlock: {
      cidr: `172.${16 + (second % 16)}.0.0/16`,
      except: [`172.${16 + (second % 16)}.${random.below(256)}.0/24`],
    },
  };
}

function peer(random: Prng, size: ClusterSize): RawObject {
  const kind = random.below(100);
  if (kind < 10) return blockPeer(random);
  if (kind < 45) return { podSelector: appSelector(random) };
  if (kind < 65) return { podSelector: tierSelector(random) };
  if (kind < 85)
    return { namespaceSelector: namespaceSelector(random, size), podSelector: appSelector(random) };
  return { namespaceSelector: namespaceSelector(random, size) };
}

function port(random: Prng): RawObject {
  const kind = random.below(100);
  if (kind < 5) return { port: "http", protocol: "TCP" };
  if (kind < 15) return { port: 8000, endPort: 8000 + random.below(100), protocol: "TCP" };
  return { port: random.pick(ports), protocol: random.pick(["TCP", "TCP", "TCP", "TCP", "UDP", "SCTP"]) };
}

const several = (count: number, make: () => RawObject): readonly RawObject[] =>
  Array.from({ length: count }, make);

function policyObject(name: string, namespace: string, spec: RawObject): RawObject {
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name, namespace }, spec };
}

/** 2/3 ingress, 1-3 peers, 0-3 ports, 10% ipBlock with except, 5% named ports. */
const mixedPolicy: PolicyMaker = (random, size, index) => {
  const isIngress = random.below(3) < 2;
  const peers = several(1 + random.below(3), () => peer(random, size));
  const rule = { [isIngress ? "from" : "to"]: peers, ports: several(random.below(4), () => port(random)) };
  const spec = {
    podSelector: appSelector(random),
    policyTypes: [isIngress ? "Ingress" : "Egress"],
    [isIngress ? "ingress" : "egress"]: [rule],
  };
  return policyObject(`policy-${index}`, namespaceName(index % size.namespaces), spec);
};

/** Synthetic clusters by name. */
export const profiles: readonly Profile[] = [
  {
    name: "aks-npm-limit",
    summary: "the documented limit of Azure NPM: 250 nodes, 20,000 pods, 1,000 mixed policies",
    source: "AKS: use network policies",
    size: { nodes: 250, pods: 20_000, namespaces: 250, policies: 1000 },
    labels: appLabels,
    policy: mixedPolicy,
  },
  {
    name: "npm-scale-ci",
    summary: "one label to one label, 2 unique and 10 shared labels a pod",
    source: "Azure NPM's scale pipeline (npm-scale-test.yaml)",
    size: { nodes: 20, pods: 1000, namespaces: 1, policies: 800 },
    labels: (_random, _size, index) => {
      const labels: Record<string, string> = {};
      for (let i = 0; i < 2; i++) labels[`unique-${i}`] = `${index}-${i}`;
      for (let i = 0; i < 10; i++) labels[`shared-${i}`] = `${i}`;
      return labels;
    },
    policy: (random, size, index) => {
      const one = (): RawObject => ({ matchLabels: { "unique-0": `${random.below(size.pods)}-0` } });
      const spec = {
        podSelector: one(),
        policyTypes: ["Ingress", "Egress"],
        ingress: [{ from: [{ podSelector: one() }] }],
        egress: [{ to: [{ podSelector: one() }] }],
      };
      return policyObject(`policy-${index}`, namespaceName(index % size.namespaces), spec);
    },
  },
  {
    name: "real-median",
    summary:
      "a real cluster's median policy, many times: 6 pods, one CIDR, one port, one selector, 2 peer pods, 26% empty",
    source: "published statistics of a real cluster",
    size: { nodes: 100, pods: 5413, namespaces: 604, policies: 13_678 },
    labels: (random, size, index) => ({
      app: `app-${Math.floor(index / size.namespaces) % 2}`,
      pair: `pair-${random.below(size.pods >> 1)}`,
    }),
    policy: (random, size, index) => {
      const rule = {
        from: [
          blockPeer(random),
          {
            namespaceSelector: {},
            podSelector: { matchLabels: { pair: `pair-${random.below(size.pods >> 1)}` } },
          },
        ],
        ports: [port(random)],
      };
      const ingress = random.below(100) < 26 ? [] : [rule];
      const spec = {
        podSelector: { matchLabels: { app: `app-${random.below(2)}` } },
        policyTypes: ["Ingress"],
        ingress,
      };
      return policyObject(`policy-${index}`, namespaceName(index % size.namespaces), spec);
    },
  },
  {
    name: "ovn-burner",
    summary:
      "kube-burner's workload: 20 policies a namespace with 5 ports, 5 ranges, 5 namespaces, 5 pods, 5 CIDRs",
    source: "kube-burner network-policy workload",
    size: { nodes: 24, pods: 2400, namespaces: 240, policies: 4800 },
    labels: (_random, size, index) => ({ num: `${Math.floor(index / size.namespaces)}` }),
    policy: (random, size, index) => {
      const peers = [
        ...several(5, () => ({
          namespaceSelector: namespaceSelector(random, size),
          podSelector: { matchLabels: { num: `${random.below(10)}` } },
        })),
        ...several(5, () => ({
          ipBlock: { cidr: `172.${16 + random.below(16)}.${random.below(256)}.0/24` },
        })),
      ];
      const all = [
        ...several(5, () => ({ port: 1 + random.below(30_000), protocol: "TCP" })),
        ...several(5, () => {
          const first = 30_000 + random.below(10_000);
          return { port: first, endPort: first + random.below(100), protocol: "TCP" };
        }),
      ];
      const spec = { podSelector: {}, policyTypes: ["Ingress"], ingress: [{ from: peers, ports: all }] };
      return policyObject(`policy-${index}`, namespaceName(index % size.namespaces), spec);
    },
  },
  {
    name: "cilium-report",
    summary: "1,000 nodes, 50,000 pods of 250 identities, 250 policies",
    source: "Cilium's scalability report",
    size: { nodes: 1000, pods: 50_000, namespaces: 250, policies: 250 },
    labels: () => ({ app: "workload" }),
    policy: (random, size, index) =>
      policyObject(`policy-${index}`, namespaceName(index % size.namespaces), {
        podSelector: {},
        policyTypes: ["Ingress"],
        ingress: [{ from: [{ namespaceSelector: namespaceSelector(random, size) }] }],
      }),
  },
  {
    name: "aks-max",
    summary: "AKS's ceiling with Cilium: 5,000 nodes, 200,000 pods",
    source: "AKS: Azure CNI powered by Cilium, large clusters",
    size: { nodes: 5000, pods: 200_000, namespaces: 1000, policies: 5000 },
    labels: appLabels,
    policy: mixedPolicy,
  },
  {
    name: "adversarial",
    summary: "every pod has a label of its own that some policy tells apart",
    source: "worst case",
    size: { nodes: 20, pods: 2000, namespaces: 1, policies: 2000 },
    labels: (_random, _size, index) => ({ id: `${index}` }),
    policy: (random, size, index) =>
      policyObject(`policy-${index}`, namespaceName(0), {
        podSelector: { matchLabels: { id: `${index % size.pods}` } },
        policyTypes: ["Ingress"],
        ingress: [
          {
            from: [{ podSelector: { matchLabels: { id: `${random.below(size.pods)}` } } }],
            ports: [port(random)],
          },
        ],
      }),
  },
];

/** @throws InputError for an unknown name, naming what is known. */
export function profileOf(name: string): Profile {
  const profile = profiles.find((one) => one.name === name);
  if (profile === undefined)
    throw usageError(`unknown profile ${name}; known: ${profiles.map((one) => one.name).join(", ")}`);
  return profile;
}

/** Objects in the order namespaces, nodes, pods, policies. @throws InputError for an unknown profile. */
export function generateCluster(
  name: string,
  seed: number,
  sizes: Partial<ClusterSize> = {},
): readonly RawObject[] {
  const profile = profileOf(name);
  const size: ClusterSize = { ...profile.size, ...sizes };
  for (const [what, count] of Object.entries(size))
    if (!Number.isInteger(count) || count < (what === "policies" ? 0 : 1))
      throw usageError(`--${what} takes a positive number, not ${count}`);
  const random = createPrng(seed);
  const [forPods, forPolicies] = [random.fork("pods"), random.fork("policies")];
  const objects: RawObject[] = [];
  for (let i = 0; i < size.namespaces; i++)
    objects.push({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: namespaceName(i), labels: { team: `t${i % 10}` } },
    });
  for (let i = 0; i < size.nodes; i++) {
    const nodeName = generatedNode(i);
    objects.push({
      apiVersion: "v1",
      kind: "Node",
      metadata: {
        name: nodeName,
        labels: { "kubernetes.io/os": "linux", "kubernetes.io/hostname": nodeName },
      },
    });
  }
  for (let i = 0; i < size.pods; i++)
    objects.push({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: `pod-${i}`,
        namespace: namespaceName(i % size.namespaces),
        labels: profile.labels(forPods, size, i),
      },
      spec: {
        nodeName: generatedNode(i % size.nodes),
        containers: [
          {
            name: "main",
            image: "registry.k8s.io/e2e-test-images/agnhost:2.53",
            ports: [{ name: "http", containerPort: 8080 }],
          },
        ],
      },
    });
  for (let i = 0; i < size.policies; i++) objects.push(profile.policy(forPolicies, size, i));
  return objects;
}

function generatedNode(index: number): string {
  return `aks-nodepool1-37463671-vmss${index.toString(36).padStart(6, "0")}`;
}
