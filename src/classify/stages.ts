/**
 * Stages of the ways through nodes, worked out: for each class of the end that a stage is about, and each atom of services,
 * the classes of the other end that pass, and those of which only the walk knows.
 */
import { type Bits, hasBit, join, meet, type ServiceRange, without } from "../base/index.ts";
import type { Chain, End } from "./chains.ts";
import type { Partition } from "./partition.ts";
import { type KnownEnd, type Residual, Residuals } from "./residual.ts";
import { BitsPool, RowPool, VectorPool } from "./rows.ts";
import { type AtomIndex, atomsOf } from "./services.ts";
import { type GroupRules, StageRun } from "./stage-run.ts";
import { beginning, endOf, Returns, type Start, startText } from "./way.ts";

export interface Stage {
  readonly id: number;
  /** Whose rules it has: the one by whose class its rows are found; bits are classes of the other. */
  readonly end: End;
  /** By class: number of a vector of rows, -1 where the class is never such an end. */
  readonly passing: Int32Array;
  /** As `passing`, of those that the walk must tell; `undefined`: of none. */
  readonly asked: Int32Array | undefined;
}

/** One way through nodes that are alike. */
export interface WayOfNodes {
  /** Tells ways and kinds of nodes apart. */
  readonly name: string;
  /** Hook chains of the node that stands for all. */
  readonly chains: readonly Chain[];
  /** Whether the end is always on the node itself, so that its own node's tables are asked. */
  isLocal(end: End): boolean;
  /** Hook chains of the node on which the class's addresses are; `undefined`: on none of these nodes. */
  chainsOf(one: number): readonly Chain[] | undefined;
}

export class StageBuilder {
  readonly rows: RowPool;
  readonly vectors: VectorPool = new VectorPool();
  readonly stages: Stage[] = [];
  readonly #partition: Partition;
  readonly #atoms: AtomIndex;
  readonly #outside: Bits;
  readonly #returns = new Returns();
  readonly #residuals = { source: new Residuals("source"), destination: new Residuals("destination") };
  readonly #known = new Map<string, readonly Stage[]>();
  readonly #homes: (KnownEnd | undefined)[] = [];
  readonly #guests: (KnownEnd | undefined)[] = [];
  readonly #startsOf = new WeakMap<Residual, readonly ServiceRange[]>();
  readonly #pool: BitsPool;
  readonly #zero: number;

  /** `outside`: classes of addresses outside the cluster. */
  constructor(partition: Partition, atoms: AtomIndex, outside: Bits) {
    this.#partition = partition;
    this.#atoms = atoms;
    this.#outside = outside;
    this.rows = new RowPool(outside.length);
    this.#pool = new BitsPool(outside.length);
    this.#zero = this.vectors.intern(new Int32Array(atoms.atoms.length));
  }

  /** Stages of a way; a connection passes if it passes them all. */
  stagesOf(way: WayOfNodes): readonly Stage[] {
    return this.#build(beginning, way, "");
  }

