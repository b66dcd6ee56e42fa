/**
 * A node's tables in steady state: Cilium's chains, its programs, and their maps. What does not depend on the node is
 * made once and shared by identity: programs, what every ipcache holds, the entries of Services, and one policy map for
 * each (identity, named ports), however many pods have them. A node's own are its addresses in the ipcache, its pods
 * in `cilium_lxc`, and which policy map each of them has.
 */
import { formatCidr, type Ip } from "../../addr/index.ts";
import { hashText, type Questions } from "../../base/index.ts";
import type { BpfTables, MapEntry, MapRepr, MapShape } from "../../filter/bpf/index.ts";
import {
  type ClusterState,
  hasInterface,
  type Node,
  type Pod,
  podInterfaceName,
  podInterfacePattern,
} from "../../k8s/index.ts";
import type { CompiledNode, Diagnostic, Engine, NodeTables } from "../engine.ts";
import { type Endpoint, endpointsOf, hostEndpointId } from "./endpoints.ts";
import { ipcacheEntry, lxcEntry } from "./entries.ts";
import { withCiliumChains } from "./iptables.ts";
import { datapathMaps, MapPlace, policyMapShape } from "./maps.ts";
import { nodeTables } from "./node-tables.ts";
import type { EndpointPolicy, IdentityLabels, PolicyRepository, PrefixIdentity } from "./policy/entry.ts";
import { worldIdentityOf } from "./policy/identities.ts";
import { namedPortsText } from "./policy/named-ports.ts";
import { resolvePolicies } from "./policy/resolve.ts";
import { fittingEntries, policyMapContent, policyMapMisses } from "./policy-map.ts";
import { endpointInterfaces } from "./programs/index.ts";
import { ClusterStatement } from "./questions.ts";
import { serviceEntries } from "./services.ts";
import type { CiliumVariant } from "./variant.ts";

/** Reserved identities that a node writes itself (pkg/identity/numericidentity.go). */
const hostIdentity = 1;
const remoteNodeIdentity = 6;

/** A cluster's tables; those of one state are made once, whoever asks. */
export type TablesOfCluster = (state: ClusterState) => ClusterTables;

export function ciliumTables(variant: CiliumVariant): TablesOfCluster {
  const known = new WeakMap<ClusterState, ClusterTables>();
  return (state) => {
    let tables = known.get(state);
    if (tables === undefined) {
      tables = new ClusterTables(state, variant);
      known.set(state, tables);
    }
    return tables;
  };
}

export function compileCilium(variant: CiliumVariant, tablesOf: TablesOfCluster): Engine["compile"] {
  const chains = new WeakMap<NodeTables, NodeTables>();
  return (state) => {
    const cluster = tablesOf(state);
    return (node, base): CompiledNode => {
      let onChains = chains.get(base);
      if (onChains === undefined) {
        const { iptables } = base;
        onChains = iptables === undefined ? base : { ...base, iptables: withCiliumChains(iptables, variant) };
        chains.set(base, onChains);
      }
      return Object.freeze({
        tables: Object.freeze({ ...onChains, bpf: cluster.bpfOf(node) }),
        diagnostics: cluster.diagnostics,
      });
    };
  };
}

/** What nodes share, and how a node's tables are put together of it. */
export class ClusterTables {
  readonly diagnostics: readonly Diagnostic[];
  readonly #state: ClusterState;
  readonly #variant: CiliumVariant;
  readonly #policies: PolicyRepository;
  /** What every node's ipcache holds, as addresses and as entries. */
  readonly #identities: readonly PrefixIdentity[];
  readonly #ipcache: readonly MapEntry[];
  readonly #isIpcacheFull: boolean;
  #statement: ClusterStatement | undefined;
  /** By name; those of equal policies have one content. */
  readonly #policyMaps = new Map<string, MapRepr>();
  readonly #contents = new Map<EndpointPolicy, Pick<MapRepr, "base" | "misses">>();
  readonly #mapOfPod = new Map<Pod, MapRepr>();

