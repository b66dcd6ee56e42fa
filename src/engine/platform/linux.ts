/**
 * What an AKS Linux node carries before any policy engine: kube-proxy's chains (iptables mode), ip-masq-agent's, and
 * the rules that keep pods from the host's wireserver. Order and texts as in live dumps of AKS nodes; Services' own
 * rules are not made yet.
 */
import { type Cidr, type Family, formatCidr, parseCidr } from "../../addr/index.ts";
import { assert, type Origin } from "../../base/index.ts";
import {
  CtStateBit,
  emptyTable,
  type Match,
  type Rule,
  type Ruleset,
  type Table,
  type TableName,
  type Target,
} from "../../filter/iptables/index.ts";
import type { ClusterOptions } from "../../k8s/index.ts";

/** Azure's host endpoint (DHCP, health probes, VM agent), the same in every region. */
export const wireserverAddress = "168.63.129.16";

/** kube-proxy's mark for packets that must be masqueraded. */
const masqueradeMark = 0x4000;

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert(parsed !== undefined, `${text} is a CIDR`);
  return parsed;
}

const comment = (text: string): Match => ({ kind: "comment", text });
const ctstate = (states: number, not?: boolean): Match => ({
  kind: "ctstate",
  states,
  ...(not ? { not } : {}),
});
const isNew = ctstate(CtStateBit.NEW);
const tcp: Match = { kind: "protocol", protocol: 6 };
const jump = (chain: string): Target => ({ kind: "jump", chain });

const component = (name: string, direction?: Origin["direction"]): Origin => ({
  kind: "platform",
  name,
  path: "",
  role: "base",
  ...(direction === undefined ? {} : { direction }),
});
const proxy = component("kube-proxy");
const masqAgent = component("ip-masq-agent");
const azure = component("azure-cni", "egress");

const rule = (origin: Origin, matches: readonly Match[], target: Target): Rule => ({
  matches,
  target,
  origin,
});

type Chains = readonly (readonly [name: string, rules: readonly Rule[]])[];

/** Rules for the built-in chains named, and new chains, in the order of creation. */
function table(name: TableName, chains: Chains): Table {
  const given = new Map(chains);
  const builtin = emptyTable(name).chains.map((chain) => ({ ...chain, rules: given.get(chain.name) ?? [] }));
  const names = new Set(builtin.map((chain) => chain.name));
  const own = chains.filter(([chain]) => !names.has(chain)).map(([chain, rules]) => ({ name: chain, rules }));
  return { name, chains: [...builtin, ...own] };
}

export function linuxRuleset(options: ClusterOptions, family: Family): Ruleset {
  const tables = {
    mangle: table("mangle", [
      ["KUBE-IPTABLES-HINT", []],
      ["KUBE-KUBELET-CANARY", []],
      ["KUBE-PROXY-CANARY", []],
    ]),
    nat: natTable(options, family),
    filter: filterTable(family),
  };
  return { family, tables: family === 4 ? { ...tables, security: securityTable() } : tables };
}

