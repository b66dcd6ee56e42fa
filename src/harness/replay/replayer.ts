/**
 * Replay: every packet of a capture judged by the tables of a cluster or of a node, in the capture's own time, and
 * summed up by flow. Packets are judged by the same walk as everything else; nothing is remembered of a flow but what
 * connection tracking remembers.
 */
import { type CapturedPacket, cookedInterface, networkOffset } from "../../capture/index.ts";
import {
  type Datapath,
  type FilterObserver,
  Hook,
  type HookResults,
  hookName,
  verdictName,
} from "../../filter/index.ts";
import {
  append,
  clearBatch,
  createBatch,
  DecodeStatus,
  decodeRow,
  type PacketBatch,
  rowBytes,
} from "../../packet/index.ts";
import type { HookWatcher, PacketFate } from "../../sim/index.ts";
import { printPacket } from "../../wire/index.ts";
import type { TraceOriginDocument } from "../documents.ts";
import type { OriginPlacer } from "../places.ts";
import { TraceRecorder } from "../recorder.ts";
import { completePacket } from "./captured-packet.ts";
import { CopyFinder } from "./copies.ts";
import type {
  ReplayCounts,
  ReplayFlowDocument,
  ReplayPacketDocument,
  ReplayRuleDocument,
  ReplayVerdict,
  Unjudged,
} from "./documents.ts";
import { countInFlow, type FlowSide, FlowTable } from "./flows.ts";
import type { ReplayTarget } from "./network-target.ts";
import { type PacketEnds, packetEnds, reversed, sameEnds, setEnds } from "./packet-ends.ts";

/** Longest packet that a capture can make: 64 KiB and an IPv6 header. */
const packetRoom = 0x1_0028;

