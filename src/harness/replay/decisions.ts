/**
 * Which rule decided about a packet: watched with integers alone while it passes the hooks, described when somebody
 * asks. One watcher serves all packets of a replay.
 */
import type { Origin } from "../../base/index.ts";
import { type Datapath, type FilterObserver, Hook, type HookResults, hookName } from "../../filter/index.ts";
import type { HookWatcher } from "../../sim/index.ts";
import type { OriginPlacer } from "../places.ts";
import type { ReplayRuleDocument } from "./documents.ts";

/** Matched rules of one hook that are kept: more than any way through real tables has. */
const matchedMax = 1024;

/** Numbers of the rules that matched at one hook. */
class MatchedRules implements FilterObserver {
  readonly #rules = new Int32Array(matchedMax);
  #count = 0;

  clear(): void {
    this.#count = 0;
  }

  numbers(): readonly number[] {
    return [...this.#rules.subarray(0, this.#count)];
  }

  enter(): void {}

  rule(index: number, failedMatch: number): void {
    if (failedMatch < 0 && this.#count < matchedMax) this.#rules[this.#count++] = index;
  }

  lookup(): void {}

  verdict(): void {}
}

export class DecisionWatcher implements HookWatcher {
  /** Rule, hook and tables that let the packet pass last; -1 where no rule did. */
  rule = -1;
  hook = -1;
  datapath: Datapath | undefined;
  node = "";
  /** Of the hook that the packet was at last. */
  #present: Datapath | undefined;
  #isRecording = false;
  readonly #matched = new MatchedRules();

  /** For the next packet. `isRecording`: every matched rule is of interest, not only the last. */
  reset(isRecording: boolean): void {
    this.rule = -1;
    this.hook = -1;
    this.datapath = undefined;
    this.#present = undefined;
    this.#isRecording = isRecording;
    this.#matched.clear();
  }

  before(_node: string, _hook: number, datapath: Datapath): FilterObserver | undefined {
    this.#present = datapath;
    if (!this.#isRecording) return undefined;
    this.#matched.clear();
    return this.#matched;
  }

  after(node: string, hook: number, results: HookResults, row: number): void {
    const rule = results.rule[row] ?? -1;
    // rules before and behind routing mark and translate; they let everything pass
    if (rule < 0 || hook === Hook.prerouting || hook === Hook.postrouting) return;
    this.node = node;
    this.hook = hook;
    this.rule = rule;
    this.datapath = this.#present;
  }

  /** Origins of the rules that matched at the hook where a recorded packet was last, in order. */
  origins(): readonly Origin[] {
    const datapath = this.#present;
    if (datapath === undefined) return [];
    return this.#matched.numbers().flatMap((rule) => datapath.describeRule(rule).origin ?? []);
  }
}

/** Rules as documents name them, each described once. */
export class RuleBook {
  readonly #place: OriginPlacer;
  readonly #known = new Map<Datapath, Map<number, ReplayRuleDocument>[]>();
  #last: { readonly datapath: Datapath; readonly hook: number; readonly rule: number } | undefined;
  #lastDocument: ReplayRuleDocument | undefined;

  constructor(place: OriginPlacer) {
    this.#place = place;
  }

  describe(node: string, datapath: Datapath, hook: number, rule: number): ReplayRuleDocument {
    const last = this.#last;
    if (last?.datapath === datapath && last.rule === rule && last.hook === hook && this.#lastDocument)
      return this.#lastDocument;
    let hooks = this.#known.get(datapath);
    if (hooks === undefined) {
      hooks = [];
      this.#known.set(datapath, hooks);
    }
    const rules = hooks[hook] ?? new Map<number, ReplayRuleDocument>();
    hooks[hook] = rules;
    let document = rules.get(rule);
    if (document === undefined) {
      document = this.#document(node, datapath, hook, rule);
      rules.set(rule, document);
    }
    this.#last = { datapath, hook, rule };
    this.#lastDocument = document;
    return document;
  }

  #document(node: string, datapath: Datapath, hook: number, rule: number): ReplayRuleDocument {
    const { table, chain, number, text, origin } = datapath.describeRule(rule);
    return {
      node,
      hook: hookName[hook] ?? String(hook),
      table,
      chain,
      number,
      text,
      ...(origin === undefined ? {} : { origin: this.#place(origin) }),
    };
  }
}
