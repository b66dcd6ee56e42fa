/**
 * The cells of a truth table: which pairs of ends are asked, on which ports. They are made as they are asked for: a large
 * cluster has more of them than memory holds.
 */
import type { ClusterState, Connection } from "../k8s/index.ts";
import { connectionBetween } from "./attempt.ts";
import {
  endAddress,
  isSource,
  type SourceEnd,
  sameEnd,
  type TableEnd,
  type TablePort,
  tableEnds,
  tablePorts,
} from "./ends.ts";
import type { Selection } from "./selection.ts";
import { servicePortsOf } from "./service-ends.ts";

/** A cell with the ids of its ends. */
export interface TableCell {
  readonly from: SourceEnd;
  readonly to: TableEnd;
  readonly cell: Connection;
  readonly isSelf: boolean;
}

export interface CellTable {
  readonly ends: readonly TableEnd[];
  readonly ports: readonly TablePort[];
  /** How many cells there are: exact in one family, an upper bound in dual stack. */
  readonly count: number;
  /** How many there are between some sources and some ends; bounded alike. */
  countBetween(sources: Iterable<SourceEnd>, ends: Iterable<TableEnd>): number;
  /** In the order from, to, port, family. */
  readonly cells: Iterable<TableCell>;
  /** Cells of one pair. */
  pair(from: SourceEnd, to: TableEnd): Iterable<TableCell>;
}

/**
 * Cells of every ordered pair with a pod or a Service at one end at least. Cluster addresses are for pods and nodes; load
 * balancers for hosts outside too. A Service is asked on its own ports.
 */
export function tableCells(
  state: ClusterState,
  selections: readonly Selection[],
  options: { readonly ports?: readonly TablePort[]; readonly podsOnly?: boolean },
): CellTable {
  const hostNetworkPods = selections.some(
    (one) => one.kind === "oracle" && one.readings.hostNetwork === "distinguished",
  );
  const endedPods = selections.every((one) => one.kind === "oracle");
  const ends = tableEnds(state, { hostNetworkPods, endedPods, podsOnly: options.podsOnly ?? false });
  const sources = ends.filter(isSource);
  const ports = options.ports ?? tablePorts(state);
  const portsOf = new Map(
    ends.map(({ id, end }) => [
      id,
      options.ports === undefined && end.kind === "service" ? servicePortsOf(state, end) : ports,
    ]),
  );
  const { ipFamilies } = state.options;
  function* pair(from: SourceEnd, to: TableEnd): Iterable<TableCell> {
    const isSelf = sameEnd(from.end, to.end);
    for (const { protocol, port } of portsOf.get(to.id) ?? [])
      for (const family of ipFamilies) {
        if (endAddress(from.end, family) === undefined || endAddress(to.end, family) === undefined) continue;
        yield { from, to, isSelf, cell: connectionBetween(from, to, { protocol, port, family }) };
      }
  }
  function* cells(): Iterable<TableCell> {
    for (const from of sources) for (const to of ends) if (isAsked(from.end.kind, to)) yield* pair(from, to);
  }
  const countBetween = (some: Iterable<SourceEnd>, others: Iterable<TableEnd>): number => {
    const byKind = countBy(some, (from) => from.end.kind);
    let count = 0;
    for (const to of others)
      for (const [kind, ofKind] of byKind)
        if (isAsked(kind, to)) count += ofKind * (portsOf.get(to.id)?.length ?? 0) * ipFamilies.length;
    return count;
  };
  return {
    ends,
    ports,
    count: countBetween(sources, ends),
    countBetween,
    cells: { [Symbol.iterator]: () => cells()[Symbol.iterator]() },
    pair,
  };
}

/** Whether sources of this kind open connections to the end. */
export function isAsked(from: SourceEnd["end"]["kind"], { end }: TableEnd): boolean {
  if (from === "pod" || end.kind === "pod") return true;
  if (end.kind !== "service") return false;
  return from === "node" || end.access === "load-balancer";
}

function countBy<T, K>(items: Iterable<T>, keyOf: (item: T) => K): ReadonlyMap<K, number> {
  const counts = new Map<K, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}
