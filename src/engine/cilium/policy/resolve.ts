/**
 * Policies to entries of policy maps: which identities a rule's peers are, which keys its ports. Rules are matched
 * against identities, of which there are few, never against pods.
 * Governing source: cilium/cilium pkg/k8s/network_policy.go, pkg/policy/{repository,l4,mapstate}.go.
 */
import { type Cidr, cidrCovers, formatCidr } from "../../../addr/index.ts";
import { assert, type Origin } from "../../../base/index.ts";
import {
  type ClusterState,
  matchesSelector,
  type NetworkPolicy,
  type NetworkPolicyPeer,
  type NetworkPolicyPort,
  type NetworkPolicyRule,
  type Pod,
} from "../../../k8s/index.ts";
import type { CiliumVariant } from "../variant.ts";
import {
  comparePolicyEntries,
  type Direction,
  type EndpointPolicy,
  type PolicyEntry,
  type PolicyRepository,
  type PrefixIdentity,
} from "./entry.ts";
import { identityLabels, type PodIdentities, type PodIdentity, podIdentities } from "./identities.ts";
import { type PortBlock, portBlocks } from "./port-blocks.ts";

const anyIdentity = 0;
const hostIdentity = 1;
const worldIdentity = 2;
const firstLocalIdentity = 0x0100_0001;
const protocolNumber = { TCP: 6, UDP: 17, SCTP: 132 } as const;

export function resolvePolicies(state: ClusterState, variant: CiliumVariant): PolicyRepository {
  return new Repository(state, variant);
}

class Repository implements PolicyRepository {
  readonly prefixes: readonly PrefixIdentity[];
  readonly diagnostics: PolicyRepository["diagnostics"] = [];
  readonly #state: ClusterState;
  readonly #variant: CiliumVariant;
  readonly #identities: PodIdentities;
  readonly #known = new Map<string, EndpointPolicy>();
  readonly #peers = new Map<NetworkPolicyPeer, readonly number[]>();
  readonly #policies: ReadonlyMap<string, readonly NetworkPolicy[]>;

  constructor(state: ClusterState, variant: CiliumVariant) {
    this.#state = state;
    this.#variant = variant;
    this.#identities = podIdentities(state);
    const policies = [...state.networkPolicies.values()];
    this.prefixes = prefixesOf(policies);
    this.#policies = byNamespace(policies);
  }

  identityOf(pod: Pod): number {
    return pod.hostNetwork ? hostIdentity : this.#podIdentity(pod).number;
  }

