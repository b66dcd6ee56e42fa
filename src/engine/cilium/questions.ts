/**
 * What the verdicts of a node's programs on new connections depend on, stated by who makes the programs and their maps: an
 * address is known by what policies make of the identity that the ipcache gives it, an endpoint by its own address. One map of
 * addresses and one chain for each content of a policy map stand behind all nodes; a node's own is which of its addresses has which policy.
 *
 * Left to the walk: what programs translate (the frontends of Services), and ICMP's "destination unreachable", of which one
 * code passes whatever the policy. The mark that a pod's packet carries through the node is stated by its magic alone: the
 * identity in its other bits is read by no rule of iptables on these nodes.
 */
import type { Ip } from "../../addr/index.ts";
import {
  type AddressBlock,
  type AddressMap,
  assert,
  type DecisionChain,
  type DecisionRule,
  type HookChain,
  type Questions,
  type ServiceRange,
} from "../../base/index.ts";
import { frontendChain, Hook, hostBlock } from "../../filter/index.ts";
import { hostMagic, magicMask } from "./iptables.ts";
import { decidePolicies } from "./policy/decisions.ts";
import type { EndpointPolicy, PolicyEntry, PrefixIdentity } from "./policy/entry.ts";
import { hostIdentity } from "./policy/identities.ts";
import { neededIcmp6 } from "./programs/host.ts";
import { MarkMagic } from "./programs/identity.ts";
import type { ServiceFrontend } from "./services.ts";
import type { CiliumVariant } from "./variant.ts";

const icmp = 1;
const icmp6 = 58;
const sctp = 132;
const echoRequest6 = 128;
const echoReply6 = 129;
const typeMax = 255;

const ports = (protocol: number): ServiceRange => ({ protocol, first: 0, last: 65_535 });
const types = (protocol: number): ServiceRange => ({ protocol, first: 0, last: typeMax });

const drop = { kind: "drop" } as const;
const ask = { kind: "ask" } as const;
const jump = (chain: DecisionChain): DecisionRule => ({ action: { kind: "jump", chain } });
const goto = (chain: DecisionChain): DecisionRule => ({ action: { kind: "goto", chain } });

/** Packets without the host's mark are none that its processes send. */
const unlessHost: DecisionRule = { marks: [{ mask: magicMask, value: hostMagic, not: true }], action: ask };

/** A policy and those of its entries that its map has room for. */
export interface StatedPolicy {
  readonly policy: EndpointPolicy;
  readonly entries: readonly PolicyEntry[];
}

export interface NodeEndpoints {
  readonly pods: readonly { readonly ips: readonly Ip[]; readonly policy: EndpointPolicy }[];
  /** The node's own policy, with host firewall. */
  readonly host: EndpointPolicy | undefined;
}

export interface StatementWords {
  readonly variant: CiliumVariant;
  /** All that the ipcache holds but for the node's own addresses, and the world. */
  readonly identities: readonly PrefixIdentity[];
  readonly frontends: readonly ServiceFrontend[];
  /** Of all endpoints and nodes. */
  readonly policies: readonly StatedPolicy[];
}

/** An endpoint's policy as chains, under the number by which addresses name it. */
interface PolicyChains {
  readonly number: number;
  readonly ingress: DecisionChain;
  readonly egress: DecisionChain;
}

/** What all nodes share, and a node's statement made of it. */
export class ClusterStatement {
  readonly #policies: ReadonlyMap<EndpointPolicy, PolicyChains>;
  /** Frontends that pods and nodes speak to, and those that outsiders reach. */
  readonly #fromInside: DecisionChain;
  readonly #fromOutside: DecisionChain;
  readonly #atUplink: readonly DecisionRule[];

