/**
 * What kube-proxy in iptables mode programs for a service port: its rules in the shared chains and its own chains,
 * rule for rule as iptables-save prints them on a node. Governing source: kubernetes pkg/proxy/iptables/proxier.go,
 * 1.28 to 1.33 (later versions add `nfacct` counters to two rules where the kernel has them; verdicts are the same).
 *
 * kube-proxy walks its Services in random order; here they stand in name order, so that equal input gives equal text.
 */
import { createHash } from "node:crypto";
import { type Cidr, cidrContains, type Ip } from "../../addr/index.ts";
import { RejectKind } from "../../filter/index.ts";
import type { Chain, Match, Rule, Target } from "../../filter/iptables/index.ts";
import {
  accept,
  comment,
  dport,
  drop,
  from,
  fromLocal,
  hostCidr,
  jump,
  notFrom,
  protocol,
  recent,
  rule,
  to,
  toLocal,
} from "./rules.ts";
import {
  type EndpointView,
  isExternallyAccessible,
  type ProxyEndpoint,
  type ServicePortInfo,
  usesClusterEndpoints,
  usesLocalEndpoints,
} from "./service-ports.ts";

export const markMasqChain = "KUBE-MARK-MASQ";

/** What all service ports of a node share. */
export interface ProxyConfig {
  /**
   * Sources that count as the cluster's own (--detect-local-mode=ClusterCIDR with --cluster-cidr): what comes from
   * elsewhere to a cluster address is masqueraded. `undefined`: not configured, nothing is.
   */
  readonly clusterCidr: Cidr | undefined;
  /** More than 1,000 endpoints in all: comments of endpoint rules are left out. */
  readonly isLargeCluster: boolean;
}

/** A port's rules by the chain that they stand in. */
export interface ServicePortRules {
  readonly nat: {
    readonly services: readonly Rule[];
    readonly nodePorts: readonly Rule[];
    readonly chains: readonly Chain[];
  };
  readonly filter: {
    readonly services: readonly Rule[];
    readonly externalServices: readonly Rule[];
    readonly firewall: readonly Rule[];
    readonly nodePorts: readonly Rule[];
  };
}

/** Hash of kube-proxy's chain names: the first 16 base-32 digits of a SHA-256. */
export function chainHash(text: string): string {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const digest = createHash("sha256").update(text).digest();
  let hash = "";
  let bits = 0;
  let left = 0;
  for (const byte of digest.subarray(0, 10)) {
    bits = (bits << 8) | byte;
    for (left += 8; left >= 5; left -= 5) hash += digits[(bits >> (left - 5)) & 31];
    bits &= (1 << left) - 1;
  }
  return hash;
}

interface ChainNames {
  readonly cluster: string;
  readonly local: string;
  readonly external: string;
  readonly firewall: string;
  endpoint(endpoint: ProxyEndpoint): string;
}

function chainNames({ name, protocol: transport }: ServicePortInfo): ChainNames {
  const hash = chainHash(name + transport);
  return {
    cluster: `KUBE-SVC-${hash}`,
    local: `KUBE-SVL-${hash}`,
    external: `KUBE-EXT-${hash}`,
    firewall: `KUBE-FW-${hash}`,
    endpoint: (endpoint) => `KUBE-SEP-${chainHash(name + transport + endpoint.name)}`,
  };
}

/** True if the port's rules differ between nodes. */
export function dependsOnNode(port: ServicePortInfo): boolean {
  return usesLocalEndpoints(port) || hasSourceRanges(port);
}

function hasSourceRanges(port: ServicePortInfo): boolean {
  return port.loadBalancerIPs.length > 0 && port.sourceRanges.length > 0;
}

/** True if one of the source ranges holds the node's own address: then the node may use the load balancer's address. */
export function admitsNode(port: ServicePortInfo, nodeIP: Ip | undefined): boolean {
  return (
    nodeIP !== undefined &&
    hasSourceRanges(port) &&
    port.sourceRanges.some(({ net }) => cidrContains(net, nodeIP))
  );
}

export function servicePortRules(
  port: ServicePortInfo,
  view: EndpointView,
  nodeIsAdmitted: boolean,
  config: ProxyConfig,
): ServicePortRules {
  const names = chainNames(port);
  const hasInternal = view.hasAny && (!port.isInternalLocal || view.local.length > 0);
  const hasExternal = view.hasAny && (!port.isExternalLocal || view.local.length > 0);
  const hasFirewall = view.hasAny && hasSourceRanges(port);
  const captures = portCaptures(port, names, view, hasFirewall);
  return {
    nat: {
      services: [...(hasInternal ? [captures.toCluster] : []), ...captures.toExternal],
      nodePorts: captures.toNodePort,
      chains: [
        ...(view.hasAny && isExternallyAccessible(port)
          ? [externalChain(port, names, hasExternal, config)]
          : []),
        ...(hasFirewall ? [firewallChain(port, names, nodeIsAdmitted)] : []),
        ...policyChains(port, names, view, hasInternal, config),
        ...view.reachable.map((endpoint) => endpointChain(port, names, endpoint, config)),
      ],
    },
    filter: portFilters(port, names, view.hasAny, { hasInternal, hasExternal, hasFirewall }),
  };
}

