/**
 * Azure's load balancers as the network sees them: which nodes get packets for a frontend. Every node answers the
 * health probe of a Service with endpoints; with external policy Local only nodes that have a ready endpoint do
 * (kube-proxy's healthCheckNodePort). Governing source: cloud-provider-azure (floating IP is on by default; node.kubernetes.io/exclude-from-external-load-
 * balancers), kubernetes pkg/proxy/healthcheck.
 */
import { formatIp, type Ip } from "../addr/index.ts";
import type { ClusterState, Service } from "../k8s/index.ts";
import type { FrontendPortSpec, FrontendSpec } from "../sim/index.ts";

const exclusion = "node.kubernetes.io/exclude-from-external-load-balancers";

export function frontendsOf(state: ClusterState): readonly FrontendSpec[] {
  const frontends = new Map<string, { readonly ip: Ip; readonly ports: FrontendPortSpec[] }>();
  const balanced = [...state.services.values()].filter(({ loadBalancerIPs }) => loadBalancerIPs.length > 0);
  if (balanced.length === 0) return [];
  const readyOn = readyNodes(state);
  const candidates = [...state.nodes.values()]
    .filter((node) => !Object.hasOwn(node.labels, exclusion))
    .map(({ name }) => name);
  for (const service of balanced) {
    const ready = readyOn.get(keyOf(service)) ?? new Set();
    const nodes =
      service.externalTrafficPolicy === "Local" ? candidates.filter((name) => ready.has(name)) : candidates;
    for (const ip of service.loadBalancerIPs) {
      // several Services may share a frontend, each with ports of its own
      const frontend = frontends.get(formatIp(ip)) ?? { ip, ports: [] };
      frontend.ports.push(...service.ports.map(({ protocol, port }) => ({ protocol, port, nodes })));
      frontends.set(formatIp(ip), frontend);
    }
  }
  return [...frontends.values()];
}

function keyOf({ namespace, name }: Service): string {
  return `${namespace}/${name}`;
}

function readyNodes({ endpointSlices }: ClusterState): ReadonlyMap<string, ReadonlySet<string>> {
  const nodes = new Map<string, Set<string>>();
  for (const { namespace, serviceName, endpoints } of endpointSlices.values())
    for (const { ready, nodeName } of endpoints) {
      if (!ready || nodeName === undefined) continue;
      const key = `${namespace}/${serviceName}`;
      const names = nodes.get(key);
      if (names === undefined) nodes.set(key, new Set([nodeName]));
      else names.add(nodeName);
    }
  return nodes;
}

/** Endpoints that are neither pods nor nodes: hosts outside that Services translate to. */
export function outsideEndpoints({ endpointSlices, pods, nodes }: ClusterState): readonly Ip[] {
  const given = [...endpointSlices.values()].filter(({ derived }) => !derived);
  if (given.length === 0) return [];
  const inside = new Set([...pods.values()].flatMap(({ ips }) => ips.map(formatIp)));
  for (const node of nodes.values()) for (const ip of node.addresses) inside.add(formatIp(ip));
  return given
    .flatMap(({ endpoints }) => endpoints.flatMap(({ ips }) => ips))
    .filter((ip) => !inside.has(formatIp(ip)));
}
