/**
 * Where two engines (or an engine and the oracle) differ, and which documented divergence says so. A divergence is a
 * predicate over API objects: a cell that differs and that none names is unexplained; one that a divergence names and
 * that does not differ is a false alarm, and as much of an error.
 */
import type { Divergence } from "../engine/index.ts";
import type { Cell, ClusterState, Connection } from "../k8s/index.ts";
import { createOracle, defaultReadings, isToService, type Oracle, serviceRoutes } from "../oracle/index.ts";
import { type TableCell, tableCells } from "./cell-table.ts";
import type { CellVerdict, DiffDocument, DiffGroup } from "./documents.ts";
import { cellDocument, createJudge, type MatrixOptions } from "./matrix.ts";
import type { SelectedCluster } from "./selected-cluster.ts";
import type { Selection } from "./selection.ts";

/** Group of cells that no documented divergence explains. */
export const unexplained = "unexplained";

export interface PredictedDivergence {
  readonly divergence: Divergence;
  readonly verdict: CellVerdict;
}

/**
 * Divergences that say so of one connection, with the verdict that they predict. A connection to a Service is asked
 * about backend by backend; what is predicted is what comes out over all of them.
 */
export function divergencesOf(
  selection: Selection,
  state: ClusterState,
  connection: Connection,
  expected: CellVerdict,
): readonly PredictedDivergence[] {
  if (selection.kind === "oracle") return [];
  if (!isToService(connection)) {
    const open = expected === "some" ? "undefined" : expected;
    return cellDivergences(selection, state, connection as Cell, open);
  }
  for (const divergence of declared(selection)) {
    const verdict = divergence.whenService?.(state, connection) ?? null;
    if (verdict !== null) return verdict === expected ? [] : [{ divergence, verdict }];
  }
  const routes = serviceRoutes(state, connection);
  if (routes.kind !== "backends") return [];
  const oracle = oracleOf(state);
  const found = new Map<string, Divergence>();
  const verdicts = new Set<CellVerdict>();
  for (const cell of routes.cells) {
    const { verdict } = oracle.judge(cell);
    const named = cellDivergences(selection, state, cell, verdict === "some" ? "undefined" : verdict);
    for (const { divergence } of named) found.set(divergence.id, divergence);
    verdicts.add(named[0]?.verdict ?? verdict);
  }
  const [only = "undefined"] = verdicts;
  const predicted = verdicts.has("undefined") ? "undefined" : verdicts.size > 1 ? "some" : only;
  if (predicted === "undefined" || predicted === expected) return [];
  return [...found.values()].map((divergence) => ({ divergence, verdict: predicted }));
}

const oracles = new WeakMap<ClusterState, Oracle>();

function oracleOf(state: ClusterState): Oracle {
  let oracle = oracles.get(state);
  if (oracle === undefined) {
    oracle = createOracle(state, defaultReadings);
    oracles.set(state, oracle);
  }
  return oracle;
}

function cellDivergences(
  selection: Extract<Selection, { kind: "product" }>,
  state: ClusterState,
  cell: Cell,
  expected: "allow" | "deny" | "undefined",
): readonly { readonly divergence: Divergence; readonly verdict: "allow" | "deny" }[] {
  return declared(selection).flatMap((divergence) => {
    const verdict = divergence.when(state, cell, expected);
    return verdict === null ? [] : [{ divergence, verdict }];
  });
}

/** Of the product's engines, each id once. */
function declared({ engines }: Extract<Selection, { kind: "product" }>): readonly Divergence[] {
  const [linux, windows] = [engines.linux?.divergences ?? [], engines.windows?.divergences ?? []];
  const known = new Set(linux.map(({ id }) => id));
  return [...linux, ...windows.filter(({ id }) => !known.has(id))];
}

interface Group {
  readonly divergence: Divergence | undefined;
  cells: number;
  witness: DiffGroup["witness"];
}

/** Compares cell by cell; self cells are left out, `undefined` equals anything and is counted. */
export async function computeDiff(
  a: SelectedCluster,
  b: SelectedCluster,
  version: string,
  options: MatrixOptions,
): Promise<DiffDocument> {
  const table = tableCells(a.state, [a.selection, b.selection], options);
  const [judgeA, judgeB] = [
    createJudge(a.state, a.selection, options.seed, table.count),
    createJudge(b.state, b.selection, options.seed, table.count),
  ];
  const oracle = createOracle(a.state, defaultReadings);
  const dual = a.state.options.ipFamilies.length > 1;
  const groups = new Map<string, Group>();
  let compared = 0;
  let open = 0;
  let done = 0;
  for (const cell of table.cells) {
    if (done++ % 2048 === 0 && (await options.onProgress?.(done, table.count)) === false) break;
    if (cell.isSelf) continue;
    const [first, second] = [judgeA.judge(cell).verdict, judgeB.judge(cell).verdict];
    if (first === "undefined" || second === "undefined") {
      open++;
      continue;
    }
    compared++;
    if (first === second) continue;
    const expected = oracle.judge(cell.cell).verdict;
    note(groups, explainDifference(a, b, cell, [first, second], expected), cell, first, second, dual);
  }
  const order = [...groups.values()].sort(
    (x, y) => Number(x.divergence !== undefined) - Number(y.divergence !== undefined) || y.cells - x.cells,
  );
  return {
    schema: "podwire/diff/v1",
    version,
    seed: options.seed,
    engines: [a.selection.label, b.selection.label],
    compared,
    undefined: open,
    groups: order.map(({ divergence, cells, witness }) => ({
      divergence: divergence?.id ?? unexplained,
      ...(divergence === undefined ? {} : { cause: divergence.cause, source: divergence.source }),
      cells,
      witness,
    })),
  };
}

/** The divergence of either side that predicts what that side did. */
export function explainDifference(
  a: SelectedCluster,
  b: SelectedCluster,
  cell: TableCell,
  verdicts: readonly [CellVerdict, CellVerdict],
  expected: CellVerdict,
): Divergence | undefined {
  const sides = [
    { cluster: a, verdict: verdicts[0] },
    { cluster: b, verdict: verdicts[1] },
  ];
  for (const { cluster, verdict } of sides) {
    if (verdict === expected) continue;
    const named = divergencesOf(cluster.selection, cluster.state, cell.cell, expected);
    const fitting = named.find((one) => one.verdict === verdict);
    if (fitting !== undefined) return fitting.divergence;
  }
  return undefined;
}

function note(
  groups: Map<string, Group>,
  divergence: Divergence | undefined,
  cell: TableCell,
  a: CellVerdict,
  b: CellVerdict,
  dual: boolean,
): void {
  const key = divergence?.id ?? unexplained;
  const group = groups.get(key);
  if (group !== undefined) {
    group.cells++;
    return;
  }
  // cells come in name order: the first is the smallest witness
  const { verdict: _, ...ends } = cellDocument(cell, { verdict: a, by: undefined }, dual);
  groups.set(key, { divergence, cells: 1, witness: { ...ends, verdict: a, a, b } });
}
