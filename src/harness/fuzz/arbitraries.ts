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
  /** Nodes (of n1, n2) that run Windows. Default: none. */
  readonly windowsNodes?: readonly string[];
  /** Policies of what every engine has: positive selectors, numbered ports of TCP and UDP, blocks without exceptions. Default false. */
  readonly isPlain?: boolean;
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

/** One far more often than the others, so that what a policy names is what a pod has. */
const protocol = fc.oneof(
  { weight: 3, arbitrary: fc.constant("TCP") },
  { weight: 2, arbitrary: fc.constantFrom(...protocols) },
);
const portName = fc.oneof(
  { weight: 3, arbitrary: fc.constant("http") },
  { weight: 2, arbitrary: fc.constantFrom(...portNames) },
);

export const labels: fc.Arbitrary<Readonly<Record<string, string>>> = fc.dictionary(
  fc.constantFrom(...keys),
  fc.constantFrom(...values),
  {
    maxKeys: 2,
    noNullPrototype: true,
  },
);

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

/** The label that every namespace has, whether or not anybody wrote it down. */
const nameLabel = "kubernetes.io/metadata.name";

function byName(operators: readonly string[]): fc.Arbitrary<RawObject> {
  const negation = operators.includes("NotIn") ? ["In", "NotIn"] : ["In"];
  return fc.oneof(
    fc.constantFrom(...namespaceNames).map((name) => ({ matchLabels: { [nameLabel]: name } })),
    fc
      .record({
        key: fc.constant(nameLabel),
        operator: fc.constantFrom(...negation),
        values: fc.subarray([...namespaceNames], { minLength: 1 }),
      })
      .map((one) => ({ matchExpressions: [one] })),
  );
}

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
  const operators = options.namespaceNegations === false ? ["In", "Exists"] : everyOperator;
  const namespaces = fc.oneof(
    { weight: 5, arbitrary: selector(operators) },
    { weight: 1, arbitrary: byName(operators) },
  );
  const v6 = fc.constantFrom(
    { ipBlock: { cidr: "2001:db8::/32" } },
    { ipBlock: { cidr: "2001:db8::/32", except: ["2001:db8:1::/48"] } },
    { ipBlock: { cidr: "fd00::/8" } },
    { ipBlock: { cidr: "::/0" } },
    { ipBlock: { cidr: "::/0", except: ["2001:db8::/32"] } },
  );
  return fc.oneof(
    { weight: 3, arbitrary: pods.map((podSelector) => ({ podSelector })) },
    { weight: 3, arbitrary: namespaces.map((namespaceSelector) => ({ namespaceSelector })) },
    { weight: 3, arbitrary: fc.record({ podSelector: pods, namespaceSelector: namespaces }) },
    { weight: 3, arbitrary: ipBlock },
    ...(options.ipv6Blocks === true ? [{ weight: 2, arbitrary: v6 }] : []),
  );
}

const port: fc.Arbitrary<RawObject> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ protocol, port: fc.constantFrom(...portNumbers) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ protocol, port: portName }),
  },
  { weight: 1, arbitrary: fc.record({ protocol }) },
  {
    weight: 1,
    arbitrary: fc.record(
      {
        protocol,
        port: fc.constant(79),
        endPort: fc.constantFrom(79, 80, 443, 65535),
      },
      { requiredKeys: ["port", "endPort"], noNullPrototype: true },
    ),
  },
  // what is missing is defaulted: TCP, and of no number every number
  { weight: 1, arbitrary: fc.constantFrom({}, { port: 80 }, { port: "http" }) },
);

/** As people write a list: with items, empty, or not at all. */
function listed(field: string, items: readonly unknown[], isWritten: boolean): RawObject {
  return items.length > 0 || isWritten ? { [field]: items } : {};
}

function rule(field: "from" | "to", options: ClusterArbitraryOptions): fc.Arbitrary<RawObject> {
  return fc
    .record({
      peers: fc.array(peer(options), { maxLength: 2 }),
      ports: fc.array(port, { maxLength: 2 }),
      isWritten: fc.boolean(),
    })
    .map(({ peers, ports, isWritten }) => ({
      ...listed(field, peers, isWritten),
      ...listed("ports", ports, isWritten),
    }));
}

function policy(options: ClusterArbitraryOptions): fc.Arbitrary<RawObject> {
  return fc
    .record({
      namespace: fc.constantFrom(...namespaceNames),
      podSelector: selector(everyOperator),
      // an empty list is defaulted as a missing one is
      policyTypes: fc.option(fc.subarray(["Ingress", "Egress"]), { nil: undefined }),
      ingress: fc.array(rule("from", options), { maxLength: 2 }),
      egress: fc.array(rule("to", options), { maxLength: 2 }),
      isWritten: fc.boolean(),
    })
    .map(({ namespace, ingress, egress, isWritten, policyTypes, podSelector }) => ({
      namespace,
      spec: {
        podSelector,
        ...(policyTypes === undefined ? {} : { policyTypes }),
        ...listed("ingress", ingress, isWritten),
        ...listed("egress", egress, isWritten),
      },
    }));
}

const containerPort = fc.oneof(
  fc.record({ protocol, containerPort: fc.constantFrom(...portNumbers) }),
  fc.record({
    name: portName,
    protocol,
    containerPort: fc.constantFrom(...portNumbers),
  }),
);

/** Names are of one container: another may have the same with another number. */
const containerPorts = fc.uniqueArray(containerPort, {
  maxLength: 3,
  selector: (one) => ("name" in one ? one.name : `${one.protocol}${one.containerPort}`),
});

