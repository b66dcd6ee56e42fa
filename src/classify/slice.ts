/**
 * One protocol and port of a verdict table, all pods to all pods. Sources that meet the same rows as sources are one group, and so
 * are destinations; how many pairs pass between two groups is a product of two sums, so that nothing is asked pair by pair.
 */
import { type Bits, bitWords, emptyBits, setBit } from "../base/index.ts";
import type { ClassifiedEnd } from "./cluster.ts";
import { Decision, type VerdictTable } from "./table.ts";

/** Ordered pairs of different pods of one family. */
export interface SliceCounts {
  readonly allowed: number;
  readonly denied: number;
  /** Left to the walk. */
  readonly asked: number;
}

/** Classes of pods, with how many pods there are of each, on all nodes and on each one. */
interface Population {
  readonly classes: readonly number[];
  readonly weight: Float64Array;
  readonly byNode: readonly ReadonlyMap<number, number>[];
}

export function countSlice(
  table: VerdictTable,
  ends: readonly ClassifiedEnd[],
  protocol: number,
  port: number,
): SliceCounts {
  const atom = table.atoms.of(protocol, port);
  const tally = { allowed: 0, denied: 0, asked: 0 };
  for (const family of [4, 6] as const) {
    const population = populationOf(table, ends, family);
    const counts = new Float64Array(3);
    countFar(table, population, atom, counts);
    correctNear(table, population, atom, counts);
    tally.allowed += counts[Decision.allow]!;
    tally.denied += counts[Decision.deny]!;
    tally.asked += counts[Decision.ask]!;
  }
  return tally;
}

function populationOf(
  { classOfEnd, classes }: VerdictTable,
  ends: readonly ClassifiedEnd[],
  family: 4 | 6,
): Population {
  const weight = new Float64Array(classes);
  const byNode: Map<number, number>[] = [];
  for (const [index, end] of ends.entries()) {
    if (end.kind !== "pod" || end.family !== family) continue;
    const one = classOfEnd[index]!;
    weight[one]!++;
    byNode[end.node] ??= new Map();
    byNode[end.node]?.set(one, (byNode[end.node]?.get(one) ?? 0) + 1);
  }
  const present: number[] = [];
  for (let one = 0; one < classes; one++) if (weight[one]! > 0) present.push(one);
  return { classes: present, weight, byNode: byNode.filter((node) => node !== undefined) };
}

/** As if all pairs were on two nodes, each pod with itself among them. */
function countFar(table: VerdictTable, population: Population, atom: number, counts: Float64Array): void {
  const byKind = new Map<number, number[]>();
  for (const one of population.classes) {
    const kind = table.kindOf(one);
    const list = byKind.get(kind);
    if (list === undefined) byKind.set(kind, [one]);
    else list.push(one);
  }
  for (const sources of byKind.values())
    for (const destinations of byKind.values()) {
      const program = table.programBetween(sources[0]!, destinations[0]!, false);
      const from = groupsOf(table, program, true, sources, bitsOf(table, destinations), atom);
      const to = groupsOf(table, program, false, destinations, bitsOf(table, sources), atom);
      if (program === 0 || from === undefined || to === undefined || atom < 0)
        countEach(table, population.weight, sources, destinations, atom, counts);
      else countProducts(table, population.weight, from, to, sources, destinations, counts);
    }
}

interface Groups {
  readonly members: readonly (readonly number[])[];
  /** Of each group: the other ends that pass by its rows. */
  readonly rows: readonly Uint32Array[];
}

function bitsOf({ classes }: VerdictTable, list: readonly number[]): Bits {
  const bits = emptyBits(classes);
  for (const one of list) setBit(bits, one);
  return bits;
}

/** `undefined` where a row leaves any of the `others` to the walk. */
function groupsOf(
  table: VerdictTable,
  program: number,
  ofSource: boolean,
  classes: readonly number[],
  others: Bits,
  atom: number,
): Groups | undefined {
  const words = bitWords(table.classes);
  const members: number[][] = [];
  const rows: Uint32Array[] = [];
  const byText = new Map<string, number>();
  if (program === 0 || atom < 0) return undefined;
  for (const one of classes) {
    const { passing, asked } = table.rowsOf(program, ofSource, one, atom);
    for (const offset of asked)
      if (offset !== 0 && others.some((word, i) => (word & table.rows[offset + i]!) !== 0)) return undefined;
    const text = passing.join();
    let group = byText.get(text);
    if (group === undefined) {
      const row = new Uint32Array(words).fill(0xffff_ffff);
      for (const offset of passing) for (let i = 0; i < words; i++) row[i]! &= table.rows[offset + i]!;
      group = rows.push(row) - 1;
      members.push([]);
      byText.set(text, group);
    }
    members[group]?.push(one);
  }
  return { members, rows };
}

function countProducts(
  table: VerdictTable,
  weight: Float64Array,
  from: Groups,
  to: Groups,
  sources: readonly number[],
  destinations: readonly number[],
  counts: Float64Array,
): void {
  const passingSources = weights(table, weight, from, to.rows);
  const passingDestinations = weights(table, weight, to, from.rows);
  const [width, height] = [from.rows.length, to.rows.length];
  let allowed = 0;
  for (let f = 0; f < width; f++)
    for (let t = 0; t < height; t++)
      allowed += passingSources[t * width + f]! * passingDestinations[f * height + t]!;
  const sum = (classes: readonly number[]): number => classes.reduce((total, one) => total + weight[one]!, 0);
  counts[Decision.allow]! += allowed;
  counts[Decision.deny]! += sum(sources) * sum(destinations) - allowed;
}

/** By row and group: pods of the group that are in the row. */
function weights(
  { classes }: VerdictTable,
  weight: Float64Array,
  { members }: Groups,
  rows: readonly Uint32Array[],
): Float64Array {
  const width = members.length;
  const groupOf = new Int32Array(classes).fill(-1);
  for (const [group, list] of members.entries()) for (const one of list) groupOf[one] = group;
  const out = new Float64Array(rows.length * width);
  for (const [number, row] of rows.entries())
    for (let word = 0; word < row.length; word++)
      for (let bits = row[word]!; bits !== 0; bits &= bits - 1) {
        const one = (word << 5) + 31 - Math.clz32(bits & -bits);
        const group = groupOf[one] ?? -1;
        if (group >= 0) out[number * width + group]! += weight[one]!;
      }
  return out;
}

function countEach(
  table: VerdictTable,
  weight: Float64Array,
  sources: readonly number[],
  destinations: readonly number[],
  atom: number,
  counts: Float64Array,
): void {
  for (const from of sources)
    for (const to of destinations)
      counts[table.decideClasses(from, to, false, atom)]! += weight[from]! * weight[to]!;
}

/** Takes pairs on one node for what they are, and pods with themselves out. */
function correctNear(table: VerdictTable, { byNode }: Population, atom: number, counts: Float64Array): void {
  for (const node of byNode)
    for (const [from, sources] of node)
      for (const [to, destinations] of node) {
        const isOne = from === to;
        const near = table.programBetween(from, to, true);
        if (!isOne && near === table.programBetween(from, to, false)) continue;
        counts[table.decideClasses(from, to, false, atom)]! -= sources * destinations;
        const others = isOne ? sources * (sources - 1) : sources * destinations;
        if (others > 0) counts[table.decideClasses(from, to, true, atom)]! += others;
      }
}
