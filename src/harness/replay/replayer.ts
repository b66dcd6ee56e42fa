/**
 * Replay: every packet of a capture judged by the tables of a cluster or of a node, in the capture's own time, and
 * summed up by flow. Packets are judged by the same walk as everything else; nothing is remembered of a flow but what
 * connection tracking remembers. What people read (lines, rules as text) is made when they ask for it.
 */

import { unreachable } from "../../base/index.ts";
import { type CapturedPacket, cookedInterface, networkOffset } from "../../capture/index.ts";
import { verdictName } from "../../filter/index.ts";
import { append, clearBatch, createBatch, DecodeStatus, decodeRow } from "../../packet/index.ts";
import type { PacketFate } from "../../sim/index.ts";
import { printPacket } from "../../wire/index.ts";
import type { TraceOriginDocument } from "../documents.ts";
import type { OriginPlacer } from "../places.ts";
import { completePacket } from "./captured-packet.ts";
import { CopyFinder } from "./copies.ts";
import { DecisionWatcher, RuleBook } from "./decisions.ts";
import type {
  ReplayCounts,
  ReplayFlowDocument,
  ReplayPacketDocument,
  ReplayRuleDocument,
  ReplayVerdict,
  Unjudged,
} from "./documents.ts";
import { FlowTable, type OpenFlow, openFlowsMax } from "./flows.ts";
import {
  bytesHaveEnds,
  hasPorts,
  newEnds,
  type PacketEnds,
  readEnds,
  reverseEnds,
  sameEnds,
  setEnds,
} from "./packet-ends.ts";
import type { ReplayTarget } from "./target.ts";

/** Longest packet that a capture can make: 64 KiB and an IPv6 header. */
const packetRoom = 0x1_0028;

/** What was found about a packet: good until the next one is judged. */
export interface PacketJudgement {
  readonly index: number;
  readonly verdict: ReplayVerdict;
  readonly disposition: ReplayPacketDocument["disposition"];
  readonly rule: ReplayRuleDocument | null;
  /** Number of its flow, -1 for none. */
  readonly flow: number;
  /** Of a copy: the packet that it is a copy of; -1 for others. */
  readonly copyOf: number;
}

/** A judgement with what copies of the packet need of it. */
interface KeptJudgement extends PacketJudgement {
  index: number;
  verdict: ReplayVerdict;
  disposition: ReplayPacketDocument["disposition"];
  rule: ReplayRuleDocument | null;
  flow: number;
  copyOf: number;
  openFlow: OpenFlow | undefined;
  isReply: boolean;
}

export interface ReplayerOptions {
  /** Told each flow that is over, in time; the rest by `finish`. */
  readonly onFlow?: (flow: ReplayFlowDocument) => void;
  /** Flows that are open at one time. */
  readonly flowsMax?: number;
}

