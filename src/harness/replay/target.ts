/** What packets can be replayed into. */
import type { Datapath } from "../../filter/index.ts";
import type { PacketBatch } from "../../packet/index.ts";
import type { HookWatcher, PacketFate } from "../../sim/index.ts";
import type { Unjudged } from "./documents.ts";
import type { PacketEnds, Side } from "./packet-ends.ts";

export interface ReplayTarget {
  /** Virtual time goes on to this instant. */
  advance(toNs: number): void;
  /**
   * Row 0 of `batch` is the packet, between `ends`. `sender`: who is known to have sent it, whatever its source address.
   * The fate's bytes are good until the next call.
   */
  judge(batch: PacketBatch, ends: PacketEnds, watcher: HookWatcher, sender?: string): PacketFate | Unjudged;
  /** The tables that stopped a packet, or let it pass. */
  datapathOf(node: string): Datapath | undefined;
  /** May NAT put the address into a packet, or take it out of one? Its words are `words[at..]`. */
  isTranslated(family: number, words: Uint32Array, at: number): boolean;
  /** Pod or node at one end. */
  stationOf(ends: PacketEnds, side: Side): string | undefined;
}
