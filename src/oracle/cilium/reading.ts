/**
 * A second reading of Cilium's policies at layers 3 and 4, beside the engine: what the documentation says of one
 * connection, evaluated directly over the written objects, statement by statement. It shares no selector, no port and no
 * CIDR code with the engine, knows no identities and no maps, and is slow on purpose. Governing sources: Cilium's
 * documentation, security/policy/{intro,layer3,layer4,deny,host,caveats}.rst and network/kubernetes/policy.rst.
 *
 * Left out: layer 7 and FQDN rules, node selectors of peers, Services (connections are judged in their
 * final addresses, as both ends see them), and what maps too small for a policy do.
 */
import type { Cell, CellEnd, ClusterState, NetworkPolicy, Node, Pod } from "../../k8s/index.ts";
import type { WrittenCidrGroup, WrittenPolicy, WrittenRule, WrittenSpec } from "./documents.ts";
import {
  anyOf,
  cidrSetTest,
  cidrTest,
  endpointTest,
  entityTest,
  nodeTest,
  type Party,
  type PartyTest,
  peerTest,
  podTest,
  serviceTest,
} from "./parties.ts";
import {
  type Direction,
  icmpTest,
  policyPortTest,
  portsTest,
  type Traffic,
  type TrafficFacts,
  type TrafficTest,
} from "./traffic.ts";

export interface CiliumReadingOptions {
  /** `endPort` counts: from 1.16. */
  readonly knowsEndPort: boolean;
  /** `enableDefaultDeny` counts: from 1.15. */
  readonly knowsDefaultDeny: boolean;
  /** The agent tracks SCTP; on AKS it does not. */
  readonly sctp: boolean;
  /** Nodes have policies; on AKS they do not. */
  readonly hostFirewall: boolean;
  /**
   * On a cluster of one family a block of everything of the other (`::/0`) is the world all the same: in `fromCIDR` and
   * `toCIDR`, in CIDR sets and `ipBlock`.
   */
  readonly otherFamily: { readonly cidr: boolean; readonly cidrSet: "yes" | "without-exceptions" | "no" };
}

/** As of 1.17 and 1.18 on AKS. */
export const defaultCiliumReading: CiliumReadingOptions = {
  knowsEndPort: true,
  knowsDefaultDeny: true,
  sctp: false,
  hostFirewall: false,
  otherFamily: { cidr: false, cidrSet: "yes" },
};

export interface CiliumAnswer {
  readonly verdict: "allow" | "deny";
  /** The side that a packet meets first. */
  readonly by: Direction | undefined;
}

/** One entry of a rule list: from whom (or to whom) what is allowed or denied. */
interface Statement {
  readonly denies: boolean;
  readonly isPeer: PartyTest;
  readonly isTraffic: TrafficTest;
}

/** Whom a policy binds. A hostNetwork pod is its node. */
type Subject = { readonly kind: "pod"; readonly pod: Pod } | { readonly kind: "node"; readonly node: Node };

/** What one policy says of one direction of the pods or nodes that it selects. */
interface Section {
  readonly direction: Direction;
  selects(subject: Subject): boolean;
  readonly defaultDeny: boolean;
  readonly statements: readonly Statement[];
}

