/** The table of kinds: how each family of filter tables is linked into a datapath, and read back. One line a kind. */
import type { NodeTables } from "../engine/index.ts";
import type { Datapath, LinkContext } from "../filter/index.ts";
import { linkIptables } from "../filter/iptables/index.ts";

export interface LinkedTables {
  readonly datapath: Datapath;
  /** The tables as they are now. */
  tables(): NodeTables;
}

/** A node's tables, ready to run; `undefined` for a node without any. */
export function linkTables(tables: NodeTables, context: LinkContext): LinkedTables | undefined {
  if (tables.iptables === undefined) return undefined;
  const datapath = linkIptables(tables.iptables, context);
  return { datapath, tables: () => ({ iptables: datapath.tables() }) };
}
