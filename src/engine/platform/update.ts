/**
 * What the platform does when its objects change. The CNI makes and removes endpoints as pods come and go. kube-proxy:
 * what it writes when Services or endpoints change. On Linux its own chains, flushed and filled again in one restore for
 * each table (iptables-restore --noflush), chains of Services that are gone deleted at the end; built-in chains are not
 * touched: others have rules there. On Windows endpoints of other nodes' backends before the load balancers that name
 * them, and those that none names any more after these.
 */

import { ipEquals } from "../../addr/index.ts";
import type { HnsEndpoint, HnsLoadBalancer, HnsOp, HnsTables } from "../../filter/hns/index.ts";
import type { IptablesRestoreOp, RuleCommand, Ruleset, Table } from "../../filter/iptables/index.ts";
import type { NodeTables } from "../engine.ts";
import { sameRules } from "./rules.ts";

/** A pod whose address changed has another endpoint; its labels are none of the CNI's business. */
export function endpointUpdate(before: NodeTables, after: NodeTables): readonly HnsOp[] {
  const { gone, made } = endpointChanges(before.hns, after.hns, false);
  return [...gone, ...made];
}

/** Of endpoints of pods here, or of those that stand for other nodes'. */
function endpointChanges(
  before: HnsTables | undefined,
  after: HnsTables | undefined,
  ofRemote: boolean,
): { readonly gone: readonly HnsOp[]; readonly made: readonly HnsOp[] } {
  const byId = (tables: HnsTables | undefined): ReadonlyMap<string, HnsEndpoint> =>
    new Map((tables?.endpoints ?? []).filter((one) => one.isRemote === ofRemote).map((one) => [one.id, one]));
  const [old, now] = [byId(before), byId(after)];
  const isKept = ({ id, addresses }: HnsEndpoint, others: ReadonlyMap<string, HnsEndpoint>): boolean => {
    const known = others.get(id)?.addresses ?? [];
    return known.length === addresses.length && known.every((ip, i) => ipEquals(ip, addresses[i] ?? ip));
  };
  const gone = [...old.values()].filter((endpoint) => !isKept(endpoint, now));
  const made = [...now.values()].filter((endpoint) => !isKept(endpoint, old));
  return {
    gone: gone.map(({ id }): HnsOp => ({ kind: "hns-endpoint", op: "delete", endpoint: id })),
    made: made.map((endpoint): HnsOp => ({ kind: "hns-endpoint", op: "create", endpoint })),
  };
}

function balancerUpdate(before: HnsTables, after: HnsTables): readonly HnsOp[] {
  const old = new Map(before.loadBalancers.map((one) => [one.id, one]));
  const kept = new Set(after.loadBalancers.map(({ id }) => id));
  const balancers = after.loadBalancers.filter((one) => !sameBalancer(old.get(one.id), one));
  const ids = before.loadBalancers.flatMap(({ id }) => (kept.has(id) ? [] : [id]));
  const remote = endpointChanges(before, after, true);
  return [
    ...remote.made,
    ...(balancers.length === 0 ? [] : [{ kind: "hns-load-balancers", op: "put", balancers } satisfies HnsOp]),
    ...(ids.length === 0 ? [] : [{ kind: "hns-load-balancers", op: "remove", ids } satisfies HnsOp]),
    ...remote.gone,
  ];
}

function sameBalancer(a: HnsLoadBalancer | undefined, b: HnsLoadBalancer): boolean {
  if (a === b) return true;
  const text = ({ origin, ...rest }: HnsLoadBalancer): string => JSON.stringify(rest);
  return a !== undefined && text(a) === text(b);
}

export function platformUpdate(
  before: NodeTables,
  after: NodeTables,
): readonly (IptablesRestoreOp | HnsOp)[] {
  if (before === after) return [];
  if (before.hns !== undefined && after.hns !== undefined) return balancerUpdate(before.hns, after.hns);
  const [old, now] = [before.iptables, after.iptables];
  if (old === undefined || now === undefined) return [];
  return [...rulesetUpdate(old.v4, now.v4), ...rulesetUpdate(old.v6, now.v6)];
}

function rulesetUpdate(before: Ruleset, after: Ruleset): readonly IptablesRestoreOp[] {
  if (before === after) return [];
  return (["filter", "nat"] as const).flatMap((table): readonly IptablesRestoreOp[] => {
    const commands = tableCommands(before.tables[table], after.tables[table]);
    return commands.length === 0 ? [] : [{ kind: "iptables-restore", family: after.family, table, commands }];
  });
}

function tableCommands(before: Table | undefined, after: Table | undefined): readonly RuleCommand[] {
  if (before === after || before === undefined || after === undefined) return [];
  const old = new Map(before.chains.map((chain) => [chain.name, chain]));
  const changed = after.chains.filter(({ name, policy, rules }) => {
    const known = old.get(name);
    return policy === undefined && (known === undefined || !sameRules(known.rules, rules));
  });
  const kept = new Set(after.chains.map(({ name }) => name));
  const gone = before.chains.filter(({ name }) => !kept.has(name)).map(({ name }) => name);
  return [
    ...[...changed.map(({ name }) => name), ...gone].map((chain): RuleCommand => ({ op: "chain", chain })),
    ...changed.flatMap(({ name, rules }) =>
      rules.map((rule): RuleCommand => ({ op: "append", chain: name, rule })),
    ),
    ...gone.map((chain): RuleCommand => ({ op: "delete-chain", chain })),
  ];
}
