/**
 * What an AKS Linux node carries before any policy engine: kube-proxy's chains (iptables mode), kubelet's,
 * ip-masq-agent's, and the rules that keep pods from the host's wireserver. Order and texts as in live dumps of AKS
 * nodes. With networkDataplane cilium there is no kube-proxy (Cilium replaces it), nor anything that it writes; the
 * rest is the same.
 */
import { type Cidr, type Family, formatCidr } from "../../addr/index.ts";
import { type Chain, CtStateBit, type Rule, type Ruleset, type Table } from "../../filter/iptables/index.ts";
import type { ClusterOptions } from "../../k8s/index.ts";
import { markMasqChain } from "./kube-proxy.ts";
import {
  accept,
  type ChainRules,
  cidr,
  comment,
  component,
  ctstate,
  dport,
  drop,
  isNew,
  jump,
  notFrom,
  notTo,
  protocol,
  rule,
  table,
  to,
  toLocal,
} from "./rules.ts";
import type { ServiceChains } from "./services.ts";

/** Azure's host endpoint (DHCP, health probes, VM agent), the same in every region. */
export const wireserverAddress = "168.63.129.16";

/** kube-proxy's mark for packets that must be masqueraded. */
export const masqueradeMark = 0x4000;

const proxy = component("kube-proxy");
const kubelet = component("kubelet");
const masqAgent = component("ip-masq-agent");
const azure = component("azure-cni", "egress");

/**
 * What AKS gives kube-proxy as --cluster-cidr: where pods have addresses of their own, their range; where they live in
 * the nodes' subnet, that subnet (seen in live dumps: `! -s 10.224.0.0/16`), so that nodes count as local too.
 */
export function clusterCidr(options: ClusterOptions, family: Family): Cidr | undefined {
  const isFlat = options.networkPlugin === "azure" && options.networkPluginMode === undefined;
  return (isFlat ? options.nodeSubnets : options.podCidrs).find((net) => net.family === family);
}

/**
 * The last rule of KUBE-SERVICES (--nodeport-addresses is not set: every address of the node's). IPv6 has no
 * route_localnet: there a node port does not answer on ::1.
 */
export function toNodePorts(family: Family): Rule {
  const text = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain");
  const notLoopback = family === 6 ? [notTo(cidr("::1/128"))] : [];
  return rule(proxy, [...notLoopback, text, toLocal], jump("KUBE-NODEPORTS"));
}

/** `services`: what kube-proxy made of the Services, `undefined` where there is none. */
export function linuxRuleset(
  options: ClusterOptions,
  family: Family,
  services: ServiceChains | undefined,
): Ruleset {
  const canaries: ChainRules = [
    ["KUBE-KUBELET-CANARY", []],
    ...(services === undefined ? [] : ([["KUBE-PROXY-CANARY", []]] as const)),
  ];
  const tables = {
    mangle: table("mangle", [["KUBE-IPTABLES-HINT", []], ...canaries]),
    nat: natTable(options, family, canaries, services?.nat),
    filter: filterTable(family, canaries, services?.filter),
  };
  return { family, tables: family === 4 ? { ...tables, security: securityTable() } : tables };
}

function filterTable(family: Family, canaries: ChainRules, services: readonly Chain[] | undefined): Table {
  const wireserver = rule(
    azure,
    [to(cidr(`${wireserverAddress}/32`)), protocol("tcp"), ...dport("tcp", 80)],
    drop,
  );
  // route_localnet lets packets to 127.0.0.0/8 in from outside; IPv6 has no such switch
  const loopback = cidr("127.0.0.0/8");
  const martians = rule(
    kubelet,
    [
      notFrom(loopback),
      to(loopback),
      comment("block incoming localnet connections"),
      ctstate(CtStateBit.RELATED | CtStateBit.ESTABLISHED | CtStateBit.DNAT, true),
    ],
    drop,
  );
  const firewall = rule(kubelet, [], jump("KUBE-FIREWALL"));
  const own = services === undefined ? noProxyRules : proxyFilterRules();
  const chains: ChainRules = [
    ["INPUT", [...own.input, firewall]],
    ["FORWARD", [...own.forward, ...(family === 4 ? [wireserver] : [])]],
    ["OUTPUT", [...own.output, firewall]],
    ["KUBE-FIREWALL", family === 4 ? [martians] : []],
    ...own.chains,
    ...canaries,
  ];
  return table("filter", chains, services);
}

/** kube-proxy's part of the filter table, but for the chains that depend on Services. */
interface ProxyFilterRules {
  readonly input: readonly Rule[];
  readonly forward: readonly Rule[];
  readonly output: readonly Rule[];
  readonly chains: ChainRules;
}

const noProxyRules: ProxyFilterRules = { input: [], forward: [], output: [], chains: [] };

