/** What helpers may ask of their surroundings, and what they leave behind. */
import type { Prng } from "../../../base/index.ts";
import type { BpfMap } from "../maps/shape.ts";
import type { PacketBuffer } from "../packet-buffer.ts";
import type { BpfSpace } from "../space.ts";

/** Something a program sent to user space. */
export interface OutputEvent {
  readonly kind: "perf" | "trace";
  /** Name of the perf event array; empty for the trace log. */
  readonly map: string;
  readonly bytes: Uint8Array;
}

/** Where a program asked its packet, or a copy of it, to go. */
export interface Redirect {
  readonly ifindex: number;
  readonly kind: "redirect" | "neigh" | "peer" | "clone";
  readonly ingress: boolean;
  /** Of a clone: the packet as it was. */
  readonly packet?: Uint8Array;
}

export interface HelperEnvironment {
  readonly space: BpfSpace;
  /** Virtual nanoseconds since the node started. */
  nowNs(): number;
  readonly random: Prng;
  /** `undefined` for programs that run without a packet. */
  packet: PacketBuffer | undefined;
  readonly events: OutputEvent[];
  readonly redirects: Redirect[];
  /** Told what is looked up, while somebody watches. `valueAt`: 0 where there was nothing. */
  onLookup?: ((map: BpfMap, keyAt: number, valueAt: number) => void) | undefined;
}
