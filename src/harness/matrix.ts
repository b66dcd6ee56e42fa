/**
 * Truth tables: the verdict of every ordered pair of ends and every port, by walking each connection's first packet and
 * reply through every hook of the emulated cluster, or by asking the oracle.
 */
import type { Family } from "../addr/index.ts";
import { createExplorer, type Explorer, type ExplorerOptions, InputError, type Prng } from "../base/index.ts";
import type { Diagnostic } from "../engine/index.ts";
import type { ClusterState, Connection } from "../k8s/index.ts";
import { createOracle, type Oracle } from "../oracle/index.ts";
import { judgeConnection, type Network } from "../sim/index.ts";
import { connectionAttempt } from "./attempt.ts";
import { type CellTable, type TableCell, tableCells } from "./cell-table.ts";
import { type EmulatedCluster, emulate } from "./compose.ts";
import type {
  CellDocument,
  CellVerdict,
  ClassDocument,
  DiagnosticDocument,
  EngineMatrix,
  MatrixDocument,
} from "./documents.ts";
import { classCellCount, classCells, describeClass, endClasses } from "./end-classes.ts";
import { describeEnd, type TablePort } from "./ends.ts";
import type { SelectedCluster } from "./selected-cluster.ts";
import { followsApi, type Selection } from "./selection.ts";
import { slicesOf } from "./service-ends.ts";
import { ClusterTable } from "./verdict-table.ts";

/** Which ends and ports a truth table holds. */
export interface MatrixOptions {
  readonly seed: number;
  /** `undefined`: every port that a container or a policy names. */
  readonly ports?: readonly TablePort[];
  readonly podsOnly?: boolean;
  /** Above so many cells an engine's cells stand between classes of ends. Default 200,000. */
  readonly classesAbove?: number;
  /** Called now and then with cells done and cells in all; answering `false` stops the work, what is finished is kept. */
  readonly onProgress?: Progress;
}

export type Progress = (done: number, total: number) => Promise<boolean>;

export interface CellAnswer {
  readonly verdict: CellVerdict;
  readonly by: "egress" | "ingress" | "both" | undefined;
}

export type CellJudge = (cell: TableCell) => CellAnswer;

const classesAboveDefault = 200_000;
/** Cells of all engines that a document may hold: some gigabytes of JSON. */
const cellsMax = 4_000_000;

/**
 * Endpoints and ports are those of the first cluster: the clusters hold the same objects.
 * @throws InputError when even between classes there are too many cells.
 */
export async function computeMatrix(
  clusters: readonly [SelectedCluster, ...SelectedCluster[]],
  version: string,
  options: MatrixOptions,
): Promise<MatrixDocument> {
  const selections = clusters.map(({ selection }) => selection);
  const [first, ...others] = clusters;
  const plan = (cluster: SelectedCluster): TablePlan => planTable(cluster, selections, options);
  const firstPlan = plan(first);
  const plans = [firstPlan, ...others.map(plan)];
  const total = plans.reduce((sum, { count }) => sum + count, 0);
  if (total > cellsMax) throw tooManyCells(total, firstPlan);
  const results: EngineMatrix[] = [];
  let done = 0;
  let isGoing = true;
  for (const [i, { state, selection }] of clusters.entries()) {
    if (!isGoing) break;
    const { judge, diagnostics, method } = createJudge(state, selection, options.seed, plans[i]?.count);
    const dual = state.options.ipFamilies.length > 1;
    const documents: CellDocument[] = [];
    for (const piece of plans[i]?.pieces(judge, dual) ?? []) {
      if (done++ % 4096 === 0) isGoing = (await options.onProgress?.(done, total)) ?? true;
      if (!isGoing) break;
      documents.push(piece);
    }
    results.push({
      engine: selection.label,
      engineVersion: selection.version,
      method,
      ...(plans[i]?.classes === undefined ? {} : { classes: plans[i].classes }),
      cells: documents,
      diagnostics: diagnostics.map(diagnosticDocument),
    });
  }
  return {
    schema: "podwire/matrix/v1",
    version,
    seed: options.seed,
    endpoints: firstPlan.table.ends.map(describeEnd),
    ports: firstPlan.table.ports.map(({ protocol, port }) =>
      protocol === "ICMP" ? { protocol, type: port } : { protocol, port },
    ),
    results,
  };
}

