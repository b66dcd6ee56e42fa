/** A node before any policy engine. Equal nodes share one frozen object: what is built on it can be shared too. */
import type { ClusterOptions, ClusterState, Node } from "../../k8s/index.ts";
import type { NodeTables } from "../engine.ts";
import { linuxRuleset } from "./linux.ts";

export { wireserverAddress } from "./linux.ts";

const linuxTables = new WeakMap<ClusterOptions, NodeTables>();
const noTables: NodeTables = Object.freeze({});

export function platformTables(state: ClusterState, node: Node): NodeTables {
  if (node.os === "windows") return noTables;
  let tables = linuxTables.get(state.options);
  if (tables === undefined) {
    tables = Object.freeze({
      iptables: Object.freeze({
        v4: linuxRuleset(state.options, 4),
        v6: linuxRuleset(state.options, 6),
        sets: new Map(),
      }),
    });
    linuxTables.set(state.options, tables);
  }
  return tables;
}
