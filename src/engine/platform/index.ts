/**
 * A node before any policy engine. What is equal is one frozen object: nodes without endpoints of Services with a Local
 * policy share one set of tables, and what is built on it can be shared too. A node with such endpoints has a list of
 * chains of its own, in which all but a few are the shared ones. With networkDataplane cilium no rule is made of
 * Services: all nodes share one set, and have room for BPF programs.
 */
import { noBpfTables } from "../../filter/bpf/index.ts";
import type { Chain, Ruleset, Table } from "../../filter/iptables/index.ts";
import type { ClusterState, Node } from "../../k8s/index.ts";
import type { NodeTables } from "../engine.ts";
import { clusterCidr, linuxRuleset, toNodePorts } from "./linux.ts";
import { byName } from "./rules.ts";
import { type FamilyServices, familyServices, type ServiceChains } from "./services.ts";
import { windowsPlatform } from "./windows.ts";

export { masqueradeMark, wireserverAddress } from "./linux.ts";
export {
  type ProxyEndpoint,
  type ServicePortInfo,
  servicePorts,
  viewEndpoints,
} from "./service-ports.ts";
export { endpointUpdate, platformUpdate } from "./update.ts";
export { azureNetwork } from "./windows.ts";
export { windowsServiceDivergences } from "./windows-divergences.ts";

export function platformTables(state: ClusterState, node: Node): NodeTables {
  return node.os === "windows" ? windowsPlatform(state, node) : linuxPlatform(state)(node);
}

type Platform = (node: Node) => NodeTables;

/** By what it is made of: options, Services, slices. Editing pods or policies leaves these the same objects. */
const platforms = new WeakMap<object, WeakMap<object, WeakMap<object, Platform>>>();

function linuxPlatform({ options, services, endpointSlices }: ClusterState): Platform {
  const byServices = getOrMake(platforms, options, () => new WeakMap<object, WeakMap<object, Platform>>());
  const bySlices = getOrMake(byServices, services, () => new WeakMap<object, Platform>());
  return getOrMake(bySlices, endpointSlices, () => makePlatform(options, { services, endpointSlices }));
}

function getOrMake<K extends object, V>(map: WeakMap<K, V>, key: K, make: () => V): V {
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
  if (options.networkDataplane === "cilium") {
    const [v4, v6] = [linuxRuleset(options, 4, undefined), linuxRuleset(options, 6, undefined)];
    const tables: NodeTables = Object.freeze({
      iptables: Object.freeze({ v4, v6, sets: new Map() }),
      bpf: noBpfTables,
    });
    return () => tables;
  }
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

/** Chains of the same name replace those of the table; the others join its user chains in name order. */
function withChains(table: Table, changes: readonly Chain[]): Table {
  if (changes.length === 0) return table;
  const known = placesOf(table);
  const chains = [...table.chains];
  const added: { readonly at: number; readonly chain: Chain }[] = [];
  for (const chain of changes) {
    const at = known.get(chain.name);
    if (at === undefined) added.push({ at: placeFor(table, chain), chain });
    else chains[at] = chain;
  }
  // from the end, so that the places before stay what they were
  added.sort((a, b) => b.at - a.at || byName(b.chain, a.chain));
  for (const { at, chain } of added) chains.splice(at, 0, chain);
  return { name: table.name, chains };
}

const places = new WeakMap<Table, ReadonlyMap<string, number>>();

function placesOf(table: Table): ReadonlyMap<string, number> {
  return getOrMake(places, table, () => new Map(table.chains.map(({ name }, at) => [name, at])));
}

/** Where a new chain stands among the user chains: a table may have tens of thousands, in name order. */
function placeFor({ chains }: Table, chain: Chain): number {
  let low = chains.findIndex(({ policy }) => policy === undefined);
  let high = chains.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byName(chains[middle] as Chain, chain) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
