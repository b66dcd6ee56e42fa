/**
 * Which endpoints of a service port kube-proxy takes for backends on a Windows node, address by address of the Service.
 * Governing source: kubernetes pkg/proxy/winkernel/proxier.go (syncProxyRules).
 */
import { formatIp, type Ip } from "../../addr/index.ts";
import type { ProxyEndpoint, ServicePortInfo } from "./service-ports.ts";

/** Addresses that the node's own HNS endpoints have. */
export interface LocalAddresses {
  has(address: string): boolean;
}

export interface WindowsBackend {
  readonly ip: Ip;
  /** An endpoint of HNS on this node. */
  readonly isLocal: boolean;
}

export interface WindowsBackends {
  /** One for all of them, of the endpoint that comes last; `undefined`: there is none. */
  readonly targetPort: number | undefined;
  readonly all: readonly WindowsBackend[];
  readonly cluster: readonly WindowsBackend[];
  readonly nodePort: readonly WindowsBackend[];
  readonly external: readonly WindowsBackend[];
  readonly ingress: readonly WindowsBackend[];
}

/** As seen from a node; `undefined`: one without endpoints of its own. */
export function windowsBackends(
  port: ServicePortInfo,
  nodeName: string | undefined,
  local: LocalAddresses,
): WindowsBackends {
  const isHere = (one: ProxyEndpoint): boolean => nodeName !== undefined && one.nodeName === nodeName;
  const chosen = chooseEndpoints(port, isHere);
  const { isInternalLocal, isExternalLocal } = port;
  // no endpoint of HNS has the node's own address: pods of its host network are passed over
  const found = chosen.endpoints.filter((one) => !isHere(one) || local.has(formatIp(one.ip)));
  const all = found.map(({ ip }) => ({ ip, isLocal: local.has(formatIp(ip)) }));
  const here = all.filter(({ isLocal }) => isLocal);
  const outside = isExternalLocal ? here : all;
  const available = chosen.isAvailableOutside ? outside : [];
  return {
    targetPort: found.at(-1)?.port,
    all,
    cluster: isInternalLocal ? here : all,
    nodePort: available,
    external: available,
    ingress: outside,
  };
}

/**
 * Endpoints that end are looked at for Services with a load balancer's address alone: where all end, they go on in its
 * own address and the cluster's; where none serves, whatever there is stays.
 */
function chooseEndpoints(
  { endpoints, loadBalancerIPs, isInternalLocal, isExternalLocal }: ServicePortInfo,
  isHere: (one: ProxyEndpoint) => boolean,
): { readonly endpoints: readonly ProxyEndpoint[]; readonly isAvailableOutside: boolean } {
  const reachable = isInternalLocal && isExternalLocal ? endpoints.filter(isHere) : endpoints;
  const isReady = ({ ready, serving }: ProxyEndpoint): boolean => ready && serving;
  if (loadBalancerIPs.length === 0) return { endpoints: reachable.filter(isReady), isAvailableOutside: true };
  const counted = isExternalLocal ? endpoints.filter(isHere) : endpoints;
  const allEnd = counted.every(({ ready, terminating }) => terminating || !ready);
  if (!counted.some(({ serving }) => serving)) return { endpoints: reachable, isAvailableOutside: false };
  return {
    endpoints: reachable.filter(({ ready, serving }) => serving && (allEnd || ready)),
    isAvailableOutside: !allEnd,
  };
}