function filterTable(family: Family): Table {
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
  const forwarding = comment("kubernetes forwarding rules");
  const wireserver = rule(
    azure,
    [
      { kind: "destination", net: cidr(`${wireserverAddress}/32`) },
      tcp,
      { kind: "transport", protocol: "tcp" },
      { kind: "dport", min: 80, max: 80 },
    ],
    { kind: "DROP" },
  );
  const loopback = cidr(family === 4 ? "127.0.0.0/8" : "::1/128");
  return table("filter", [
    [
      "INPUT",
      [
        toFirewall,
        rule(proxy, [comment("kubernetes health check service ports")], jump("KUBE-NODEPORTS")),
        toExternal,
        rule(proxy, [], jump("KUBE-FIREWALL")),
      ],
    ],
    [
      "FORWARD",
      [
        toFirewall,
        rule(proxy, [forwarding], jump("KUBE-FORWARD")),
        toServices,
        toExternal,
        ...(family === 4 ? [wireserver] : []),
      ],
    ],
    ["OUTPUT", [toFirewall, toServices, rule(proxy, [], jump("KUBE-FIREWALL"))]],
    ["KUBE-EXTERNAL-SERVICES", []],
    [
      "KUBE-FIREWALL",
      [
        rule(
          proxy,
          [
            { kind: "source", net: loopback, not: true },
            { kind: "destination", net: loopback },
            comment("block incoming localnet connections"),
            ctstate(CtStateBit.RELATED | CtStateBit.ESTABLISHED | CtStateBit.DNAT, true),
          ],
          { kind: "DROP" },
        ),
      ],
    ],
    [
      "KUBE-FORWARD",
      [
        rule(proxy, [ctstate(CtStateBit.INVALID)], { kind: "DROP" }),
        rule(proxy, [forwarding, { kind: "mark", value: masqueradeMark, mask: masqueradeMark }], {
          kind: "ACCEPT",
        }),
        rule(
          proxy,
          [
            comment("kubernetes forwarding conntrack rule"),
            ctstate(CtStateBit.RELATED | CtStateBit.ESTABLISHED),
          ],
          { kind: "ACCEPT" },
        ),
      ],
    ],
    ["KUBE-KUBELET-CANARY", []],
    ["KUBE-NODEPORTS", []],
    ["KUBE-PROXY-CANARY", []],
    ["KUBE-PROXY-FIREWALL", []],
    ["KUBE-SERVICES", []],
  ]);
}

function natTable(options: ClusterOptions, family: Family): Table {
  const inCluster = masqueradeExempt(options).filter((net) => net.family === family);
  const local = comment("ip-masq-agent: local traffic is not subject to MASQUERADE");
  const portals = rule(proxy, [comment("kubernetes service portals")], jump("KUBE-SERVICES"));
  return table("nat", [
    ["PREROUTING", [portals]],
    ["OUTPUT", [portals]],
    [
      "POSTROUTING",
      [
        rule(proxy, [comment("kubernetes postrouting rules")], jump("KUBE-POSTROUTING")),
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
        ...inCluster.map((net) => rule(masqAgent, [{ kind: "destination", net }, local], { kind: "RETURN" })),
        rule(
          masqAgent,
          [comment("ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)")],
          { kind: "MASQUERADE" },
        ),
      ],
    ],
    ["KUBE-KUBELET-CANARY", []],
    ["KUBE-MARK-MASQ", [rule(proxy, [], { kind: "MARK", value: masqueradeMark, mask: masqueradeMark })]],
    ["KUBE-NODEPORTS", []],
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
    ["KUBE-PROXY-CANARY", []],
    [
      "KUBE-SERVICES",
      [
        rule(
          proxy,
          [
            comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain"),
            { kind: "addrtype", dst: { type: "LOCAL" } },
          ],
          jump("KUBE-NODEPORTS"),
        ),
      ],
    ],
  ]);
}

/** Destinations that see pods' own addresses: the virtual network, the pod range, the Service range. */
function masqueradeExempt(options: ClusterOptions): readonly Cidr[] {
  const overlaid = options.networkPlugin === "kubenet" || options.networkPluginMode === "overlay";
  const nets = [...options.nodeSubnets, ...(overlaid ? options.podCidrs : []), ...options.serviceCidrs];
  return [...new Map(nets.map((net) => [formatCidr(net), net])).values()];
}

/** The VM agent's rules: of the host's own processes only root may talk to the wireserver. */
function securityTable(): Table {
  const agent = component("azure-vm-agent");
  const toWireserver: Match = { kind: "destination", net: cidr(`${wireserverAddress}/32`) };
  return table("security", [
    [
      "OUTPUT",
      [
        rule(
          agent,
          [toWireserver, tcp, { kind: "transport", protocol: "tcp" }, { kind: "dport", min: 53, max: 53 }],
          { kind: "ACCEPT" },
        ),
        rule(agent, [toWireserver, tcp, { kind: "owner", uid: 0 }], { kind: "ACCEPT" }),
        rule(agent, [toWireserver, tcp, ctstate(CtStateBit.INVALID | CtStateBit.NEW)], { kind: "DROP" }),
      ],
    ],
  ]);
}
