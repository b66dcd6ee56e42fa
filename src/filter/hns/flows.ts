/**
 * Flows that VFP knows at an endpoint's port: what was let through once passes in both directions without being asked
 * again, until it ends or is idle for long. Times are this model's own: no published source states those of Windows.
 */
import { DecodeStatus, type PacketBatch } from "../../packet/index.ts";
import { IpProtocol, TcpFlag } from "../../wire/index.ts";

const idleNs = { tcp: 4 * 60e9, other: 60e9 };
/** Ended by RST, or by FIN from both sides. */
const endedNs = 10e9;
/** What is over is thrown away now and then. */
export const sweepEveryNs = 60e9;

/** How long a flow, or a translation, is known. */
export interface VfpFlow {
  untilNs: number;
  /** Directions that have sent a FIN: 1 as the flow began, 2 the other one. */
  fins: number;
}

/** A packet of the flow has come; a new flow starts with `{ untilNs: 0, fins: 0 }`. */
export function touchFlow(
  flow: VfpFlow,
  batch: PacketBatch,
  row: number,
  isReply: boolean,
  now: number,
): void {
  if (batch.protocol[row] !== IpProtocol.tcp) {
    flow.untilNs = now + idleNs.other;
    return;
  }
  const flags = batch.tcpFlags[row]!;
  if ((flags & TcpFlag.fin) !== 0) flow.fins |= isReply ? 2 : 1;
  const isEnded = (flags & TcpFlag.rst) !== 0 || flow.fins === 3;
  flow.untilNs = now + (isEnded ? endedNs : idleNs.tcp);
}

/** Of one node. */
export class VfpFlows {
  readonly #nowNs: () => number;
  readonly #flows = new Map<string, VfpFlow>();
  #sweepAtNs = 0;

  constructor(nowNs: () => number) {
    this.#nowNs = nowNs;
  }

  get size(): number {
    return this.#flows.size;
  }

  forget(): void {
    this.#flows.clear();
  }

  forgetPort(port: string): void {
    for (const key of this.#flows.keys()) if (key.startsWith(`${port}|`)) this.#flows.delete(key);
  }

  /** Whether the packet belongs to a flow that the port knows; keeps it alive. */
  passes(port: string, batch: PacketBatch, row: number): boolean {
    const now = this.#nowNs();
    for (const [isReply, key] of [false, true].map(
      (reply) => [reply, keyOf(port, batch, row, reply)] as const,
    )) {
      const flow = this.#flows.get(key);
      if (flow === undefined) continue;
      if (flow.untilNs <= now) {
        this.#flows.delete(key);
        continue;
      }
      touchFlow(flow, batch, row, isReply, now);
      return true;
    }
    return false;
  }

  /** A packet was let through that no flow knew. */
  begin(port: string, batch: PacketBatch, row: number): void {
    const now = this.#nowNs();
    if (now >= this.#sweepAtNs) this.#sweep(now);
    const flow: VfpFlow = { untilNs: now, fins: 0 };
    touchFlow(flow, batch, row, false, now);
    this.#flows.set(keyOf(port, batch, row, false), flow);
  }

  #sweep(now: number): void {
    for (const [key, { untilNs }] of this.#flows) if (untilNs <= now) this.#flows.delete(key);
    this.#sweepAtNs = now + sweepEveryNs;
  }
}

/** ICMP echo: its identifier stands in place of ports. A fragment without ports belongs to its addresses' flow. */
function keyOf(port: string, batch: PacketBatch, row: number, isReply: boolean): string {
  const [a, b] = [wordsText(batch, "src", row), wordsText(batch, "dst", row)];
  const protocol = batch.protocol[row]!;
  const isIcmp = protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
  const hasPorts = batch.status[row] === DecodeStatus.ok && !isIcmp;
  const identifier = isIcmp && batch.status[row] === DecodeStatus.ok ? identifierOf(batch, row) : 0;
  const [sport, dport] = hasPorts ? [batch.sport[row]!, batch.dport[row]!] : [identifier, identifier];
  return isReply
    ? `${port}|${protocol}|${b}|${dport}|${a}|${sport}`
    : `${port}|${protocol}|${a}|${sport}|${b}|${dport}`;
}

export function wordsText(batch: PacketBatch, side: "src" | "dst", row: number): string {
  const words = batch[side];
  if (batch.family[row] === 4) return `${words[row * 4]}`;
  return `${words[row * 4]}.${words[row * 4 + 1]}.${words[row * 4 + 2]}.${words[row * 4 + 3]}`;
}

function identifierOf(batch: PacketBatch, row: number): number {
  const at = batch.offset[row]! + batch.transport[row]! + 4;
  return (batch.bytes[at]! << 8) | batch.bytes[at + 1]!;
}
