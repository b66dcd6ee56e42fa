/** Flows of a replay: packets by their five-tuple in either direction, before and after translation. */
import { formatIp } from "../../addr/index.ts";
import { protocolName } from "../../wire/index.ts";
import type { TraceOriginDocument } from "../documents.ts";

import type { ReplayFlowDocument, ReplayPacketDocument, ReplayRuleDocument } from "./documents.ts";
import { type PacketEnds, reversed } from "./packet-ends.ts";

export interface OpenFlow {
  readonly number: number;
  readonly protocol: number;
  readonly ends: PacketEnds;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly firstPacket: number;
  lastPacket: number;
  packets: number;
  delivered: number;
  bytes: number;
  denied: ReplayFlowDocument["denied"];
  /** What the tables made of the client's packets, where that is something else, and who got them. */
  translated: { readonly ends: PacketEnds; readonly receiver: string } | undefined;
}

/** A flow as a packet belongs to it. */
export interface FlowSide {
  readonly flow: OpenFlow;
  readonly isReply: boolean;
}

export class FlowTable {
  readonly #byEnds = new Map<string, FlowSide>();
  readonly #all: OpenFlow[] = [];

  get size(): number {
    return this.#all.length;
  }

  /** The flow of these ends, in either direction. */
  find(protocol: number, ends: PacketEnds): FlowSide | undefined {
    return this.#byEnds.get(endsKey(protocol, ends));
  }

  open(
    protocol: number,
    ends: PacketEnds,
    packet: number,
    stations: { readonly from: string | undefined; readonly to: string | undefined },
  ): OpenFlow {
    const flow: OpenFlow = {
      number: this.#all.length,
      protocol,
      ends,
      ...stations,
      firstPacket: packet,
      lastPacket: packet,
      packets: 0,
      delivered: 0,
      bytes: 0,
      denied: undefined,
      translated: undefined,
    };
    this.#all.push(flow);
    this.alias({ flow, isReply: false }, ends);
    return flow;
  }

  /** Packets between these ends belong to the flow, too: what NAT has made of it, here or where it was captured. */
  alias({ flow, isReply }: FlowSide, ends: PacketEnds): void {
    for (const [one, reply] of [
      [ends, isReply],
      [reversed(ends), !isReply],
    ] as const) {
      const key = endsKey(flow.protocol, one);
      if (!this.#byEnds.has(key)) this.#byEnds.set(key, { flow, isReply: reply });
    }
  }

  *documents(): Iterable<ReplayFlowDocument> {
    for (const flow of this.#all) yield flowDocument(flow);
  }
}

/** Counts a judged packet; the first that did not pass is kept with its reasons. */
export function countInFlow(
  flow: OpenFlow,
  packet: Pick<ReplayPacketDocument, "index" | "disposition">,
  size: number,
  rule: ReplayRuleDocument | null,
  because: readonly TraceOriginDocument[],
): void {
  const { index, disposition } = packet;
  flow.packets++;
  flow.bytes += size;
  flow.lastPacket = index;
  if (disposition === "delivered") flow.delivered++;
  else if (flow.denied === undefined && isJudged(disposition))
    flow.denied = { packet: index, disposition, rule, because };
}

type Judged = NonNullable<ReplayFlowDocument["denied"]>["disposition"];

export function isJudged(disposition: ReplayPacketDocument["disposition"]): disposition is Judged {
  return !["not-ip", "unknown-address", "not-unicast", "copy"].includes(disposition);
}

function endsKey(protocol: number, { src, dst, sport, dport }: PacketEnds): string {
  return `${protocol} ${formatIp(src)} ${sport} ${formatIp(dst)} ${dport}`;
}

function flowDocument(flow: OpenFlow): ReplayFlowDocument {
  const { number, protocol, ends, from, to, packets, delivered, bytes, firstPacket, lastPacket, denied } =
    flow;
  const verdict = delivered === packets ? "allow" : delivered === 0 ? "deny" : "mixed";
  return {
    flow: number,
    protocol: protocolName(protocol),
    client: endText(formatIp(ends.src), ends.sport),
    server: endText(formatIp(ends.dst), ends.dport),
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

function endText(address: string, port: number): string {
  if (port === 0) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