  #build(start: Start, way: WayOfNodes, trail: string): readonly Stage[] {
    const end = endOf(start, way.chains);
    const chooses = way.chains.slice(start.hook).some((chain) => chain.chooses);
    const text = `${end} ${chooses ? way.name : ""} ${startText(start, way.chains)}`;
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const stages = this.#make(start, end, way, chooses, trail);
    this.#known.set(text, stages);
    return stages;
  }

  #make(start: Start, end: End, way: WayOfNodes, chooses: boolean, trail: string): readonly Stage[] {
    const { count } = this.#partition;
    const isHome = way.isLocal(end);
    const groupOf = new Int32Array(count).fill(-1);
    const groups: Group[] = [];
    const byText = new Map<string, number>();
    for (let one = 0; one < count; one++) {
      const chains = chooses && isHome ? way.chainsOf(one) : way.chains;
      if (chains === undefined) continue;
      const rules = this.#groupRules(start, end, chains, isHome ? this.#atHome(one) : this.#away(one));
      const isOutside = hasBit(this.#outside, one);
      const parts = [...rules.frames, ...rules.hooks].map((part) => part?.id ?? "");
      const text = `${rules.family} ${isOutside} ${parts.join(" ")}`;
      let group = byText.get(text);
      if (group === undefined) {
        group = groups.push({ end, isOutside, rules }) - 1;
        byText.set(text, group);
      }
      groupOf[one] = group;
    }
    const run = new StageRun(this.#partition, this.#returns, way.chains.length, this.#pool);
    const drafts = groups.map(({ rules }) => this.#draft(run, start, rules));
    const successor = this.#successor(drafts, way, trail);
    const finished = groups.map((group, i) => this.#finish(drafts[i]!, successor, group));
    this.#giveBack(drafts);
    const passing = groupOf.map((group) => finished[group]?.passing ?? -1);
    const asked = groupOf.map((group) => finished[group]?.asked ?? -1);
    const made: Stage = {
      id: this.stages.length,
      end,
      passing,
      asked: finished.every((one) => one.asked === this.#zero) ? undefined : asked,
    };
    // what is left of a way by another start may be the same all the same
    const same = this.stages.find((one) => sameStage(one, made));
    if (same === undefined) this.stages.push(made);
    return [same ?? made, ...(successor?.stages ?? [])];
  }

  #groupRules(start: Start, end: End, chains: readonly Chain[], known: KnownEnd): GroupRules {
    const residuals = this.#residuals[end];
    const hooks: (Residual | undefined)[] = [];
    for (let hook = start.hook; hook < chains.length; hook++) {
      const chain = chains[hook]!;
      if (chain.of !== undefined && chain.of !== end) break;
      hooks[hook] = residuals.of(chain, 0, known);
    }
    return {
      family: known.family,
      frames: start.frames.map(({ chain, from }) => residuals.of(chain, from, known)),
      hooks: Array.from({ length: chains.length }, (_, hook) => hooks[hook]),
    };
  }

  /** Addresses of a class, on their own node. */
  #atHome(one: number): KnownEnd {
    const { space, representative } = this.#partition;
    const index = representative[one]!;
    this.#homes[one] ??= this.#endOf(one, (map) => space.valueAt(map, index));
    return this.#homes[one];
  }

  /** Addresses of a class, on another node: chains are chosen for a node's own alone (`choosesAtHome`). */
  #away(one: number): KnownEnd {
    this.#guests[one] ??= this.#endOf(one, () => 0);
    return this.#guests[one];
  }

  #endOf(one: number, chosen: KnownEnd["chosen"]): KnownEnd {
    const family = this.#partition.familyOf(one);
    return { family, values: this.#partition.valuesOf(one), chosen };
  }

  /** Outcomes by atom; atoms that the group does not tell apart share one. */
  #draft(run: StageRun, start: Start, rules: GroupRules): readonly Draft[] {
    const parts = [...rules.frames, ...rules.hooks].flatMap((part) => part ?? []);
    const own = atomsOf(parts.flatMap((part) => this.#servicesIn(part)));
    const drafts: Draft[] = [];
    let i = -1;
    let current: Draft | undefined;
    for (const { protocol, first } of this.#atoms.atoms) {
      const next = own[i + 1];
      if (next !== undefined && next.protocol === protocol && next.first === first) {
        i++;
        const { accepted, masqueraded, asked, handed } = run.run(start, rules, protocol, first);
        current = { accepted, masqueraded, asked, handed: [...handed] };
      }
      drafts.push(current!);
    }
    return drafts;
  }

  #servicesIn(residual: Residual): readonly ServiceRange[] {
    let ranges = this.#startsOf.get(residual);
    if (ranges === undefined) {
      ranges = residual.rules.flatMap(({ services = [], action }) =>
        action.kind === "jump" || action.kind === "goto"
          ? [...services, ...this.#servicesIn(action.residual)]
          : services,
      );
      this.#startsOf.set(residual, ranges);
    }
    return ranges;
  }

  #giveBack(drafts: readonly (readonly Draft[])[]): void {
    for (const one of new Set(drafts.flat())) {
      for (const bits of [one.accepted, one.masqueraded, one.asked])
        if (bits !== undefined) this.#pool.give(bits);
      for (const [, { bits }] of one.handed) this.#pool.give(bits);
    }
  }

  /** The stages that follow, and which of the starts that connections are handed to lead to it. */
  #successor(drafts: readonly (readonly Draft[])[], way: WayOfNodes, trail: string): Successor | undefined {
    const starts = new Map<string, Start>();
    for (const draft of drafts)
      for (const { handed } of draft) for (const [key, { start }] of handed) starts.set(key, start);
    let stages: readonly Stage[] | undefined;
    const keys = new Set<string>();
    for (const [key, start] of starts) {
      // rules that call each other in circles, or too many of them, are for the walk
      if (trail.split("|").includes(key) || starts.size > startsMax) continue;
      const next = this.#build(start, way, `${trail}|${key}`);
      stages ??= next;
      if (next.length === stages.length && next.every((one, i) => one === stages?.[i])) keys.add(key);
    }
    return stages === undefined ? undefined : { stages, keys };
  }

  #finish(
    draft: readonly Draft[],
    successor: Successor | undefined,
    group: Group,
  ): { readonly passing: number; readonly asked: number } {
    const passing = new Int32Array(draft.length);
    const asked = new Int32Array(draft.length);
    let last: Draft | undefined;
    for (const [atom, one] of draft.entries()) {
      if (one === last) {
        passing[atom] = passing[atom - 1]!;
        asked[atom] = asked[atom - 1]!;
        continue;
      }
      last = one;
      const rows = this.#rowsOf(one, successor, group);
      passing[atom] = rows.passing;
      asked[atom] = rows.asked;
    }
    return { passing: this.vectors.intern(passing), asked: this.vectors.intern(asked) };
  }

  #rowsOf(
    { accepted, masqueraded, asked, handed }: Draft,
    successor: Successor | undefined,
    { end, isOutside }: Group,
  ): { readonly passing: number; readonly asked: number } {
    const ask = this.#pool.take();
    const pass = this.#pool.take();
    if (asked !== undefined) join(ask, asked);
    // who is accepted for good does not meet the stage that follows
    const accepting = successor === undefined ? pass : ask;
    if (accepted !== undefined) join(accepting, accepted);
    if (masqueraded !== undefined) {
      // no other node sees the changed source of what leaves the cluster
      const leaves = isOutside ? masqueraded : undefined;
      const out = end === "destination" ? leaves : meet(masqueraded, this.#outside);
      const rest = out === undefined ? masqueraded : without(masqueraded, out);
      if (out !== undefined) join(accepting, out);
      if (rest !== undefined) join(ask, rest);
    }
    for (const [key, { bits }] of handed) join(successor?.keys.has(key) ? pass : ask, bits);
    const rows = { passing: this.rows.intern(pass), asked: this.rows.intern(ask) };
    this.#pool.give(pass);
    this.#pool.give(ask);
    return rows;
  }
}

const startsMax = 64;

/** Classes of one end of which the same rules are left. */
interface Group {
  readonly end: End;
  readonly isOutside: boolean;
  readonly rules: GroupRules;
}

interface Draft {
  readonly accepted: Bits | undefined;
  readonly masqueraded: Bits | undefined;
  readonly asked: Bits | undefined;
  readonly handed: readonly (readonly [string, { readonly start: Start; readonly bits: Bits }])[];
}

interface Successor {
  readonly stages: readonly Stage[];
  readonly keys: ReadonlySet<string>;
}

function sameStage(a: Stage, b: Stage): boolean {
  if (a.end !== b.end || (a.asked === undefined) !== (b.asked === undefined)) return false;
  const { asked } = b;
  return (
    a.passing.every((vector, one) => vector === b.passing[one]) &&
    (a.asked === undefined || a.asked.every((vector, one) => vector === asked?.[one]))
  );
}
