/**
 * What the platform does when its objects change. The CNI makes and removes endpoints as pods come and go. kube-proxy:
 * what it writes when Services or endpoints change: its own chains, flushed and filled again in one restore for
 * each table (iptables-restore --noflush), chains of Services that are gone deleted at the end. Built-in chains are not
 * touched: others have rules there.
 */

import { ipEquals } from "../../addr/index.ts";
import type { HnsEndpoint, HnsOp } from "../../filter/hns/index.ts";
import type { IptablesRestoreOp, RuleCommand, Ruleset, Table } from "../../filter/iptables/index.ts";
import type { NodeTables } from "../engine.ts";
import { sameRules } from "./rules.ts";

/** A pod whose address changed has another endpoint; its labels are none of the CNI's business. */
export function endpointUpdate(before: NodeTables, after: NodeTables): readonly HnsOp[] {
  const [old, now] = [before.hns?.endpoints ?? [], after.hns?.endpoints ?? []].map(byId);
  if (old === undefined || now === undefined) return [];
  const isKept = ({ id, addresses }: HnsEndpoint, others: ReadonlyMap<string, HnsEndpoint>): boolean => {
    const known = others.get(id)?.addresses ?? [];
    return known.length === addresses.length && known.every((ip, i) => ipEquals(ip, addresses[i] ?? ip));
  };
  const gone = [...old.values()].filter((endpoint) => !isKept(endpoint, now));
  const made = [...now.values()].filter((endpoint) => !isKept(endpoint, old));
  return [
    ...gone.map(({ id }): HnsOp => ({ kind: "hns-endpoint", op: "delete", endpoint: id })),
    ...made.map((endpoint): HnsOp => ({ kind: "hns-endpoint", op: "create", endpoint })),
  ];
}

function byId(endpoints: readonly HnsEndpoint[]): ReadonlyMap<string, HnsEndpoint> {
  return new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
}

export function platformUpdate(before: NodeTables, after: NodeTables): readonly IptablesRestoreOp[] {
  if (before === after) return [];
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