  constructor(state: ClusterState, variant: CiliumVariant) {
    this.#state = state;
    this.#variant = variant;
    this.#policies = resolvePolicies(state, variant);
    this.#identities = identitiesOfAll(state, this.#policies);
    this.#ipcache = Object.freeze(this.#identities.map(({ net, identity }) => ipcacheEntry(net, identity)));
    const overflows: Diagnostic[] = ipcacheOverflow(this.#ipcache, variant);
    this.#isIpcacheFull = overflows.length > 0;
    for (const pod of state.pods.values()) {
      if (!hasInterface(pod)) continue;
      const name = sharedMapName(variant, this.#policies.identityOf(pod), pod);
      let map = this.#policyMaps.get(name);
      if (map === undefined) {
        const policy = this.#policies.policyOf(pod);
        map = this.#policyMap(name, policy);
        this.#policyMaps.set(name, map);
        if (policy.entries.length > variant.policyMapMax)
          overflows.push(overflowDiagnostic(`${pod.namespace}/${pod.name}`, policy, variant));
      }
      this.#mapOfPod.set(pod, map);
    }
    for (const node of state.nodes.values()) {
      const policy = this.#policies.hostPolicyOf(node);
      if (policy !== undefined && policy.entries.length > variant.policyMapMax)
        overflows.push(overflowDiagnostic(`node ${node.name}`, policy, variant));
    }
    this.diagnostics = Object.freeze([...this.#policies.diagnostics, ...overflows]);
  }

  #policyMap(name: string, policy: EndpointPolicy): MapRepr {
    let content = this.#contents.get(policy);
    if (content === undefined) {
      content = { base: policyMapContent(policy, this.#variant), misses: policyMapMisses(policy) };
      this.#contents.set(policy, content);
    }
    return Object.freeze({ ...policyMapShape(this.#variant, name), ...content, entries: [] });
  }

  bpfOf(node: Node): BpfTables {
    const lxc: MapEntry[] = [];
    const policyMaps = new Map<number, MapRepr>();
    for (const { id, pod, identity, interface: name } of this.endpointsOf(node)) {
      for (const ip of pod.ips) lxc.push(lxcEntry({ ip, id, identity, interface: name }));
      const map = this.#mapOfPod.get(pod);
      if (map !== undefined) policyMaps.set(id, map);
    }
    const host = this.#policies.hostPolicyOf(node);
    if (host !== undefined)
      policyMaps.set(hostEndpointId, this.#policyMap(sharedMapName(this.#variant, hostIdentity), host));
    const ipcache = node.addresses.map((ip) => ipcacheEntry(hostCidr(ip), hostIdentity));
    return nodeTables(this.#state, this.#variant, node, {
      ipcacheBase: this.#ipcache,
      ipcache,
      lxc,
      policyMaps,
      questions: () => this.#questionsOf(node),
    });
  }

  /** Nobody says what is missing in an ipcache that is full; programs are attached to Cilium's interfaces alone. */
  #questionsOf(node: Node): Questions | undefined {
    if (this.#isIpcacheFull || podInterfacePattern(this.#state) !== endpointInterfaces) return undefined;
    this.#statement ??= this.#statementOfAll();
    return this.#statement.of({
      pods: endpointsOf(this.#state, node.name).map(({ pod }) => ({
        ips: pod.ips,
        policy: this.#policies.policyOf(pod),
      })),
      host: this.#policies.hostPolicyOf(node),
    });
  }

  #statementOfAll(): ClusterStatement {
    const policies = new Set<EndpointPolicy>();
    for (const pod of this.#mapOfPod.keys()) policies.add(this.#policies.policyOf(pod));
    for (const node of this.#state.nodes.values()) {
      const policy = this.#policies.hostPolicyOf(node);
      if (policy !== undefined) policies.add(policy);
    }
    return new ClusterStatement({
      variant: this.#variant,
      identities: [...this.#identities, ...worldOf(this.#state, this.#variant, this.#identities)],
      frontends: serviceEntries(this.#state).frontends,
      policies: [...policies].map((policy) => ({ policy, entries: fittingEntries(policy, this.#variant) })),
    });
  }

  /** The node's endpoints in the order of their ids, with what the agent tells of them. */
  endpointsOf(node: Node): readonly (Endpoint & {
    readonly identity: number;
    readonly interface: string;
  })[] {
    return endpointsOf(this.#state, node.name).map(({ id, pod }) => ({
      id,
      pod,
      identity: this.#policies.identityOf(pod),
      interface: podInterfaceName(this.#state, pod),
    }));
  }

  /** The policy of an endpoint, or of the node itself where the host firewall is on. */
  policyOf(end: Pod | Node): EndpointPolicy | undefined {
    return "nodeName" in end ? this.#policies.policyOf(end) : this.#policies.hostPolicyOf(end);
  }

  /** `undefined` for a number that nobody has. */
  labelsOf(identity: number): IdentityLabels | undefined {
    return this.#policies.labelsOf(identity);
  }
}

/** Named by whom the policy is for: what makes it is the identity, and for named ports the pod's port list. */
function sharedMapName({ generation }: CiliumVariant, identity: number, pod?: Pod): string {
  const ports = pod === undefined ? "" : namedPortsText(pod);
  const suffix = ports === "" ? "" : `_${hashText(ports).toString(16).padStart(8, "0")}`;
  return `cilium_policy_${generation === "G1" ? "" : "v2_"}id${identity}${suffix}`;
}

/** Every address and prefix that all nodes know alike. Pods and nodes stand before what policies say of their addresses. */
function identitiesOfAll(state: ClusterState, policies: PolicyRepository): readonly PrefixIdentity[] {
  const known = new Map<string, PrefixIdentity>();
  for (const one of policies.prefixes) known.set(formatCidr(one.net), one);
  const add = (ip: Ip, identity: number): void => {
    const net = hostCidr(ip);
    known.set(formatCidr(net), { net, identity });
  };
  for (const pod of state.pods.values())
    if (hasInterface(pod)) for (const ip of pod.ips) add(ip, policies.identityOf(pod));
  for (const { addresses } of state.nodes.values()) for (const ip of addresses) add(ip, remoteNodeIdentity);
  return Object.freeze([...known.values()]);
}

/** What programs take for the identity of an address of which the ipcache knows nothing. */
function worldOf(
  { options }: ClusterState,
  variant: CiliumVariant,
  known: readonly PrefixIdentity[],
): readonly PrefixIdentity[] {
  return ([4, 6] as const).flatMap((family) => {
    if (known.some(({ net }) => net.family === family && net.prefix === 0)) return [];
    const net = { family, words: family === 4 ? [0] : [0, 0, 0, 0], prefix: 0 };
    return [{ net, identity: worldIdentityOf(options.ipFamilies, family, variant) }];
  });
}

/** Which addresses find no place is arbitrary in the real agent; here the last ones. */
function ipcacheOverflow({ length }: readonly MapEntry[], variant: CiliumVariant): Diagnostic[] {
  const { name, maxEntries } = datapathMaps(variant)[MapPlace.ipcache] as MapShape;
  if (length <= maxEntries) return [];
  const message = `Unable to update element for map ${name}: no space left on device: ${length} entries, its map ${maxEntries}; addresses without a place are the world's`;
  return [{ code: "ipcache-full", severity: "error", policy: undefined, message }];
}

function hostCidr({ family, words }: Ip): PrefixIdentity["net"] {
  return { family, words, prefix: family === 4 ? 32 : 128 };
}

function overflowDiagnostic(
  whose: string,
  { entries }: EndpointPolicy,
  { policyMapMax, lockdown }: CiliumVariant,
): Diagnostic {
  const outcome = lockdown ? "the endpoint is locked down" : "the rest is not enforced";
  return {
    code: "policy-map-overflow",
    severity: "error",
    policy: undefined,
    message: `Failed to add PolicyMap key: the policy of ${whose} has ${entries.length} entries, its map ${policyMapMax}; ${outcome}`,
  };
}
