/**
 * Flows of a replay: packets by their five-tuple in either direction, before and after translation. A flow is over when
 * connection tracking would have forgotten it, and of too many flows the one that has been silent longest is: a packet
 * of the same ends begins another one then. What is over is handed out and forgotten, so memory is bounded.
 */
import { timeoutDefaults } from "../../filter/netfilter/index.ts";
import { IpProtocol, protocolName } from "../../wire/index.ts";
import type { ReplayFlowDocument } from "./documents.ts";
import { EndsTable } from "./ends-table.ts";
import { endsProtocol, endText, newEnds, type PacketEnds, reverseEnds } from "./packet-ends.ts";

export interface OpenFlow {
  readonly number: number;
  /** Of the packet that opened it; its own copy. */
  readonly ends: PacketEnds;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly firstPacket: number;
  lastPacket: number;
  lastNs: number;
  packets: number;
  delivered: number;
  bytes: number;
  denied: ReplayFlowDocument["denied"];
  /** What the tables made of the client's packets, where that is something else, and who got them. */
  translated: { readonly ends: PacketEnds; readonly receiver: string } | undefined;
}

/** A flow as the table keeps it. */
interface KeptFlow extends OpenFlow {
  readonly slot: number;
  /** All that leads to it in the table. */
  readonly keys: PacketEnds[];
  /** Neighbours in the order of their last packets. */
  before: KeptFlow | undefined;
  after: KeptFlow | undefined;
}

/** Flows that are open at one time. */
export const openFlowsMax = 65_536;

const secondNs = 1e9;

/** How long connection tracking remembers a connection of the protocol that has been set up. */
function lifeNs(protocol: number): number {
  switch (protocol) {
    case IpProtocol.tcp:
      return Math.max(...timeoutDefaults.tcp) * secondNs;
    case IpProtocol.udp:
      return timeoutDefaults.udpStream * secondNs;
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return timeoutDefaults.icmp * secondNs;
    default:
      return Math.max(timeoutDefaults.generic, ...timeoutDefaults.sctp) * secondNs;
  }
}
const livesNs = Array.from({ length: 256 }, (_, protocol) => lifeNs(protocol));

export class FlowTable {
  readonly #flowsMax: number;
  readonly #onClose: (flow: ReplayFlowDocument) => void;
  /** Slot * 2 + (1 for the reply direction) by ends. */
  readonly #sides = new EndsTable();
  readonly #slots: (KeptFlow | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #reversed = newEnds();
  #opened = 0;
  /** The flow that has been silent longest, and the one that spoke last. */
  #oldest: KeptFlow | undefined;
  #newest: KeptFlow | undefined;
  #foundReply = false;

  /** `onClose` is told each flow that is over. */
  constructor(onClose: (flow: ReplayFlowDocument) => void, flowsMax: number = openFlowsMax) {
    this.#onClose = onClose;
    this.#flowsMax = flowsMax;
  }

  /** Flows so far, open and over. */
  get size(): number {
    return this.#opened;
  }

  /** The open flow of these ends, in either direction; `foundReply` says in which. */
  find(ends: PacketEnds, nowNs: number): OpenFlow | undefined {
    const side = this.#sides.get(ends);
    if (side < 0) return undefined;
    const flow = this.#slots[side >>> 1];
    if (flow === undefined) return undefined;
    if (nowNs - flow.lastNs > (livesNs[endsProtocol(flow.ends)] ?? 0)) {
      this.#close(flow);
      return undefined;
    }
    this.#foundReply = (side & 1) === 1;
    return flow;
  }

  /** Of the last flow that was found. */
  get foundReply(): boolean {
    return this.#foundReply;
  }

  open(
    ends: PacketEnds,
    packet: number,
    nowNs: number,
    stations: { readonly from: string | undefined; readonly to: string | undefined },
  ): OpenFlow {
    if (this.#slots.length - this.#freeSlots.length >= this.#flowsMax && this.#oldest !== undefined)
      this.#close(this.#oldest);
    const slot = this.#freeSlots.pop() ?? this.#slots.length;
    const flow: KeptFlow = {
      number: this.#opened++,
      ends: ends.slice(),
      ...stations,
      firstPacket: packet,
      lastPacket: packet,
      lastNs: nowNs,
      packets: 0,
      delivered: 0,
      bytes: 0,
      denied: undefined,
      translated: undefined,
      slot,
      keys: [],
      before: undefined,
      after: undefined,
    };
    this.#slots[slot] = flow;
    this.#append(flow);
    this.alias(flow, ends, false);
    return flow;
  }

  /** Packets between these ends belong to the flow, too: what NAT has made of it, here or where it was captured. */
  alias(flow: OpenFlow, ends: PacketEnds, isReply: boolean): void {
    const kept = this.#kept(flow);
    if (kept === undefined) return;
    reverseEnds(ends, this.#reversed);
    this.#lead(ends, kept, isReply);
    this.#lead(this.#reversed, kept, !isReply);
  }

  #lead(ends: PacketEnds, flow: KeptFlow, isReply: boolean): void {
    if (this.#sides.get(ends) >= 0) return;
    this.#sides.set(ends, flow.slot * 2 + (isReply ? 1 : 0));
    flow.keys.push(ends.slice());
  }

  /** Counts a judged packet of the flow. */
  count(flow: OpenFlow, packet: number, nowNs: number, size: number, isDelivered: boolean): void {
    flow.packets++;
    flow.bytes += size;
    flow.lastPacket = packet;
    flow.lastNs = nowNs;
    if (isDelivered) flow.delivered++;
    const kept = this.#kept(flow);
    if (kept === undefined || kept === this.#newest) return;
    this.#unlink(kept);
    this.#append(kept);
  }

  /** Closes what is still open, in the order of the flows' numbers. */
  closeAll(): void {
    const open = this.#slots.filter((flow): flow is KeptFlow => flow !== undefined);
    for (const flow of open.sort((a, b) => a.number - b.number)) this.#close(flow);
  }

  #kept(flow: OpenFlow): KeptFlow | undefined {
    const kept = flow as KeptFlow;
    return this.#slots[kept.slot] === kept ? kept : undefined;
  }

  #close(flow: KeptFlow): void {
    for (const ends of flow.keys) this.#sides.delete(ends);
    this.#unlink(flow);
    this.#slots[flow.slot] = undefined;
    this.#freeSlots.push(flow.slot);
    this.#onClose(flowDocument(flow));
  }

  #append(flow: KeptFlow): void {
    flow.before = this.#newest;
    flow.after = undefined;
    if (this.#newest === undefined) this.#oldest = flow;
    else this.#newest.after = flow;
    this.#newest = flow;
  }

  #unlink(flow: KeptFlow): void {
    if (flow.before === undefined) this.#oldest = flow.after;
    else flow.before.after = flow.after;
    if (flow.after === undefined) this.#newest = flow.before;
    else flow.after.before = flow.before;
  }
}

function flowDocument(flow: OpenFlow): ReplayFlowDocument {
  const { number, ends, from, to, packets, delivered, bytes, firstPacket, lastPacket, denied } = flow;
  const verdict = delivered === packets ? "allow" : delivered === 0 ? "deny" : "mixed";
  return {
    flow: number,
    protocol: protocolName(endsProtocol(ends)),
    client: endText(ends, "src"),
    server: endText(ends, "dst"),
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    verdict,
    packets,
    delivered,
    bytes,
    firstPacket,
    lastPacket,
    ...(denied === undefined ? {} : { denied }),
  };
}
