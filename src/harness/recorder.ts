/**
 * The observer behind traces: writes down which rules were tried in which chain while the one evaluator runs, and keeps
 * the nearest miss - the allowing rule that got furthest before a match failed - with its reason in the packet's own
 * values, taken at that moment (marks change on the way).
 */

import type { RuleDescription } from "../filter/index.ts";
import {
  type Datapath,
  type FilterObserver,
  Hook,
  type HookResults,
  hookName,
  Verdict,
  verdictName,
} from "../filter/index.ts";
import type { PacketBatch } from "../packet/index.ts";
import type { HookWatcher } from "../sim/index.ts";

export interface RecordedRule {
  readonly depth: number;
  readonly matched: boolean;
  readonly why: string | undefined;
  readonly description: RuleDescription;
}

/** One hook of one node: what was tried there and what came out. */
export interface RecordedHook {
  readonly node: string;
  readonly hook: string;
  readonly verdict: string;
  readonly rules: readonly RecordedRule[];
  /** Index in `rules` of the deciding rule, -1 where a policy or nothing decided. */
  readonly decidedBy: number;
}

interface Miss {
  readonly rule: number;
  readonly failedMatch: number;
  readonly why: string;
  readonly order: number;
}

/** Watches one packet on its way; a new one for each packet. */
export class TraceRecorder implements HookWatcher, FilterObserver {
  readonly hooks: RecordedHook[] = [];
  #datapath: Datapath | undefined;
  #batch: PacketBatch | undefined;
  #row = 0;
  /** Matched rules, lookups and chain entries, in order. */
  #events: (
    | { readonly kind: "rule"; readonly rule: number; readonly order: number }
    | { readonly kind: "lookup"; readonly ref: number; readonly hit: boolean; readonly order: number }
    | { readonly kind: "enter"; readonly point: number }
  )[] = [];
  #misses = new Map<string, Miss>();
  #order = 0;

  before(_node: string, _hook: number, datapath: Datapath, batch: PacketBatch, row: number): FilterObserver {
    this.#datapath = datapath;
    this.#batch = batch;
    this.#row = row;
    this.#events = [];
    this.#misses = new Map();
    this.#order = 0;
    return this;
  }

  enter(point: number, _row: number): void {
    this.#events.push({ kind: "enter", point });
  }

  rule(index: number, failedMatch: number): void {
    this.#order++;
    if (failedMatch < 0) {
      this.#events.push({ kind: "rule", rule: index, order: this.#order });
      return;
    }
    const [datapath, batch] = [this.#datapath, this.#batch];
    if (datapath === undefined || batch === undefined) return;
    const { origin } = datapath.describeRule(index);
    if (origin?.role !== "allow" || origin.direction === undefined) return;
    const best = this.#misses.get(origin.direction);
    if (best !== undefined && best.failedMatch >= failedMatch) return;
    const why = datapath.explainMiss(index, failedMatch, batch, this.#row);
    this.#misses.set(origin.direction, { rule: index, failedMatch, why, order: this.#order });
  }

  lookup(ref: number, hit: boolean): void {
    this.#order++;
    this.#events.push({ kind: "lookup", ref, hit, order: this.#order });
  }

  verdict(): void {}

  after(node: string, hook: number, results: HookResults, row: number): void {
    const datapath = this.#datapath;
    if (datapath === undefined) return;
    const verdict = results.verdict[row] ?? Verdict.accept;
    // nothing is attached to where this packet came by: HNS has endpoints at some ports of its switch only
    if (this.#events.length === 0 && verdict === Verdict.accept) return;
    const deciding = results.rule[row] ?? -1;
    const decided = deciding < 0 ? undefined : datapath.describeRule(deciding);
    const denied = verdict === Verdict.drop || verdict === Verdict.reject;
    const miss =
      denied && decided?.origin?.direction !== undefined
        ? this.#misses.get(decided.origin.direction)
        : undefined;
    const rules: RecordedRule[] = [];
    let decidedBy = -1;
    const stack: string[] = [];
    const add = (rule: number, matched: boolean, why: string | undefined): void => {
      const description = datapath.describeRule(rule);
      while (stack.length > 1 && stack.at(-1) !== `${description.table}/${description.chain}`) stack.pop();
      if (matched && rule === deciding) decidedBy = rules.length;
      rules.push({ depth: Math.max(0, stack.length - 1), matched, why, description });
    };
    let pendingMiss = miss;
    let previousWasRule = false;
    for (const event of this.#events) {
      if (event.kind === "enter") {
        if (!previousWasRule) stack.length = 0;
        stack.push(datapath.describePoint(event.point));
        previousWasRule = false;
        continue;
      }
      if (event.kind === "lookup") {
        const description = datapath.describeLookup?.(event.ref);
        if (description !== undefined)
          rules.push({ depth: stack.length, matched: event.hit, why: undefined, description });
        continue;
      }
      if (pendingMiss !== undefined && pendingMiss.order < event.order) {
        add(pendingMiss.rule, false, pendingMiss.why);
        pendingMiss = undefined;
      }
      add(event.rule, true, undefined);
      previousWasRule = true;
    }
    if (pendingMiss !== undefined) add(pendingMiss.rule, false, pendingMiss.why);
    this.hooks.push({
      node,
      hook: hookName[hook] ?? `hook ${hook}`,
      verdict: verdictName[verdict] ?? String(verdict),
      rules,
      decidedBy,
    });
  }
}

/** Hooks by their name in documents. */
export function hookNumber(name: string): number {
  const hooks: readonly number[] = Object.values(Hook);
  return hooks.find((hook) => hookName[hook] === name) ?? -1;
}
