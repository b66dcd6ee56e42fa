/**
 * One node's netfilter: tables raw, mangle, nat, filter and security in kernel order at the five hooks, with connection
 * tracking between raw and mangle. Rules are shared by identity; connection entries, live sets and the mapping of
 * interface names belong to the node. Governing source: include/uapi/linux/netfilter_ipv4.h (hook priorities).
 */
import { InputError, type Questions, unreachable } from "../../base/index.ts";
import { append, CtState, type PacketBatch, rowAddress } from "../../packet/index.ts";
import {
  type ApplyResult,
  type Datapath,
  type FilterObserver,
  Hook,
  type HookEvent,
  type HookResults,
  type LinkContext,
  type RuleDescription,
  type TableOp,
} from "../datapath.ts";
import { SetCollection } from "../ipset/index.ts";
import {
  applyNat,
  Conntrack,
  type ConntrackOptions,
  type CtEntry,
  CtStatus,
  Defragmenter,
  drawPort,
  isRelatedError,
  type NatChoice,
  type PortChooser,
  rowDirection,
  setupNat,
} from "../netfilter/index.ts";
import { RejectKind, Verdict } from "../verdict.ts";
import { applyRules } from "./apply.ts";
import { describeLinkedRule } from "./describe.ts";
import { type Decision, evaluateChain, type NodeTablesAtRun, RuleVerdict } from "./evaluate.ts";
import { explainMatch } from "./explain.ts";
import { familyStride, type LinkedRuleset, linkRuleset } from "./link.ts";
import { natChoice } from "./nat-target.ts";
import { bindNode, RuleMemory } from "./node-binding.ts";
import type { IptablesOp } from "./ops.ts";
import { iptablesQuestions } from "./questions.ts";
import { rejectPacket } from "./reject.ts";
import type { IptablesTables, Ruleset } from "./ruleset.ts";
import { answeringAddress, isForMany } from "./source-address.ts";
import { netfilterHooks, type Step, stepsOf } from "./stages.ts";
import { asksForConnections } from "./tracking.ts";

type NatStep = Extract<Step, { kind: "nat" }>;

interface FamilyState {
  linked: LinkedRuleset;
  /** Connections are tracked. */
  tracks: boolean;
  atRun: NodeTablesAtRun;
  /** By hook number. */
  steps: readonly (readonly Step[])[];
  setGeneration: number;
  nodeGeneration: number;
}

export class IptablesDatapath implements Datapath {
  readonly hooks: readonly number[] = netfilterHooks;
  readonly conntrack: Conntrack;
  readonly #defragmenter: Defragmenter;
  readonly #context: LinkContext;
  readonly #sets: SetCollection;
  readonly #choosePort: PortChooser;
  readonly #memory = new RuleMemory();
  /** Of the run that is on. */
  #events: HookEvent[] = [];
  readonly #decision: Decision = { verdict: 0, rule: -1, detail: 0 };
  #rulesets: { 4: Ruleset; 6: Ruleset };
  #families: { 4: FamilyState | undefined; 6: FamilyState | undefined } = { 4: undefined, 6: undefined };

