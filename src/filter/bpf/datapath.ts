/**
 * One node's BPF: programs attached to interfaces, their maps, and the machine. Programs see frames: where the network
 * carries packets without a link header, one with zero addresses is put in front and taken off again. A run that a guard
 * stops drops its packet; a verified program is never stopped.
 */

import type { Questions } from "../../base/index.ts";
import { decodeRow, type PacketBatch, replaceRow } from "../../packet/index.ts";
import { EtherType } from "../../wire/index.ts";
import {
  type ApplyResult,
  type Datapath,
  type FilterObserver,
  Hook,
  type HookResults,
  type LinkContext,
  type RuleDescription,
  type TableOp,
} from "../datapath.ts";
import { RedirectWay, Verdict } from "../verdict.ts";
import { ProgramType } from "./context.ts";
import type { Fault } from "./fault.ts";
import { fieldText } from "./field-text.ts";
import type { HelperEnvironment, OutputEvent } from "./helpers/index.ts";
import { type AttachedProgram, type BpfOp, LoadedTables } from "./loaded-tables.ts";
import { LookupLog } from "./lookup-log.ts";
import { MapType } from "./maps/shape.ts";
import { ethernetHeaderBytes, type PacketBuffer } from "./packet-buffer.ts";
import { BpfRunner, type RunnerOptions } from "./runner.ts";
import type { BpfSpace } from "./space.ts";
import type { BpfTables } from "./tables.ts";
import { type Outcome, outcomeName, outcomeOf, outcomeOrder } from "./verdicts.ts";

const packetOutgoing = 4;
/** As a little-endian program reads them. */
const etherTypeBytes = { ipv4: 0x0008, ipv6: 0xdd86 } as const;
/** Up to this many bytes a loop is faster than a view for each packet, and leaves nothing behind. */
const copyLoopMax = 256;
/** More than there are hooks. */
const hooksMax = 16;