  #podIdentity(pod: Pod): PodIdentity {
    const identity = this.#identities.of(pod);
    assert(identity !== undefined, `${pod.namespace}/${pod.name} is a pod of this state`);
    return identity;
  }

  labelsOf(identity: number): ReturnType<PolicyRepository["labelsOf"]> {
    const pods = this.#identities.all.find(({ number }) => number === identity);
    return pods === undefined ? undefined : identityLabels(pods);
  }

  hostPolicyOf(): undefined {
    return undefined;
  }

  policyOf(pod: Pod): EndpointPolicy {
    const identity = this.#podIdentity(pod);
    const key = `${identity.number} ${namedPortsText(pod)}`;
    let policy = this.#known.get(key);
    if (policy === undefined) {
      policy = this.#resolve(pod, identity);
      this.#known.set(key, policy);
    }
    return policy;
  }

  #resolve(pod: Pod, { namespace, labels }: PodIdentity): EndpointPolicy {
    const selecting = (this.#policies.get(namespace) ?? []).filter(({ podSelector }) =>
      matchesSelector(podSelector, labels),
    );
    const entries = new Map<string, PolicyEntry>();
    const add = (entry: PolicyEntry): void => {
      const { direction, identity, protocol, port, portPrefix } = entry;
      const key = `${direction} ${identity} ${protocol} ${port}/${portPrefix}`;
      if (!entries.has(key)) entries.set(key, entry);
    };
    const isEnforced = (direction: Direction): boolean => {
      const type = direction === "ingress" ? "Ingress" : "Egress";
      const policies = selecting.filter(({ policyTypes }) => policyTypes.includes(type));
      for (const policy of policies) for (const entry of this.#entriesOf(policy, direction, pod)) add(entry);
      if (policies.length === 0) add(wholeEntry(anyIdentity, direction, "not-enforced"));
      else if (direction === "ingress") add(wholeEntry(hostIdentity, direction, "allow-localhost"));
      return policies.length > 0;
    };
    const [ingressEnforced, egressEnforced] = [isEnforced("ingress"), isEnforced("egress")];
    const inOrder = [...entries.values()].sort(comparePolicyEntries);
    return Object.freeze({ ingressEnforced, egressEnforced, entries: Object.freeze(inOrder) });
  }

  *#entriesOf(policy: NetworkPolicy, direction: Direction, pod: Pod): Iterable<PolicyEntry> {
    for (const [i, rule] of policy[direction].entries()) {
      const origin: Origin = {
        kind: "NetworkPolicy",
        name: `${policy.namespace}/${policy.name}`,
        path: `spec.${direction}[${i}]`,
        role: "allow",
        direction,
        ...(policy.source === undefined ? {} : { source: policy.source }),
      };
      const identities = this.#selected(policy, rule);
      for (const { protocol, blocks } of this.#portsOf(rule, direction, pod))
        for (const { port, prefix: portPrefix } of blocks)
          for (const identity of identities)
            yield { identity, direction, protocol, port, portPrefix, deny: false, redirect: 0, origin };
    }
  }

  #selected(policy: NetworkPolicy, { peers }: NetworkPolicyRule): Iterable<number> {
    if (peers.length === 0) return [anyIdentity];
    return new Set(peers.flatMap((peer) => this.#identitiesOf(policy, peer)));
  }

  #identitiesOf({ namespace }: NetworkPolicy, peer: NetworkPolicyPeer): readonly number[] {
    let identities = this.#peers.get(peer);
    if (identities === undefined) {
      identities = peer.ipBlock === undefined ? this.#podsOf(namespace, peer) : this.#inBlock(peer.ipBlock);
      this.#peers.set(peer, identities);
    }
    return identities;
  }

  #podsOf(namespace: string, { podSelector, namespaceSelector }: NetworkPolicyPeer): readonly number[] {
    const isThere = (one: PodIdentity): boolean =>
      namespaceSelector === undefined
        ? one.namespace === namespace
        : matchesSelector(namespaceSelector, one.namespaceLabels);
    return this.#identities.all
      .filter(
        (one) => isThere(one) && (podSelector === undefined || matchesSelector(podSelector, one.labels)),
      )
      .map(({ number }) => number);
  }

  /** Every prefix in the block that no exception holds; the whole world too, where the block is everything. */
  #inBlock({ cidr, except }: NonNullable<NetworkPolicyPeer["ipBlock"]>): readonly number[] {
    return this.prefixes
      .filter(({ net }) => cidrCovers(cidr, net) && !except.some((range) => cidrCovers(range, net)))
      .map(({ identity }) => identity);
  }

  *#portsOf(
    { ports }: NetworkPolicyRule,
    direction: Direction,
    pod: Pod,
  ): Iterable<{ readonly protocol: number; readonly blocks: readonly PortBlock[] }> {
    if (ports.length === 0) yield { protocol: 0, blocks: [{ port: 0, prefix: 0 }] };
    for (const port of ports)
      yield { protocol: protocolNumber[port.protocol], blocks: this.#blocksOf(port, direction, pod) };
  }

  #blocksOf(wanted: NetworkPolicyPort, direction: Direction, pod: Pod): readonly PortBlock[] {
    const { port, endPort } = wanted;
    if (port === undefined) return [{ port: 0, prefix: 0 }];
    if (typeof port === "number") return portBlocks(port, this.#variant.endPort ? (endPort ?? port) : port);
    const pods = direction === "ingress" ? [pod] : this.#state.pods.values();
    const numbers = numbersOf(pods, port, wanted.protocol);
    // an egress rule's name must mean one number in the whole cluster
    if (direction === "egress" && numbers.size > 1) return [];
    return [...numbers].map((number) => ({ port: number, prefix: 16 }));
  }
}

function byNamespace(policies: readonly NetworkPolicy[]): ReadonlyMap<string, readonly NetworkPolicy[]> {
  const grouped = new Map<string, NetworkPolicy[]>();
  for (const policy of policies) {
    const list = grouped.get(policy.namespace);
    if (list === undefined) grouped.set(policy.namespace, [policy]);
    else list.push(policy);
  }
  return grouped;
}

function numbersOf(pods: Iterable<Pod>, name: string, protocol: string): ReadonlySet<number> {
  const numbers = new Set<number>();
  for (const pod of pods) {
    if (pod.hostNetwork) continue;
    for (const port of pod.ports)
      if (port.name === name && port.protocol === protocol) numbers.add(port.containerPort);
  }
  return numbers;
}

function namedPortsText({ ports }: Pod): string {
  const named = ports.filter(({ name }) => name !== undefined);
  return named
    .map(({ name, protocol, containerPort }) => `${name}:${containerPort}/${protocol}`)
    .sort()
    .join();
}

function wholeEntry(identity: number, direction: Direction, path: string): PolicyEntry {
  const origin: Origin = { kind: "engine", name: "cilium", path, role: "base", direction };
  return { identity, direction, protocol: 0, port: 0, portPrefix: 0, deny: false, redirect: 0, origin };
}

/** Prefixes of blocks and of their exceptions, numbered in the order of their text, so that all nodes agree. */
function prefixesOf(policies: readonly NetworkPolicy[]): readonly PrefixIdentity[] {
  const nets = new Map<string, Cidr>();
  for (const { policyTypes, ingress, egress } of policies) {
    const rules = [
      ...(policyTypes.includes("Ingress") ? ingress : []),
      ...(policyTypes.includes("Egress") ? egress : []),
    ];
    for (const { ipBlock } of rules.flatMap(({ peers }) => peers))
      if (ipBlock !== undefined)
        for (const net of [ipBlock.cidr, ...ipBlock.except]) nets.set(formatCidr(net), net);
  }
  let next = firstLocalIdentity;
  return [...nets.keys()].sort().map((text) => {
    const net = nets.get(text) as Cidr;
    return { net, identity: net.prefix === 0 ? worldIdentity : next++ };
  });
}