  constructor({ variant, identities, frontends, policies }: StatementWords) {
    const { generation, hostFirewall } = variant;
    const { chains } = decidePolicies({
      generation,
      services: [types(icmp), ports(6), ports(17), types(icmp6), ...(variant.sctp ? [ports(sctp)] : [])],
      identities,
      own: hostIdentity,
      policies: policies.map(({ entries }) => entries),
    });
    this.#policies = new Map(
      chains.map((ofPolicy, i) => [(policies[i] as StatedPolicy).policy, { number: i + 1, ...ofPolicy }]),
    );
    this.#fromInside = frontendChain("services", frontends);
    const reached = frontends.filter(({ isForOutsiders }) => isForOutsiders);
    this.#fromOutside = frontendChain("services of outsiders", reached);
    this.#atUplink = hostFirewall ? icmp6Rules : [];
  }

  of({ pods, host }: NodeEndpoints): Questions {
    const entries: (readonly [AddressBlock, number])[] = [];
    const [ingress, egress] = [new Map<number, DecisionChain>(), new Map<number, DecisionChain>()];
    for (const { ips, policy } of pods) {
      const chains = this.#chainsOf(policy);
      ingress.set(chains.number, chains.ingress);
      egress.set(chains.number, chains.egress);
      for (const ip of ips) entries.push([hostBlock(ip), chains.number]);
    }
    const map: AddressMap = { entries };
    const fromPod = hookChain(Hook.tcIngress, "cil_from_container", "drop", [
      { action: { kind: "mark", keep: 0, flip: MarkMagic.identity } },
      jump(unusual),
      jump(this.#fromInside),
      { action: { kind: "choose", end: "source", map, chains: egress } },
    ]);
    const toPod = hookChain(Hook.tcEgress, "cil_to_container", "drop", [
      jump(unusual),
      { action: { kind: "choose", end: "destination", map, chains: ingress } },
    ]);
    const toHost = host === undefined ? [] : [jump(unusual), goto(this.#chainsOf(host).ingress)];
    const fromHost = host === undefined ? [] : [jump(unusual), goto(this.#chainsOf(host).egress)];
    const fromWire = (then: readonly DecisionRule[]): HookChain =>
      hookChain(Hook.tcIngress, "cil_from_netdev", "accept", [
        ...this.#atUplink,
        jump(this.#fromOutside),
        ...then,
      ]);
    const toWire = (then: readonly DecisionRule[]): HookChain =>
      hookChain(Hook.tcEgress, "cil_to_netdev", "accept", [...this.#atUplink, ...then]);
    return {
      ways: {
        "pod-pod": [fromPod, toPod],
        "pod-wire": [fromPod, toWire([])],
        "wire-pod": [fromWire([]), toPod],
        "pod-node": [fromPod, hookChain(Hook.tcIngress, "cil_from_container to the host", "accept", toHost)],
        "node-pod": [
          hookChain(Hook.tcEgress, "cil_to_container from the host", "accept", [unlessHost, ...fromHost]),
          toPod,
        ],
        "node-wire": [toWire([unlessHost, jump(this.#fromInside), ...fromHost])],
        "wire-node": [fromWire(toHost)],
      },
    };
  }

  #chainsOf(policy: EndpointPolicy): PolicyChains {
    const chains = this.#policies.get(policy);
    assert(chains !== undefined, "the policies of all endpoints are stated");
    return chains;
  }
}

function hookChain(
  hook: number,
  name: string,
  atEnd: "accept" | "drop",
  rules: readonly DecisionRule[],
): HookChain {
  return { hook, chain: { name, rules, atEnd } };
}

/** ICMP in packets of the other family is no protocol that programs can read. */
const unusual: DecisionChain = {
  name: "unusual packets",
  rules: [
    { family: 4, services: [types(icmp6)], action: drop },
    { family: 6, services: [types(icmp)], action: drop },
    { family: 4, services: [{ protocol: icmp, first: 3, last: 3 }], action: ask },
  ],
  atEnd: "return",
};

/** ICMPv6 at the uplink, with host firewall: echoes are policy's. */
const icmp6Rules: readonly DecisionRule[] = [
  {
    family: 6,
    services: neededIcmp6.map(([first, last]) => ({ protocol: icmp6, first, last })),
    action: { kind: "accept" },
  },
  {
    family: 6,
    services: [
      { protocol: icmp6, first: 0, last: echoRequest6 - 1 },
      { protocol: icmp6, first: echoReply6 + 1, last: typeMax },
    ],
    action: drop,
  },
];
