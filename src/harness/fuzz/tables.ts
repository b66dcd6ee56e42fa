/**
 * The search for rule sets on which the emulator and the real kernel differ: random tables, sets and packet sequences on
 * both; verdict, outgoing device, mark and every byte that leaves must be the same. A mismatch shrinks to the fewest
 * rules, members and packets (table-shrink.ts).
 */
import { createPrng, type Prng } from "../../base/index.ts";
import { LinkType, type ReadCapture } from "../../capture/index.ts";
import { restoreIpsets, saveIpsets } from "../../filter/ipset/index.ts";
import {
  type JudgedPacket,
  type JudgedTables,
  type KernelBackend,
  type KernelFate,
  type KernelJudge,
  type KernelState,
  type KernelTrace,
  traceLastPacket,
} from "../kernel/index.ts";
import { compareCase } from "./table-comparison.ts";
import { startTableJudge } from "./table-judge.ts";
import { PacketSource } from "./table-packets.ts";
import { drawRuleset } from "./table-rules.ts";
import { drawSets } from "./table-sets.ts";
import { type SmallCase, shrinkCase } from "./table-shrink.ts";

export interface TableSearchOptions {
  readonly backend: KernelBackend;
  readonly runs: number;
  /** Packets of each rule set. */
  readonly packets: number;
  readonly seed: number;
  /** Called after each rule set; answering `false` ends the search. */
  readonly onProgress?: (done: number, total: number) => Promise<boolean>;
  /** Ends the search after the rule set, or the step of shrinking, that is under way. */
  readonly signal?: AbortSignal;
}

/** Rules and packets with what the kernel did. */
export interface JudgedCase {
  readonly tables: JudgedTables;
  readonly packets: readonly JudgedPacket[];
  readonly fates: readonly KernelFate[];
  /** After all packets. */
  readonly state?: KernelState;
}

/** The smallest case found on which the two differ. */
export interface TableMismatch {
  readonly backend: KernelBackend;
  readonly seed: number;
  /** Number of the rule set, from zero. */
  readonly run: number;
  /** Texts for iptables-restore, ip6tables-restore and ipset restore. */
  readonly tables: JudgedTables;
  readonly packets: readonly JudgedPacket[];
  /** What each did with the last of the packets. */
  readonly kernel: string;
  readonly ours: string;
  /** That packet and both, one below the other. */
  readonly difference: string;
  /** The rules that it met in the kernel; `undefined` where the tools for it are missing. */
  readonly trace: KernelTrace | undefined;
}

type Explained = Omit<TableMismatch, "backend" | "seed" | "run">;

export interface TableSearchResult {
  readonly ruleSets: number;
  /** Packets whose fates were compared. */
  readonly verdicts: number;
  /** Fates of the kernel by kind. */
  readonly fates: Readonly<Record<string, number>>;
  readonly mismatch: TableMismatch | undefined;
}

/** Packets of one batch: between batches the ends see what arrived, and answer. */
const batchSize = 50;

export function drawTables(random: Prng): JudgedTables {
  const file = (lines: readonly string[]): string => `${lines.join("\n")}\n`;
  const sets = restoreIpsets(file([...drawSets(random, 4), ...drawSets(random, 6)]), "sets");
  return {
    v4: file(drawRuleset(random, 4)),
    v6: file(drawRuleset(random, 6)),
    sets: saveIpsets(sets.values()),
  };
}

/** A random case, judged by the kernel. */
export async function judgeRandomCase(
  judge: KernelJudge,
  random: Prng,
  packetCount: number,
  identification: number,
): Promise<JudgedCase> {
  const tables = drawTables(random.fork("tables"));
  const source = new PacketSource(random.fork("packets"), identification);
  await judge.load(tables);
  const packets: JudgedPacket[] = [];
  const fates: KernelFate[] = [];
  while (packets.length < packetCount) {
    const batch: JudgedPacket[] = [];
    while (batch.length < batchSize) batch.push(...source.draw());
    const judged = await judge.judge(batch);
    for (const { outputs } of judged) for (const { bytes } of outputs) source.arrived(bytes);
    packets.push(...batch);
    fates.push(...judged);
  }
  return { tables, packets, fates, state: await judge.state() };
}

/**
 * Random rule sets one after another, until they differ or there are enough.
 * @throws Error when the system lacks what the judge needs, KernelRefusal when a tool refuses a rule set.
 */
export async function searchTables(options: TableSearchOptions): Promise<TableSearchResult> {
  const { backend, runs, packets, seed, onProgress, signal } = options;
  const judge = await startTableJudge(backend);
  const fates: Record<string, number> = {};
  let [verdicts, ruleSets] = [0, 0];
  try {
    for (let run = 0; run < runs; run++) {
      let judged = await judgeRandomCase(judge, caseRandom(seed, run), packets, run * 97);
      let { compared, difference } = compareCase(judged, backend);
      for (let again = 1; difference !== undefined && isLate(judged) && again <= retriesMax; again++) {
        judged = await judgeRandomCase(judge, caseRandom(seed, run), packets, (run + again) * 97 + 0x8000);
        ({ compared, difference } = compareCase(judged, backend));
      }
      ruleSets++;
      verdicts += compared;
      for (const { verdict } of judged.fates) fates[verdict] = (fates[verdict] ?? 0) + 1;
      if (difference !== undefined) {
        const small = await shrinkCase(judged, difference, backend, signal);
        const mismatch = { backend, seed, run, ...(await explain(small, backend)) };
        return { ruleSets, verdicts, fates, mismatch };
      }
      if (signal?.aborted) break;
      if ((await onProgress?.(run + 1, runs)) === false) break;
    }
  } finally {
    await judge.close();
  }
  return { ruleSets, verdicts, fates, mismatch: undefined };
}

const retriesMax = 5;
/** The kernel's clock runs on, the emulator's does not; the shortest life of a connection is 3 s (SCTP, SHUTDOWN-ACK-SENT). */
const secondsTrusted = 2;

/** Took so long that connections may have ended meanwhile: on a busy machine such a case is judged again. */
const isLate = ({ state }: JudgedCase): boolean => state !== undefined && state.seconds > secondsTrusted;

async function explain(
  { tables, packets, difference }: SmallCase,
  backend: KernelBackend,
): Promise<Explained> {
  const { kernel, ours, text } = difference;
  const trace = await traceLastPacket(tables, packets, backend);
  return { tables, packets, kernel, ours, difference: text, trace };
}

/** The packets as a raw IP capture: one interface for each device, a microsecond between packets. */
export function captureOf(packets: readonly JudgedPacket[]): ReadCapture {
  const names = [...new Set(packets.map(({ from }) => from))];
  return {
    interfaces: names.map((name) => ({ name, linkType: LinkType.raw })),
    records: packets.map(({ from, bytes }, i) => ({
      interfaceIndex: names.indexOf(from),
      seconds: 0,
      nanoseconds: i * 1000,
      bytes,
    })),
  };
}

export function caseRandom(seed: number, run: number): Prng {
  return createPrng(seed).fork(`rule set ${run}`);
}
