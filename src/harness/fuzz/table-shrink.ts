/**
 * A case that differs made small: packets, rules and set members are left out, in ever smaller pieces, as long as the
 * kernel and the emulator still differ. Each attempt has a namespace of its own, so that no fragment waits in it.
 */
import { type JudgedPacket, type JudgedTables, type KernelBackend, KernelRefusal } from "../kernel/index.ts";
import { type CaseDifference, compareCase } from "./table-comparison.ts";
import { startTableJudge } from "./table-judge.ts";
import type { JudgedCase } from "./tables.ts";

export interface SmallCase {
  readonly tables: JudgedTables;
  readonly packets: readonly JudgedPacket[];
  readonly difference: CaseDifference;
}

const attemptsMax = 1500;

/** Items of a case that may be left out: packets, rules, members. */
interface Part {
  count(current: SmallCase): number;
  /** Without the items from `start` to `end`. */
  without(current: SmallCase, start: number, end: number): Omit<SmallCase, "difference">;
}

const packetPart: Part = {
  count: ({ packets }) => packets.length,
  without: ({ tables, packets }, start, end) => ({
    tables,
    packets: packets.filter((_, i) => i < start || i >= end),
  }),
};

/** Lines of a file; the others stay. */
function linePart(file: "v4" | "v6" | "sets", pattern: RegExp): Part {
  return {
    count: ({ tables }) => (tables[file] ?? "").split("\n").filter((line) => pattern.test(line)).length,
    without: ({ tables, packets }, start, end) => {
      let at = -1;
      const kept = (tables[file] ?? "").split("\n").filter((line) => {
        if (!pattern.test(line)) return true;
        at++;
        return at < start || at >= end;
      });
      return { tables: { ...tables, [file]: kept.join("\n") }, packets };
    },
  };
}

const parts: readonly Part[] = [
  packetPart,
  linePart("v6", /^-A/),
  linePart("v4", /^-A/),
  linePart("sets", /^add/),
  linePart("v6", /^:\S+ -/),
  linePart("v4", /^:\S+ -/),
  linePart("sets", /^create/),
];

export async function shrinkCase(
  judged: JudgedCase,
  first: CaseDifference,
  backend: KernelBackend,
  signal?: AbortSignal,
): Promise<SmallCase> {
  let current: SmallCase = {
    tables: judged.tables,
    packets: judged.packets.slice(0, first.index + 1),
    difference: first,
  };
  let attempts = 0;
  for (let isSmaller = true; isSmaller && attempts < attemptsMax && !signal?.aborted; ) {
    isSmaller = false;
    for (const part of parts)
      for (
        let size = Math.ceil(part.count(current) / 2);
        size >= 1;
        size = size === 1 ? 0 : Math.ceil(size / 2)
      )
        for (
          let end = part.count(current);
          end > 0 && attempts < attemptsMax && !signal?.aborted;
          end -= size
        ) {
          const tried = part.without(current, Math.max(0, end - size), end);
          attempts++;
          const difference = await differs(tried, backend, first.of);
          if (difference === undefined) continue;
          current = {
            ...tried,
            packets: tried.packets.slice(0, difference.index + 1),
            difference,
          };
          end = Math.min(end, part.count(current) + size);
          isSmaller = true;
        }
  }
  return current;
}

async function differs(
  { tables, packets }: Omit<SmallCase, "difference">,
  backend: KernelBackend,
  of: CaseDifference["of"],
): Promise<CaseDifference | undefined> {
  const judge = await startTableJudge(backend);
  try {
    await judge.load(tables);
    const fates = await judge.judge(packets);
    const left = of === "state" ? { state: await judge.state() } : {};
    return compareCase({ tables, packets, fates, ...left }, backend).difference;
  } catch (error) {
    if (error instanceof KernelRefusal) return undefined; // such as a rule that names a set which was left out
    throw error;
  } finally {
    await judge.close();
  }
}
