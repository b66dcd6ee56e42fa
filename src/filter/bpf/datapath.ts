/**
 * One node's BPF: programs attached to interfaces, their maps, and the machine. Programs see frames: where the network
 * carries packets without a link header, one with zero addresses is put in front and taken off again. A run that a guard
 * stops drops its packet; a verified program is never stopped.
 */

import { decodeRow, type PacketBatch, replaceRow, rowBytes } from "../../packet/index.ts";
import { EtherType } from "../../wire/index.ts";
import {
  type ApplyResult,
  type Datapath,
  type FilterObserver,
  Hook,
  type HookResults,
  type LinkContext,
  type NodeFacts,
  type RuleDescription,
  type TableOp,
} from "../datapath.ts";
import { Verdict } from "../verdict.ts";
import { ProgramType } from "./context.ts";
import { Errno, type MapEntry, UpdateFlag } from "./maps/shape.ts";
import { ethernetHeaderBytes } from "./packet-buffer.ts";
import type { LinkedProgram } from "./program.ts";
import { BpfRunner } from "./runner.ts";
import { BpfSpace } from "./space.ts";
import type { Attachment, BpfTables } from "./tables.ts";
import { type Outcome, outcomeName, outcomeOf, outcomeOrder } from "./verdicts.ts";
import type { Fault } from "./vm.ts";

/** bpf(2)'s BPF_MAP_UPDATE_ELEM and BPF_MAP_DELETE_ELEM on a map by name. */
export interface BpfMapOp extends TableOp {
  readonly kind: "bpf-map";
  readonly op: "update" | "delete";
  readonly map: string;
  readonly key: Uint8Array;
  /** Of an update. */
  readonly value?: Uint8Array;
  readonly flags?: number;
  readonly interfaceAt?: MapEntry["interfaceAt"];
}

interface Linked {
  readonly attachment: Attachment;
  readonly program: LinkedProgram;
  readonly type: ProgramType;
  readonly hook: number;
}

const hookOf = ({ kind, direction }: Attachment): number =>
  kind === "xdp" ? Hook.xdp : direction === "ingress" ? Hook.tcIngress : Hook.tcEgress;

const packetOutgoing = 4;

export class BpfDatapath implements Datapath {
  readonly hooks: readonly number[];
  readonly space: BpfSpace;
  /** What guards have stopped, in order. */
  readonly faults: Fault[] = [];
  readonly #tables: BpfTables;
  readonly #context: LinkContext;
  readonly #runner: BpfRunner;
  readonly #attached: readonly Linked[];
  readonly #mapNumbers: ReadonlyMap<string, number>;

