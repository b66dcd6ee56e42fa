/**
 * CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy to rule form: selectors get their namespace, entities become
 * selectors of reserved labels, Services what they select, CIDR groups their CIDRs.
 * Governing source: cilium/cilium pkg/k8s/apis/cilium.io/utils/utils.go, pkg/policy/api/entity.go,
 * pkg/policy/k8s/service.go, Documentation/security/policy/{layer3,deny}.rst.
 */
import type { Cidr } from "../../../addr/index.ts";
import { unreachable } from "../../../base/index.ts";
import {
  type ClusterState,
  type LabelSelector,
  matchesSelector,
  type Service,
  type VendorObject,
} from "../../../k8s/index.ts";
import type {
  CiliumCidrGroupSpec,
  CiliumEntity,
  CiliumPeer,
  CiliumPort,
  CiliumRuleSpec,
  CiliumSection,
} from "../resources/spec.ts";
import type { CiliumVariant } from "../variant.ts";
import { cidrSetPeers } from "./cidr-set.ts";
import type { Direction } from "./entry.ts";
import {
  type CiliumRule,
  everything,
  hasLabel,
  inNamespace,
  namespaceLabelPrefix,
  podNamespaceKey,
  type RulePeer,
  type RulePort,
  type RuleStatement,
  withKeys,
} from "./rule.ts";

export function ruleOfCiliumPolicy(
  state: ClusterState,
  object: VendorObject,
  spec: CiliumRuleSpec,
  variant: CiliumVariant,
): CiliumRule {
  const { namespace, name, kind, source } = object;
  const { endpointSelector, nodeSelector, sections, defaultDeny } = spec;
  const isolates = new Map<Direction, boolean>();
  for (const direction of ["ingress", "egress"] as const) {
    const hasSections = sections.some((section) => section.direction === direction);
    const isolating = (variant.nonDefaultDeny ? defaultDeny[direction] : undefined) ?? hasSections;
    if (hasSections || isolating) isolates.set(direction, isolating);
  }
  return {
    kind,
    name: namespace === undefined ? name : `${namespace}/${name}`,
    source,
    path: spec.path,
    subject:
      endpointSelector === undefined
        ? withKeys(nodeSelector ?? everything, sourced)
        : subjectOf(endpointSelector, namespace),
    isForNodes: endpointSelector === undefined,
    isolates,
    statements: sections.map((section) => statementOf(state, section, namespace, variant)),
  };
}

function statementOf(
  state: ClusterState,
  section: CiliumSection,
  namespace: string | undefined,
  variant: CiliumVariant,
): RuleStatement {
  const { direction, deny, ports } = section;
  return {
    direction,
    deny,
    peers: peersOfSection(state, section, namespace, variant),
    ports: ports?.flatMap(portsOf),
  };
}

/** A section that names ports alone is about everyone, one that names nothing about nobody; so is one whose peers cannot authenticate. */
function peersOfSection(
  state: ClusterState,
  { path, peers, ports, needsAuthentication }: CiliumSection,
  namespace: string | undefined,
  variant: CiliumVariant,
): readonly RulePeer[] {
  if (needsAuthentication) return [];
  if (peers !== undefined) return peers.flatMap((peer) => peersOf(state, peer, namespace, variant));
  return ports === undefined ? [] : [{ kind: "anyone", path }];
}

function portsOf({ path, protocols, port, endPort, redirect }: CiliumPort): readonly RulePort[] {
  return protocols.map((protocol) => ({ path, protocol, port, endPort, redirect }));
}

/** A key without a source is of any. */
function sourced(key: string): string {
  return key.includes(":") ? key : `any:${key}`;
}

const anyNamespaceKey = podNamespaceKey.replace("k8s:", "any:");
const anyNamespaceLabelPrefix = namespaceLabelPrefix.replace("k8s:", "any:");

function subjectOf(written: LabelSelector, namespace: string | undefined): LabelSelector {
  return inNamespace(withKeys(written, sourced), namespace);
}

