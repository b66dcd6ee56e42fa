/**
 * The one evaluator of iptables chains: packet-major, over linked integers, with an explicit bounded stack. A trace is
 * this evaluator observed; there is no second matcher. Governing source: kernel net/ipv4/netfilter/ip_tables.c
 * (ipt_do_table) and the xt_* matches named in link.ts.
 */
import { CtState, DecodeStatus, type PacketBatch } from "../../packet/index.ts";
import { IpProtocol, readU16 } from "../../wire/index.ts";
import type { FilterObserver } from "../datapath.ts";
import type { LiveSet, SetNode } from "../ipset/index.ts";
import { nextFitting } from "./field-scan.ts";
import { fragmentOffset, transportStart, transportWith } from "./headers.ts";
import { jumpDepthMax, type LinkedRuleset, Op, opNot, TargetOp, targetBase } from "./link.ts";
import { Answer, type RowTest } from "./matches/index.ts";
import type { SkipIndex } from "./skip-index.ts";

/** What a chain decided. */
export const RuleVerdict = { accept: 0, drop: 1, reject: 2, nat: 3 } as const;

/** What a target does to a row. False: it cannot be done, and the packet is dropped. */
export type RowAction = (batch: PacketBatch, row: number) => boolean;

/** Per-node tables that a program asks at run time. */
export interface NodeTablesAtRun {
  /** `pattern * interfaceCount + interface number`: 1 where the name fits. */
  readonly interfaceFits: Uint8Array;
  readonly interfaceCount: number;
  readonly sets: readonly (LiveSet | undefined)[];
  readonly setNode: SetNode;
  /** iptables-nft: a few malformed packets are not dropped where iptables-legacy drops them. */
  readonly isNft: boolean;
  /** Bits of `CtStateBit` for a row. */
  ctBits(batch: PacketBatch, row: number): number;
  /** Leads past rules that cannot match; absent where no chain has signposts. */
  readonly skipIndex: SkipIndex | undefined;
  /** By test number of the linked rules, and by action number. */
  readonly tests: readonly RowTest[];
  readonly actions: readonly RowAction[];
  /** Rule `rule` (an index of the linked rules) reports the row. */
  report(rule: number, row: number): void;
}

/** Result registers of the last evaluation: read at once, they are reused. */
export interface Decision {
  verdict: number;
  /** Rule index, or -1 for a chain policy. */
  rule: number;
  /** Reject kind or nat number. */
  detail: number;
}

/** Instead of an address class: not asked for yet; there is no index to ask. */
const classUnknown = -1;
const classUnused = -2;

/** The rule that matches now is the packet's last: one of its matches could not judge it. */
let isLastRule = false;

const returnStack = new Int32Array(jumpDepthMax + 1);
const chainStack = new Int32Array(jumpDepthMax + 1);