  constructor(tables: BpfTables, context: LinkContext) {
    this.#tables = tables;
    this.#context = context;
    this.space = new BpfSpace();
    const maps = tables.maps.map((map) => this.space.createMap(map, map.base));
    this.#mapNumbers = new Map(tables.maps.map(({ name }, i) => [name, maps[i] as number]));
    const programs = tables.programs.map(({ name, instructions }) =>
      this.space.loadProgram(name, instructions, (imm) => maps[imm]),
    );
    // places in the tables are numbers of the space: both count from 0 in the same order
    tables.maps.forEach(({ entries }, i) => {
      const map = entries.length === 0 ? undefined : this.space.map(maps[i] as number);
      for (const { key, value, interfaceAt } of entries)
        map?.update(key, 0, valueHere(value, interfaceAt, context.facts), 0, UpdateFlag.any);
    });
    this.#runner = new BpfRunner({ space: this.space, nowNs: () => context.nowNs(), random: context.random });
    this.#attached = tables.attachments.flatMap((attachment) => {
      const program = this.space.program(programs[attachment.program] ?? -1);
      const type = tables.programs[attachment.program]?.type;
      return program === undefined || type === undefined
        ? []
        : [{ attachment, program, type, hook: hookOf(attachment) }];
    });
    this.hooks = [...new Set(this.#attached.map(({ hook }) => hook))];
  }

  /** The tables with their maps as they are now. */
  tables(): BpfTables {
    const maps = this.#tables.maps.map(({ base, ...map }, i) =>
      this.space.isTouched(i)
        ? { ...map, entries: this.space.map(i)?.entries() ?? [] }
        : { ...map, ...(base === undefined ? {} : { base }) },
    );
    return { ...this.#tables, maps };
  }

  run(
    hook: number,
    batch: PacketBatch,
    first: number,
    last: number,
    out: HookResults,
    observer?: FilterObserver,
  ): void {
    for (let row = first; row < last; row++) {
      out.verdict[row] = Verdict.accept;
      out.rule[row] = -1;
      out.detail[row] = 0;
      this.#judge(hook, batch, row, out, observer);
      if (observer !== undefined) observer.verdict(hook, row, out.verdict[row]!);
    }
  }

  apply(op: TableOp): ApplyResult {
    const { op: action, map: name, key, value, flags, interfaceAt } = op as BpfMapOp;
    const map = this.space.map(this.#mapNumbers.get(name) ?? -1);
    if (map === undefined) return { ok: false, errno: "ENOENT", message: `there is no map ${name}` };
    const isWhole =
      key.length === map.shape.keySize && (action === "delete" || value?.length === map.shape.valueSize);
    if (!isWhole)
      return {
        ok: false,
        errno: "EINVAL",
        message: `map ${name} has keys of ${map.shape.keySize} and values of ${map.shape.valueSize} bytes`,
      };
    const written = (): Uint8Array => valueHere(value ?? new Uint8Array(), interfaceAt, this.#context.facts);
    const status = action === "delete" ? map.remove(key, 0) : map.update(key, 0, written(), 0, flags ?? 0);
    if (status === 0) return { ok: true };
    const errno = Object.entries(Errno).find(([, number]) => number === -status)?.[0] ?? String(-status);
    return { ok: false, errno, message: `map ${name}: ${errno}` };
  }

  /** Connections live in maps of the programs' own: there is nothing else to forget. */
  forgetFlows(): void {}

  forgetClients(): void {}

  describeRule(index: number): RuleDescription {
    const { attachment } = this.#attached[Math.floor(index / outcomeOrder.length)] as Linked;
    const program = this.#tables.programs[attachment.program];
    const outcome = outcomeOrder[index % outcomeOrder.length] as Outcome;
    const place = `${attachment.kind} ${attachment.direction} ${attachment.interface}`;
    return {
      table: place,
      chain: program?.name ?? "",
      number: 1,
      text: `${place}: ${program?.name} returned ${outcomeName(attachment.kind, outcome)}`,
      origin: program?.origin,
    };
  }

  explainMiss(): string {
    return "";
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
    const name = this.#context.facts.interfaces.find((one) => one.index === index)?.name ?? "";
    for (let i = 0; i < this.#attached.length; i++) {
      const linked = this.#attached[i] as Linked;
      if (linked.hook !== hook || !fits(linked.attachment.interface, name)) continue;
      if (observer !== undefined) observer.enter(i, row);
      const outcome = this.#runProgram(linked, batch, row, index, out);
      const rule = i * outcomeOrder.length + outcomeOrder.indexOf(outcome);
      if (observer !== undefined) observer.rule(rule, -1);
      if (outcome === "next") continue;
      if (outcome !== "pass") {
        out.rule[row] = rule;
        out.verdict[row] =
          outcome === "drop" ? Verdict.drop : outcome === "redirect" ? Verdict.redirect : Verdict.stolen;
      }
      return;
    }
  }

  #runProgram(
    { attachment, program, type }: Linked,
    batch: PacketBatch,
    row: number,
    index: number,
    out: HookResults,
  ): Outcome {
    const before = framed(batch, row);
    const { mark, iif } = batch.state;
    const isEgress = attachment.direction === "egress";
    const context =
      type === ProgramType.xdp
        ? { ingress_ifindex: index }
        : {
            mark: mark[row]!,
            protocol: ((before[12]! | (before[13]! << 8)) & 0xffff) >>> 0,
            ifindex: index,
            ingress_ifindex: iif[row]!,
            pkt_type: isEgress ? packetOutgoing : 0,
          };
    const outcome = this.#runner.run(program, type, before, ethernetHeaderBytes, context);
    if (outcome.fault !== undefined || outcome.code === undefined) {
      if (outcome.fault !== undefined) this.faults.push(outcome.fault);
      return "drop";
    }
    const buffer = this.#runner.packet(type);
    if (type !== ProgramType.xdp) mark[row] = buffer.get("mark");
    const after = buffer.copy();
    if (!sameBytes(before, after)) {
      if (after.length < ethernetHeaderBytes || !replaceRow(batch, row, after.subarray(ethernetHeaderBytes)))
        return "drop";
      decodeRow(batch, row);
    }
    const decided = outcomeOf(attachment.kind, outcome.code);
    if (decided === "redirect") out.detail[row] = outcome.redirects.at(-1)?.ifindex ?? 0;
    return decided;
  }
}

/** An entry's value with the number of the interface that it names. */
function valueHere(
  value: Uint8Array,
  interfaceAt: MapEntry["interfaceAt"],
  { interfaces }: NodeFacts,
): Uint8Array {
  if (interfaceAt === undefined) return value;
  const bytes = value.slice();
  const index = interfaces.find(({ name }) => name === interfaceAt.name)?.index ?? 0;
  new DataView(bytes.buffer).setUint32(interfaceAt.offset, index, true);
  return bytes;
}

function fits(pattern: string, name: string): boolean {
  return pattern.endsWith("+") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** The row behind an Ethernet header of its family. */
function framed(batch: PacketBatch, row: number): Uint8Array {
  const packet = rowBytes(batch, row);
  const frame = new Uint8Array(ethernetHeaderBytes + packet.length);
  const type = batch.family[row] === 6 ? EtherType.ipv6 : EtherType.ipv4;
  frame[12] = type >>> 8;
  frame[13] = type & 0xff;
  frame.set(packet, ethernetHeaderBytes);
  return frame;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Makes a node's programs ready to run. @throws InputError for maps and programs that cannot be loaded. */
export function linkBpf(tables: BpfTables, context: LinkContext): BpfDatapath {
  return new BpfDatapath(tables, context);
}