  constructor(tables: IptablesTables, context: LinkContext, conntrack?: Partial<ConntrackOptions>) {
    this.#context = context;
    this.#sets = new SetCollection(tables.sets.values(), () => context.nowNs());
    this.#rulesets = { 4: tables.v4, 6: tables.v6 };
    this.conntrack = new Conntrack(() => context.nowNs(), conntrack);
    this.#defragmenter = new Defragmenter(() => context.nowNs(), this.conntrack.options.timeouts);
    this.#choosePort = conntrack?.choosePort ?? ((question) => drawPort(question, context.random));
    for (const family of [4, 6] as const) refuseMissingSets(this.#family(family).linked, this.#sets);
  }

  /** The tables as they are now, for `save`. */
  tables(): IptablesTables {
    return { v4: this.#rulesets[4], v6: this.#rulesets[6], sets: this.#sets.toReprs() };
  }

  run(
    hook: number,
    batch: PacketBatch,
    first: number,
    last: number,
    out: HookResults,
    observer?: FilterObserver,
  ): void {
    this.#events = out.events;
    const [steps4, steps6] = [this.#family(4).steps[hook], this.#family(6).steps[hook]];
    for (let row = first; row < last; row++) {
      out.verdict[row] = Verdict.accept;
      out.rule[row] = -1;
      out.detail[row] = 0;
      const steps = batch.family[row] === 6 ? steps6 : steps4;
      if (steps !== undefined) this.#step(steps, hook, batch, row, out, observer);
      if (observer !== undefined) observer.verdict(hook, row, out.verdict[row]!);
    }
  }

  apply(op: TableOp): ApplyResult {
    const operation = op as IptablesOp;
    if (operation.kind === "ipset-restore") {
      const inUse = (name: string): boolean => this.#isReferenced(name);
      for (let i = 0; i < operation.commands.length; i++) {
        const result = this.#sets.apply(operation.commands[i]!, inUse);
        if (!result.ok) return { ...result, line: i + 1 };
      }
      return { ok: true };
    }
    const before = this.#rulesets[operation.family];
    const result = applyRules(before, operation, (name) => this.#sets.get(name) !== undefined);
    if (!result.ok) return result;
    this.#rulesets = { ...this.#rulesets, [operation.family]: result.ruleset };
    return { ok: true };
  }

  questions(): Questions {
    const families = ([4, 6] as const).map((family) => {
      const { linked, tracks } = this.#family(family);
      return { linked, tracks };
    });
    return iptablesQuestions(families, this.#context.facts, this.#sets);
  }

  describeRule(index: number): RuleDescription {
    const { linked, local } = this.#linkedRule(index);
    return describeLinkedRule(linked, local);
  }

  explainMiss(index: number, failedMatch: number, batch: PacketBatch, row: number): string {
    const { linked, local } = this.#linkedRule(index);
    const match = linked.rules[local]!.rule.matches[failedMatch]!;
    return explainMatch(
      match,
      batch,
      row,
      this.#context.facts.interfaces,
      (name) => this.#sets.get(name)?.title,
    );
  }

  forgetFlows(): void {
    this.conntrack.flush();
  }

  forgetClients(): void {
    this.#memory.forgetClients();
  }

  describePoint(point: number): string {
    const chain = this.#family(point >= familyStride ? 6 : 4).linked.chains[point % familyStride];
    return chain === undefined ? "" : `${chain.table}/${chain.name}`;
  }

  #linkedRule(index: number): { linked: LinkedRuleset; local: number } {
    const family = index >= familyStride ? 6 : 4;
    return { linked: this.#family(family).linked, local: index % familyStride };
  }

  /** The linked state of a family, made again after rules, sets or the node's interfaces have changed. */
  #family(family: 4 | 6): FamilyState {
    const state = this.#families[family];
    const ruleset = this.#rulesets[family];
    if (
      state?.linked.ruleset === ruleset &&
      state.setGeneration === this.#sets.generation &&
      state.nodeGeneration === this.#context.facts.generation
    )
      return state;
    const linked = linkRuleset(ruleset);
    const tracks = this.conntrack.options.tracking === "always" || asksForConnections(ruleset);
    const made: FamilyState = {
      linked,
      tracks,
      steps: stepsOf(linked, tracks),
      atRun: bindNode(linked, {
        context: this.#context,
        sets: this.#sets,
        conntrack: this.conntrack,
        memory: this.#memory,
        report: (rule, row) => this.#events.push({ row, rule }),
      }),
      setGeneration: this.#sets.generation,
      nodeGeneration: this.#context.facts.generation,
    };
    this.#families[family] = made;
    return made;
  }

  #step(
    steps: readonly Step[],
    hook: number,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): void {
    const family = this.#families[batch.family[row] === 6 ? 6 : 4] as FamilyState;
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i]!;
      switch (step.kind) {
        case "table":
          this.#judge(family, step.chain, batch, row, out, observer);
          break;
        case "nat":
          this.#translate(family, step, batch, row, out, observer);
          break;
        case "defragment":
          this.#defragment(hook, batch, row, out);
          break;
        case "conntrack":
          this.#track(hook, batch, row, out);
          break;
        case "confirm":
          if (!this.conntrack.confirm(batch, row)) out.verdict[row] = Verdict.drop;
          break;
        default:
          unreachable(step);
      }
      if (out.verdict[row] === Verdict.accept) continue;
      this.conntrack.release(batch, row);
      return;
    }
  }

  #defragment(hook: number, batch: PacketBatch, row: number, out: HookResults): void {
    if (batch.state.ctState[row] !== CtState.none) return; // over loopback, or an answer of the node's own
    const end = this.#defragmenter.take(batch, row, hook);
    if (end !== "whole") out.verdict[row] = end === "held" ? Verdict.stolen : Verdict.drop;
  }

