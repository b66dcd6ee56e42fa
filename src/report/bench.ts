/** Reports of `bench`. */
import type { BenchDocument, BenchResultDocument } from "../harness/index.ts";
import { csvLine, markdownTable, thousands } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";

/** What one decision may take, and the table of 20,000 pods: goals for one core, not gates. */
const goals = { decide: 60, "parse+decide": 120 } as const;
const [tableGoalMs, tableGoalBytes] = [500, 32 * 2 ** 20];

const pathWords = {
  decide: "verdict table",
  "parse+decide": "verdict table, from frames",
  slice: "verdict table, all pairs",
  walk: "walk",
  "walk-traced": "walk, traced",
} as const;

export function* benchText(document: BenchDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  yield `${clusterLine(document)}\n`;
  yield `${style.dim(machineLine(document))}\n`;
  for (const [engine, results] of byEngine(document)) {
    const [first] = results;
    if (first === undefined) continue;
    yield `${style.strong(engine)} (${first.engineVersion}): ${tablesLine(first)}\n`;
    for (const { path, connections, decisionsPerSecond, nsPerDecision, p50, p99, ...one } of results) {
      yield `  ${`${pathWords[path]}, ${connections}`.padEnd(31)} ${style.good(`${thousands(Math.round(decisionsPerSecond)).padStart(10)} decisions/s`)}, `;
      yield `${nanoseconds(nsPerDecision)} ns each (p50 ${nanoseconds(p50)}, p99 ${nanoseconds(p99)}); `;
      yield `${one.accepted} of ${one.packets} accepted, ${one.asked === 0 ? "" : `${one.asked} left to the walk, `}hash ${one.resultHash}\n`;
    }
  }
}

function clusterLine({ cluster, seed, traffic }: BenchDocument): string {
  return `${cluster.profile}: ${thousands(cluster.nodes)} nodes, ${thousands(cluster.pods)} pods, ${thousands(cluster.policies)} policies; ${traffic} traffic, seed ${seed}`;
}

function machineLine({ machine }: BenchDocument): string {
  return `Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores, load ${machine.load.toFixed(1)}; the best of 7 rounds, absolute figures vary with the machine`;
}

function byEngine({ results }: BenchDocument): ReadonlyMap<string, readonly BenchResultDocument[]> {
  const engines = new Map<string, BenchResultDocument[]>();
  for (const result of results) engines.set(result.engine, [...(engines.get(result.engine) ?? []), result]);
  return engines;
}

function tablesLine(one: BenchResultDocument): string {
  return [
    `cluster ${one.buildMs.toFixed(0)} ms, compile ${one.compileMs.toFixed(0)} ms for all nodes, link ${one.linkMs.toFixed(0)} ms for one`,
    `${thousands(one.rules)} iptables rules and ${thousands(one.setEntries)} set entries a node, ${mebibytes(one.tableBytes)}, ${mebibytes(one.allTablesBytes)} for all nodes`,
    `verdict table ${one.verdictTableMs.toFixed(0)} ms, ${mebibytes(one.verdictTableBytes)}, ${thousands(one.classes)} classes of addresses`,
  ].join("; ");
}

function nanoseconds(ns: number): string {
  return ns < 1 ? ns.toPrecision(2) : thousands(Math.round(ns));
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

const columns = [
  "engine",
  "path",
  "connections",
  "decisionsPerSecond",
  "nsPerDecision",
  "p50",
  "p99",
  "packets",
  "accepted",
  "asked",
  "buildMs",
  "compileMs",
  "linkMs",
  "verdictTableMs",
  "verdictTableBytes",
  "classes",
  "rules",
  "setEntries",
  "tableBytes",
  "allTablesBytes",
  "rssBytes",
  "resultHash",
] as const;

export function* benchCsv(document: BenchDocument): Iterable<string> {
  yield csvLine(columns);
  for (const result of document.results) yield csvLine(columns.map((column) => result[column]));
}

const whatPathsInclude = [
  "Verdict table: from header columns, by the exact table of the whole cluster, so for both nodes of the way; from frames: these are decoded first.",
  "All pairs: every pod to every other on one protocol and port, counted class by class; four slices, 80, 8080 and 12345/TCP and 53/UDP. p50 and p99 are of the middle and the dearest slice.",
  "Walk: frames judged by one node's own tables, step by step, at the hook that forwards. Cilium's programs stand at the pods' interfaces, not at that hook: its walk is that of the node's iptables rules alone, and no measure beside its verdict table.",
  "Walk, traced: the same with every step recorded.",
  "Packets are drawn before the clock starts. Walks repeat 1,024 of them, tables 65,536 (4,096 frames): what fits the caches differs.",
  "p50 and p99 are of short slices, each timed by itself, and include the clock.",
  "What differs between engines is a decision's last part, one or two bits for each stage of the way; addresses and ports take as long for all.",
];

/** A page that stands by itself: what was measured, on what, and which goals are met. */
export function* benchMarkdown(document: BenchDocument): Iterable<string> {
  yield `# Decision throughput\n\n${clusterLine(document)}.\n\n${machineLine(document)}.\n\n`;
  for (const line of whatPathsInclude) yield `- ${line}\n`;
  for (const [engine, results] of byEngine(document)) {
    const [first] = results;
    if (first === undefined) continue;
    yield `\n## ${engine} ${first.engineVersion}\n\n`;
    yield markdownTable(
      ["path", "connections", "decisions/s", "ns each", "p50", "p99", "accepted", "left to the walk", "hash"],
      results.map((one) => [
        pathWords[one.path],
        one.connections,
        thousands(Math.round(one.decisionsPerSecond)),
        ...[one.nsPerDecision, one.p50, one.p99].map(nanoseconds),
        `${one.accepted} of ${one.packets}`,
        String(one.asked),
        one.resultHash,
      ]),
    );
    yield `\n${tablesLine(first)}.\n\n`;
    yield markdownTable(["goal, on one quiet core", "measured", ""], [...goalRows(results)]);
  }
}

/** Slices that are counted together, and what one of them may take. */
const [slicesOfAll, sliceGoalMs] = [4, 50];

function* goalRows(results: readonly BenchResultDocument[]): Iterable<readonly string[]> {
  for (const { path, nsPerDecision, packets } of results) {
    if (path === "slice") {
      const ms = (nsPerDecision * packets) / slicesOfAll / 1e6;
      yield [`all pairs on one port in ${sliceGoalMs} ms`, `${ms.toFixed(0)} ms`, against(ms, sliceGoalMs)];
    }
    if (path !== "decide" && path !== "parse+decide") continue;
    const goal = goals[path];
    yield [
      `${pathWords[path]}: ${goal} ns`,
      `${nanoseconds(nsPerDecision)} ns`,
      against(nsPerDecision, goal),
    ];
  }
  const [first] = results;
  if (first === undefined) return;
  const { verdictTableMs, verdictTableBytes } = first;
  yield [
    `verdict table made in ${tableGoalMs} ms`,
    `${verdictTableMs.toFixed(0)} ms`,
    against(verdictTableMs, tableGoalMs),
  ];
  yield [
    `verdict table within ${mebibytes(tableGoalBytes)}`,
    mebibytes(verdictTableBytes),
    against(verdictTableBytes, tableGoalBytes),
  ];
}

function against(measured: number, goal: number): string {
  return measured <= goal ? "met" : `missed ${(measured / goal).toFixed(2)} times over`;
}
