/** Services as ends of a connection: the addresses that each is reached at, and the ports it answers on. */
import { formatIp, type Ip } from "../addr/index.ts";
import type { ClusterState, EndpointSlice, Service, ServiceAccess, ServiceEnd } from "../k8s/index.ts";
import type { TableEnd, TablePort } from "./ends.ts";

/** Cluster addresses (`svc:`) and load balancers' (`lb:`), in name order. */
export function serviceEnds(state: ClusterState): readonly TableEnd<ServiceEnd>[] {
  const ends: TableEnd<ServiceEnd>[] = [];
  const names = [...state.services.keys()].sort();
  for (const prefix of ["svc", "lb"] as const)
    for (const name of names) {
      const end = serviceEnd(state, state.services.get(name) as Service, prefix);
      if (end !== undefined) ends.push({ id: `${prefix}:${name}`, end });
    }
  return ends;
}

/** `undefined`: the Service has no such address. */
export function serviceEnd(
  state: ClusterState,
  service: Service,
  prefix: "svc" | "lb",
): (ServiceEnd & { kind: "service" }) | undefined {
  const made = (access: ServiceAccess, ips: readonly Ip[]): (ServiceEnd & { kind: "service" }) | undefined =>
    ips.length === 0 ? undefined : { kind: "service", service, access, ips };
  if (prefix === "lb") return made("load-balancer", service.loadBalancerIPs);
  return service.headless
    ? made("headless", endpointAddresses(state, service))
    : made("cluster-ip", service.clusterIPs);
}

/** The Service that an address stands for, if one does. */
export function serviceAt(state: ClusterState, ip: Ip): ServiceEnd | undefined {
  const text = formatIp(ip);
  const has = (ips: readonly Ip[]): boolean => ips.some((one) => formatIp(one) === text);
  for (const service of state.services.values()) {
    const access: ServiceAccess | undefined = has(service.clusterIPs)
      ? "cluster-ip"
      : has(service.loadBalancerIPs)
        ? "load-balancer"
        : has(service.externalIPs)
          ? "external-ip"
          : undefined;
    if (access !== undefined) return { kind: "service", service, access, ips: [ip] };
  }
  return undefined;
}

/** What a client of the end may ask for: the Service's ports, of a headless one its endpoints'. */
export function servicePortsOf(state: ClusterState, end: ServiceEnd): readonly TablePort[] {
  if (end.kind === "node-port") return [];
  const { service, access } = end;
  if (access !== "headless") return service.ports.map(({ protocol, port }) => ({ protocol, port }));
  const ports = slicesOf(state, service).flatMap((slice) => slice.ports);
  const unique = new Map(ports.map(({ protocol, port }) => [`${protocol}/${port}`, { protocol, port }]));
  return [...unique.values()];
}

/** A Service's endpoints, slice by slice. */
export function slicesOf(state: ClusterState, { namespace, name }: Service): readonly EndpointSlice[] {
  return [...state.endpointSlices.values()].filter(
    (slice) => slice.namespace === namespace && slice.serviceName === name,
  );
}

function endpointAddresses(state: ClusterState, service: Service): readonly Ip[] {
  const ready = slicesOf(state, service).flatMap(({ endpoints }) => endpoints.filter((one) => one.ready));
  return [...new Map(ready.flatMap(({ ips }) => ips).map((ip) => [formatIp(ip), ip])).values()];
}
