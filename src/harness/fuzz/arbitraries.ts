/**
 * Random clusters as plain API objects, for property tests: few namespaces and labels, so that selectors hit; every
 * form of peer and port; blocks whose edges lie on pods, nodes and hosts outside. Shrinks to few objects with few rules.
 */
import fc from "fast-check";
import { vendorKinds } from "../../engine/registry.ts";
import { type BuiltCluster, buildCluster, type ClusterWords, loadObjects } from "../../k8s/index.ts";

export type RawObject = Readonly<Record<string, unknown>>;

/** Bounds and spice of random clusters. */
export interface ClusterArbitraryOptions {
  /** Default 6. */
  readonly podsMax?: number;
  /** Default 4. */
  readonly policiesMax?: number;
  /** Also blocks of IPv6 in policies. Default false. */
  readonly ipv6Blocks?: boolean;
  /** Up to this many Services of every type and traffic policy. Default 0. */
  readonly servicesMax?: number;
  /** Negations in namespace selectors as well. Default true. */
  readonly namespaceNegations?: boolean;
}

export const keys = ["app", "tier"] as const;
export const values = ["a", "b", "c"] as const;
export const namespaceNames = ["x", "y", "z"] as const;
const nodeNames = ["n1", "n2"] as const;
export const portNumbers = [79, 80, 81, 443, 8080] as const;
export const portNames = ["http", "web", "dns"] as const;
const protocols = ["TCP", "UDP", "SCTP"] as const;

/** Edges on which blocks begin and end: pods and nodes have addresses in 10.224.0.0/16. */
export const cidrs = [
  "0.0.0.0/0",
  "10.0.0.0/8",
  "10.224.0.0/16",
  "10.224.0.4/32",
  "10.224.0.5/32",
  "10.224.0.4/30",
  "10.224.0.255/32",
  "10.224.1.0/28",
  "128.0.0.0/1",
  "203.0.113.0/24",
  "203.0.113.7/32",
  "192.0.2.0/25",
] as const;

const labels = fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...values), {
  maxKeys: 2,
  noNullPrototype: true,
});

function requirement(operators: readonly string[]): fc.Arbitrary<RawObject> {
  return fc
    .record({
      key: fc.constantFrom(...keys),
      operator: fc.constantFrom(...operators),
      values: fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 3 }),
    })
    .map(({ values: listed, ...rest }) =>
      rest.operator === "Exists" || rest.operator === "DoesNotExist" ? rest : { ...rest, values: listed },
    );
}

export function selector(operators: readonly string[]): fc.Arbitrary<RawObject> {
  return fc.oneof(
    { weight: 2, arbitrary: fc.constant({}) },
    { weight: 3, arbitrary: labels.map((matchLabels) => ({ matchLabels })) },
    {
      weight: 2,
      arbitrary: fc.record({
        matchExpressions: fc.array(requirement(operators), { minLength: 1, maxLength: 2 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        matchLabels: labels,
        matchExpressions: fc.array(requirement(operators), { minLength: 1, maxLength: 1 }),
      }),
    },
  );
}

export const everyOperator: readonly string[] = ["In", "NotIn", "Exists", "DoesNotExist"];

/** Strictly inside: network in the outer block, prefix longer. */
function isInside(inner: string, outer: string): boolean {
  const read = (text: string): readonly [number, number] => {
    const [address = "", prefix = "0"] = text.split("/");
    return [address.split(".").reduce((word, octet) => word * 256 + Number(octet), 0), Number(prefix)];
  };
  const [[address, prefix], [base, length]] = [read(inner), read(outer)];
  const size = 2 ** (32 - length);
  return prefix > length && address >= base && address < base + size;
}

export const ipBlock: fc.Arbitrary<{ readonly ipBlock: RawObject }> = fc
  .constantFrom(...cidrs)
  .chain((cidr) => {
    const inside = cidrs.filter((other) => isInside(other, cidr));
    if (inside.length === 0) return fc.constant({ ipBlock: { cidr } });
    return fc
      .subarray(inside, { maxLength: Math.min(2, inside.length) })
      .map((except) => ({ ipBlock: except.length === 0 ? { cidr } : { cidr, except } }));
  });

function peer(options: ClusterArbitraryOptions): fc.Arbitrary<RawObject> {
  const pods = selector(everyOperator);
  const namespaces = selector(options.namespaceNegations === false ? ["In", "Exists"] : everyOperator);
  const v6 = fc.constant({ ipBlock: { cidr: "2001:db8::/32" } });
  return fc.oneof(
    { weight: 3, arbitrary: pods.map((podSelector) => ({ podSelector })) },
    { weight: 3, arbitrary: namespaces.map((namespaceSelector) => ({ namespaceSelector })) },
    { weight: 3, arbitrary: fc.record({ podSelector: pods, namespaceSelector: namespaces }) },
    { weight: 3, arbitrary: ipBlock },
    ...(options.ipv6Blocks === true ? [{ weight: 1, arbitrary: v6 }] : []),
  );
}

const port: fc.Arbitrary<RawObject> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ protocol: fc.constantFrom(...protocols), port: fc.constantFrom(...portNumbers) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ protocol: fc.constantFrom(...protocols), port: fc.constantFrom(...portNames) }),
  },
  { weight: 1, arbitrary: fc.record({ protocol: fc.constantFrom(...protocols) }) },
  {
    weight: 1,
    arbitrary: fc.record({ port: fc.constant(79), endPort: fc.constantFrom(79, 80, 443, 65535) }),
  },
);

