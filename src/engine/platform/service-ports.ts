/**
 * Service ports as kube-proxy sees them: one for each port of a Service that has a cluster address in the family, with
 * its endpoints, and which of these each traffic policy may reach from a node. Governing source: kubernetes pkg/proxy
 * (serviceport.go, endpoint.go, endpointslicecache.go, topology.go). Topology hints are not read: they choose among
 * endpoints by zone, and virtual nodes have none.
 */
import { type Cidr, type Family, formatIp, type Ip } from "../../addr/index.ts";
import type { Origin } from "../../base/index.ts";
import type { ClusterState, Endpoint, EndpointSlice, Service } from "../../k8s/index.ts";
import { byName, type TransportName } from "./rules.ts";

export interface ProxyEndpoint {
  /** `10.0.0.1:80` or `[fd00::1]:80`: what hashes, comments and DNAT name. */
  readonly name: string;
  readonly ip: Ip;
  readonly port: number;
  readonly nodeName: string | undefined;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  /** Not ready, but serving until it ends: taken where there is nothing better. */
  readonly isLastResort: boolean;
}

export interface SourceRange {
  readonly net: Cidr;
  readonly origin: Origin;
}

export interface ServicePortInfo {
  /** `namespace/service`, with `:port` where the port has a name. */
  readonly name: string;
  readonly protocol: TransportName;
  readonly clusterIP: Ip;
  readonly port: number;
  readonly nodePort: number | undefined;
  readonly externalIPs: readonly Ip[];
  readonly loadBalancerIPs: readonly Ip[];
  readonly sourceRanges: readonly SourceRange[];
  readonly healthCheckNodePort: number | undefined;
  readonly isInternalLocal: boolean;
  readonly isExternalLocal: boolean;
  readonly affinitySeconds: number | undefined;
  /** In the order of their names. */
  readonly endpoints: readonly ProxyEndpoint[];
  readonly origin: Origin;
}

type ServiceObjects = Pick<ClusterState, "services" | "endpointSlices">;

/** Ports of all Services in name order. Headless Services and those without an address of the family have none. */
export function servicePorts(objects: ServiceObjects, family: Family): readonly ServicePortInfo[] {
  const slicesOf = new Map<string, EndpointSlice[]>();
  for (const slice of objects.endpointSlices.values()) {
    const key = `${slice.namespace}/${slice.serviceName}`;
    const list = slicesOf.get(key);
    if (list === undefined) slicesOf.set(key, [slice]);
    else list.push(slice);
  }
  const infos: ServicePortInfo[] = [];
  for (const [key, service] of objects.services) {
    const clusterIP = service.clusterIPs.find((ip) => ip.family === family);
    if (clusterIP === undefined) continue;
    const slices = slicesOf.get(key) ?? [];
    for (let i = 0; i < service.ports.length; i++)
      infos.push(servicePort(service, i, clusterIP, family, slices));
  }
  return infos.sort((a, b) => byName(a, b) || (a.protocol < b.protocol ? -1 : 1));
}

function servicePort(
  service: Service,
  index: number,
  clusterIP: Ip,
  family: Family,
  slices: readonly EndpointSlice[],
): ServicePortInfo {
  const port = service.ports[index] as Service["ports"][number];
  const id = `${service.namespace}/${service.name}`;
  const origin = (path: string): Origin => ({
    kind: "Service",
    name: id,
    path,
    role: "base",
    ...(service.source === undefined ? {} : { source: service.source }),
  });
  const ofFamily = (ips: readonly Ip[]): readonly Ip[] => ips.filter((ip) => ip.family === family);
  const externalIPs = ofFamily(service.externalIPs);
  const loadBalancerIPs = ofFamily(service.loadBalancerIPs);
  return {
    name: port.name === undefined ? id : `${id}:${port.name}`,
    protocol: port.protocol.toLowerCase() as TransportName,
    clusterIP,
    port: port.port,
    nodePort: port.nodePort,
    externalIPs,
    loadBalancerIPs,
    sourceRanges: service.loadBalancerSourceRanges.flatMap((net, i) =>
      net.family === family ? [{ net, origin: origin(`spec.loadBalancerSourceRanges[${i}]`) }] : [],
    ),
    healthCheckNodePort: service.healthCheckNodePort,
    isInternalLocal: service.internalTrafficPolicy === "Local",
    isExternalLocal:
      service.externalTrafficPolicy === "Local" &&
      (service.type !== "ClusterIP" || service.externalIPs.length > 0),
    affinitySeconds: service.sessionAffinitySeconds,
    endpoints: portEndpoints(slices, port, family),
    origin: origin(`spec.ports[${index}]`),
  };
}