  #track(hook: number, batch: PacketBatch, row: number, out: HookResults): void {
    const end = this.conntrack.lookup(batch, row, hook === Hook.prerouting);
    if (end === "full") out.verdict[row] = Verdict.drop;
  }

  #judge(
    family: FamilyState,
    chain: number,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): void {
    const decision = this.#decision;
    evaluateChain(family.linked, family.atRun, chain, batch, row, decision, observer);
    if (decision.rule >= 0) out.rule[row] = decision.rule;
    if (decision.verdict === RuleVerdict.drop) {
      out.verdict[row] = Verdict.drop;
    } else if (decision.verdict === RuleVerdict.reject) {
      out.verdict[row] = Verdict.reject;
      out.detail[row] = decision.detail;
      this.#reject(batch, row, decision.detail, out.emitted);
    }
  }

  /** The answer travels as part of the rejected packet's connection. */
  #reject(batch: PacketBatch, row: number, kind: number, emitted: PacketBatch): void {
    const [src, dst] = [rowAddress(batch, row, "src"), rowAddress(batch, row, "dst")];
    const { facts } = this.#context;
    if (isForMany(facts, dst)) return;
    const answer = rejectPacket(batch, row, kind, answeringAddress(facts, src, dst));
    if (answer === undefined) return;
    const at = append(emitted, answer);
    if (kind === RejectKind.tcpReset) this.conntrack.close(batch, row);
    if (at >= 0) this.conntrack.attach(batch, row, emitted, at);
  }

  #translate(
    family: FamilyState,
    step: NatStep,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): void {
    const entry = this.conntrack.entryOf(batch, row);
    if (entry === undefined) return;
    const done = step.manip === "src" ? CtStatus.srcNatDone : CtStatus.dstNatDone;
    const state = batch.state.ctState[row];
    const isFirst = state === CtState.new || (state === CtState.related && !isRelatedError(batch, row));
    if (isFirst && !(entry.status & done)) {
      const choice = this.#natChoice(family, step, batch, row, out, observer);
      if (choice === "drop") {
        out.verdict[row] = Verdict.drop;
        return;
      }
      if (!(entry.status & CtStatus.confirmed))
        setupNat(this.conntrack, entry, step.manip, choice, this.#choosePort);
    } else if (step.isPostrouting && this.#isMasqueradedElsewhere(entry, batch, row)) {
      this.conntrack.kill(entry);
      out.verdict[row] = Verdict.drop;
      return;
    }
    if (!applyNat(entry, batch, row, step.manip)) out.verdict[row] = Verdict.drop;
  }

  /** A route moved: what MASQUERADE took the address of one interface for now leaves by another. */
  #isMasqueradedElsewhere(entry: CtEntry, batch: PacketBatch, row: number): boolean {
    const { masqueradeOif } = entry;
    if (masqueradeOif === 0 || isRelatedError(batch, row) || rowDirection(batch, row) === 1) return false;
    return masqueradeOif !== batch.state.oif[row];
  }

  #natChoice(
    family: FamilyState,
    step: NatStep,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): NatChoice | "drop" | undefined {
    const { chain } = step;
    if (chain < 0) return undefined;
    const decision = this.#decision;
    evaluateChain(family.linked, family.atRun, chain, batch, row, decision, observer);
    if (decision.verdict !== RuleVerdict.nat && decision.verdict !== RuleVerdict.drop) return undefined;
    out.rule[row] = decision.rule;
    if (decision.verdict === RuleVerdict.drop) return "drop"; // a match could not judge it, or the policy
    const target = family.linked.natTargets[decision.detail]!;
    const entry = this.conntrack.entryOf(batch, row);
    if (target.kind === "MASQUERADE" && entry !== undefined) entry.masqueradeOif = batch.state.oif[row]!;
    return natChoice(target, step.manip, this.#context.facts, batch, row);
  }

  #isReferenced(set: string): boolean {
    return ([4, 6] as const).some((family) => linkRuleset(this.#rulesets[family]).setNames.includes(set));
  }
}

/** @throws InputError for a rule that names a set which is not there: the kernel would not have taken it. */
function refuseMissingSets(linked: LinkedRuleset, sets: SetCollection): void {
  const missing = linked.setNames.filter((name) => sets.get(name) === undefined);
  if (missing.length === 0) return;
  throw new InputError(
    missing.map((name) => ({
      code: "unknown-name",
      path: "",
      message: `a rule names the set ${name}, which does not exist`,
    })),
  );
}

/** Makes a node's tables ready to run. @throws InputError for missing chains, missing sets or loops. */
export function linkIptables(
  tables: IptablesTables,
  context: LinkContext,
  conntrack?: Partial<ConntrackOptions>,
): IptablesDatapath {
  return new IptablesDatapath(tables, context, conntrack);
}