/** Judges a capture's packets in their order, with connection tracking by flow. */
export class Replayer {
  readonly #target: ReplayTarget;
  readonly #place: OriginPlacer;
  readonly #flows = new FlowTable();
  readonly #copies: CopyFinder;
  readonly #batch = createBatch(1, packetRoom);
  readonly #rules = new Map<string, ReplayRuleDocument>();
  /** Capture time of the first packet: the virtual clock starts there. */
  #startSeconds: number | undefined;
  #nowNs = 0;
  readonly #counts: ReplayCounts = {
    packets: 0,
    judged: 0,
    delivered: 0,
    denied: 0,
    failed: 0,
    notIp: 0,
    unknownAddress: 0,
    notUnicast: 0,
    copies: 0,
    flows: 0,
  };

  constructor(target: ReplayTarget, place: OriginPlacer) {
    this.#target = target;
    this.#place = place;
    this.#copies = new CopyFinder((address) => target.isTranslated(address));
  }

  get counts(): Readonly<ReplayCounts> {
    return { ...this.#counts, flows: this.#flows.size };
  }

  flows(): Iterable<ReplayFlowDocument> {
    return this.#flows.documents();
  }

  /** Judges one packet. */
  replay(captured: CapturedPacket): ReplayPacketDocument {
    const index = this.#counts.packets++;
    this.#advance(captured);
    const at = networkOffset(captured);
    if (at < 0) return this.#unjudged(captured, index, "not-ip", `${captured.end - captured.start} bytes`);
    const batch = this.#load(captured, at);
    const line = printPacket(rowBytes(batch, 0));
    const document = (
      disposition: ReplayPacketDocument["disposition"],
      verdict: ReplayVerdict,
      rule: ReplayRuleDocument | null,
      more: Partial<ReplayPacketDocument> = {},
    ): ReplayPacketDocument => ({ index, ...timeOf(captured), line, verdict, disposition, rule, ...more });
    if (batch.status[0] === DecodeStatus.malformedNetwork) {
      this.#counts.judged++;
      this.#counts.failed++;
      return document("malformed", "drop", null);
    }
    const place = captured.interfaceIndex * 0x1_0000_0000 + cookedInterface(captured);
    const ends = packetEnds(batch);
    const original = this.#copies.find(batch, ends, place, this.#nowNs);
    if (original !== undefined) {
      this.#counts.copies++;
      if (original.side !== undefined) this.#flows.alias(original.side, ends);
      return { ...document("copy", "none", null), ...original.outcome, copyOf: original.index };
    }
    const remembered = this.#copies.remember(batch, ends, place, this.#nowNs, index);
    const protocol = batch.protocol[0] ?? 0;
    const known = this.#flows.find(protocol, ends);
    const sender = known === undefined ? undefined : this.#untranslate(batch, ends, known);
    const watcher = new DecisionWatcher(known === undefined || known.flow.packets === 0);
    const fate = this.#target.judge(batch, watcher, sender);
    if (typeof fate === "string") return this.#unjudged(captured, index, fate, line);
    const stations = { from: this.#target.stationOf(ends.src), to: this.#target.stationOf(ends.dst) };
    const side = known ?? { flow: this.#flows.open(protocol, ends, index, stations), isReply: false };
    const { flow } = side;
    remembered.side = side;
    const judged = document(fate.disposition, verdictOf(fate), this.#ruleOf(fate, watcher), {
      flow: flow.number,
    });
    const { verdict, disposition, rule } = judged;
    remembered.outcome = { verdict, disposition, rule, flow: flow.number };
    this.#count(judged, side, captured.end - captured.start, fate, watcher);
    return judged;
  }

  /** Time runs forward only: packets out of order are judged at the latest time so far. */
  #advance({ seconds, nanoseconds }: CapturedPacket): void {
    this.#startSeconds ??= seconds;
    this.#nowNs = Math.max(this.#nowNs, (seconds - this.#startSeconds) * 1e9 + nanoseconds);
    this.#target.advance(this.#nowNs);
  }

  #load(captured: CapturedPacket, at: number): PacketBatch {
    const batch = this.#batch;
    const onWire = captured.originalLength - (at - captured.start);
    clearBatch(batch);
    append(batch, completePacket(captured.bytes, at, captured.end, onWire).subarray(0, packetRoom));
    decodeRow(batch, 0);
    return batch;
  }

  #unjudged(captured: CapturedPacket, index: number, why: Unjudged, line: string): ReplayPacketDocument {
    if (why === "not-ip") this.#counts.notIp++;
    else if (why === "unknown-address") this.#counts.unknownAddress++;
    else if (why === "not-unicast") this.#counts.notUnicast++;
    return { index, ...timeOf(captured), line, verdict: "none", disposition: why, rule: null };
  }

  #count(
    packet: ReplayPacketDocument,
    side: FlowSide,
    size: number,
    fate: PacketFate,
    watcher: DecisionWatcher,
  ): void {
    const { flow } = side;
    this.#counts.judged++;
    if (fate.disposition === "delivered") this.#counts.delivered++;
    else if (fate.disposition.startsWith("denied")) this.#counts.denied++;
    else this.#counts.failed++;
    const because = flow.denied === undefined ? this.#reasons(fate, watcher) : [];
    countInFlow(flow, packet, size, packet.rule, because);
    if (fate.disposition !== "delivered" || side.isReply) return;
    clearBatch(this.#batch);
    if (append(this.#batch, fate.bytes) < 0) return;
    decodeRow(this.#batch, 0);
    const ends = packetEnds(this.#batch);
    if (this.#batch.status[0] !== DecodeStatus.ok || sameEnds(ends, flow.ends)) return;
    this.#flows.alias(side, ends);
    if (fate.receiver !== undefined) flow.translated = { ends, receiver: fate.receiver };
  }

  /**
   * Packets of a translated flow enter the emulation as they would there: with the client's own ends, or as the answer
   * to what the tables made of the client's packets. The capture may show them behind NAT, and with a port or a backend
   * that the kernel drew by lot. Returns who sent it, where the source address does not say so.
   */
  #untranslate(batch: PacketBatch, ends: PacketEnds, { flow, isReply }: FlowSide): string | undefined {
    if (flow.translated === undefined) return undefined;
    const own = isReply ? reversed(flow.translated.ends) : flow.ends;
    if (!sameEnds(own, ends)) setEnds(batch, own);
    return isReply ? flow.translated.receiver : undefined;
  }

  #ruleOf(fate: PacketFate, watcher: DecisionWatcher): ReplayRuleDocument | null {
    const isStopped = fate.node !== undefined && fate.hook !== undefined;
    const last = watcher.last;
    const [node, hook] = isStopped ? [fate.node, fate.hook] : [last?.node, last?.hook];
    const index = isStopped ? fate.rule : (last?.rule ?? -1);
    if (node === undefined || hook === undefined || index < 0) return null;
    const key = `${node} ${hook} ${index}`;
    let rule = this.#rules.get(key);
    if (rule === undefined) {
      const description = isStopped ? this.#target.describeRule(fate) : last?.datapath.describeRule(index);
      if (description === undefined) return null;
      const { table, chain, number, text, origin } = description;
      rule = {
        node,
        hook: hookName[hook] ?? String(hook),
        table,
        chain,
        number,
        text,
        ...(origin === undefined ? {} : { origin: this.#place(origin) }),
      };
      this.#rules.set(key, rule);
    }
    return rule;
  }

  /** The policies that denied on the way to the drop, as far as they were watched. */
  #reasons(fate: PacketFate, { recorder }: DecisionWatcher): readonly TraceOriginDocument[] {
    if (!fate.disposition.startsWith("denied") || recorder === undefined) return [];
    const where = recorder.hooks.at(-1);
    const origins = (where?.rules ?? []).flatMap(({ matched, description: { origin } }) =>
      matched && origin !== undefined && (origin.role === "default-deny" || origin.role === "deny")
        ? [this.#place(origin)]
        : [],
    );
    return origins.filter(({ file }) => file !== undefined);
  }
}

function verdictOf(fate: PacketFate): ReplayVerdict {
  if (fate.disposition === "delivered") return "accept";
  return verdictName[fate.verdict] === "reject" ? "reject" : "drop";
}

function timeOf({ seconds, nanoseconds }: CapturedPacket): { timestampNs: number; time: string } {
  const time = `${seconds}.${String(nanoseconds).padStart(9, "0")}`;
  return { timestampNs: seconds * 1e9 + nanoseconds, time };
}

interface Decision {
  readonly node: string;
  readonly hook: number;
  readonly rule: number;
  readonly datapath: Datapath;
}

/** Remembers the rule that let a packet pass last, and every rule of a flow's first packet. */
class DecisionWatcher implements HookWatcher {
  readonly recorder: TraceRecorder | undefined;
  last: Decision | undefined;
  #datapath: Datapath | undefined;

  constructor(isRecording: boolean) {
    this.recorder = isRecording ? new TraceRecorder() : undefined;
  }

  before(
    node: string,
    hook: number,
    datapath: Datapath,
    batch: PacketBatch,
    row: number,
  ): FilterObserver | undefined {
    this.#datapath = datapath;
    return this.recorder?.before(node, hook, datapath, batch, row);
  }

  after(node: string, hook: number, results: HookResults, row: number): void {
    this.recorder?.after(node, hook, results, row);
    const rule = results.rule[row] ?? -1;
    const isFilter = hook === Hook.forward || hook === Hook.input || hook === Hook.output;
    if (isFilter && rule >= 0 && this.#datapath !== undefined)
      this.last = { node, hook, rule, datapath: this.#datapath };
  }
}