function rule(field: "from" | "to", options: ClusterArbitraryOptions): fc.Arbitrary<RawObject> {
  return fc
    .record({ peers: fc.array(peer(options), { maxLength: 2 }), ports: fc.array(port, { maxLength: 2 }) })
    .map(({ peers, ports }) => ({
      ...(peers.length > 0 ? { [field]: peers } : {}),
      ...(ports.length > 0 ? { ports } : {}),
    }));
}

function policy(options: ClusterArbitraryOptions): fc.Arbitrary<RawObject> {
  return fc
    .record({
      namespace: fc.constantFrom(...namespaceNames),
      podSelector: selector(everyOperator),
      policyTypes: fc.option(fc.subarray(["Ingress", "Egress"], { minLength: 1 }), { nil: undefined }),
      ingress: fc.array(rule("from", options), { maxLength: 2 }),
      egress: fc.array(rule("to", options), { maxLength: 2 }),
    })
    .map(({ namespace, ...spec }) => ({ namespace, spec }));
}

const containerPort = fc.oneof(
  fc.record({ protocol: fc.constantFrom(...protocols), containerPort: fc.constantFrom(...portNumbers) }),
  fc.record({
    name: fc.constantFrom(...portNames),
    protocol: fc.constantFrom(...protocols),
    containerPort: fc.constantFrom(...portNumbers),
  }),
);

const pod = fc.record({
  namespace: fc.constantFrom(...namespaceNames),
  labels,
  nodeName: fc.constantFrom(...nodeNames),
  hostNetwork: fc.oneof(
    { weight: 7, arbitrary: fc.constant(false) },
    { weight: 1, arbitrary: fc.constant(true) },
  ),
  ports: fc.uniqueArray(containerPort, {
    maxLength: 3,
    selector: (one) => ("name" in one ? one.name : `${one.protocol}${one.containerPort}`),
  }),
});

const trafficPolicy = fc.constantFrom("Cluster", "Local");

/** Service ports differ from target ports, which are numbers or names (another number on another pod, or none). */
const service = fc
  .record({
    namespace: fc.constantFrom(...namespaceNames),
    selector: fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...values), {
      minKeys: 1,
      maxKeys: 1,
      noNullPrototype: true,
    }),
    type: fc.constantFrom("ClusterIP", "NodePort", "LoadBalancer"),
    isHeadless: fc.oneof(
      { weight: 5, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    internal: trafficPolicy,
    external: trafficPolicy,
    protocol: fc.constantFrom(...protocols),
    targetPort: fc.oneof(fc.constantFrom(...portNumbers), fc.constantFrom(...portNames)),
    isSticky: fc.boolean(),
    ranges: fc.option(fc.subarray([...cidrs], { minLength: 1, maxLength: 2 }), { nil: undefined }),
  })
  .map(({ namespace, type, isHeadless, internal, external, ranges, ...rest }) => ({
    namespace,
    spec: {
      selector: rest.selector,
      ports: [{ port: 1000, protocol: rest.protocol, targetPort: rest.targetPort }],
      ...(isHeadless ? { clusterIP: "None" } : { type, internalTrafficPolicy: internal }),
      ...(!isHeadless && type !== "ClusterIP" ? { externalTrafficPolicy: external } : {}),
      ...(!isHeadless && type === "LoadBalancer" && ranges ? { loadBalancerSourceRanges: ranges } : {}),
      ...(rest.isSticky ? { sessionAffinity: "ClientIP" } : {}),
    },
  }));

/** A cluster as objects: namespaces with labels, two nodes, pods, policies and, where asked for, Services. */
export function clusterObjects(options: ClusterArbitraryOptions = {}): fc.Arbitrary<readonly RawObject[]> {
  return fc
    .record({
      namespaces: fc.tuple(...namespaceNames.map(() => labels)),
      pods: fc.array(pod, { minLength: 2, maxLength: options.podsMax ?? 6 }),
      policies: fc.array(policy(options), { maxLength: options.policiesMax ?? 4 }),
      services: fc.array(service, { maxLength: options.servicesMax ?? 0 }),
    })
    .map(({ namespaces, pods, policies, services }) => [
      ...namespaceNames.map((name, i) => ({
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name, labels: namespaces[i] },
      })),
      ...nodeNames.map((name) => ({
        apiVersion: "v1",
        kind: "Node",
        metadata: { name, labels: { "kubernetes.io/os": "linux" } },
      })),
      ...pods.map(({ namespace, labels: own, nodeName, hostNetwork, ports }, i) => ({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: `p${i}`, namespace, labels: own },
        spec: { nodeName, hostNetwork, containers: [{ name: "main", ports }] },
      })),
      ...services.map(({ namespace, spec }, i) => ({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: `s${i}`, namespace },
        spec,
      })),
      ...policies.map(({ namespace, spec }, i) => ({
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: `policy-${i}`, namespace },
        spec,
      })),
    ]);
}

/** The objects as a cluster. */
export function clusterOf(objects: readonly RawObject[], words: ClusterWords = {}): BuiltCluster {
  return buildCluster(loadObjects("random cluster", objects, { vendorKinds }), words);
}
