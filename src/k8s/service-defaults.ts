/**
 * What the API server and Azure's cloud controller give to a Service that asks for it: cluster addresses, node ports, a
 * health check port, the load balancer's address. Node ports are the lowest free ones instead of random ones, so that
 * equal input gives equal ports. Governing sources: kubernetes pkg/registry/core/service (storage, portallocator),
 * cloud-provider-azure pkg/provider/azure_loadbalancer.go.
 */
import type { Family, Ip } from "../addr/index.ts";
import { InputError } from "../base/index.ts";
import type { ServiceInput } from "./decode-service.ts";
import type { AddressPool } from "./ipam.ts";
import type { Service, ServicePort } from "./types.ts";

/** The API server's default range (--service-node-port-range). */
const nodePortsFirst = 30_000;
const nodePortsLast = 32_767;

const internalAnnotation = "service.beta.kubernetes.io/azure-load-balancer-internal";

export class ServiceAllocator {
  readonly #pool: AddressPool;
  /** Whatever their protocol: the API server's allocator knows none. */
  readonly #nodePorts = new Set<number>();

  constructor(pool: AddressPool, services: Iterable<Service>) {
    this.#pool = pool;
    for (const service of services) this.claim(service);
  }

  /** What is given is taken, before anything is handed out. */
  claim(service: Service): void {
    this.#pool.claim([...service.clusterIPs, ...service.loadBalancerIPs]);
    for (const { nodePort } of service.ports) if (nodePort !== undefined) this.#nodePorts.add(nodePort);
    if (service.healthCheckNodePort !== undefined) this.#nodePorts.add(service.healthCheckNodePort);
  }

  /** `old` is the Service before this edit: it keeps what it was given then. */
  complete(input: ServiceInput, old: Service | undefined): Service {
    const { wantsClusterIP, wantsNodePorts, isDualStack, wantedLoadBalancerIPs, ...given } = input;
    const kept = old?.clusterIPs ?? [];
    const clusterIPs = !wantsClusterIP
      ? given.clusterIPs
      : kept.length > 0
        ? kept
        : this.#pool.clusterIPs(isDualStack);
    const isBalanced = given.type === "LoadBalancer";
    const hasNodePorts = given.type === "NodePort" || (isBalanced && wantsNodePorts);
    const ports = hasNodePorts ? this.#withNodePorts(given.ports, old) : given.ports;
    const families = [...new Set(clusterIPs.map(({ family }) => family))];
    const service: Service = {
      ...given,
      clusterIPs,
      ports,
      loadBalancerIPs: isBalanced ? this.#balancerIPs(given, wantedLoadBalancerIPs, families, old) : [],
      healthCheckNodePort:
        isBalanced && given.externalTrafficPolicy === "Local"
          ? (given.healthCheckNodePort ?? old?.healthCheckNodePort ?? this.#takePort())
          : undefined,
    };
    this.claim(service);
    return service;
  }

  /** Ports of one number and several protocols share a node port (storage/alloc.go, findRequestedNodePort). */
  #withNodePorts(ports: readonly ServicePort[], old: Service | undefined): readonly ServicePort[] {
    const byNumber = new Map<number, number>();
    for (const { port, nodePort } of ports) if (nodePort !== undefined) byNumber.set(port, nodePort);
    return ports.map((port) => {
      if (port.nodePort !== undefined) return port;
      const before = old?.ports.find(
        (one) => one.name === port.name && one.port === port.port && one.protocol === port.protocol,
      );
      const nodePort = before?.nodePort ?? byNumber.get(port.port) ?? this.#takePort();
      byNumber.set(port.port, nodePort);
      return { ...port, nodePort };
    });
  }

  #takePort(): number {
    for (let port = nodePortsFirst; port <= nodePortsLast; port++) {
      if (this.#nodePorts.has(port)) continue;
      this.#nodePorts.add(port);
      return port;
    }
    throw new InputError([
      {
        code: "too-large",
        path: "spec.ports",
        message: `no free node port left in ${nodePortsFirst}-${nodePortsLast}`,
      },
    ]);
  }

  #balancerIPs(
    given: Service,
    wanted: readonly Ip[],
    families: readonly Family[],
    old: Service | undefined,
  ): readonly Ip[] {
    if (given.loadBalancerIPs.length > 0) return given.loadBalancerIPs;
    if (wanted.length > 0) return wanted;
    if (old !== undefined && old.loadBalancerIPs.length > 0) return old.loadBalancerIPs;
    const isInternal = given.annotations[internalAnnotation] === "true";
    return families.map((family) => this.#pool.balancerIP(family, isInternal));
  }
}
