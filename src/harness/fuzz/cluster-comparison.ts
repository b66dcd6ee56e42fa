/**
 * Random clusters compared: every cell of an engine with the oracle, except where a divergence says otherwise, and every
 * divergence true where it speaks; or every cell of two engines, except where a divergence of one of them explains it.
 */

import type { ClusterState, Connection } from "../../k8s/index.ts";
import { createOracle, defaultReadings } from "../../oracle/index.ts";
import { type TableCell, tableCells } from "../cell-table.ts";
import { divergencesOf, explainDifference } from "../diff.ts";
import type { CellVerdict } from "../documents.ts";
import { isSource } from "../ends.ts";
import { createJudge, oracleJudge } from "../matrix.ts";
import { resolveEnd } from "../resolve-end.ts";
import type { SelectedCluster } from "../selected-cluster.ts";
import type { ProductSelection } from "../selection.ts";

/** A cell on which two sides do not agree, and no divergence says why. */
export interface CellDisagreement {
  readonly cell: TableCell;
  readonly text: string;
  /** What each side says, in the order in which they were compared; the first is taken for right. */
  readonly verdicts: readonly [CellVerdict, CellVerdict];
}

/** What comparing one cluster came to. */
export interface ClusterComparison {
  readonly cells: number;
  /** Divergences that explained a cell. */
  readonly fired: ReadonlySet<string>;
  readonly disagreements: readonly CellDisagreement[];
}

/** The engine held against what the API says; both ways, so that a divergence that is not there is found as well. */
export function compareWithOracle({ state, selection }: EngineCluster): ClusterComparison {
  const oracle = createOracle(state, defaultReadings);
  const { judge } = createJudge(state, selection, 1);
  const disagreements: CellDisagreement[] = [];
  const fired = new Set<string>();
  let cells = 0;
  for (const cell of allCells(state, [selection])) {
    const expected = oracle.judge(cell.cell).verdict;
    const named = divergencesOf(selection, state, cell.cell, expected);
    if (expected === "undefined" && named.length === 0) continue;
    const { verdict } = judge(cell);
    if (verdict === "undefined") continue; // what is not emulated
    cells++;
    const verdicts = [expected, verdict] as const;
    if (expected !== "undefined" && verdict !== expected && !named.some((one) => one.verdict === verdict))
      disagreements.push({
        cell,
        verdicts,
        text: `${cellText(cell)}: ${expected} by the API, ${verdict} by ${selection.label}`,
      });
    for (const { divergence, verdict: predicted } of named) {
      if (predicted === verdict) fired.add(divergence.id);
      else
        disagreements.push({
          cell,
          verdicts: [predicted, verdict],
          text: `${cellText(cell)}: divergence ${divergence.id} predicts ${predicted}, ${selection.label} says ${verdict}`,
        });
    }
  }
  return { cells, fired, disagreements };
}

/** An engine with a cluster of its own settings. */
export type EngineCluster = SelectedCluster<ProductSelection>;

/** Two sides, engines or readings of the oracle, on the same objects. */
export function compareSides(a: SelectedCluster, b: SelectedCluster): ClusterComparison {
  const [first, second] = [a, b].map(({ state, selection }) =>
    selection.kind === "oracle"
      ? oracleJudge(createOracle(state, selection.readings))
      : createJudge(state, selection, 1).judge,
  ) as [ReturnType<typeof oracleJudge>, ReturnType<typeof oracleJudge>];
  const oracle = createOracle(a.state, defaultReadings);
  const disagreements: CellDisagreement[] = [];
  const fired = new Set<string>();
  let cells = 0;
  for (const cell of allCells(a.state, [a.selection, b.selection])) {
    const verdicts = [first(cell).verdict, second(cell).verdict] as const;
    if (verdicts.includes("undefined")) continue;
    cells++;
    if (verdicts[0] === verdicts[1]) continue;
    const expected = oracle.judge(cell.cell).verdict;
    const divergence = explainDifference(a, b, cell, verdicts, expected);
    if (divergence !== undefined) fired.add(divergence.id);
    else
      disagreements.push({
        cell,
        verdicts,
        text: `${cellText(cell)}: ${verdicts[0]} by ${a.selection.label}, ${verdicts[1]} by ${b.selection.label}`,
      });
  }
  return { cells, fired, disagreements };
}

function cellText({ from, to, cell }: TableCell): string {
  return `${from.id} -> ${to.id} ${cell.port}/${cell.protocol}`;
}

function* allCells(state: ClusterState, selections: Parameters<typeof tableCells>[1]): Iterable<TableCell> {
  for (const cell of tableCells(state, selections, {}).cells) if (!cell.isSelf) yield cell;
  yield* nodePortCells(state);
}

/** Every pod, node and one host outside, to every node port of every node. */
function nodePortCells(state: ClusterState): readonly TableCell[] {
  const ports = [...state.services.values()].flatMap((service) => service.ports);
  if (ports.every(({ nodePort }) => nodePort === undefined)) return [];
  const sources = tableCells(state, [], { ports: [{ protocol: "TCP", port: 1 }] })
    .ends.filter(isSource)
    .filter(({ id }) => id === "ip:other" || !id.startsWith("ip:"));
  return sources.flatMap((from) =>
    [...state.nodes.keys()].flatMap((node) =>
      ports.flatMap(({ nodePort, protocol }) => {
        if (nodePort === undefined) return [];
        const to = resolveEnd(state, { kind: "node-port", node, port: nodePort });
        const cell: Connection = { from: from.end, to: to.end, protocol, port: nodePort, family: 4 };
        return [{ from, to, cell, isSelf: false }];
      }),
    ),
  );
}
