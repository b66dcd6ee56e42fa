/**
 * The search for a cluster on which two sides disagree: random clusters one after another, each from a seed of its own, so
 * that one can be looked at again without those before it. A disagreement shrinks to few objects with few rules, and is
 * handed over as a scenario that shows it and the packets of its connection.
 */
import fc from "fast-check";
import { createPrng } from "../../base/index.ts";
import { type ClusterArbitraryOptions, clusterObjects, type RawObject } from "./arbitraries.ts";

/** What comparing one cluster came to. */
export interface ComparedCluster<D> {
  /** What was compared: cells, hops. */
  readonly compared: number;
  /** Divergences that explained a difference. */
  readonly fired: Iterable<string>;
  /** The first is made small. */
  readonly disagreements: readonly D[];
}

/** How many clusters, from which seed, and how one is compared. */
export interface ClusterSearchOptions<D> {
  readonly runs: number;
  readonly seed: number;
  compare(objects: readonly RawObject[]): Promise<ComparedCluster<D>>;
  /** What stays the same of a disagreement while its cluster gets smaller, so that it does not become another. */
  kindOf(disagreement: D): string;
  /** Called after each cluster; answering `false` ends the search. */
  readonly onProgress?: (done: number, total: number) => Promise<boolean>;
}

export interface ClusterFinding<D> {
  /** Number of the cluster, from zero. */
  readonly run: number;
  /** The smallest cluster found. */
  readonly objects: readonly RawObject[];
  readonly disagreement: D;
}

/** How far a search went, and what it found. */
export interface ClusterSearchResult<D> {
  readonly clusters: number;
  readonly compared: number;
  readonly fired: readonly string[];
  readonly finding: ClusterFinding<D> | undefined;
  readonly isInterrupted: boolean;
}

/** In turns: plain clusters, such with IPv6 blocks, and such with Services. */
const shapes: readonly ClusterArbitraryOptions[] = [{}, { servicesMax: 3 }, {}, { ipv6Blocks: true }];

/** Random clusters until two sides disagree or there are enough. */
export async function searchClusters<D>(options: ClusterSearchOptions<D>): Promise<ClusterSearchResult<D>> {
  const { runs, seed, compare, kindOf, onProgress } = options;
  const fired = new Set<string>();
  let [clusters, compared, isGoing] = [0, 0, true];
  for (let run = 0; run < runs && isGoing; run++) {
    let isShrinking = false;
    let last: D | undefined;
    let failure: { readonly error: unknown } | undefined;
    const property = fc.asyncProperty(clusterObjects(shapes[run % shapes.length]), async (objects) => {
      if (!isGoing) return true; // the user has had enough: what is the smallest so far stays
      let outcome: ComparedCluster<D>;
      try {
        outcome = await compare(objects);
      } catch (error) {
        failure ??= { error }; // not a disagreement: nothing to make small
        return true;
      }
      if (!isShrinking) {
        compared += outcome.compared;
        for (const id of outcome.fired) fired.add(id);
      } else isGoing = (await onProgress?.(run, runs)) !== false;
      isShrinking = true;
      const known = last === undefined ? undefined : kindOf(last);
      const found = outcome.disagreements.find((one) => known === undefined || kindOf(one) === known);
      if (found === undefined) return true;
      last = found;
      return false;
    });
    const details = await fc.check(property, {
      numRuns: 1,
      seed: createPrng(seed).fork(`cluster ${run}`).nextU32() | 0,
      unbiased: run % 2 === 1,
    });
    if (failure !== undefined) throw failure.error;
    clusters++;
    const [objects] = details.counterexample ?? [];
    if (objects !== undefined && last !== undefined) {
      const finding = { run, objects, disagreement: last };
      return { clusters, compared, fired: [...fired].sort(), finding, isInterrupted: !isGoing };
    }
    isGoing = (await onProgress?.(run + 1, runs)) !== false;
  }
  return { clusters, compared, fired: [...fired].sort(), finding: undefined, isInterrupted: !isGoing };
}
