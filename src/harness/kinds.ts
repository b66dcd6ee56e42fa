/** The table of kinds: how each family of filter tables is linked into a datapath. One line a kind. */
import type { Kind, NodeTables, TablesByKind } from "../engine/index.ts";
import type { Datapath, LinkContext } from "../filter/index.ts";
import { linkIptables } from "../filter/iptables/index.ts";

const linkers: { readonly [K in Kind]: (tables: TablesByKind[K], context: LinkContext) => Datapath } = {
  iptables: linkIptables,
};

/** A node's tables, ready to run; `undefined` for a node without any. */
export function linkTables(tables: NodeTables, context: LinkContext): Datapath | undefined {
  return tables.iptables === undefined ? undefined : linkers.iptables(tables.iptables, context);
}
