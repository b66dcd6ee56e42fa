/**
 * A node before any policy engine. What is equal is one frozen object: nodes without endpoints of their own share one
 * set of tables, and what is built on it can be shared too.
 */
import type { Chain, Ruleset, Table } from "../../filter/iptables/index.ts";
import type { ClusterState, Node } from "../../k8s/index.ts";
import type { NodeTables } from "../engine.ts";
import { clusterCidr, linuxRuleset, toNodePorts } from "./linux.ts";
import { byName } from "./rules.ts";
import { type FamilyServices, familyServices, type ServiceChains } from "./services.ts";

export { wireserverAddress } from "./linux.ts";
export { platformUpdate } from "./update.ts";

const noTables: NodeTables = Object.freeze({});

export function platformTables(state: ClusterState, node: Node): NodeTables {
  return node.os === "windows" ? noTables : linuxPlatform(state)(node);
}

type Platform = (node: Node) => NodeTables;

/** By what it is made of: options, Services, slices. Editing pods or policies leaves these the same objects. */
const platforms = new WeakMap<object, WeakMap<object, WeakMap<object, Platform>>>();

function linuxPlatform({ options, services, endpointSlices }: ClusterState): Platform {
  const byServices = getOrMake(platforms, options, () => new WeakMap<object, WeakMap<object, Platform>>());
  const bySlices = getOrMake(byServices, services, () => new WeakMap<object, Platform>());
  return getOrMake(bySlices, endpointSlices, () => makePlatform(options, { services, endpointSlices }));
}

function getOrMake<V>(map: WeakMap<object, V>, key: object, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

function makePlatform(
  options: ClusterState["options"],
  objects: Pick<ClusterState, "services" | "endpointSlices">,
): Platform {
  const families = {
    4: familyServices(objects, 4, clusterCidr(options, 4), toNodePorts(4)),
    6: familyServices(objects, 6, clusterCidr(options, 6), toNodePorts(6)),
  };
  const shared = {
    4: linuxRuleset(options, 4, families[4].shared),
    6: linuxRuleset(options, 6, families[6].shared),
  };
  const known = new Map<string, NodeTables>();
  return (node) => {
    const signature = `${families[4].signature(node)}|${families[6].signature(node)}`;
    let tables = known.get(signature);
    if (tables === undefined) {
      const v4 = nodeRuleset(shared[4], families[4], node);
      const v6 = nodeRuleset(shared[6], families[6], node);
      tables = Object.freeze({ iptables: Object.freeze({ v4, v6, sets: new Map() }) });
      known.set(signature, tables);
    }
    return tables;
  };
}

function nodeRuleset(shared: Ruleset, services: FamilyServices, node: Node): Ruleset {
  if (services.signature(node) === "") return shared;
  const { nat, filter }: ServiceChains = services.overlay(node);
  const { tables } = shared;
  return {
    family: shared.family,
    tables: {
      ...tables,
      ...(tables.nat === undefined ? {} : { nat: withChains(tables.nat, nat) }),
      ...(tables.filter === undefined ? {} : { filter: withChains(tables.filter, filter) }),
    },
  };
}

/** Chains of the same name replace those of the table; the others join them in name order. */
function withChains(table: Table, chains: readonly Chain[]): Table {
  if (chains.length === 0) return table;
  const changed = new Map(chains.map((chain) => [chain.name, chain]));
  const kept = table.chains.map((chain) => {
    const replacement = changed.get(chain.name);
    changed.delete(chain.name);
    return replacement ?? chain;
  });
  const builtin = kept.filter(({ policy }) => policy !== undefined);
  const users = kept.filter(({ policy }) => policy === undefined);
  return { name: table.name, chains: [...builtin, ...[...users, ...changed.values()].sort(byName)] };
}
