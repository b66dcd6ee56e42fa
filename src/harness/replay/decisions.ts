/**
 * Which rule decided about a packet: watched with integers alone while it passes the hooks, described when somebody
 * asks. One watcher serves all packets of a replay.
 */
import type { Origin } from "../../base/index.ts";
import { recordTable } from "../../filter/bpf/index.ts";
import {
  type Datapath,
  type FilterObserver,
  Hook,
  type HookResults,
  hookName,
  type RuleDescription,
  Verdict,
} from "../../filter/index.ts";
import type { HookWatcher } from "../../sim/index.ts";
import type { OriginPlacer } from "../places.ts";
import type { ReplayLookupDocument, ReplayRuleDocument } from "./documents.ts";

/** Matched rules and lookups of one hook that are kept: more than any way through real tables has. */
const eventsMax = 1024;

/** Numbers of the rules that matched at one hook, and of what its programs asked of maps. */
class HookEvents implements FilterObserver {
  readonly #rules = new Int32Array(eventsMax);
  #ruleCount = 0;
  readonly #lookups = new Int32Array(eventsMax);
  #lookupCount = 0;

  clear(): void {
    this.#ruleCount = 0;
    this.#lookupCount = 0;
  }

  rules(): readonly number[] {
    return [...this.#rules.subarray(0, this.#ruleCount)];
  }

  lookups(): readonly number[] {
    return [...this.#lookups.subarray(0, this.#lookupCount)];
  }

  enter(): void {}

  rule(index: number, failedMatch: number): void {
    if (failedMatch < 0 && this.#ruleCount < eventsMax) this.#rules[this.#ruleCount++] = index;
  }

  lookup(ref: number): void {
    if (this.#lookupCount < eventsMax) this.#lookups[this.#lookupCount++] = ref;
  }

  verdict(): void {}
}

/** What a map answered, and where. */
export interface WatchedLookup {
  readonly node: string;
  readonly description: RuleDescription;
}

export class DecisionWatcher implements HookWatcher {
  /** Rule, hook and tables that let the packet pass last; -1 where no rule did. */
  rule = -1;
  hook = -1;
  datapath: Datapath | undefined;
  node = "";
  /**
   * Of a recorded packet: the last answer of a map that a policy stands behind, or else the last of the hook where the
   * packet was last.
   */
  lookup: WatchedLookup | undefined;
  /** Of a recorded packet: what a program told user space last at the hook where the packet was last. */
  report: string | undefined;
  /** Of the hook that the packet was at last. */
  #present: Datapath | undefined;
  #isRecording = false;
  readonly #events = new HookEvents();

  /** For the next packet. `isRecording`: every matched rule and lookup is of interest, not only the last rule. */
  reset(isRecording: boolean): void {
    this.rule = -1;
    this.hook = -1;
    this.datapath = undefined;
    this.lookup = undefined;
    this.report = undefined;
    this.#present = undefined;
    this.#isRecording = isRecording;
    this.#events.clear();
  }

  before(_node: string, _hook: number, datapath: Datapath): FilterObserver | undefined {
    this.#present = datapath;
    if (!this.#isRecording) return undefined;
    this.#events.clear();
    return this.#events;
  }

  after(node: string, hook: number, results: HookResults, row: number): void {
    if (this.#isRecording) this.#noteLookup(node, results.verdict[row] ?? Verdict.accept);
    const rule = results.rule[row] ?? -1;
    // rules before and behind routing mark and translate; they let everything pass
    if (rule < 0 || hook === Hook.prerouting || hook === Hook.postrouting) return;
    this.node = node;
    this.hook = hook;
    this.rule = rule;
    this.datapath = this.#present;
  }

  /** Answers are described at once: the tables forget them with their next run. */
  #noteLookup(node: string, verdict: number): void {
    const isStopped = verdict === Verdict.drop || verdict === Verdict.reject;
    if (isStopped) this.lookup = undefined; // what let it pass before has no part in this
    const described = this.#lookups();
    this.report = described.findLast(({ table }) => table === recordTable)?.text;
    const answers = described.filter(({ table }) => table !== recordTable);
    const description = answers.findLast(({ origin }) => origin !== undefined) ?? answers.at(-1);
    if (description === undefined) return;
    const isByPolicy = this.lookup?.description.origin !== undefined;
    if (!isByPolicy || description.origin !== undefined) this.lookup = { node, description };
  }

  #lookups(): readonly RuleDescription[] {
    const datapath = this.#present;
    return this.#events.lookups().flatMap((ref) => datapath?.describeLookup?.(ref) ?? []);
  }

  /** Origins of what matched and was asked at the hook where a recorded packet was last, in order. */
  origins(): readonly Origin[] {
    const datapath = this.#present;
    if (datapath === undefined) return [];
    const rules = this.#events.rules().map((rule) => datapath.describeRule(rule));
    return [...rules, ...this.#lookups()].flatMap(({ origin, furtherOrigins = [] }) =>
      origin === undefined ? [] : [origin, ...furtherOrigins],
    );
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

  describeLookup({ node, description: { chain, text, origin } }: WatchedLookup): ReplayLookupDocument {
    return { node, map: chain, text, ...(origin === undefined ? {} : { origin: this.#place(origin) }) };
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