/** Matches of a destination address and port, around a comment. */
function toAddress(
  { protocol: transport }: ServicePortInfo,
  ip: Ip,
  port: number,
  text: string,
): readonly Match[] {
  return [to(hostCidr(ip)), protocol(transport), comment(text), ...dport(transport, port)];
}

function portCaptures(
  port: ServicePortInfo,
  names: ChainNames,
  view: EndpointView,
  hasFirewall: boolean,
): { readonly toCluster: Rule; readonly toExternal: readonly Rule[]; readonly toNodePort: readonly Rule[] } {
  const { name, origin, protocol: transport, nodePort } = port;
  const capture = (ip: Ip, what: string, chain: string): Rule =>
    rule(origin, toAddress(port, ip, port.port, `${name} ${what}`), jump(chain));
  const internal = port.isInternalLocal ? names.local : names.cluster;
  const balanced = hasFirewall ? names.firewall : names.external;
  return {
    toCluster: capture(port.clusterIP, "cluster IP", internal),
    toExternal: view.hasAny
      ? [
          ...port.externalIPs.map((ip) => capture(ip, "external IP", names.external)),
          ...port.loadBalancerIPs.map((ip) => capture(ip, "loadbalancer IP", balanced)),
        ]
      : [],
    toNodePort:
      view.hasAny && nodePort !== undefined
        ? [
            rule(
              origin,
              [protocol(transport), comment(name), ...dport(transport, nodePort)],
              jump(names.external),
            ),
          ]
        : [],
  };
}

/** What no chain of table nat took: refused where the Service has no endpoints at all, dropped where none is here. */
function portFilters(
  port: ServicePortInfo,
  names: ChainNames,
  hasEndpoints: boolean,
  has: { readonly hasInternal: boolean; readonly hasExternal: boolean; readonly hasFirewall: boolean },
): ServicePortRules["filter"] {
  const { name, protocol: transport, nodePort, healthCheckNodePort } = port;
  const origin = { ...port.origin, role: "deny" as const };
  const why = `${name} has no ${hasEndpoints ? "local " : ""}endpoints`;
  const target: Target = hasEndpoints ? drop : { kind: "REJECT", with: RejectKind.portUnreachable };
  const refuse = (ip: Ip): Rule => rule(origin, toAddress(port, ip, port.port, why), target);
  const closed = nodePort !== undefined && !has.hasExternal ? nodePort : undefined;
  return {
    services: has.hasInternal ? [] : [refuse(port.clusterIP)],
    externalServices: has.hasExternal
      ? []
      : [
          ...port.externalIPs.map(refuse),
          ...port.loadBalancerIPs.map(refuse),
          ...(closed === undefined
            ? []
            : [
                rule(
                  origin,
                  [protocol(transport), comment(why), toLocal, ...dport(transport, closed)],
                  target,
                ),
              ]),
        ],
    firewall: has.hasFirewall
      ? port.loadBalancerIPs.map((ip) =>
          rule(
            origin,
            toAddress(port, ip, port.port, `${name} traffic not accepted by ${names.firewall}`),
            drop,
          ),
        )
      : [],
    nodePorts:
      healthCheckNodePort === undefined
        ? []
        : [
            rule(
              port.origin,
              [
                protocol("tcp"),
                comment(`${name} health check node port`),
                ...dport("tcp", healthCheckNodePort),
              ],
              accept,
            ),
          ],
  };
}

/** Traffic to node ports, load balancer and external addresses: masquerade, or keep sources and local endpoints. */
function externalChain(
  port: ServicePortInfo,
  names: ChainNames,
  hasExternal: boolean,
  { clusterCidr }: ProxyConfig,
): Chain {
  const { name, origin } = port;
  const destinations = `${name} external destinations`;
  const rules: Rule[] = [];
  const add = (matches: readonly Match[], chain: string): void => {
    rules.push(rule(origin, matches, jump(chain)));
  };
  if (port.isExternalLocal) {
    if (clusterCidr !== undefined)
      add([from(clusterCidr), comment(`pod traffic for ${destinations}`)], names.cluster);
    add([comment(`masquerade LOCAL traffic for ${destinations}`), fromLocal], markMasqChain);
    add([comment(`route LOCAL traffic for ${destinations}`), fromLocal], names.cluster);
  } else add([comment(`masquerade traffic for ${destinations}`)], markMasqChain);
  if (hasExternal) add([], port.isExternalLocal ? names.local : names.cluster);
  return { name: names.external, rules };
}

