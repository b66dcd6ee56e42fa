/** The table of kinds: how each family of filter tables is linked into a datapath, and read back. One entry a kind. */
import type { Kind, NodeTables, TablesByKind } from "../engine/index.ts";
import { bpfOps, bpfUsage, linkBpf } from "../filter/bpf/index.ts";
import { hnsOps, hnsUsage, linkHns } from "../filter/hns/index.ts";
import {
  CompositeDatapath,
  type Datapath,
  type DatapathPart,
  type LinkContext,
  type StoreUsage,
} from "../filter/index.ts";
import { iptablesUsage, linkIptables } from "../filter/iptables/index.ts";

export interface LinkedTables {
  readonly datapath: Datapath;
  /** The tables as they are now. */
  tables(): NodeTables;
}

interface KindEntry<K extends Kind> {
  /** Kinds of operations that its datapath takes. */
  readonly ops: readonly string[];
  link(tables: TablesByKind[K], context: LinkContext): Datapath & { tables(): TablesByKind[K] };
  /** What the tables take in the kernel of a node with this many processors. */
  usage(tables: TablesByKind[K], processors: number): readonly StoreUsage[];
}

const kinds: { readonly [K in Kind]: KindEntry<K> } = {
  iptables: { ops: ["ipset-restore", "iptables-restore"], link: linkIptables, usage: iptablesUsage },
  hns: { ops: hnsOps, link: linkHns, usage: hnsUsage },
  bpf: { ops: bpfOps, link: linkBpf, usage: bpfUsage },
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

/** What a node's tables take in its kernel, store by store. */
export function tablesUsage(tables: NodeTables, processors: number): readonly StoreUsage[] {
  const measured: StoreUsage[] = [];
  const add = <K extends Kind>(kind: K): void => {
    const repr = tables[kind];
    if (repr !== undefined) measured.push(...kinds[kind].usage(repr, processors));
  };
  for (const kind of Object.keys(kinds)) add(kind as Kind);
  return measured;
}
