/**
 * Divergences as quirks of one decision procedure: each is what documents and issues say of an engine, and the procedure
 * can be run with any set of them. A divergence holds where the verdict with all quirks is not the API's and this quirk is
 * a cause: alone it would do, or without it the verdict would be another; where several reasons stand behind several
 * policies, it is one of a set of quirks that suffice and of which none can be left out.
 */
import type { Cell, ClusterState } from "../k8s/index.ts";
import type { Divergence } from "./engine.ts";

/** What a divergence says of itself. */
export interface QuirkStatement<Quirk extends string> {
  readonly quirk: Quirk;
  readonly id: string;
  readonly cause: string;
  readonly source: string;
  readonly versions: string;
}

/** NetworkPolicy's decision procedure with a set of quirks applied. */
export type QuirkedVerdict = (state: ClusterState, cell: Cell) => "allow" | "deny";

/** The statements of quirks that an engine has, in their order. */
export function quirkDivergences<Quirk extends string>(
  statements: readonly QuirkStatement<Quirk>[],
  active: ReadonlySet<Quirk>,
  verdictWith: (quirks: ReadonlySet<Quirk>) => QuirkedVerdict,
): readonly (Divergence & { readonly quirk: Quirk })[] {
  const [withAll, withNone] = [verdictWith(active), verdictWith(new Set())];
  return statements
    .filter(({ quirk }) => active.has(quirk))
    .map((statement) => {
      const { quirk } = statement;
      return {
        ...statement,
        when(state, cell, expected) {
          const verdict = withAll(state, cell);
          if (verdict === (expected === "undefined" ? withNone(state, cell) : expected)) return null;
          const suffice = (quirks: ReadonlySet<Quirk>): boolean =>
            verdictWith(quirks)(state, cell) === verdict;
          return isCauseOf(quirk, active, suffice) ? verdict : null;
        },
      };
    });
}

/**
 * Whether a quirk is a cause of what comes out with all that are active: alone it would do, without it something else
 * would, or it is one of a set that suffice and of which none can be left out. `suffice`: a set comes to the same.
 */
export function isCauseOf<Quirk>(
  quirk: Quirk,
  active: ReadonlySet<Quirk>,
  suffice: (quirks: ReadonlySet<Quirk>) => boolean,
): boolean {
  const others = new Set([...active].filter((other) => other !== quirk));
  return suffice(new Set([quirk])) || !suffice(others) || isNeeded(quirk, active, suffice);
}

/** Whether the quirk is needed once every other that can be left out is: `suffice` tells of a set. */
function isNeeded<Quirk>(
  quirk: Quirk,
  active: ReadonlySet<Quirk>,
  suffice: (quirks: ReadonlySet<Quirk>) => boolean,
): boolean {
  const kept = new Set(active);
  for (const other of active) {
    if (other === quirk) continue;
    kept.delete(other);
    if (!suffice(kept)) kept.add(other);
  }
  kept.delete(quirk);
  return !suffice(kept);
}