/** How one engine's cells come about: all of them, or one for each pair of classes. */
interface TablePlan {
  readonly table: CellTable;
  readonly count: number;
  readonly classes: readonly ClassDocument[] | undefined;
  pieces(judge: CellJudge, dual: boolean): Iterable<CellDocument>;
}

function planTable(
  { state, selection }: SelectedCluster,
  selections: readonly Selection[],
  options: MatrixOptions,
): TablePlan {
  const table = tableCells(state, selections, options);
  if (table.count <= (options.classesAbove ?? classesAboveDefault))
    return {
      table,
      count: table.count,
      classes: undefined,
      *pieces(judge, dual) {
        for (const cell of table.cells) yield cellDocument(cell, judge(cell), dual);
      },
    };
  const classes = endClasses(state, table.ends, followsApi(selection));
  return {
    table,
    count: classCellCount(classes, table),
    classes: classes.map(describeClass),
    *pieces(judge, dual) {
      for (const { from, to, cells } of classCells(classes, table, judge))
        for (const { cell, answer, place } of cells)
          yield {
            ...cellDocument(cell, answer, dual),
            from: from.id,
            to: to.id,
            ...(place === undefined ? {} : { place }),
          };
    },
  };
}

function tooManyCells(count: number, { table, classes }: TablePlan): InputError {
  const between = classes === undefined ? "" : ` between ${classes.length} classes of ends that differ`;
  const message = `${count} cells of ${table.ends.length} ends${between} are too many for one truth table (at most ${cellsMax}): ask fewer ports (--ports), pods only (--ends pods), or fewer objects`;
  return new InputError([{ code: "too-large", path: "", message }]);
}

export interface Judge {
  readonly method: EngineMatrix["method"];
  readonly judge: CellJudge;
  readonly diagnostics: readonly Diagnostic[];
}

/** From so many cells on a verdict table is made first. */
const tableFrom = 2000;

/**
 * Verdicts of one selection on one state, cell by cell. `cells`: about how many are asked; many are told by a verdict table,
 * which leaves to the walk what it does not know.
 */
export function createJudge(state: ClusterState, selection: Selection, seed: number, cells = 0): Judge {
  if (selection.kind === "oracle")
    return {
      method: "oracle",
      judge: oracleJudge(createOracle(state, selection.readings)),
      diagnostics: [],
    };
  const explorer = createExplorer(seed, explorerLimits);
  const cluster = emulate(state, selection, { seed, random: explorer.random });
  const { diagnostics } = cluster;
  const walk = walkJudge(cluster, explorer);
  const table = cells < tableFrom ? undefined : new ClusterTable(cluster);
  if (table?.isStated !== true) return { method: "walk", judge: walk, diagnostics };
  return { method: "table", judge: tableJudge(table, walk), diagnostics };
}

/** Who denies first is for the walk to tell, once for all cells that the table does not tell apart. */
function tableJudge(table: ClusterTable, walk: CellJudge): CellJudge {
  const denials = new Map<number, CellAnswer>();
  return (cell) => {
    const told = table.judge(cell.cell);
    if (told === undefined) return walk(cell);
    if (told.verdict === "allow") return { verdict: "allow", by: undefined };
    let answer = denials.get(told.alike);
    if (answer === undefined) {
      answer = walk(cell);
      denials.set(told.alike, answer);
    }
    return answer;
  };
}

export function oracleJudge(oracle: Oracle): CellJudge {
  return ({ cell }) => {
    const { verdict, by } = oracle.judge(cell);
    return { verdict, by };
  };
}

/** Any node of the largest cluster, times any endpoint of a large Service. */
export const explorerLimits: ExplorerOptions = { branchesMax: 5000, runsMax: 20_000 };

/** Forget connections before the kernel's default table (262,144 entries) fills up. */
const judgementsPerFlush = 100_000;