/** Of each slice the port of the same name and protocol; of several slices that list an address, one. */
function portEndpoints(
  slices: readonly EndpointSlice[],
  { name, protocol }: Service["ports"][number],
  family: Family,
): readonly ProxyEndpoint[] {
  const byAddress = new Map<string, ProxyEndpoint>();
  for (const slice of slices) {
    const port = slice.ports.find((one) => one.name === name && one.protocol === protocol)?.port;
    if (port === undefined) continue;
    for (const endpoint of slice.endpoints) {
      const ip = endpoint.ips[0]; // consumers take the first address of an endpoint only
      if (ip === undefined || ip.family !== family) continue;
      const made = proxyEndpoint(endpoint, ip, port);
      if (!byAddress.has(made.name)) byAddress.set(made.name, made);
    }
  }
  return [...byAddress.values()].sort(byName);
}

function proxyEndpoint(
  { nodeName, ready, serving, terminating }: Endpoint,
  ip: Ip,
  port: number,
): ProxyEndpoint {
  return {
    name: ip.family === 6 ? `[${formatIp(ip)}]:${port}` : `${formatIp(ip)}:${port}`,
    ip,
    port,
    nodeName,
    ready,
    serving,
    terminating,
    isLastResort: !ready && serving && terminating,
  };
}

export function isExternallyAccessible(port: ServicePortInfo): boolean {
  return port.nodePort !== undefined || port.loadBalancerIPs.length > 0 || port.externalIPs.length > 0;
}

/** External policy Local needs all endpoints too: what the node itself sends is not bound by it. */
export function usesClusterEndpoints(port: ServicePortInfo): boolean {
  return !port.isInternalLocal || isExternallyAccessible(port);
}

export function usesLocalEndpoints(port: ServicePortInfo): boolean {
  return port.isInternalLocal || (port.isExternalLocal && isExternallyAccessible(port));
}

/** Endpoints by who may reach them. */
export interface EndpointView {
  readonly cluster: readonly ProxyEndpoint[];
  readonly local: readonly ProxyEndpoint[];
  /** Everything that has a chain on the node. */
  readonly reachable: readonly ProxyEndpoint[];
  /** Somewhere, if not here. */
  readonly hasAny: boolean;
}

/** As seen from a node; `undefined`: a node without endpoints of its own. */
export function viewEndpoints(port: ServicePortInfo, nodeName: string | undefined): EndpointView {
  const { endpoints } = port;
  const cluster = usesClusterEndpoints(port) ? best(endpoints) : [];
  if (!usesLocalEndpoints(port))
    return { cluster, local: [], reachable: cluster, hasAny: cluster.length > 0 };
  const local = nodeName === undefined ? [] : best(endpoints.filter((one) => one.nodeName === nodeName));
  const listed = new Set([...cluster, ...local]);
  return {
    cluster,
    local,
    reachable: endpoints.filter((one) => listed.has(one)),
    hasAny: best(endpoints).length > 0,
  };
}

/** Ready endpoints, or where there are none those that still serve while they end. */
function best(endpoints: readonly ProxyEndpoint[]): readonly ProxyEndpoint[] {
  const ready = endpoints.filter((one) => one.ready);
  return ready.length > 0 ? ready : endpoints.filter((one) => one.isLastResort);
}
