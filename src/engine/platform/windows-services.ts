/**
 * What kube-proxy programs on a Windows node: HNS load balancers, and endpoints for the backends of other nodes. Governing
 * source: kubernetes pkg/proxy/winkernel/{proxier,hns}.go, 1.32 to 1.34. On AKS it runs with --enable-dsr=true and
 * --feature-gates=WinDSR=true,WinOverlay=false (AgentBaker; Azure/AKS #2073), on an L2Bridge network: no source VIP.
 *
 * kube-proxy walks its Services in random order; here they stand in name order, so that equal input gives equal text.
 */
import { type Family, formatIp, type Ip } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import {
  type HnsEndpoint,
  type HnsLoadBalancer,
  LbFlag,
  LbPortFlag,
  type LbPortMapping,
} from "../../filter/hns/index.ts";
import type { ClusterState, Node } from "../../k8s/index.ts";
import { guidOf } from "./guid.ts";
import { type ServicePortInfo, servicePorts } from "./service-ports.ts";
import { type LocalAddresses, type WindowsBackend, windowsBackends } from "./windows-backends.ts";

export interface WindowsServices {
  /** Of backends on other nodes, or nowhere in the cluster. */
  readonly endpoints: readonly HnsEndpoint[];
  readonly loadBalancers: readonly HnsLoadBalancer[];
}

type ServicesOn = (node: Node, local: ReadonlyMap<string, string>) => WindowsServices;

const families: readonly Family[] = [4, 6];
const protocolNumber = { tcp: 6, udp: 17, sctp: 132 } as const;
const byServices = new WeakMap<object, WeakMap<object, ServicesOn>>();

/** `local`: ids of the node's own endpoints by address. Nodes without backends of their own share one object. */
export function windowsServices({ services, endpointSlices }: ClusterState): ServicesOn {
  const bySlices = byServices.get(services) ?? new WeakMap<object, ServicesOn>();
  byServices.set(services, bySlices);
  let made = bySlices.get(endpointSlices);
  if (made === undefined) {
    made = servicesOn({ services, endpointSlices });
    bySlices.set(endpointSlices, made);
  }
  return made;
}

function servicesOn(objects: Pick<ClusterState, "services" | "endpointSlices">): ServicesOn {
  const ports = families.flatMap((family) => servicePorts(objects, family));
  const nowhere = new Map<string, string>();
  const remote = remoteEndpoints();
  const elsewhere = ports.map((port) => portServices(port, undefined, nowhere, remote));
  const shared = joined(elsewhere);
  const [byNode, byAddress] = [new Map<string, Set<number>>(), new Map<string, Set<number>>()];
  for (const [i, { endpoints }] of ports.entries())
    for (const { nodeName, ip } of endpoints) {
      if (nodeName !== undefined) note(byNode, nodeName, i);
      note(byAddress, formatIp(ip), i);
    }
  return (node, local) => {
    const concerned = new Set(byNode.get(node.name));
    for (const address of local.keys()) for (const i of byAddress.get(address) ?? []) concerned.add(i);
    if (concerned.size === 0) return shared;
    const own = [...elsewhere];
    for (const i of concerned) own[i] = portServices(ports[i] as ServicePortInfo, node.name, local, remote);
    return joined(own);
  };
}

function note(index: Map<string, Set<number>>, key: string, value: number): void {
  const known = index.get(key);
  if (known === undefined) index.set(key, new Set([value]));
  else known.add(value);
}

function joined(all: readonly WindowsServices[]): WindowsServices {
  const endpoints = new Map(all.flatMap((one) => one.endpoints).map((one) => [one.id, one]));
  return Object.freeze({
    endpoints: Object.freeze([...endpoints.values()]),
    loadBalancers: Object.freeze(all.flatMap((one) => one.loadBalancers)),
  });
}

function portServices(
  port: ServicePortInfo,
  nodeName: string | undefined,
  local: LocalAddresses & ReadonlyMap<string, string>,
  remote: RemoteEndpoint,
): WindowsServices {
  const backends = windowsBackends(port, nodeName, local);
  const { targetPort } = backends;
  if (targetPort === undefined) return { endpoints: [], loadBalancers: [] };
  const { protocol, name, affinitySeconds, isExternalLocal, origin } = port;
  const family = port.clusterIP.family;
  const ofFamily = family === 6 ? LbFlag.ipv6 : 0;
  const idOf = ({ ip, isLocal }: WindowsBackend): string => {
    const own = local.get(formatIp(ip));
    assert(!isLocal || own !== undefined, "a local backend has an endpoint");
    return own ?? remote(ip).id;
  };
  const balancer = (
    what: string,
    vip: Ip | undefined,
    list: readonly WindowsBackend[],
    externalPort: number,
    flags: { readonly port: number; readonly isDsr: boolean },
  ): readonly HnsLoadBalancer[] => {
    if (list.length === 0) return [];
    const mapping: LbPortMapping = {
      protocol: protocolNumber[protocol],
      internalPort: targetPort,
      externalPort,
      distribution: affinitySeconds === undefined ? "None" : "SourceIP",
      flags: flags.port,
    };
    return [
      {
        id: guidOf(
          `load balancer ${name} ${protocol} ${family} ${what} ${vip === undefined ? "" : formatIp(vip)}`,
        ),
        endpoints: list.map(idOf),
        sourceVip: undefined,
        frontendVips: vip === undefined ? [] : [vip],
        portMappings: [mapping],
        flags: ofFamily | (flags.isDsr ? LbFlag.dsr : 0),
        origin,
      },
    ];
  };
  const external = { port: LbPortFlag.vipExternalIp, isDsr: isExternalLocal };
  const loadBalancers = [
    ...balancer("cluster", port.clusterIP, backends.cluster, port.port, { port: 0, isDsr: true }),
    ...(port.nodePort === undefined
      ? []
      : balancer("node port", undefined, backends.nodePort, port.nodePort, {
          ...external,
          port: LbPortFlag.vipExternalIp | LbPortFlag.localRoutedVip,
        })),
    ...port.externalIPs.flatMap((ip) => balancer("external", ip, backends.external, port.port, external)),
    ...port.loadBalancerIPs.flatMap((ip) => balancer("ingress", ip, backends.ingress, port.port, external)),
  ];
  const others = backends.all.filter(({ ip }) => !local.has(formatIp(ip)));
  return { endpoints: others.map(({ ip }) => remote(ip)), loadBalancers };
}

type RemoteEndpoint = (ip: Ip) => HnsEndpoint;

/** One object for each address. kube-proxy gives it no name, and a MAC address made of the address. */
function remoteEndpoints(): RemoteEndpoint {
  const known = new Map<string, HnsEndpoint>();
  return (ip) => {
    const text = formatIp(ip);
    let endpoint = known.get(text);
    if (endpoint === undefined) {
      endpoint = Object.freeze({
        id: guidOf(`remote endpoint ${text}`),
        name: "",
        network: azureNetworkId,
        isRemote: true,
        addresses: [ip],
        mac: conjuredMac(ip),
        acls: [],
        tiers: [],
        otherPolicies: [],
      });
      known.set(text, endpoint);
    }
    return endpoint;
  };
}

/** Of the network that Azure CNI makes. */
export const azureNetworkId: string = guidOf("network azure");

function conjuredMac({ family, words }: Ip): string {
  const last = words[words.length - 1] ?? 0;
  const bytes = [24, 16, 8, 0].map((shift) => ((last >>> shift) & 0xff).toString(16).padStart(2, "0"));
  return ["02", "11", ...(family === 6 ? bytes.reverse() : bytes)].join("-");
}
