/**
 * All Services of a cluster as chains of one family. Chains that are the same on every node are made once and shared;
 * what a node's own endpoints or address change is a small list of chains that replace or join them, and nodes that
 * agree on it share that too.
 */
import type { Cidr, Family, Ip } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import type { Chain, Rule } from "../../filter/iptables/index.ts";
import type { ClusterState, Node } from "../../k8s/index.ts";
import {
  admitsNode,
  dependsOnNode,
  type ProxyConfig,
  type ServicePortRules,
  servicePortRules,
} from "./kube-proxy.ts";
import { sameRules } from "./rules.ts";
import { type ServicePortInfo, servicePorts, viewEndpoints } from "./service-ports.ts";

/** kube-proxy's largeClusterEndpointsThreshold. */
const largeClusterEndpoints = 1000;

export interface ServiceChains {
  readonly nat: readonly Chain[];
  readonly filter: readonly Chain[];
}

export interface FamilyServices {
  /** As a node without endpoints of its own has them. */
  readonly shared: ServiceChains;
  /** What a node replaces and adds. Nodes of equal signature have equal chains; `""` has none. */
  signature(node: Node): string;
  overlay(node: Node): ServiceChains;
}

/** `lastOfServices` ends chain KUBE-SERVICES of table nat: the way to node ports. */
export function familyServices(
  objects: Pick<ClusterState, "services" | "endpointSlices">,
  family: Family,
  clusterCidr: Cidr | undefined,
  lastOfServices: Rule,
): FamilyServices {
  const ports = servicePorts(objects, family);
  const endpoints = ports.reduce((sum, port) => sum + port.endpoints.length, 0);
  const config: ProxyConfig = { clusterCidr, isLargeCluster: endpoints > largeClusterEndpoints };
  const everywhere = ports.map((port) =>
    servicePortRules(port, viewEndpoints(port, undefined), false, config),
  );
  const shared: ServiceChains = {
    nat: [...sharedChains.nat.map((of) => joined(of, everywhere, lastOfServices)), ...ownChains(everywhere)],
    filter: sharedChains.filter.map((of) => joined(of, everywhere, lastOfServices)),
  };
  const varying = ports.flatMap((port, index) => (dependsOnNode(port) ? [{ port, index }] : []));
  const localTo = endpointsByNode(varying);
  const nodeIP = (node: Node): Ip | undefined => node.addresses.find((ip) => ip.family === family);
  const concerning = (node: Node): readonly Varying[] =>
    varying.filter(
      ({ port, index }) => localTo.get(node.name)?.has(index) === true || admitsNode(port, nodeIP(node)),
    );
  return {
    shared,
    signature: (node) =>
      concerning(node)
        .map(({ port, index }) => {
          const local = viewEndpoints(port, node.name).local.map(({ name }) => name);
          return `${index}${admitsNode(port, nodeIP(node)) ? "+" : ""}=${local.join()}`;
        })
        .join(" "),
    overlay(node) {
      const rules = [...everywhere];
      const mine = concerning(node).map(({ port, index }) => {
        const view = viewEndpoints(port, node.name);
        const made = servicePortRules(port, view, admitsNode(port, nodeIP(node)), config);
        rules[index] = made;
        return { made, base: everywhere[index] as ServicePortRules };
      });
      const replaced = (of: SharedChain): readonly Chain[] =>
        mine.some(({ made, base }) => !sameRules(of.rulesOf(made), of.rulesOf(base)))
          ? [joined(of, rules, lastOfServices)]
          : [];
      return {
        nat: [
          ...sharedChains.nat.flatMap(replaced),
          ...mine.flatMap(({ made, base }) => changedChains(made, base)),
        ],
        filter: sharedChains.filter.flatMap(replaced),
      };
    },
  };
}

interface Varying {
  readonly port: ServicePortInfo;
  readonly index: number;
}

function endpointsByNode(varying: readonly Varying[]): ReadonlyMap<string, ReadonlySet<number>> {
  const byNode = new Map<string, Set<number>>();
  for (const { port, index } of varying)
    for (const { nodeName } of port.endpoints) {
      if (nodeName === undefined) continue;
      const indices = byNode.get(nodeName);
      if (indices === undefined) byNode.set(nodeName, new Set([index]));
      else indices.add(index);
    }
  return byNode;
}

/** A chain that every Service may write into. */
interface SharedChain {
  readonly name: string;
  rulesOf(rules: ServicePortRules): readonly Rule[];
}

const natServices: SharedChain = { name: "KUBE-SERVICES", rulesOf: ({ nat }) => nat.services };

const sharedChains: { readonly nat: readonly SharedChain[]; readonly filter: readonly SharedChain[] } = {
  nat: [natServices, { name: "KUBE-NODEPORTS", rulesOf: ({ nat }) => nat.nodePorts }],
  filter: [
    { name: "KUBE-SERVICES", rulesOf: ({ filter }) => filter.services },
    { name: "KUBE-EXTERNAL-SERVICES", rulesOf: ({ filter }) => filter.externalServices },
    { name: "KUBE-PROXY-FIREWALL", rulesOf: ({ filter }) => filter.firewall },
    { name: "KUBE-NODEPORTS", rulesOf: ({ filter }) => filter.nodePorts },
  ],
};

function joined(of: SharedChain, all: readonly ServicePortRules[], lastOfServices: Rule): Chain {
  const rules = all.flatMap((one) => of.rulesOf(one));
  return { name: of.name, rules: of === natServices ? [...rules, lastOfServices] : rules };
}

function ownChains(all: readonly ServicePortRules[]): readonly Chain[] {
  return all.flatMap(({ nat }) => nat.chains);
}

/** A node has every chain that others have: what depends on it adds chains or changes their rules. */
function changedChains(made: ServicePortRules, base: ServicePortRules): readonly Chain[] {
  const before = new Map(base.nat.chains.map((chain) => [chain.name, chain]));
  const changed = made.nat.chains.filter((chain) => {
    const old = before.get(chain.name);
    before.delete(chain.name);
    return old === undefined || !sameRules(old.rules, chain.rules);
  });
  assert(before.size === 0, "a node's own endpoints take no chain away");
  return changed;
}