export function walkJudge(cluster: EmulatedCluster, explorer: Explorer): CellJudge {
  let count = 0;
  return ({ cell }) =>
    judgeWays(cluster, explorer, cell, () => {
      if (count > 0 && count % judgementsPerFlush === 0)
        for (const datapath of cluster.datapaths.values()) datapath.forgetFlows();
      return 1024 + (count++ % 64_000);
    });
}

/**
 * Every way that chance may take the connection is tried (which node a load balancer picks, which endpoint a Service's
 * rules draw), until two of them differ. Each time the client comes for the first time: no affinity binds it.
 */
export function judgeWays(
  { state, network, datapaths }: Pick<EmulatedCluster, "state" | "network" | "datapaths">,
  explorer: Explorer,
  cell: Connection,
  nextSourcePort: () => number,
): CellAnswer {
  const isToService = cell.to.kind === "service" || cell.to.kind === "node-port";
  const isSticky =
    isToService && [...state.services.values()].some((one) => one.sessionAffinitySeconds !== undefined);
  const { outcomes } = explorer.explore(
    () => {
      if (isToService) network.forgetBalancing();
      if (isSticky) for (const datapath of datapaths.values()) datapath.forgetClients();
      return judgeWay(network, cell, nextSourcePort(), explorer.random);
    },
    {
      isEnough: (seen) => new Set(seen.map(({ value }) => value.verdict)).size > 1,
      remainders: () => backendsMax(state, cell),
    },
  );
  return combineAnswers(outcomes.map(({ value }) => value));
}

/** How many endpoints a connection may be given to, at most: a BPF program takes the remainder of a random word by it. */
function backendsMax(state: ClusterState, { to }: Connection): number {
  if (to.kind !== "service" && to.kind !== "node-port") return 1;
  if (to.service === undefined) return 1;
  const endpoints = slicesOf(state, to.service).reduce((sum, slice) => sum + slice.endpoints.length, 0);
  return Math.max(1, endpoints);
}

function judgeWay(network: Network, cell: Connection, sourcePort: number, random: Prng): CellAnswer {
  const attempt = connectionAttempt(network, cell, sourcePort, random);
  if (attempt === undefined) return { verdict: "deny", by: undefined };
  const { isAllowed, request, reply } = judgeConnection(network, attempt);
  if (isAllowed) return { verdict: "allow", by: undefined };
  const stopped = request.disposition === "delivered" ? reply : request;
  return { verdict: "deny", by: directionOf(stopped?.disposition) };
}

function combineAnswers(answers: readonly CellAnswer[]): CellAnswer {
  const [first] = answers;
  if (first === undefined) return { verdict: "deny", by: undefined };
  if (answers.some(({ verdict }) => verdict !== first.verdict)) return { verdict: "some", by: undefined };
  return answers.every(({ by }) => by === first.by) ? first : { verdict: first.verdict, by: "both" };
}

function directionOf(disposition: string | undefined): "egress" | "ingress" | undefined {
  if (disposition === "denied-egress") return "egress";
  return disposition === "denied-ingress" ? "ingress" : undefined;
}

export function cellDocument(
  { from, to, cell, isSelf }: TableCell,
  answer: CellAnswer,
  dual: boolean,
): CellDocument {
  const { protocol, port } = cell;
  return {
    from: from.id,
    to: to.id,
    protocol,
    ...(protocol === "ICMP" ? { type: port } : { port }),
    ...(dual ? { family: cell.family as Family } : {}),
    verdict: answer.verdict,
    ...(answer.by === undefined ? {} : { by: answer.by }),
    ...(isSelf ? { self: true as const } : {}),
  };
}

/** A diagnostic as documents hold it. */
export function diagnosticDocument(diagnostic: Diagnostic): DiagnosticDocument {
  const { code, severity, policy, message, origin } = diagnostic;
  return {
    code,
    severity,
    ...(policy === undefined ? {} : { policy }),
    message,
    ...(origin?.source === undefined ? {} : { file: origin.source.file }),
  };
}

/** One line for a person. */
export function diagnosticText({ severity, message }: Diagnostic): string {
  return `${severity}: ${message}`;
}