/** Judges connections between pods, nodes and addresses outside, by NetworkPolicies and Cilium's own. */
export function createCiliumReading(
  state: ClusterState,
  policies: readonly WrittenPolicy[],
  groups: readonly WrittenCidrGroup[] = [],
  options: CiliumReadingOptions = defaultCiliumReading,
): (cell: Cell) => CiliumAnswer {
  const facts: Facts = {
    state,
    knowsEndPort: options.knowsEndPort,
    knowsDefaultDeny: options.knowsDefaultDeny,
    otherFamily: state.options.ipFamilies.length === 1 ? options.otherFamily : { cidr: false, cidrSet: "no" },
    groups: new Map(groups.map(({ metadata, spec }) => [metadata.name, spec.externalCIDRs])),
  };
  const sections = [
    ...[...state.networkPolicies.values()].flatMap((policy) => sectionsOfNetworkPolicy(facts, policy)),
    ...policies.flatMap((policy) => sectionsOfPolicy(facts, policy)),
  ];
  const denies = (
    subject: Subject | undefined,
    direction: Direction,
    peer: Party,
    traffic: Traffic,
  ): boolean =>
    subject !== undefined &&
    ((traffic.protocol === "SCTP" && !options.sctp) ||
      !isAllowed(
        sections.filter((section) => section.direction === direction && section.selects(subject)),
        direction,
        subject,
        peer,
        traffic,
      ));
  return (cell) => {
    const [from, to] = [subjectOf(state, cell.from), subjectOf(state, cell.to)];
    if (from !== undefined && to !== undefined && isSame(from, to))
      return { verdict: "allow", by: undefined };
    const isBound = (subject: Subject | undefined): boolean =>
      subject?.kind === "pod" || options.hostFirewall;
    const by =
      isBound(from) && denies(from, "egress", partyOf(cell.to, from), cell)
        ? "egress"
        : isBound(to) && denies(to, "ingress", partyOf(cell.from, to), cell)
          ? "ingress"
          : undefined;
    return { verdict: by === undefined ? "allow" : "deny", by };
  };
}

interface Facts extends TrafficFacts {
  readonly knowsDefaultDeny: boolean;
  readonly otherFamily: CiliumReadingOptions["otherFamily"];
  readonly groups: ReadonlyMap<string, readonly string[]>;
}

function isAllowed(
  sections: readonly Section[],
  direction: Direction,
  subject: Subject,
  peer: Party,
  traffic: Traffic,
): boolean {
  const pod = subject.kind === "pod" ? subject.pod : undefined;
  const hits = sections
    .flatMap(({ statements }) => statements)
    .filter(({ isPeer, isTraffic }) => isPeer(peer) && isTraffic(traffic, pod));
  if (hits.some((statement) => statement.denies)) return false;
  if (hits.length > 0 || !sections.some(({ defaultDeny }) => defaultDeny)) return true;
  return direction === "ingress" && peer.kind === "host"; // the kubelet's probes
}

/** `undefined`: outside the cluster. */
function subjectOf({ nodes }: ClusterState, end: CellEnd): Subject | undefined {
  if (end.kind === "external") return undefined;
  if (end.kind === "pod" && !end.pod.hostNetwork) return { kind: "pod", pod: end.pod };
  const node = end.kind === "node" ? end.node : nodes.get(end.pod.nodeName);
  return node === undefined ? undefined : { kind: "node", node };
}

function isSame(a: Subject, b: Subject): boolean {
  return a.kind === "pod"
    ? b.kind === "pod" && a.pod === b.pod
    : b.kind === "node" && a.node.name === b.node.name;
}

/** An end as the subject's node knows it. */
function partyOf(end: CellEnd, subject: Subject | undefined): Party {
  if (end.kind === "external") return { kind: "world", ip: end.ip };
  if (end.kind === "pod" && !end.pod.hostNetwork) return { kind: "pod", pod: end.pod };
  const node = end.kind === "pod" ? end.pod.nodeName : end.node.name;
  const own = subject?.kind === "pod" ? subject.pod.nodeName : subject?.node.name;
  return { kind: node === own ? "host" : "remote-node" };
}

/** A CIDR set of everything is the world, of whichever family. */
function isWorld({ otherFamily: { cidrSet } }: Facts, except: readonly unknown[] = []): boolean {
  return cidrSet === "yes" || (cidrSet === "without-exceptions" && except.length === 0);
}

/** Rules of a direction count even where the policy does not list it (cilium/cilium #48703). */
function sectionsOfNetworkPolicy(facts: Facts, policy: NetworkPolicy): readonly Section[] {
  const { namespace, podSelector, policyTypes } = policy;
  return (["ingress", "egress"] as const)
    .filter(
      (direction) =>
        policyTypes.includes(direction === "ingress" ? "Ingress" : "Egress") || policy[direction].length > 0,
    )
    .map((direction) => ({
      direction,
      selects: (subject) =>
        subject.kind === "pod" &&
        subject.pod.namespace === namespace &&
        podTest(facts.state, podSelector, subject.pod),
      defaultDeny: true,
      statements: policy[direction].map(({ peers, ports }) => ({
        denies: false,
        isPeer:
          peers.length === 0
            ? anyone
            : anyOf(
                peers.map((peer) =>
                  peerTest(facts.state, peer, namespace, isWorld(facts, peer.ipBlock?.except)),
                ),
              ),
        isTraffic:
          ports.length === 0
            ? everything
            : anyOf(ports.map((port) => policyPortTest(facts, direction, port))),
      })),
    }));
}