function proxyFilterRules(): ProxyFilterRules {
  const toFirewall = rule(
    proxy,
    [isNew, comment("kubernetes load balancer firewall")],
    jump("KUBE-PROXY-FIREWALL"),
  );
  const toServices = rule(proxy, [isNew, comment("kubernetes service portals")], jump("KUBE-SERVICES"));
  const toExternal = rule(
    proxy,
    [isNew, comment("kubernetes externally-visible service portals")],
    jump("KUBE-EXTERNAL-SERVICES"),
  );
  const toHealthChecks = rule(
    proxy,
    [comment("kubernetes health check service ports")],
    jump("KUBE-NODEPORTS"),
  );
  const forwarding = comment("kubernetes forwarding rules");
  const established = ctstate(CtStateBit.RELATED | CtStateBit.ESTABLISHED);
  return {
    input: [toFirewall, toHealthChecks, toExternal],
    forward: [toFirewall, rule(proxy, [forwarding], jump("KUBE-FORWARD")), toServices, toExternal],
    output: [toFirewall, toServices],
    chains: [
      [
        "KUBE-FORWARD",
        [
          rule(proxy, [ctstate(CtStateBit.INVALID)], drop),
          rule(proxy, [forwarding, { kind: "mark", value: masqueradeMark, mask: masqueradeMark }], accept),
          rule(proxy, [comment("kubernetes forwarding conntrack rule"), established], accept),
        ],
      ],
    ],
  };
}

function natTable(
  options: ClusterOptions,
  family: Family,
  canaries: ChainRules,
  services: readonly Chain[] | undefined,
): Table {
  const inCluster = masqueradeExempt(options).filter((net) => net.family === family);
  const local = comment("ip-masq-agent: local traffic is not subject to MASQUERADE");
  const portals =
    services === undefined
      ? []
      : [rule(proxy, [comment("kubernetes service portals")], jump("KUBE-SERVICES"))];
  const postrouting =
    services === undefined
      ? []
      : [rule(proxy, [comment("kubernetes postrouting rules")], jump("KUBE-POSTROUTING"))];
  const chains: ChainRules = [
    ["PREROUTING", portals],
    ["OUTPUT", portals],
    [
      "POSTROUTING",
      [
        ...postrouting,
        rule(
          masqAgent,
          [
            comment(
              "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain",
            ),
            { kind: "addrtype", dst: { type: "LOCAL", not: true } },
          ],
          jump("IP-MASQ-AGENT"),
        ),
      ],
    ],
    [
      "IP-MASQ-AGENT",
      [
        ...inCluster.map((net) => rule(masqAgent, [to(net), local], { kind: "RETURN" })),
        rule(
          masqAgent,
          [comment("ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)")],
          { kind: "MASQUERADE" },
        ),
      ],
    ],
    ...canaries,
    ...(services === undefined ? [] : masqueradeChains),
  ];
  return table("nat", chains, services);
}

/** How kube-proxy has packets masqueraded that its Services' chains have marked. */
const masqueradeChains: ChainRules = [
  [markMasqChain, [rule(proxy, [], { kind: "MARK", value: masqueradeMark, mask: masqueradeMark })]],
  [
    "KUBE-POSTROUTING",
    [
      rule(proxy, [{ kind: "mark", value: masqueradeMark, mask: masqueradeMark, not: true }], {
        kind: "RETURN",
      }),
      rule(proxy, [], { kind: "MARK", value: masqueradeMark, mask: 0 }),
      rule(proxy, [comment("kubernetes service traffic requiring SNAT")], {
        kind: "MASQUERADE",
        randomFully: true,
      }),
    ],
  ],
];

/** Destinations that see pods' own addresses: the virtual network, the pod range, the Service range. */
function masqueradeExempt(options: ClusterOptions): readonly Cidr[] {
  const overlaid = options.networkPlugin === "kubenet" || options.networkPluginMode === "overlay";
  const nets = [...options.nodeSubnets, ...(overlaid ? options.podCidrs : []), ...options.serviceCidrs];
  return [...new Map(nets.map((net) => [formatCidr(net), net])).values()];
}

/** The VM agent's rules: of the host's own processes only root may talk to the wireserver. */
function securityTable(): Table {
  const agent = component("azure-vm-agent");
  const wireserver = to(cidr(`${wireserverAddress}/32`));
  return table("security", [
    [
      "OUTPUT",
      [
        rule(agent, [wireserver, protocol("tcp"), ...dport("tcp", 53)], accept),
        rule(agent, [wireserver, protocol("tcp"), { kind: "owner", uid: 0 }], accept),
        rule(agent, [wireserver, protocol("tcp"), ctstate(CtStateBit.INVALID | CtStateBit.NEW)], drop),
      ],
    ],
  ]);
}