export class BpfDatapath implements Datapath {
  /** What guards have stopped, in order. */
  readonly faults: Fault[] = [];
  readonly #loaded: LoadedTables;
  readonly #context: LinkContext;
  readonly #runner: BpfRunner;
  readonly #sent: OutputEvent[] = [];
  /** Which programs are where, for as long as neither they nor the interfaces change. */
  #placed: {
    readonly attached: readonly AttachedProgram[];
    readonly generation: number;
    readonly places: Map<number, readonly number[]>;
  } = { attached: [], generation: -1, places: new Map() };
  /** Of the last run, if it was watched. */
  readonly #log = new LookupLog();

  constructor(tables: BpfTables, context: LinkContext, options: Pick<RunnerOptions, "compileAfter"> = {}) {
    this.#context = context;
    this.#loaded = new LoadedTables(tables, context.facts);
    const { space } = this.#loaded;
    this.#runner = new BpfRunner({
      space,
      nowNs: () => context.nowNs(),
      random: context.random,
      ...options,
    });
  }

  get space(): BpfSpace {
    return this.#loaded.space;
  }

  get hooks(): readonly number[] {
    return this.#loaded.hooks;
  }

  /** The tables with their maps as they are now. */
  tables(): BpfTables {
    return this.#loaded.tables();
  }

  run(
    hook: number,
    batch: PacketBatch,
    first: number,
    last: number,
    out: HookResults,
    observer?: FilterObserver,
  ): void {
    if (this.#sent.length > 0) this.#sent.length = 0;
    this.#log.clear();
    for (let row = first; row < last; row++) {
      out.verdict[row] = Verdict.accept;
      out.rule[row] = -1;
      out.detail[row] = 0;
      this.#judge(hook, batch, row, out, observer);
      if (observer !== undefined) observer.verdict(hook, row, out.verdict[row]!);
    }
  }

  /** What programs sent to user space during the last run, in order. */
  get sent(): readonly OutputEvent[] {
    return this.#sent;
  }

  apply(op: TableOp): ApplyResult {
    return this.#loaded.apply(op as BpfOp);
  }

  /** Connections live in maps of the programs' own: there is nothing else to forget. */
  forgetFlows(): void {}

  forgetClients(): void {
    this.#loaded.forgetClients();
  }

  /** The tables' own statement, for as long as nobody has changed them. */
  questions(): Questions | undefined {
    return this.#loaded.questions?.();
  }

  describeRule(index: number): RuleDescription {
    const { attachment, repr } = this.#loaded.attached[
      Math.floor(index / outcomeOrder.length)
    ] as AttachedProgram;
    const outcome = outcomeOrder[index % outcomeOrder.length] as Outcome;
    const place = `${attachment.kind} ${attachment.direction} ${attachment.interface}`;
    return {
      table: place,
      chain: repr.name,
      number: 1,
      text: `${place}: ${repr.name} returned ${outcomeName(attachment.kind, outcome)}`,
      origin: repr.origin,
    };
  }

  explainMiss(): string {
    return "";
  }

  describeLookup(ref: number): RuleDescription {
    return this.#log.describe(ref, this.#loaded);
  }

  /** As the last record says that has a direction. */
  droppedDirection(): "ingress" | "egress" | undefined {
    for (const event of [...this.#sent].reverse()) {
      if (event.kind !== "perf") continue;
      const layout = this.#loaded.shapeOf(event.map)?.records?.[event.bytes[0] ?? -1];
      const field = layout?.fields.find(({ name }) => name === "direction");
      const text = field === undefined ? undefined : fieldText(field, event.bytes);
      if (text === "ingress" || text === "egress") return text;
    }
    return undefined;
  }

  describePoint(point: number): string {
    const { table, chain } = this.describeRule(point * outcomeOrder.length);
    return `${table}/${chain}`;
  }

  #judge(
    hook: number,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): void {
    const index = hook === Hook.tcEgress ? batch.state.oif[row]! : batch.state.iif[row]!;
    const { attached } = this.#loaded;
    for (const i of this.#placesAt(hook, index)) {
      const linked = attached[i] as AttachedProgram;
      if (observer !== undefined) observer.enter(i, row);
      const outcome = this.#runProgram(linked, batch, row, index, out, observer);
      const rule = i * outcomeOrder.length + outcomeOrder.indexOf(outcome);
      if (observer !== undefined) observer.rule(rule, -1);
      if (outcome === "next") continue;
      out.rule[row] = rule;
      if (outcome !== "pass") {
        out.verdict[row] =
          outcome === "drop" ? Verdict.drop : outcome === "redirect" ? Verdict.redirect : Verdict.stolen;
      }
      return;
    }
  }

  /** Numbers of the programs that are attached to an interface at a hook, in order. */
  #placesAt(hook: number, index: number): readonly number[] {
    const { facts } = this.#context;
    const { attached } = this.#loaded;
    if (this.#placed.attached !== attached || this.#placed.generation !== facts.generation)
      this.#placed = { attached, generation: facts.generation, places: new Map() };
    const { places } = this.#placed;
    const key = index * hooksMax + hook;
    let found = places.get(key);
    if (found === undefined) {
      const name = facts.interfaces.find((one) => one.index === index)?.name ?? "";
      found = [...attached.keys()].filter((i) => {
        const one = attached[i] as AttachedProgram;
        return one.hook === hook && fits(one.attachment.interface, name);
      });
      places.set(key, found);
    }
    return found;
  }

  #runProgram(
    { attachment, program, type }: AttachedProgram,
    batch: PacketBatch,
    row: number,
    index: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): Outcome {
    const { mark, iif } = batch.state;
    const { packet: buffer, machine, environment } = this.#runner.station(type);
    frameRow(buffer, batch, row);
    if (type === ProgramType.xdp) buffer.set("ingress_ifindex", index);
    else {
      buffer.set("mark", mark[row]!);
      buffer.set("protocol", batch.family[row] === 6 ? etherTypeBytes.ipv6 : etherTypeBytes.ipv4);
      buffer.set("ifindex", index);
      buffer.set("ingress_ifindex", iif[row]!);
      if (attachment.direction === "egress") buffer.set("pkt_type", packetOutgoing);
    }
    const onLookup = observer === undefined ? undefined : this.#watcher(observer);
    const fault = this.#runner.runLoaded(program, type, onLookup);
    for (const event of environment.events) {
      this.#sent.push(event);
      if (observer !== undefined) this.#reportRecord(event, observer);
    }
    if (fault !== undefined) {
      this.faults.push(fault);
      return "drop";
    }
    const code = machine.low(0);
    if (type !== ProgramType.xdp) mark[row] = buffer.get("mark");
    if (!buffer.holds(ethernetHeaderBytes, batch.bytes, batch.offset[row]!, batch.size[row]!)) {
      const after = buffer.copy();
      if (after.length < ethernetHeaderBytes || !replaceRow(batch, row, after.subarray(ethernetHeaderBytes)))
        return "drop";
      decodeRow(batch, row);
    }
    const decided = outcomeOf(attachment.kind, code);
    if (decided === "redirect") {
      const target = environment.redirects.at(-1);
      const isBypass = type === ProgramType.xdp || target?.kind === "peer";
      out.detail[row] = target?.ifindex ?? 0;
      out.way[row] = isBypass
        ? RedirectWay.bypass
        : target?.ingress === true
          ? RedirectWay.receive
          : RedirectWay.transmit;
    }
    return decided;
  }

  /** Tells the observer what a program looks up: keys and values are copied, as they are at that time. */
  #watcher(observer: FilterObserver): NonNullable<HelperEnvironment["onLookup"]> {
    return ({ shape }, keyAt, valueAt) => {
      const { bytes } = this.space.memory;
      const isNested = shape.type === MapType.hashOfMaps || shape.type === MapType.arrayOfMaps;
      const size = isNested ? 0 : shape.valueSize;
      const value = valueAt === 0 ? undefined : bytes.slice(valueAt, valueAt + size);
      observer.lookup(
        this.#log.lookup(shape, bytes.slice(keyAt, keyAt + shape.keySize), value),
        valueAt !== 0,
      );
    };
  }

  #reportRecord(event: OutputEvent, observer: FilterObserver): void {
    if (event.kind === "perf")
      observer.lookup(this.#log.record(this.#loaded.shapeOf(event.map), event), true);
  }
}

function fits(pattern: string, name: string): boolean {
  return pattern.endsWith("+") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** Puts the row into the buffer, behind an Ethernet header of its family. */
function frameRow(buffer: PacketBuffer, batch: PacketBatch, row: number): void {
  const start = batch.offset[row]!;
  const size = batch.size[row]!;
  buffer.open(ethernetHeaderBytes + size, ethernetHeaderBytes);
  const { bytes, view } = buffer.memory;
  const at = buffer.data;
  bytes.fill(0, at, at + ethernetHeaderBytes);
  view.setUint16(at + 12, batch.family[row] === 6 ? EtherType.ipv6 : EtherType.ipv4);
  const to = at + ethernetHeaderBytes;
  if (size > copyLoopMax) bytes.set(batch.bytes.subarray(start, start + size), to);
  else for (let i = 0; i < size; i++) bytes[to + i] = batch.bytes[start + i]!;
}

/** Makes a node's programs ready to run. @throws InputError for maps and programs that cannot be loaded. */
export function linkBpf(
  tables: BpfTables,
  context: LinkContext,
  options: Pick<RunnerOptions, "compileAfter"> = {},
): BpfDatapath {
  return new BpfDatapath(tables, context, options);
}
