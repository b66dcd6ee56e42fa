/**
 * The law of everything that states questions: what the chains of the nodes that a connection passes decide of it is what the
 * walk decides. Chains are read one by one (`answerOf`), for cells as truth tables have them.
 */
import { type Ip, ipEquals } from "../src/addr/index.ts";
import type { Questions, Way } from "../src/base/index.ts";
import {
  createJudge,
  emulate,
  endAddress,
  type ProductSelection,
  type SourceEnd,
  type TableCell,
  type TablePort,
  tableCells,
} from "../src/harness/index.ts";
import { ClusterTable } from "../src/harness/verdict-table.ts";
import type { CellEnd, ClusterState, Node } from "../src/k8s/index.ts";
import { answerOf } from "./questions.ts";

export interface LawCounts {
  /** Cells that statements decide. */
  readonly decided: number;
  /** Cells left to the walk, by rules that ask or by ways that nobody states. */
  readonly asked: readonly TableCell[];
  /** Cells that statements decide and the verdict table made of them leaves to the walk. */
  readonly unfactored: readonly TableCell[];
  /** Each a cell with both answers, as text; none is as it should be. */
  readonly broken: readonly string[];
}

const numbers = { TCP: 6, UDP: 17, SCTP: 132 } as const;

export interface LawOptions {
  readonly ports?: readonly TablePort[];
  /** One cell in so many; default 1. */
  readonly oneIn?: number;
}

/** Cells between pods, nodes and addresses outside; those of a pod with itself never leave it. */
export function statementLaw(
  state: ClusterState,
  selection: ProductSelection,
  { ports, oneIn = 1 }: LawOptions = {},
): LawCounts {
  const cluster = emulate(state, selection, { seed: 1 });
  const { judge } = createJudge(state, selection, 1);
  const byTable = createJudge(state, selection, 1, Number.POSITIVE_INFINITY);
  const statements: Statements = new Map(
    [...cluster.datapaths].map(([node, datapath]) => [node, datapath.questions()]),
  );
  let seen = 0;
  let decided = 0;
  const asked: TableCell[] = [];
  const unfactored: TableCell[] = [];
  const broken: string[] = [];
  const table = new ClusterTable(cluster);
  for (const cell of tableCells(state, [selection], ports === undefined ? {} : { ports }).cells) {
    const { from, to, isSelf } = cell;
    if (isSelf || to.end.kind === "service" || to.end.kind === "node-port") continue;
    if (seen++ % oneIn !== 0) continue;
    const stated = verdictOf(state, statements, cell);
    if (stated === undefined) {
      asked.push(cell);
      continue;
    }
    decided++;
    const { verdict, by } = judge(cell);
    const { protocol, port, family } = cell.cell;
    const tell = (what: string): void =>
      void broken.push(
        `${from.id} > ${to.id} ${protocol} ${port} v${family}: ${what}, walk: ${verdict} by ${by}`,
      );
    if (verdict !== stated) tell(stated);
    const decision = table.judge(cell.cell);
    if (decision === undefined) unfactored.push(cell);
    const answer = byTable.judge(cell);
    if (answer.verdict !== verdict || answer.by !== by) tell(`table ${answer.verdict} by ${answer.by}`);
  }
  return { decided, asked, unfactored, broken };
}

type Statements = ReadonlyMap<string, Questions | undefined>;

interface Place {
  readonly kind: "pod" | "node" | "outside";
  readonly node: Node | undefined;
}

function placeOf({ nodes }: ClusterState, end: CellEnd): Place {
  if (end.kind === "external") return { kind: "outside", node: undefined };
  if (end.kind === "node") return { kind: "node", node: end.node };
  return { kind: end.pod.hostNetwork ? "node" : "pod", node: nodes.get(end.pod.nodeName) };
}

/** `undefined`: only the walk knows. */
function verdictOf(
  state: ClusterState,
  statements: Statements,
  { from, to, cell }: TableCell,
): "allow" | "deny" | undefined {
  const target = to as SourceEnd;
  const [src, dst] = [endAddress(from.end, cell.family), endAddress(target.end, cell.family)];
  if (src === undefined || dst === undefined) return undefined;
  const [source, destination] = [placeOf(state, from.end), placeOf(state, target.end)];
  const protocol = cell.protocol === "ICMP" ? (cell.family === 4 ? 1 : 58) : numbers[cell.protocol];
  const port = cell.protocol === "ICMP" ? (cell.family === 4 ? 8 : 128) : cell.port;
  let sender: Ip = src;
  for (const { node, way } of passages(source, destination)) {
    const chains = statements.get(node.name)?.ways[way];
    if (chains === undefined) return undefined;
    const isOwn = (ip: Ip): boolean => node.addresses.some((own) => ipEquals(own, ip));
    const { verdict, isMasqueraded } = answerOf(chains, { src: sender, dst, protocol, port }, isOwn);
    if (verdict !== "accept") return verdict === "drop" ? "deny" : undefined;
    const own = node.addresses.find(({ family }) => family === cell.family);
    if (isMasqueraded && way.endsWith("-wire")) sender = own ?? sender;
  }
  return "allow";
}

function passages(from: Place, to: Place): readonly { readonly node: Node; readonly way: Way }[] {
  if (from.node !== undefined && from.node === to.node)
    return [{ node: from.node, way: `${from.kind}-${to.kind}` as Way }];
  return [
    ...(from.node === undefined ? [] : [{ node: from.node, way: `${from.kind}-wire` as Way }]),
    ...(to.node === undefined ? [] : [{ node: to.node, way: `wire-${to.kind}` as Way }]),
  ];
}

/** Those of the cells that go from one pod's address straight to another's. */
export function betweenPods(cells: readonly TableCell[]): readonly string[] {
  return cells
    .filter(({ from, to }) => from.end.kind === "pod" && to.end.kind === "pod")
    .map(({ from, to, cell }) => `${from.id} > ${to.id} ${cell.protocol} ${cell.port}`);
}
