/**
 * Random clusters with Cilium's own policies beside NetworkPolicies: every form of peer, port and ICMP rule at layers 3
 * and 4, allowing and denying, of one namespace and of the cluster. Objects are valid: a rule has one kind of peer, and
 * ports or ICMP types, not both (pkg/policy/api/rule_validation.go).
 */
import fc from "fast-check";
import {
  type ClusterArbitraryOptions,
  cidrs,
  clusterObjects,
  everyOperator,
  ipBlock,
  keys,
  labels,
  namespaceNames,
  portNames,
  portNumbers,
  type RawObject,
  selector,
  values,
} from "./arbitraries.ts";

export interface CiliumArbitraryOptions extends ClusterArbitraryOptions {
  /** Default 3. */
  readonly ciliumPoliciesMax?: number;
  /** Cluster-wide policies for nodes, which then have labels to be selected by; default 0. */
  readonly nodePoliciesMax?: number;
}

const cidrGroupName = "blocks";
const entities = ["all", "world", "cluster", "host", "remote-node", "kube-apiserver", "init"] as const;

/** Keys of CNP selectors may say where the label comes from. */
const writtenKey = fc
  .tuple(fc.constantFrom("", "k8s:", "any:"), fc.constantFrom(...keys))
  .map(([source, key]) => `${source}${key}`);

const inNamespace = fc.constantFrom(...namespaceNames).map((name) => ({
  "k8s:io.kubernetes.pod.namespace": name,
}));

/** Selectors as in NetworkPolicies, some with sources, some naming a namespace. */
const endpoints: fc.Arbitrary<RawObject> = fc.oneof(
  { weight: 3, arbitrary: selector(everyOperator) },
  { weight: 2, arbitrary: inNamespace.map((matchLabels) => ({ matchLabels })) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(writtenKey, fc.constantFrom(...values))
      .map(([key, value]) => ({ matchLabels: { [key]: value } })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(inNamespace, writtenKey, fc.constantFrom(...values))
      .map(([namespace, key, value]) => ({ matchLabels: { ...namespace, [key]: value } })),
  },
);

/** Labels of the namespace: selectors of cluster-wide policies alone use them, having no namespace of their own. */
const byNamespaceLabel: fc.Arbitrary<RawObject> = fc
  .tuple(fc.constantFrom(...keys), fc.constantFrom(...values))
  .map(([key, value]) => ({ matchLabels: { [`k8s:io.cilium.k8s.namespace.labels.${key}`]: value } }));

const cidrSet: fc.Arbitrary<RawObject> = fc.oneof(
  { weight: 3, arbitrary: ipBlock.map(({ ipBlock: block }) => block) },
  { weight: 1, arbitrary: fc.constant({ cidrGroupRef: cidrGroupName }) },
);

const cidrSetOfBoth: fc.Arbitrary<RawObject> = fc.oneof(
  { weight: 3, arbitrary: cidrSet },
  { weight: 1, arbitrary: fc.constant({ cidr: "::/0" }) },
  { weight: 1, arbitrary: fc.constant({ cidr: "::/0", except: ["2001:db8::/32"] }) },
);

/** What rules are drawn for. */
interface RuleScope {
  readonly isClusterWide: boolean;
  /** Blocks of IPv6 too. */
  readonly ipv6Blocks: boolean;
}

const few = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<readonly T[]> =>
  fc.array(one, { minLength: 1, maxLength: 2 });

function peers(prefix: "from" | "to", { isClusterWide, ipv6Blocks }: RuleScope): fc.Arbitrary<RawObject> {
  const blocks = ipv6Blocks ? [...cidrs, "::/0"] : cidrs;
  const one = isClusterWide
    ? fc.oneof({ weight: 4, arbitrary: endpoints }, { weight: 1, arbitrary: byNamespaceLabel })
    : endpoints;
  return fc.oneof(
    { weight: 4, arbitrary: few(one).map((list) => ({ [`${prefix}Endpoints`]: list })) },
    { weight: 2, arbitrary: few(fc.constantFrom(...blocks)).map((list) => ({ [`${prefix}CIDR`]: list })) },
    {
      weight: 2,
      arbitrary: few(ipv6Blocks ? cidrSetOfBoth : cidrSet).map((list) => ({ [`${prefix}CIDRSet`]: list })),
    },
    {
      weight: 3,
      arbitrary: few(fc.constantFrom(...entities)).map((list) => ({ [`${prefix}Entities`]: list })),
    },
    { weight: 1, arbitrary: fc.constant({ [`${prefix}Endpoints`]: [] }) },
    { weight: 2, arbitrary: fc.constant({}) },
  );
}

const protocol = fc.constantFrom("TCP", "UDP", "SCTP", "ANY", undefined);

const port: fc.Arbitrary<RawObject> = fc
  .oneof(
    { weight: 3, arbitrary: fc.record({ port: fc.constantFrom(...portNumbers).map(String), protocol }) },
    { weight: 2, arbitrary: fc.record({ port: fc.constantFrom(...portNames), protocol }) },
    { weight: 1, arbitrary: fc.record({ port: fc.constant("0"), protocol }) },
    {
      weight: 2,
      arbitrary: fc.record({
        port: fc.constantFrom("79", "80", "1"),
        endPort: fc.constantFrom(80, 81, 443, 8080, 65535),
        protocol,
      }),
    },
  )
  .map(({ protocol: given, ...rest }) => (given === undefined ? rest : { ...rest, protocol: given }));

const icmpField: fc.Arbitrary<RawObject> = fc.oneof(
  fc.constantFrom(0, 3, 8, 13).map((type) => ({ type })),
  fc.constant({ family: "IPv4", type: "EchoRequest" }),
  fc.constant({ family: "IPv6", type: 128 }),
);

const traffic: fc.Arbitrary<RawObject> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  { weight: 4, arbitrary: few(port).map((ports) => ({ toPorts: [{ ports }] })) },
  { weight: 1, arbitrary: few(icmpField).map((fields) => ({ icmps: [{ fields }] })) },
);