/** Runs the row through built-in chain `chain` (a chain number); writes `out`. */
export function evaluateChain(
  linked: LinkedRuleset,
  node: NodeTablesAtRun,
  chain: number,
  batch: PacketBatch,
  row: number,
  out: Decision,
  observer: FilterObserver | undefined,
): void {
  const { code, chains } = linked;
  const marks = batch.state.mark;
  let depth = 0;
  let current = chain;
  let pc = chains[chain]!.start;
  out.detail = 0;
  isLastRule = false;
  let srcClass: number = classUnknown;
  let dstClass = 0;
  if (observer !== undefined) observer.enter(chain + linked.indexBase, row);
  for (;;) {
    if (pc === 0) {
      if (depth === 0) break; // end of the built-in chain: its policy
      depth--;
      pc = returnStack[depth]!;
      current = chainStack[depth]!;
      continue;
    }
    const next = code[pc]!;
    const rule = code[pc + 1]!;
    if (rule < 0) {
      // A signpost: to the next rule that can match, or to the rule behind it.
      const { fields, addresses } = linked.runs[-1 - rule]!;
      if (fields !== undefined) {
        if (observer !== undefined || batch.status[row] !== DecodeStatus.ok) {
          pc = next;
          continue;
        }
        const lane = row * 4;
        const src = batch.src[lane]! | 0;
        const dst = batch.dst[lane]! | 0;
        const at = nextFitting(fields, code[pc + 2]!, src, dst, batch.protocol[row]!, batch.dport[row]!);
        pc = at < 0 ? 0 : addresses[at]!;
        continue;
      }
      if (srcClass === classUnknown) {
        srcClass = classUnused;
        if (node.skipIndex?.isReady() === true) {
          srcClass = node.skipIndex.classOf(batch.src[row * 4]!);
          dstClass = node.skipIndex.classOf(batch.dst[row * 4]!);
        }
      }
      pc =
        srcClass < 0 || observer !== undefined
          ? next
          : node.skipIndex!.next(-1 - rule, code[pc + 2]!, srcClass, dstClass);
      continue;
    }
    const at = matchRule(code, pc + 2, node, batch, row, srcClass, dstClass);
    if (at < 0) {
      const isDropped = isLastRule || at <= hotdropBase;
      if (observer !== undefined) observer.rule(rule, at <= hotdropBase ? hotdropBase - at : -2 - at);
      if (isDropped) {
        out.verdict = RuleVerdict.drop;
        out.rule = rule;
        return;
      }
      pc = next;
      continue;
    }
    if (observer !== undefined) observer.rule(rule, -1);
    switch (code[at]) {
      case TargetOp.none:
        pc = next;
        break;
      case TargetOp.event:
        node.report(rule, row);
        pc = next;
        break;
      case TargetOp.action:
        if (!node.actions[code[at + 1]!]!(batch, row)) {
          out.verdict = RuleVerdict.drop;
          out.rule = rule;
          return;
        }
        srcClass = classUnused; // it may have changed a set, or the packet
        pc = next;
        break;
      case TargetOp.accept:
        out.verdict = isLastRule ? RuleVerdict.drop : RuleVerdict.accept;
        out.rule = rule;
        return;
      case TargetOp.drop:
        out.verdict = RuleVerdict.drop;
        out.rule = rule;
        return;
      case TargetOp.reject:
        out.verdict = RuleVerdict.reject;
        out.rule = rule;
        out.detail = code[at + 1]!;
        return;
      case TargetOp.nat:
        out.verdict = isLastRule ? RuleVerdict.drop : RuleVerdict.nat;
        out.rule = rule;
        out.detail = code[at + 1]!;
        return;
      case TargetOp.return:
        pc = 0;
        break;
      case TargetOp.mark:
        marks[row] = (marks[row]! & code[at + 1]!) ^ code[at + 2]!;
        pc = next;
        break;
      case TargetOp.notrack:
        // a packet that has a connection, or a template of target CT, keeps it
        if (batch.state.ctState[row] === CtState.none && batch.state.ctEntry[row] === 0)
          batch.state.ctState[row] = CtState.untracked;
        pc = next;
        break;
      case TargetOp.jump:
        returnStack[depth] = next;
        chainStack[depth] = current;
        depth++;
        current = code[at + 1]!;
        pc = chains[current]!.start;
        if (observer !== undefined) observer.enter(current + linked.indexBase, row);
        break;
      case TargetOp.goto:
        current = code[at + 1]!;
        pc = chains[current]!.start;
        if (observer !== undefined) observer.enter(current + linked.indexBase, row);
        break;
    }
    if (isLastRule) {
      out.verdict = RuleVerdict.drop;
      out.rule = rule;
      return;
    }
  }
  if (observer?.policy !== undefined) observer.policy(chain + linked.indexBase, row);
  out.verdict = chains[chain]!.policy === "DROP" ? RuleVerdict.drop : RuleVerdict.accept;
  out.rule = -1;
}

/** From here down: the match whose number is the distance found a packet that it cannot judge (the kernel's hotdrop). */
const hotdropBase = -0x1_0000;

