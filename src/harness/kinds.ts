/** The table of kinds: how each family of filter tables is linked into a datapath, and read back. One entry a kind. */
import type { Kind, NodeTables, TablesByKind } from "../engine/index.ts";
import { bpfOps, linkBpf } from "../filter/bpf/index.ts";
import { hnsOps, linkHns } from "../filter/hns/index.ts";
import { CompositeDatapath, type Datapath, type DatapathPart, type LinkContext } from "../filter/index.ts";
import { linkIptables } from "../filter/iptables/index.ts";

export interface LinkedTables {
  readonly datapath: Datapath;
  /** The tables as they are now. */
  tables(): NodeTables;
}

interface KindEntry<K extends Kind> {
  /** Kinds of operations that its datapath takes. */
  readonly ops: readonly string[];
  link(tables: TablesByKind[K], context: LinkContext): Datapath & { tables(): TablesByKind[K] };
}

const kinds: { readonly [K in Kind]: KindEntry<K> } = {
  iptables: { ops: ["ipset-restore", "iptables-restore"], link: linkIptables },
  hns: { ops: hnsOps, link: linkHns },
  bpf: { ops: bpfOps, link: linkBpf },
};

/** A node's tables, ready to run; `undefined` for a node without any. */
export function linkTables(tables: NodeTables, context: LinkContext): LinkedTables | undefined {
  const parts: DatapathPart[] = [];
  const readers: (() => NodeTables)[] = [];
  const add = <K extends Kind>(kind: K): void => {
    const repr = tables[kind];
    if (repr === undefined) return;
    const datapath = kinds[kind].link(repr, context);
    parts.push({ datapath, ops: kinds[kind].ops });
    readers.push(() => ({ [kind]: datapath.tables() }));
  };
  for (const kind of Object.keys(kinds)) add(kind as Kind);
  const [first] = parts;
  if (first === undefined) return undefined;
  return {
    datapath: parts.length === 1 ? first.datapath : new CompositeDatapath(parts),
    tables: () => Object.assign({}, ...readers.map((read) => read())),
  };
}