/** A peer is of the policy's namespace unless it names one, by name or by a label; of a cluster-wide policy, a pod. */
function endpointsOf(written: LabelSelector, namespace: string | undefined): LabelSelector {
  const selector = withKeys(written, sourced);
  const keys = [...Object.keys(selector.matchLabels), ...selector.matchExpressions.map(({ key }) => key)];
  if (keys.some((key) => key === podNamespaceKey || key === anyNamespaceKey)) return selector;
  if (namespace === undefined) return inNamespace(selector, undefined);
  const byLabel = [namespaceLabelPrefix, anyNamespaceLabelPrefix];
  return keys.some((key) => byLabel.some((prefix) => key.startsWith(prefix)))
    ? selector
    : inNamespace(selector, namespace);
}

function peersOf(
  state: ClusterState,
  peer: CiliumPeer,
  namespace: string | undefined,
  variant: CiliumVariant,
): readonly RulePeer[] {
  const { path } = peer;
  switch (peer.kind) {
    case "endpoints":
      return [{ kind: "labels", path, selector: endpointsOf(peer.selector, namespace) }];
    case "cidr":
      return [{ kind: "cidr", field: "cidr", path, cidr: peer.cidr, except: [] }];
    case "cidr-set":
      return cidrSetPeers(peer, path, variant);
    case "cidr-group":
    case "cidr-group-selector": {
      const { except } = peer;
      const groups = [...(state.vendor.get("CiliumCIDRGroup")?.values() ?? [])].filter((group) =>
        peer.kind === "cidr-group"
          ? group.name === peer.name
          : matchesSelector(peer.selector, (group.spec as CiliumCidrGroupSpec).labels),
      );
      return groups
        .flatMap(({ spec }) => (spec as CiliumCidrGroupSpec).cidrs)
        .flatMap((cidr) => cidrSetPeers({ cidr, except }, path, variant));
    }
    case "entity":
      return entityPeers(peer.entity, path);
    case "service": {
      const service = state.services.get(`${peer.namespace ?? namespace ?? ""}/${peer.name}`);
      return service === undefined ? [] : servicePeers(state, service, path);
    }
    case "service-selector":
      return [...state.services.values()]
        .filter(
          (service) =>
            (peer.namespace === undefined || service.namespace === peer.namespace) &&
            matchesSelector(peer.selector, service.labels),
        )
        .flatMap((service) => servicePeers(state, service, path));
    default:
      return unreachable(peer);
  }
}

/** A Service stands for the pods that it selects, or for the addresses of its endpoints where it selects none. */
function servicePeers(state: ClusterState, service: Service, path: string): readonly RulePeer[] {
  const { namespace, name, selector } = service;
  if (selector !== undefined) {
    const pods = withKeys({ matchLabels: selector, matchExpressions: [] }, (key) => `k8s:${key}`);
    return [{ kind: "labels", path, selector: inNamespace(pods, namespace) }];
  }
  return [...state.endpointSlices.values()]
    .filter((slice) => slice.namespace === namespace && slice.serviceName === name)
    .flatMap(({ endpoints }) => endpoints.flatMap(({ ips }) => ips))
    .map(({ family, words }): RulePeer => {
      const cidr: Cidr = { family, words, prefix: family === 4 ? 32 : 128 };
      return { kind: "cidr", field: "cidr-set", path, cidr, except: [] };
    });
}

const reserved = (name: string): LabelSelector => hasLabel(`reserved:${name}`);

function entityPeers(entity: CiliumEntity, path: string): readonly RulePeer[] {
  const ofLabels = (selector: LabelSelector): RulePeer => ({ kind: "labels", path, selector });
  switch (entity) {
    case "all":
      return [{ kind: "anyone", path }];
    case "none":
      return [];
    case "world":
      return [reserved("world"), reserved("world-ipv4"), reserved("world-ipv6")].map(ofLabels);
    case "cluster": {
      const parts = ["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"];
      return [...parts.map(reserved), hasLabel(podNamespaceKey)].map(ofLabels);
    }
    case "world-ipv4":
    case "world-ipv6":
      // one identity stands for both families unless the cluster has both
      return [reserved(entity), reserved("world")].map(ofLabels);
    case "host":
    case "init":
    case "ingress":
    case "unmanaged":
    case "remote-node":
    case "health":
    case "kube-apiserver":
      return [ofLabels(reserved(entity))];
    default:
      return unreachable(entity);
  }
}