const anyone: PartyTest = () => true;
const nobody: PartyTest = () => false;
const everything: TrafficTest = () => true;

function sectionsOfPolicy(facts: Facts, policy: WrittenPolicy): readonly Section[] {
  const namespace =
    policy.kind === "CiliumNetworkPolicy" ? (policy.metadata.namespace ?? "default") : undefined;
  const specs = [...(policy.spec === undefined ? [] : [policy.spec]), ...(policy.specs ?? [])];
  return specs.flatMap((spec) =>
    (["ingress", "egress"] as const).flatMap((direction) => sectionOfSpec(facts, spec, direction, namespace)),
  );
}

function sectionOfSpec(
  facts: Facts,
  spec: WrittenSpec,
  direction: Direction,
  namespace: string | undefined,
): readonly Section[] {
  const allow = spec[direction] ?? [];
  const deny = spec[`${direction}Deny`] ?? [];
  const hasRules = allow.length + deny.length > 0;
  const written = facts.knowsDefaultDeny ? spec.enableDefaultDeny?.[direction] : undefined;
  const defaultDeny = written ?? hasRules;
  if (!hasRules && !defaultDeny) return [];
  const statement = (rule: WrittenRule, denies: boolean): Statement => {
    const isTraffic = trafficOf(facts, direction, rule);
    const isPeer = peersOf(facts, direction, rule, namespace);
    return { denies, isTraffic: isTraffic ?? everything, isPeer: isPeer ?? (isTraffic ? anyone : nobody) };
  };
  return [
    {
      direction,
      selects: subjectTest(facts, spec, namespace),
      defaultDeny,
      statements: [
        ...allow.map((rule) => statement(rule, false)),
        ...deny.map((rule) => statement(rule, true)),
      ],
    },
  ];
}

function subjectTest(
  { state }: Facts,
  { endpointSelector, nodeSelector = {} }: WrittenSpec,
  namespace: string | undefined,
): Section["selects"] {
  if (endpointSelector === undefined)
    return (subject) => subject.kind === "node" && nodeTest(nodeSelector, subject.node);
  const isSubject = endpointTest(state, endpointSelector, namespace);
  return (subject) =>
    subject.kind === "pod" &&
    (namespace === undefined || subject.pod.namespace === namespace) &&
    isSubject(subject);
}

/** `undefined`: the rule names no peers. One that lists none selects nobody. */
function peersOf(
  facts: Facts,
  direction: Direction,
  rule: WrittenRule,
  namespace: string | undefined,
): PartyTest | undefined {
  const { state, groups, otherFamily } = facts;
  const isIngress = direction === "ingress";
  const endpoints = isIngress ? rule.fromEndpoints : rule.toEndpoints;
  const cidrs = isIngress ? rule.fromCIDR : rule.toCIDR;
  const sets = isIngress ? rule.fromCIDRSet : rule.toCIDRSet;
  const entities = isIngress ? rule.fromEntities : rule.toEntities;
  const services = isIngress ? undefined : rule.toServices;
  const lists = [
    endpoints?.map((selector) => endpointTest(state, selector, namespace)),
    cidrs?.map((cidr) => cidrTest(cidr, [], otherFamily.cidr)),
    sets?.map((set) => cidrSetTest(set, groups, isWorld(facts, set.except))),
    entities?.map(entityTest),
    services?.map((service) => serviceTest(state, service)),
  ].filter((list) => list !== undefined);
  return lists.length === 0 ? undefined : anyOf(lists.flat());
}

/** `undefined`: the rule names no ports and no ICMP. */
function trafficOf(
  facts: Facts,
  direction: Direction,
  { toPorts = [], icmps = [] }: WrittenRule,
): TrafficTest | undefined {
  if (toPorts.length + icmps.length === 0) return undefined;
  return anyOf([...toPorts.map((ports) => portsTest(facts, direction, ports)), ...icmps.map(icmpTest)]);
}
