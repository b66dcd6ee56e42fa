/**
 * Synthetic clusters as plain API objects, and as the manifests that people would write of them. Seeded; equal
 * arguments give equal objects and equal text.
 */
import { formatIp, ipv4 } from "../addr/index.ts";
import { createPrng, type Prng, usageError } from "../base/index.ts";
import { type ClusterSize, namespaceName, profileOf, type RawObject } from "./profiles.ts";

/** A profile's sizes with those given in their place. @throws InputError for sizes that no cluster has. */
export function clusterSize(name: string, sizes: Partial<ClusterSize> = {}): ClusterSize {
  const size: ClusterSize = { ...profileOf(name).size, ...sizes };
  for (const what of ["nodes", "pods", "namespaces", "policies"] as const) {
    const [least, most] = [what === "policies" ? 0 : 1, sizeMax[what]];
    if (!Number.isInteger(size[what]) || size[what] < least)
      throw usageError(`--${what} takes a positive number, not ${size[what]}`);
    if (size[what] > most) throw usageError(`--${what} takes at most ${most}, not ${size[what]}`);
  }
  return size;
}

/** Several times what Kubernetes supports (5,000 nodes, 150,000 pods): past it, a mistyped number fills the disk. */
const sizeMax: ClusterSize = { nodes: 100_000, pods: 2_000_000, namespaces: 100_000, policies: 1_000_000 };

/**
 * Objects one by one, kind after kind: namespaces, nodes, pods, policies; the latter two namespace after namespace.
 * @throws InputError for an unknown name or sizes that no cluster has.
 */
export function* generateObjects(
  name: string,
  seed: number,
  sizes: Partial<ClusterSize> = {},
): Generator<RawObject, undefined> {
  const profile = profileOf(name);
  const size = clusterSize(name, sizes);
  const random = createPrng(seed);
  for (let i = 0; i < size.namespaces; i++) yield namespaceObject(i);
  const prefix = podRangePrefix(size);
  for (let i = 0; i < size.nodes; i++) yield nodeObject(i, prefix);
  const labelsOf = profile.labels(random.fork("pods"), size);
  const places = shuffled(random.fork("nodes"), size.pods);
  for (const i of byNamespace(size.pods, size.namespaces)) {
    const node = (places[i] ?? 0) % size.nodes;
    yield podObject(i, namespaceName(i % size.namespaces), nodeName(node), labelsOf(i));
  }
  const specOf = profile.specs(random.fork("policies"), size);
  for (const i of byNamespace(size.policies, size.namespaces))
    yield {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: `policy-${i}`, namespace: namespaceName(i % size.namespaces) },
      spec: specOf(i),
    };
  return undefined;
}

/** All objects of `generateObjects` at once. */
export function generateCluster(
  name: string,
  seed: number,
  sizes: Partial<ClusterSize> = {},
): readonly RawObject[] {
  return [...generateObjects(name, seed, sizes)];
}

/** Numbers below `count` in a drawn order: nodes have equal shares of the pods, and a namespace's pods are spread. */
function shuffled(random: Prng, count: number): Uint32Array {
  const numbers = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const other = random.below(i + 1);
    [numbers[i], numbers[other]] = [numbers[other] ?? 0, numbers[i] ?? 0];
  }
  return numbers;
}

/** Numbers below `count`, those of one namespace together. */
function* byNamespace(count: number, namespaces: number): Generator<number> {
  for (let first = 0; first < Math.min(namespaces, count); first++)
    for (let i = first; i < count; i += namespaces) yield i;
}

function namespaceObject(index: number): RawObject {
  return {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: namespaceName(index), labels: { team: `t${index % 10}` } },
  };
}

/** Past this many addresses the node subnet that clusters have by default (a /16) is full. */
const subnetMax = 60_000;
/** 10.32.0.0/11: neither in the default node subnet nor in the default Service range. */
const podRange = { start: 0x0a20_0000, size: 1 << 21 };

/**
 * Of the range of pod addresses that each node brings along, as in a cluster with an overlay; `undefined`: the pods fit
 * the node subnet, or nothing.
 */
function podRangePrefix({ nodes, pods }: ClusterSize): number | undefined {
  if (nodes + pods <= subnetMax) return undefined;
  // a gateway, and the first and last address
  const bits = Math.max(8, Math.ceil(Math.log2(Math.ceil(pods / nodes) + 3)));
  return nodes * 2 ** bits > podRange.size ? undefined : 32 - bits;
}

function nodeObject(index: number, prefix: number | undefined): RawObject {
  const name = nodeName(index);
  const metadata = { name, labels: { "kubernetes.io/os": "linux", "kubernetes.io/hostname": name } };
  if (prefix === undefined) return { apiVersion: "v1", kind: "Node", metadata };
  const podCIDR = `${formatIp(ipv4(podRange.start + index * 2 ** (32 - prefix)))}/${prefix}`;
  return { apiVersion: "v1", kind: "Node", metadata, spec: { podCIDR, podCIDRs: [podCIDR] } };
}

function podObject(
  index: number,
  namespace: string,
  node: string,
  labels: Readonly<Record<string, string>>,
): RawObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: `pod-${index}`, namespace, labels },
    spec: {
      nodeName: node,
      containers: [
        {
          name: "main",
          image: "registry.k8s.io/e2e-test-images/agnhost:2.53",
          ports: [{ name: "http", containerPort: 8080 }],
        },
      ],
    },
  };
}

function nodeName(index: number): string {
  return `aks-nodepool1-37463671-vmss${index.toString(36).padStart(6, "0")}`;
}