const rarely = (weight: number): fc.Arbitrary<boolean> =>
  fc.oneof(
    { weight: weight - 1, arbitrary: fc.constant(false) },
    { weight: 1, arbitrary: fc.constant(true) },
  );

const pod = fc.record({
  namespace: fc.constantFrom(...namespaceNames),
  labels,
  nodeName: fc.constantFrom(...nodeNames),
  hostNetwork: rarely(8),
  ports: containerPorts,
  // of a second container, or of an init container that goes on running
  morePorts: fc.oneof({ weight: 5, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: containerPorts }),
  isSidecar: fc.boolean(),
  isUnready: rarely(8),
  isTerminating: rarely(12),
});

type PodDraw = typeof pod extends fc.Arbitrary<infer T> ? T : never;

function podObject(drawn: PodDraw, name: string): RawObject {
  const { namespace, labels: own, nodeName, hostNetwork, ports, morePorts, isSidecar } = drawn;
  const first = { name: "main", ports };
  const second = { name: "second", ports: morePorts };
  const containers = morePorts.length > 0 && !isSidecar ? [first, second] : [first];
  const sidecars = morePorts.length > 0 && isSidecar ? [{ ...second, restartPolicy: "Always" }] : [];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      labels: own,
      ...(drawn.isTerminating ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
    },
    spec: {
      nodeName,
      hostNetwork,
      ...(sidecars.length > 0 ? { initContainers: sidecars } : {}),
      containers,
    },
    ...(drawn.isUnready ? { status: { conditions: [{ type: "Ready", status: "False" }] } } : {}),
  };
}

const trafficPolicy = fc.constantFrom("Cluster", "Local");

/** Service ports differ from target ports, but for one; target ports are numbers or names (another number on another pod, or none). */
const service = fc
  .record({
    namespace: fc.constantFrom(...namespaceNames),
    selector: fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...values), {
      minKeys: 1,
      maxKeys: 1,
      noNullPrototype: true,
    }),
    type: fc.constantFrom("ClusterIP", "NodePort", "LoadBalancer"),
    isHeadless: rarely(6),
    internal: trafficPolicy,
    external: trafficPolicy,
    ports: fc.uniqueArray(
      fc.record({
        port: fc.constantFrom(1000, 1001, 80),
        protocol,
        targetPort: fc.oneof(fc.constantFrom(...portNumbers), portName),
      }),
      { minLength: 1, maxLength: 2, selector: ({ port, protocol }) => `${port}/${protocol}` },
    ),
    publishNotReadyAddresses: rarely(6),
    isSticky: fc.boolean(),
    ranges: fc.option(fc.subarray([...cidrs], { minLength: 1, maxLength: 2 }), { nil: undefined }),
  })
  .map(({ namespace, type, isHeadless, internal, external, ranges, ...rest }) => ({
    namespace,
    spec: {
      selector: rest.selector,
      ports: rest.ports.map((one, i) => ({ name: `port-${i}`, ...one })),
      ...(rest.publishNotReadyAddresses ? { publishNotReadyAddresses: true } : {}),
      ...(isHeadless ? { clusterIP: "None" } : { type, internalTrafficPolicy: internal }),
      ...(!isHeadless && type !== "ClusterIP" ? { externalTrafficPolicy: external } : {}),
      ...(!isHeadless && type === "LoadBalancer" && ranges ? { loadBalancerSourceRanges: ranges } : {}),
      ...(rest.isSticky ? { sessionAffinity: "ClientIP" } : {}),
    },
  }));

const plainWords: Readonly<Record<string, unknown>> = {
  NotIn: "In",
  DoesNotExist: "Exists",
  SCTP: "UDP",
  http: 80,
  web: 443,
  dns: 8080,
};

/** The same shape, of what every engine has. */
function plainSpec(spec: object): object {
  return JSON.parse(JSON.stringify(spec), (key, value: unknown) => {
    if (key === "except") return undefined;
    const isWord = key === "operator" || key === "protocol" || key === "port";
    return isWord && typeof value === "string" ? (plainWords[value] ?? value) : value;
  }) as object;
}

/** A cluster as objects: namespaces with labels, two nodes, pods, policies and, where asked for, Services. */
export function clusterObjects(options: ClusterArbitraryOptions = {}): fc.Arbitrary<readonly RawObject[]> {
  return fc
    .record({
      // one that nobody wrote down exists all the same, by being referred to
      namespaces: fc.tuple(...namespaceNames.map(() => fc.option(labels, { nil: undefined, freq: 6 }))),
      pods: fc.array(pod, { minLength: 2, maxLength: options.podsMax ?? 6 }),
      policies: fc.array(policy(options), { maxLength: options.policiesMax ?? 4 }),
      services: fc.array(service, { maxLength: options.servicesMax ?? 0 }),
    })
    .map(({ namespaces, pods, policies, services }) => [
      ...namespaceNames.flatMap((name, i) =>
        namespaces[i] === undefined
          ? []
          : [{ apiVersion: "v1", kind: "Namespace", metadata: { name, labels: namespaces[i] } }],
      ),
      ...nodeNames.map((name) => ({
        apiVersion: "v1",
        kind: "Node",
        metadata: {
          name,
          labels: { "kubernetes.io/os": options.windowsNodes?.includes(name) ? "windows" : "linux" },
        },
      })),
      ...pods.map((drawn, i) => podObject(drawn, `p${i}`)),
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
        spec: options.isPlain === true ? plainSpec(spec as object) : spec,
      })),
    ]);
}

/** The objects as a cluster. */
export function clusterOf(objects: readonly RawObject[], words: ClusterWords = {}): BuiltCluster {
  return buildCluster(loadObjects("random cluster", objects, { vendorKinds }), words);
}