/** Judges a capture's packets in their order, with connection tracking by flow. */
export class Replayer {
  readonly #target: ReplayTarget;
  readonly #place: OriginPlacer;
  readonly #flows: FlowTable;
  readonly #copies: CopyFinder;
  readonly #batch = createBatch(1, packetRoom);
  readonly #probe = createBatch(1, packetRoom);
  readonly #watcher = new DecisionWatcher();
  readonly #rules: RuleBook;
  /** By place in the ring of copies; made at first use, then used again. */
  readonly #kept: KeptJudgement[] = [];
  readonly #other = newJudgement();
  readonly #ends = newEnds();
  /** Ends of the flow, or of what the tables make of its packets. */
  readonly #otherEnds = newEnds();
  /** The packet judged last: its bytes from the network header on, as it was captured. */
  #packet: Uint8Array | undefined;
  #frameBytes = 0;
  #time = { seconds: 0, nanoseconds: 0 };
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
    noTables: 0,
    held: 0,
    copies: 0,
    flows: 0,
  };

  constructor(target: ReplayTarget, place: OriginPlacer, options: ReplayerOptions = {}) {
    this.#target = target;
    this.#place = place;
    this.#rules = new RuleBook(place);
    this.#copies = new CopyFinder((family, words, at) => target.isTranslated(family, words, at));
    this.#flows = new FlowTable((flow) => options.onFlow?.(flow), options.flowsMax ?? openFlowsMax);
  }

  get counts(): Readonly<ReplayCounts> {
    return { ...this.#counts, flows: this.#flows.size };
  }

  /** The capture ends here: flows that are still open are over. */
  finish(): void {
    this.#flows.closeAll();
  }

  /** Judges one packet and describes it. */
  replay(captured: CapturedPacket): ReplayPacketDocument {
    return this.describe(this.judge(captured));
  }

  /** The packet that has just been judged, while its captured bytes are good. */
  describe({ index, verdict, disposition, rule, flow, copyOf }: PacketJudgement): ReplayPacketDocument {
    const { seconds, nanoseconds } = this.#time;
    return {
      index,
      timestampNs: seconds * 1e9 + nanoseconds,
      time: `${seconds}.${String(nanoseconds).padStart(9, "0")}`,
      line: this.#packet === undefined ? `${this.#frameBytes} bytes` : printPacket(this.#packet),
      verdict,
      disposition,
      rule,
      ...(flow < 0 ? {} : { flow }),
      ...(copyOf < 0 ? {} : { copyOf }),
    };
  }

  judge(captured: CapturedPacket): PacketJudgement {
    const index = this.#counts.packets++;
    this.#advance(captured);
    const at = networkOffset(captured);
    if (at < 0) {
      this.#packet = undefined;
      this.#frameBytes = captured.end - captured.start;
      return this.#unjudged(index, "not-ip");
    }
    const batch = this.#batch;
    const onWire = captured.originalLength - (at - captured.start);
    this.#packet = completePacket(captured.bytes, at, captured.end, onWire);
    clearBatch(batch);
    append(batch, this.#packet.length > packetRoom ? this.#packet.subarray(0, packetRoom) : this.#packet);
    decodeRow(batch, 0);
    if (batch.status[0] === DecodeStatus.malformedNetwork) {
      this.#counts.judged++;
      this.#counts.failed++;
      return fill(this.#other, index, "drop", "malformed");
    }
    readEnds(batch, this.#ends);
    const place = captured.interfaceIndex * 0x1_0000_0000 + cookedInterface(captured);
    const original = this.#copies.find(batch, this.#ends, place, this.#nowNs);
    if (original >= 0) return this.#copy(index, this.#kept[original]);
    const slot = this.#copies.remember(batch, this.#ends, place, this.#nowNs);
    let kept = this.#kept[slot];
    if (kept === undefined) this.#kept[slot] = kept = newJudgement();
    return this.#judge(index, fill(kept, index, "none", "copy"), captured.end - captured.start);
  }

  /** Row 0, seen for the first time. */
  #judge(index: number, kept: KeptJudgement, size: number): PacketJudgement {
    const [batch, ends, watcher] = [this.#batch, this.#ends, this.#watcher];
    const known = this.#flows.find(ends, this.#nowNs);
    const isReply = known !== undefined && this.#flows.foundReply;
    const sender = known === undefined ? undefined : this.#untranslate(known, isReply);
    watcher.reset(known === undefined || known.delivered === 0);
    const fate = this.#target.judge(batch, this.#otherEndsOr(ends, known, isReply), watcher, sender);
    if (typeof fate === "string") return fill(this.#other, index, "none", this.#countUnjudged(fate));
    if (fate.isHeld) return fill(kept, index, "none", this.#countUnjudged("held"));
    const flow = known ?? this.#open(index);
    kept.verdict = verdictOf(fate);
    kept.disposition = fate.disposition;
    kept.rule = this.#ruleOf(fate);
    kept.flow = flow.number;
    kept.openFlow = flow;
    kept.isReply = isReply;
    this.#count(flow, kept, size, fate);
    if (fate.disposition === "delivered" && !isReply) this.#noteTranslation(flow, fate);
    return kept;
  }

  #open(index: number): OpenFlow {
    const [target, ends] = [this.#target, this.#ends];
    return this.#flows.open(ends, index, this.#nowNs, {
      from: target.stationOf(ends, "src"),
      to: target.stationOf(ends, "dst"),
    });
  }

  #copy(index: number, original: KeptJudgement | undefined): PacketJudgement {
    this.#counts.copies++;
    const copy = fill(this.#other, index, "none", "copy");
    if (original === undefined) return copy;
    const { verdict, disposition, rule, flow, openFlow, isReply } = original;
    if (openFlow !== undefined) this.#flows.alias(openFlow, this.#ends, isReply);
    return Object.assign(copy, { verdict, disposition, rule, flow, copyOf: original.index });
  }

  /** Time runs forward only: packets out of order are judged at the latest time so far. */
  #advance({ seconds, nanoseconds }: CapturedPacket): void {
    this.#time.seconds = seconds;
    this.#time.nanoseconds = nanoseconds;
    this.#startSeconds ??= seconds;
    this.#nowNs = Math.max(this.#nowNs, (seconds - this.#startSeconds) * 1e9 + nanoseconds);
    this.#target.advance(this.#nowNs);
  }

  #unjudged(index: number, why: Unjudged): PacketJudgement {
    return fill(this.#other, index, "none", this.#countUnjudged(why));
  }

  #countUnjudged(why: Unjudged): Unjudged {
    const counts = this.#counts;
    switch (why) {
      case "not-ip":
        counts.notIp++;
        break;
      case "unknown-address":
        counts.unknownAddress++;
        break;
      case "not-unicast":
        counts.notUnicast++;
        break;
      case "no-tables":
        counts.noTables++;
        break;
      case "held":
        counts.held++;
        break;
      case "copy":
        counts.copies++;
        break;
      default:
        unreachable(why);
    }
    return why;
  }

  #count(flow: OpenFlow, judged: KeptJudgement, size: number, fate: PacketFate): void {
    const { disposition } = fate;
    const isDelivered = disposition === "delivered";
    this.#counts.judged++;
    if (isDelivered) this.#counts.delivered++;
    else if (disposition.startsWith("denied")) this.#counts.denied++;
    else this.#counts.failed++;
    this.#flows.count(flow, judged.index, this.#nowNs, size, isDelivered);
    if (isDelivered || flow.denied !== undefined) return;
    const because = disposition.startsWith("denied") ? this.#reasons() : [];
    flow.denied = { packet: judged.index, disposition, rule: judged.rule, because };
  }

  /** What the tables made of a client's packet belongs to its flow: the capture may show it, and answers to it. */
  #noteTranslation(flow: OpenFlow, { bytes, receiver }: PacketFate): void {
    const transport = this.#batch.transport[0] ?? 0;
    if (transport > 0 && bytesHaveEnds(bytes, transport, flow.ends) && hasPorts(this.#batch.protocol[0] ?? 0))
      return;
    const probe = this.#probe;
    clearBatch(probe);
    if (append(probe, bytes) < 0) return;
    decodeRow(probe, 0);
    const ends = this.#otherEnds;
    readEnds(probe, ends);
    if (probe.status[0] !== DecodeStatus.ok || sameEnds(ends, flow.ends)) return;
    this.#flows.alias(flow, ends, false);
    if (receiver !== undefined && (flow.translated === undefined || !sameEnds(flow.translated.ends, ends)))
      flow.translated = { ends: ends.slice(), receiver };
  }

  /**
   * Packets of a translated flow enter the emulation as they would there: with the client's own ends, or as the answer
   * to what the tables made of the client's packets. The capture may show them behind NAT, and with a port or a backend
   * that the kernel drew by lot. Returns who sent it, where the source address does not say so.
   */
  #untranslate({ translated, ends }: OpenFlow, isReply: boolean): string | undefined {
    if (translated === undefined) return undefined;
    if (isReply) reverseEnds(translated.ends, this.#otherEnds);
    else this.#otherEnds.set(ends);
    if (!sameEnds(this.#otherEnds, this.#ends)) setEnds(this.#batch, this.#otherEnds);
    return isReply ? translated.receiver : undefined;
  }

  /** The ends that row 0 has now. */
  #otherEndsOr(ends: PacketEnds, flow: OpenFlow | undefined, isReply: boolean): PacketEnds {
    if (flow?.translated === undefined) return ends;
    if (!isReply && sameEnds(flow.ends, ends)) return ends;
    readEnds(this.#batch, this.#otherEnds);
    return this.#otherEnds;
  }

  #ruleOf(fate: PacketFate): ReplayRuleDocument | null {
    const rule = this.#decidingRule(fate);
    const { lookup, report } = this.#watcher;
    if (rule === null || (lookup === undefined && report === undefined)) return rule;
    return {
      ...rule,
      ...(lookup === undefined ? {} : { lookup: this.#rules.describeLookup(lookup) }),
      ...(report === undefined ? {} : { report }),
    };
  }

  #decidingRule({ disposition, node, hook, rule }: PacketFate): ReplayRuleDocument | null {
    if (node !== undefined && hook !== undefined) {
      const datapath = rule < 0 ? undefined : this.#target.datapathOf(node);
      return datapath === undefined ? null : this.#rules.describe(node, datapath, hook, rule);
    }
    const last = this.#watcher;
    // what is lost on the way was let pass by every rule that it met
    if (last.datapath === undefined || disposition !== "delivered") return null;
    return this.#rules.describe(last.node, last.datapath, last.hook, last.rule);
  }

  /** The policies that denied on the way to the drop, as far as they were watched. */
  #reasons(): readonly TraceOriginDocument[] {
    return this.#watcher
      .origins()
      .filter(({ role }) => role === "default-deny" || role === "deny")
      .map((origin) => this.#place(origin))
      .filter(({ file }) => file !== undefined);
  }
}

function newJudgement(): KeptJudgement {
  return {
    index: 0,
    verdict: "none",
    disposition: "copy",
    rule: null,
    flow: -1,
    copyOf: -1,
    openFlow: undefined,
    isReply: false,
  };
}

/** A judgement about no flow and by no rule. */
function fill(
  judgement: KeptJudgement,
  index: number,
  verdict: ReplayVerdict,
  disposition: KeptJudgement["disposition"],
): KeptJudgement {
  judgement.index = index;
  judgement.verdict = verdict;
  judgement.disposition = disposition;
  judgement.rule = null;
  judgement.flow = -1;
  judgement.copyOf = -1;
  judgement.openFlow = undefined;
  judgement.isReply = false;
  return judgement;
}

function verdictOf(fate: PacketFate): ReplayVerdict {
  if (fate.disposition === "delivered") return "accept";
  return verdictName[fate.verdict] === "reject" ? "reject" : "drop";
}