/** Sources that `loadBalancerSourceRanges` admits; what comes to the end is dropped in KUBE-PROXY-FIREWALL. */
function firewallChain(port: ServicePortInfo, names: ChainNames, nodeIsAdmitted: boolean): Chain {
  const { name, origin } = port;
  const text = comment(`${name} loadbalancer IP`);
  const through = jump(names.external);
  return {
    name: names.firewall,
    rules: [
      ...port.sourceRanges.map(({ net, origin: range }) => rule(range, [from(net), text], through)),
      ...(nodeIsAdmitted
        ? port.loadBalancerIPs.map((ip) => rule(origin, [from(hostCidr(ip)), text], through))
        : []),
      rule(origin, [comment(`other traffic to ${name} will be dropped by KUBE-PROXY-FIREWALL`)], undefined),
    ],
  };
}

/** KUBE-SVC and KUBE-SVL: off-cluster sources are marked, then an endpoint is drawn. */
function policyChains(
  port: ServicePortInfo,
  names: ChainNames,
  view: EndpointView,
  hasInternal: boolean,
  config: ProxyConfig,
): readonly Chain[] {
  const { clusterCidr } = config;
  const mark =
    hasInternal && clusterCidr !== undefined
      ? [
          rule(
            port.origin,
            [notFrom(clusterCidr), ...toAddress(port, port.clusterIP, port.port, `${port.name} cluster IP`)],
            jump(markMasqChain),
          ),
        ]
      : [];
  const balance = (endpoints: readonly ProxyEndpoint[]): readonly Rule[] =>
    balancingRules(port, names, endpoints, config);
  const chains: Chain[] = [];
  if (usesClusterEndpoints(port) && view.cluster.length > 0)
    chains.push({
      name: names.cluster,
      rules: [...(port.isInternalLocal ? [] : mark), ...balance(view.cluster)],
    });
  if (usesLocalEndpoints(port) && view.local.length > 0)
    chains.push({
      name: names.local,
      rules: [...(port.isInternalLocal ? mark : []), ...balance(view.local)],
    });
  return chains;
}

/** A client that was here lately goes where it went; others draw, each endpoint with the same chance. */
function balancingRules(
  port: ServicePortInfo,
  names: ChainNames,
  endpoints: readonly ProxyEndpoint[],
  { isLargeCluster }: ProxyConfig,
): readonly Rule[] {
  const { name, origin, clusterIP, affinitySeconds: seconds } = port;
  const text = (endpoint: ProxyEndpoint): readonly Match[] =>
    isLargeCluster ? [] : [comment(`${name} -> ${endpoint.name}`)];
  const known =
    seconds === undefined
      ? []
      : endpoints.map((endpoint) => {
          const chain = names.endpoint(endpoint);
          const seen = recent(chain, clusterIP.family, { action: "rcheck", seconds, reap: true });
          return rule(origin, [...text(endpoint), seen], jump(chain));
        });
  const drawn = endpoints.map((endpoint, i) => {
    const left = endpoints.length - i;
    const draw: readonly Match[] =
      left === 1 ? [] : [{ kind: "statistic", mode: "random", probability: share(left) }];
    return rule(origin, [...text(endpoint), ...draw], jump(names.endpoint(endpoint)));
  });
  return [...known, ...drawn];
}

/** One of `count`, with the ten digits that kube-proxy writes and the 31 bits that the kernel keeps of them. */
function share(count: number): number {
  return Math.round(Number((1 / count).toFixed(10)) * 0x8000_0000) / 0x8000_0000;
}

/** KUBE-SEP: a pod that reaches itself through its Service needs another source; then the translation. */
function endpointChain(
  port: ServicePortInfo,
  names: ChainNames,
  endpoint: ProxyEndpoint,
  { isLargeCluster }: ProxyConfig,
): Chain {
  const { name: serviceName, origin, protocol: transport, affinitySeconds } = port;
  const name = names.endpoint(endpoint);
  const text: readonly Match[] = isLargeCluster ? [] : [comment(serviceName)];
  const host = hostCidr(endpoint.ip);
  const set = affinitySeconds === undefined ? [] : [recent(name, endpoint.ip.family, { action: "set" })];
  return {
    name,
    rules: [
      rule(origin, [from(host), ...text], jump(markMasqChain)),
      rule(origin, [protocol(transport), ...text, ...set, { kind: "transport", protocol: transport }], {
        kind: "DNAT",
        to: { min: host, max: host, ports: [endpoint.port, endpoint.port] },
      }),
    ],
  };
}
