/**
 * What HNS's verdicts on new connections depend on: at the source's port its Out ACLs, at the destination's its In ACLs, in VFP
 * and in WFP, each layer with a chain of its own because both must let a packet pass. Endpoints whose ACLs are alike have one
 * chain, on all nodes that were given the same sets. Frontends of load balancers are left to the walk.
 */
import type { Ip } from "../../addr/index.ts";
import type {
  AddressBlock,
  AddressMap,
  DecisionChain,
  DecisionRule,
  HookChain,
  Questions,
} from "../../base/index.ts";
import { Hook, type NodeFacts } from "../datapath.ts";
import { frontendChain, hostBlock, type TranslatedFrontend } from "../frontend-chain.ts";
import { type AclDirection, type AclPolicy, type AclRuleType, aclRuleTypes } from "./acl.ts";
import { type AclRule, DecisionRules } from "./decision-rules.ts";
import type { HnsLoadBalancer } from "./load-balancer.ts";
import { tierAcls } from "./port.ts";
import type { HnsEndpoint, HnsNetwork } from "./tables.ts";

/** An endpoint at a port of the switch. */
export interface StatedPort {
  readonly endpoint: HnsEndpoint;
  readonly network: HnsNetwork;
  /** Of those of the endpoint, the ones that are reached by its port. */
  readonly addresses: readonly Ip[];
}

export interface StatedNode {
  readonly ports: readonly StatedPort[];
  readonly balancers: readonly HnsLoadBalancer[];
  readonly facts: Pick<NodeFacts, "localAddresses">;
}

const known = new WeakMap<HnsNetwork["sets"], DecisionRules>();

export function hnsQuestions({ ports, balancers, facts }: StatedNode): Questions {
  const own = facts.localAddresses;
  const entries: (readonly [AddressBlock, number])[] = [];
  for (const [place, { addresses }] of ports.entries())
    for (const ip of addresses) entries.push([hostBlock(ip), place + 1]);
  const map: AddressMap = { entries };
  const stated = ports.map(linkedPort);
  const asked = frontendChain("load balancers", frontendsOf(balancers));
  const hookChains = (direction: AclDirection): readonly HookChain[] => {
    const hook = direction === "Out" ? Hook.endpointOut : Hook.endpointIn;
    return aclRuleTypes.flatMap((layer): readonly HookChain[] => {
      const chains = new Map(
        stated.map((port, place) => [place + 1, layerChain(port, direction, layer, own)] as const),
      );
      if ([...chains.values()].every(({ rules }) => rules.length === 0)) return [];
      const rules: readonly DecisionRule[] = [
        { action: { kind: "choose", end: direction === "Out" ? "source" : "destination", map, chains } },
        { action: { kind: "ask" } }, // a pod whose address no endpoint has
      ];
      return [{ hook, chain: { name: `${layer} ${direction}`, rules, atEnd: "accept" } }];
    });
  };
  // before any ACL
  const translation: readonly HookChain[] =
    asked.rules.length === 0
      ? []
      : [
          {
            hook: Hook.endpointOut,
            chain: {
              name: "load balancing",
              rules: [{ action: { kind: "jump", chain: asked } }],
              atEnd: "accept",
            },
          },
        ];
  const [fromPod, toPod] = [[...translation, ...hookChains("Out")], hookChains("In")];
  return {
    ways: {
      "pod-pod": [...fromPod, ...toPod],
      "pod-wire": fromPod,
      "pod-node": fromPod,
      "wire-pod": [...translation, ...toPod],
      "node-pod": [...translation, ...toPod],
      "node-wire": translation,
      "wire-node": translation,
    },
  };
}

/** Those of load balancers without a backend are none; here they are asked about, too. */
function frontendsOf(balancers: readonly HnsLoadBalancer[]): readonly TranslatedFrontend[] {
  return balancers.flatMap(({ frontendVips, portMappings }) => {
    const addresses = frontendVips.length === 0 ? [undefined] : frontendVips;
    return portMappings.flatMap(({ protocol, externalPort: port }) =>
      addresses.map((ip) => ({ ip, protocol, port })),
    );
  });
}

/** A port with its ACLs in their places. */
interface LinkedPort {
  readonly name: string;
  readonly rules: DecisionRules;
  /** Asked in turn; the answer of one is the layer's unless it is `Pass`. */
  readonly lists: Readonly<Record<AclDirection, Readonly<Record<AclRuleType, readonly AclPolicy[][]>>>>;
}

function linkedPort({ endpoint, network }: StatedPort): LinkedPort {
  let rules = known.get(network.sets);
  if (rules === undefined) {
    rules = new DecisionRules(network.sets);
    known.set(network.sets, rules);
  }
  // VFP: tiers, the endpoint's ACLs, the network's; in WFP these two are one list
  const layers = (direction: AclDirection) => ({
    Switch: [
      ...endpoint.tiers
        .filter((tier) => tier.direction === direction)
        .sort((a, b) => a.order - b.order)
        .map((tier) => [...tierAcls(tier)]),
      [],
      [],
    ] as AclPolicy[][],
    Host: [[]] as AclPolicy[][],
  });
  const lists = { In: layers("In"), Out: layers("Out") };
  for (const acl of endpoint.acls)
    lists[acl.direction][acl.ruleType].at(acl.ruleType === "Switch" ? -2 : -1)?.push(acl);
  for (const acl of network.acls) lists[acl.direction][acl.ruleType].at(-1)?.push(acl);
  return { name: endpoint.name, rules, lists };
}

function layerChain(
  { name: endpoint, rules, lists: all }: LinkedPort,
  direction: AclDirection,
  layer: AclRuleType,
  own: readonly Ip[],
): DecisionChain {
  const lists = all[direction][layer]
    .map((acls) => asRules(acls, rules, own))
    .filter((list) => list.length > 0);
  const name = `${endpoint} ${layer} ${direction}`;
  if (lists.length <= 1) {
    const ordered = [...(lists[0] ?? [])];
    while (ordered.length > 0 && isPassing(ordered.at(-1))) ordered.pop();
    return rules.chain(textOf(ordered), () => ({
      name,
      rules: ordered.map(({ rule }) => (rule.action.kind === "return" ? { ...rule, action: accept } : rule)),
      atEnd: "accept",
    }));
  }
  const jumps = lists.map((list, i): DecisionRule => {
    const chain = rules.chain(`list\n${textOf(list)}`, () => ({
      name: `${name} ${i + 1}`,
      rules: list.map(({ rule }) => rule),
      atEnd: "return",
    }));
    return { action: { kind: "jump", chain } };
  });
  return rules.chain(lists.map(textOf).join("\n\n"), () => ({ name, rules: jumps, atEnd: "accept" }));
}

/** By priority; of equal ones the first alone. */
function asRules(acls: readonly AclPolicy[], rules: DecisionRules, own: readonly Ip[]): readonly AclRule[] {
  const found = new Map<string, AclRule>();
  for (const acl of [...acls].sort((a, b) => a.priority - b.priority)) {
    const rule = rules.ruleOf(acl, own);
    if (rule !== undefined && !found.has(rule.text)) found.set(rule.text, rule);
  }
  return [...found.values()];
}

const accept = { kind: "accept" } as const;

/** At the end of a layer that lets pass what nothing stops. */
function isPassing(last: AclRule | undefined): boolean {
  return last?.rule.action.kind === "accept" || last?.rule.action.kind === "return";
}

function textOf(rules: readonly AclRule[]): string {
  return rules.map(({ text }) => text).join("\n");
}