function ruleList(prefix: "from" | "to", scope: RuleScope): fc.Arbitrary<readonly RawObject[]> {
  const rule = fc.tuple(peers(prefix, scope), traffic).map(([who, what]): RawObject => ({ ...who, ...what }));
  return fc.array(rule, { minLength: 1, maxLength: 2 });
}

/** Absent once in `oneIn` times. */
const absentOnce = <T>(oneIn: number, one: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(one, { nil: undefined, freq: oneIn });

type Subject = Readonly<Record<string, fc.Arbitrary<RawObject>>>;
const podsOfNamespace: Subject = { endpointSelector: selector(everyOperator) };
const podsOfCluster: Subject = { endpointSelector: fc.oneof(endpoints, byNamespaceLabel) };
const nodes: Subject = { nodeSelector: selector(everyOperator) };

function spec(subject: Subject, ipv6Blocks: boolean): fc.Arbitrary<RawObject> {
  const scope: RuleScope = { isClusterWide: subject !== podsOfNamespace, ipv6Blocks };
  return fc
    .record({
      ...subject,
      ingress: absentOnce(3, ruleList("from", scope)),
      ingressDeny: absentOnce(2, ruleList("from", scope)),
      egress: absentOnce(3, ruleList("to", scope)),
      egressDeny: absentOnce(2, ruleList("to", scope)),
      enableDefaultDeny: absentOnce(
        2,
        fc.record({ ingress: fc.boolean(), egress: fc.boolean() }, { requiredKeys: [] }),
      ),
    })
    .map((whole) => {
      const given = Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined));
      const hasRules =
        "ingress" in given || "ingressDeny" in given || "egress" in given || "egressDeny" in given;
      return hasRules ? given : { ...given, ingress: [{}] };
    });
}

function policy(ipv6Blocks: boolean): fc.Arbitrary<DrawnPolicy> {
  const own = spec(podsOfNamespace, ipv6Blocks);
  return fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("CiliumNetworkPolicy"),
        namespace: fc.constantFrom(...namespaceNames),
        body: fc.oneof(
          { weight: 4, arbitrary: own.map((one) => ({ spec: one })) },
          { weight: 1, arbitrary: few(own).map((specs) => ({ specs })) },
        ),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("CiliumClusterwideNetworkPolicy"),
        namespace: fc.constant(undefined),
        body: spec(podsOfCluster, ipv6Blocks).map((one) => ({ spec: one })),
      }),
    },
  );
}

const cidrGroup = few(fc.constantFrom(...cidrs)).map((externalCIDRs) => ({
  apiVersion: "cilium.io/v2alpha1",
  kind: "CiliumCIDRGroup",
  metadata: { name: cidrGroupName },
  spec: { externalCIDRs },
}));

interface DrawnPolicy {
  readonly kind: string;
  readonly namespace: string | undefined;
  readonly body: RawObject;
}

function policyObject({ kind, namespace, body }: DrawnPolicy, name: string): RawObject {
  return {
    apiVersion: "cilium.io/v2",
    kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
    ...body,
  };
}

/** A cluster as objects, with up to `ciliumPoliciesMax` policies of Cilium's own and the CIDR group that they may name. */
export function ciliumObjects(options: CiliumArbitraryOptions = {}): fc.Arbitrary<readonly RawObject[]> {
  const { ciliumPoliciesMax = 3, nodePoliciesMax = 0, ipv6Blocks = false } = options;
  return fc
    .record({
      cluster: clusterObjects({ policiesMax: 2, ...options }),
      policies: fc.array(policy(ipv6Blocks), { minLength: 1, maxLength: ciliumPoliciesMax }),
      group: cidrGroup,
      nodePolicies: fc.array(spec(nodes, ipv6Blocks), {
        minLength: Math.min(1, nodePoliciesMax),
        maxLength: nodePoliciesMax,
      }),
      nodeLabels: fc.infiniteStream(labels),
    })
    .map(({ cluster, policies, group, nodePolicies, nodeLabels }) => [
      ...(nodePoliciesMax === 0 ? cluster : cluster.map((object) => labelled(object, nodeLabels))),
      group,
      ...policies.map((drawn, i) => policyObject(drawn, `cilium-${i}`)),
      ...nodePolicies.map((one, i) => {
        const kind = "CiliumClusterwideNetworkPolicy";
        return policyObject({ kind, namespace: undefined, body: { spec: one } }, `nodes-${i}`);
      }),
    ]);
}

/** A node with labels of its own beside those that it has. */
function labelled(object: RawObject, more: Iterator<RawObject>): RawObject {
  if (object["kind"] !== "Node") return object;
  const metadata = object["metadata"] as { readonly name: string; readonly labels: RawObject };
  const labels: RawObject = { ...metadata.labels, ...more.next().value };
  return { ...object, metadata: { ...metadata, labels } };
}
