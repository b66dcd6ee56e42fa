/**
 * Several kinds of tables on one node as one datapath: each hook belongs to one kind, each operation to the kind that
 * declares it. Rule and point numbers of the parts are set apart, so that one number names a rule of any part.
 */
import { assert, type HookChain, type Questions, type Way, waysOfNode } from "../base/index.ts";
import type { PacketBatch } from "../packet/index.ts";
import {
  type ApplyResult,
  type Datapath,
  type FilterObserver,
  Hook,
  type HookResults,
  type RuleDescription,
  type TableOp,
} from "./datapath.ts";

export interface DatapathPart {
  readonly datapath: Datapath;
  /** Kinds of operations that it takes. */
  readonly ops: readonly string[];
}

/** Numbers of one part stay below this; three parts fit the sign. */
const partStride = 0x2000_0000;

/** In the order in which a packet meets them, whatever its way. */
const hookOrder: readonly number[] = [
  Hook.xdp,
  Hook.tcIngress,
  Hook.endpointOut,
  Hook.prerouting,
  Hook.input,
  Hook.forward,
  Hook.output,
  Hook.postrouting,
  Hook.endpointIn,
  Hook.tcEgress,
];

class PartObserver implements FilterObserver {
  readonly #offset: number;
  readonly #to: FilterObserver;

  constructor(offset: number, to: FilterObserver) {
    this.#offset = offset;
    this.#to = to;
  }

  enter(point: number, row: number): void {
    this.#to.enter(point + this.#offset, row);
  }

  rule(index: number, failedMatch: number): void {
    this.#to.rule(index + this.#offset, failedMatch);
  }

  lookup(ref: number, hit: boolean): void {
    this.#to.lookup(ref + this.#offset, hit);
  }

  verdict(point: number, row: number, verdict: number): void {
    this.#to.verdict(point, row, verdict);
  }
}

export class CompositeDatapath implements Datapath {
  readonly #parts: readonly DatapathPart[];
  /** The parts' lists that `#hooks` was made of: programs are attached and detached while a node runs. */
  #seen: readonly (readonly number[])[] = [];
  #hooks: readonly number[] = [];
  #lastRun: Datapath | undefined;

  constructor(parts: readonly DatapathPart[]) {
    this.#parts = parts;
  }

  get hooks(): readonly number[] {
    if (this.#seen.length === 0 || this.#parts.some(({ datapath }, i) => datapath.hooks !== this.#seen[i])) {
      this.#seen = this.#parts.map(({ datapath }) => datapath.hooks);
      this.#hooks = this.#seen.flat();
    }
    return this.#hooks;
  }

  run(
    hook: number,
    batch: PacketBatch,
    first: number,
    last: number,
    out: HookResults,
    observer?: FilterObserver,
  ): void {
    const place = this.#parts.findIndex(({ datapath }) => datapath.hooks.includes(hook));
    const part = this.#parts[place];
    if (part === undefined) return;
    const offset = place * partStride;
    const watcher = observer === undefined || offset === 0 ? observer : new PartObserver(offset, observer);
    this.#lastRun = part.datapath;
    part.datapath.run(hook, batch, first, last, out, watcher);
    if (offset === 0) return;
    for (let row = first; row < last; row++) if (out.rule[row]! >= 0) out.rule[row]! += offset;
  }

  apply(op: TableOp): ApplyResult {
    const part = this.#parts.find(({ ops }) => ops.includes(op.kind));
    if (part === undefined)
      return { ok: false, errno: "EOPNOTSUPP", message: `no tables here take ${op.kind}` };
    return part.datapath.apply(op);
  }

  forgetFlows(): void {
    for (const { datapath } of this.#parts) datapath.forgetFlows();
  }

  forgetClients(): void {
    for (const { datapath } of this.#parts) datapath.forgetClients();
  }

  questions(): Questions | undefined {
    const ways: { [W in Way]?: readonly HookChain[] } = {};
    const parts = this.#parts.map(({ datapath }) => datapath.questions());
    for (const way of waysOfNode) {
      const chains = parts.map((part) => part?.ways[way]);
      if (chains.every((one) => one !== undefined))
        ways[way] = chains.flat().sort((a, b) => hookOrder.indexOf(a.hook) - hookOrder.indexOf(b.hook));
    }
    return { ways };
  }

  describeRule(index: number): RuleDescription {
    return this.#partOf(index).describeRule(index % partStride);
  }

  explainMiss(index: number, failedMatch: number, batch: PacketBatch, row: number): string {
    return this.#partOf(index).explainMiss(index % partStride, failedMatch, batch, row);
  }

  describeLookup(ref: number): RuleDescription {
    const described = this.#partOf(ref).describeLookup?.(ref % partStride);
    assert(described !== undefined, "a part describes what it reported");
    return described;
  }

  droppedDirection(): "ingress" | "egress" | undefined {
    return this.#lastRun?.droppedDirection?.();
  }

  describePoint(point: number): string {
    return this.#partOf(point).describePoint(point % partStride);
  }

  #partOf(number: number): Datapath {
    return (this.#parts[Math.floor(number / partStride)] as DatapathPart).datapath;
  }
}
