/**
 * Truth tables: the verdict of every ordered pair of ends and every port, by walking each connection's first packet and
 * reply through every hook of the emulated cluster, or by asking the oracle.
 */
import type { Family } from "../addr/index.ts";
import { createExplorer, type Explorer, type ExplorerOptions } from "../base/index.ts";
import type { Diagnostic } from "../engine/index.ts";
import type { ClusterState, Connection } from "../k8s/index.ts";
import { createOracle, type Oracle } from "../oracle/index.ts";
import { judgeConnection } from "../sim/index.ts";
import { connectionAttempt, connectionBetween } from "./attempt.ts";
import { type EmulatedCluster, emulate } from "./compose.ts";
import type {
  CellDocument,
  CellVerdict,
  DiagnosticDocument,
  EngineMatrix,
  MatrixDocument,
} from "./documents.ts";
import {
  describeEnd,
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

/** Which ends and ports a truth table holds. */
export interface MatrixOptions {
  readonly seed: number;
  /** `undefined`: every port that a container or a policy names. */
  readonly ports?: readonly TablePort[];
  readonly podsOnly?: boolean;
  /** Called now and then with cells done and cells in all; answering `false` stops the work, what is finished is kept. */
  readonly onProgress?: Progress;
}

export type Progress = (done: number, total: number) => Promise<boolean>;

/** A selection in a cluster of its own settings. */
export interface SelectedCluster {
  readonly selection: Selection;
  readonly state: ClusterState;
}

/** A cell with the ids of its ends. */
export interface TableCell {
  readonly from: SourceEnd;
  readonly to: TableEnd;
  readonly cell: Connection;
  readonly isSelf: boolean;
}

export interface CellAnswer {
  readonly verdict: CellVerdict;
  readonly by: "egress" | "ingress" | "both" | undefined;
}

export type CellJudge = (cell: TableCell) => CellAnswer;

export interface CellTable {
  readonly ends: readonly TableEnd[];
  readonly ports: readonly TablePort[];
  readonly cells: readonly TableCell[];
}

/**
 * Cells of every ordered pair with a pod or a Service at one end at least, in the order from, to, port, family. Cluster
 * addresses are for pods and nodes; load balancers for hosts outside too. A Service is asked on its own ports.
 */
export function tableCells(
  state: ClusterState,
  selections: readonly Selection[],
  options: Pick<MatrixOptions, "ports" | "podsOnly">,
): CellTable {
  const hostNetworkPods = selections.some(
    (one) => one.kind === "oracle" && one.readings.hostNetwork === "distinguished",
  );
  const endedPods = selections.every((one) => one.kind === "oracle");
  const ends = tableEnds(state, { hostNetworkPods, endedPods, podsOnly: options.podsOnly ?? false });
  const ports = options.ports ?? tablePorts(state);
  const portsOf = new Map(
    ends.map(({ id, end }) => [
      id,
      options.ports === undefined && end.kind === "service" ? servicePortsOf(state, end) : ports,
    ]),
  );
  const cells: TableCell[] = [];
  for (const from of ends.filter(isSource))
    for (const to of ends) {
      if (!isAsked(from, to)) continue;
      const isSelf = sameEnd(from.end, to.end);
      for (const { protocol, port } of portsOf.get(to.id) ?? [])
        for (const family of state.options.ipFamilies) {
          if (endAddress(from.end, family) === undefined || endAddress(to.end, family) === undefined)
            continue;
          cells.push({ from, to, isSelf, cell: connectionBetween(from, to, { protocol, port, family }) });
        }
    }
  return { ends, ports, cells };
}

function isAsked(from: SourceEnd, { end }: TableEnd): boolean {
  if (from.end.kind === "pod" || end.kind === "pod") return true;
  if (end.kind !== "service") return false;
  return from.end.kind === "node" || end.access === "load-balancer";
}

/** Endpoints and ports are those of the first cluster: the clusters hold the same objects. */
export async function computeMatrix(
  clusters: readonly [SelectedCluster, ...SelectedCluster[]],
  version: string,
  options: MatrixOptions,
): Promise<MatrixDocument> {
  const selections = clusters.map(({ selection }) => selection);
  const tables = clusters.map(({ state }) => tableCells(state, selections, options));
  const total = tables.reduce((sum, table) => sum + table.cells.length, 0);
  const results: EngineMatrix[] = [];
  let done = 0;
  let isGoing = true;
  for (const [i, { state, selection }] of clusters.entries()) {
    if (!isGoing) break;
    const { judge, diagnostics } = createJudge(state, selection, options.seed);
    const dual = state.options.ipFamilies.length > 1;
    const documents: CellDocument[] = [];
    for (const cell of tables[i]?.cells ?? []) {
      if (done++ % 4096 === 0) isGoing = (await options.onProgress?.(done, total)) ?? true;
      if (!isGoing) break;
      documents.push(cellDocument(cell, judge(cell), dual));
    }
    results.push({
      engine: selection.label,
      engineVersion: selection.version,
      method: selection.kind === "oracle" ? "oracle" : "walk",
      cells: documents,
      diagnostics: diagnostics.map(diagnosticDocument),
    });
  }
  const [first] = tables;
  return {
    schema: "podwire/matrix/v1",
    version,
    seed: options.seed,
    endpoints: (first?.ends ?? []).map(describeEnd),
    ports: (first?.ports ?? []).map(({ protocol, port }) =>
      protocol === "ICMP" ? { protocol, type: port } : { protocol, port },
    ),
    results,
  };
}

export interface Judge {
  readonly judge: CellJudge;
  readonly diagnostics: readonly Diagnostic[];
}

/** Verdicts of one selection on one state, cell by cell. */
export function createJudge(state: ClusterState, selection: Selection, seed: number): Judge {
  if (selection.kind === "oracle")
    return { judge: oracleJudge(createOracle(state, selection.readings)), diagnostics: [] };
  const explorer = createExplorer(seed, explorerLimits);
  const cluster = emulate(state, selection, { seed, random: explorer.random });
  return { judge: walkJudge(cluster, explorer), diagnostics: cluster.diagnostics };
}

export function oracleJudge(oracle: Oracle): CellJudge {
  return ({ cell }) => {
    const { verdict, by } = oracle.judge(cell);
    return { verdict, by };
  };
}

/** Any node of the largest cluster, times any endpoint of a large Service. */
const explorerLimits: ExplorerOptions = { branchesMax: 5000, runsMax: 20_000 };

/** Forget connections before the kernel's default table (262,144 entries) fills up. */
const judgementsPerFlush = 100_000;

/**
 * Every way that chance may take the connection is tried (which node a load balancer picks, which endpoint a Service's
 * rules draw), until two of them differ. Each time the client comes for the first time: no affinity binds it.
 */
export function walkJudge(cluster: EmulatedCluster, explorer: Explorer): CellJudge {
  const isSticky = [...cluster.state.services.values()].some(
    (one) => one.sessionAffinitySeconds !== undefined,
  );
  let count = 0;
  const judgeOnce = (cell: Connection): CellAnswer => {
    if (count > 0 && count % judgementsPerFlush === 0)
      for (const datapath of cluster.datapaths.values()) datapath.forgetFlows();
    const attempt = connectionAttempt(cluster.network, cell, 1024 + (count++ % 64_000), explorer.random);
    if (attempt === undefined) return { verdict: "deny", by: undefined };
    const { isAllowed, request, reply } = judgeConnection(cluster.network, attempt);
    if (isAllowed) return { verdict: "allow", by: undefined };
    const stopped = request.disposition === "delivered" ? reply : request;
    return { verdict: "deny", by: directionOf(stopped?.disposition) };
  };
  return ({ cell }) => {
    const isToService = cell.to.kind === "service" || cell.to.kind === "node-port";
    const { outcomes } = explorer.explore(
      () => {
        if (isToService) cluster.network.forgetBalancing();
        if (isToService && isSticky)
          for (const datapath of cluster.datapaths.values()) datapath.forgetClients();
        return judgeOnce(cell);
      },
      (seen) => new Set(seen.map(({ value }) => value.verdict)).size > 1,
    );
    return combineAnswers(outcomes.map(({ value }) => value));
  };
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