/** Address of the target if every match holds; otherwise -2 - (number of the match that failed), or see `hotdropBase`. */
function matchRule(
  code: Int32Array,
  start: number,
  node: NodeTablesAtRun,
  batch: PacketBatch,
  row: number,
  srcClass: number,
  dstClass: number,
): number {
  let at = start;
  for (;;) {
    const word = code[at]!;
    const op = word & 0xff;
    if (op >= targetBase) return at;
    let holds: boolean;
    switch (op) {
      case Op.protocol:
        holds = batch.protocol[row] === code[at + 1];
        at += 2;
        break;
      case Op.src4:
        holds = (batch.src[row * 4]! & code[at + 2]!) === code[at + 1];
        at += 3;
        break;
      case Op.dst4:
        holds = (batch.dst[row * 4]! & code[at + 2]!) === code[at + 1];
        at += 3;
        break;
      case Op.src6:
        holds = matches6(batch.src, row * 4, code, at + 1);
        at += 9;
        break;
      case Op.dst6:
        holds = matches6(batch.dst, row * 4, code, at + 1);
        at += 9;
        break;
      case Op.inInterface:
        holds = node.interfaceFits[code[at + 1]! * node.interfaceCount + batch.state.iif[row]!] === 1;
        at += 2;
        break;
      case Op.outInterface:
        holds = node.interfaceFits[code[at + 1]! * node.interfaceCount + batch.state.oif[row]!] === 1;
        at += 2;
        break;
      case Op.sport: {
        const port = batch.status[row] === DecodeStatus.ok ? batch.sport[row]! : cutField(batch, row, 0);
        if (port < 0) return missed(word);
        holds = inRange(port, code, at + 1);
        at += 3;
        break;
      }
      case Op.dport: {
        const port = batch.status[row] === DecodeStatus.ok ? batch.dport[row]! : cutField(batch, row, 2);
        if (port < 0) return missed(word);
        holds = inRange(port, code, at + 1);
        at += 3;
        break;
      }
      case Op.multiport:
        if (batch.status[row] === DecodeStatus.ok)
          holds = matchesPorts(code, at + 1, batch.sport[row]!, batch.dport[row]!);
        else if (transportStart(batch, row) < 0) return missed(word);
        else if (transportWith(batch, row, 4) < 0) return dropped(word);
        else holds = matchesPorts(code, at + 1, cutField(batch, row, 0), cutField(batch, row, 2));
        at += 3 + 2 * code[at + 2]!;
        break;
      case Op.transport:
        if (batch.status[row] !== DecodeStatus.ok && !(node.isNft && code[at + 2] === 1)) {
          const isFragment = batch.status[row] === DecodeStatus.laterFragment;
          if (!isFragment || (code[at + 1] === IpProtocol.tcp && fragmentOffset(batch, row) === 8))
            return dropped(word); // a fragment that begins inside the TCP header is an attack on its flags
          return missed(word);
        }
        holds = true;
        at += 3;
        break;
      case Op.tcpFlags: {
        const flags = batch.status[row] === DecodeStatus.ok ? batch.tcpFlags[row]! : cutFlags(batch, row);
        if (flags < 0) return missed(word);
        holds = (flags & code[at + 1]!) === code[at + 2];
        at += 3;
        break;
      }
      case Op.icmpType:
        if (batch.status[row] !== DecodeStatus.ok)
          return batch.status[row] === DecodeStatus.laterFragment ? missed(word) : dropped(word);
        holds = matchesIcmp(batch, row, code[at + 1]!, code[at + 2]!);
        at += 3;
        break;
      case Op.set: {
        const slot = code[at + 1]!;
        const dimensions = code[at + 2]!;
        const known =
          srcClass < 0 ? -1 : node.skipIndex!.holds(slot, (dimensions & 1) !== 0 ? srcClass : dstClass);
        holds =
          known < 0 ? node.sets[slot]?.matches(batch, row, dimensions, node.setNode) === true : known === 1;
        at += 3;
        break;
      }
      case Op.mark:
        holds = (batch.state.mark[row]! & code[at + 2]!) === code[at + 1];
        at += 3;
        break;
      case Op.ctstate:
        holds = (node.ctBits(batch, row) & code[at + 1]!) !== 0;
        at += 2;
        break;
      case Op.fragment:
        holds = batch.status[row] === DecodeStatus.laterFragment;
        at += 1;
        break;
      default: {
        const answer = node.tests[code[at + 1]!]!(batch, row);
        if (answer === Answer.drop) return dropped(word);
        if (answer === Answer.yesAndDrop) isLastRule = true;
        holds = answer !== Answer.no;
        at += 2;
      }
    }
    if (holds === ((word & opNot) !== 0)) return missed(word);
  }
}

/** What `matchRule` answers for a match that failed. Where a header is missing, a negated match fails too. */
function missed(word: number): number {
  return -2 - (word >>> 16);
}

function dropped(word: number): number {
  return hotdropBase - (word >>> 16);
}

function matches6(column: Uint32Array, lane: number, code: Int32Array, at: number): boolean {
  for (let i = 0; i < 4; i++) if ((column[lane + i]! & code[at + 4 + i]!) !== code[at + i]) return false;
  return true;
}

function inRange(port: number, code: Int32Array, at: number): boolean {
  return port >= code[at]! && port <= code[at + 1]!;
}

/** A header that is cut short, read as far as it goes: the 16 bits at `offset`, or -1. */
function cutField(batch: PacketBatch, row: number, offset: number): number {
  const at = transportWith(batch, row, offset + 2);
  return at < 0 ? -1 : readU16(batch.bytes, at + offset);
}

function cutFlags(batch: PacketBatch, row: number): number {
  const at = transportWith(batch, row, 14);
  return at < 0 ? -1 : batch.bytes[at + 13]!;
}

function matchesPorts(code: Int32Array, at: number, sport: number, dport: number): boolean {
  const field = code[at]!;
  const end = at + 2 + 2 * code[at + 1]!;
  for (let i = at + 2; i < end; i += 2) {
    if (field & 1 && inRange(sport, code, i)) return true;
    if (field & 2 && inRange(dport, code, i)) return true;
  }
  return false;
}

function matchesIcmp(batch: PacketBatch, row: number, type: number, code: number): boolean {
  const value = batch.dport[row]!;
  return (type === 255 || value >>> 8 === type) && (code < 0 || (value & 0xff) === code);
}
