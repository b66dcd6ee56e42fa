/**
 * Rows of packets. Each row owns a slot of bytes with head-room in front; the header columns are derived from the
 * bytes by `decode` and never set by hand. `bytes` of a row start at the network layer header (IPv4 or IPv6): what
 * crosses a node's hooks. Ethernet framing is added and removed by the interfaces of the simulated network.
 */
import { assert } from "../base/index.ts";

/** How far a row could be decoded. Everything but `ok` leaves the columns past the fault at zero. */
export const DecodeStatus = {
  ok: 0,
  /** Bytes were changed and `decode` has not run since. */
  dirty: 1,
  /** The network header is cut, inconsistent, or of no known version. */
  malformedNetwork: 2,
  /** The network header is good; the fixed transport header, or an extension header, is cut. Ports are zero. */
  malformedTransport: 3,
  /** A fragment with an offset: it carries no transport header. Ports are zero. */
  laterFragment: 4,
} as const;
export type DecodeStatus = (typeof DecodeStatus)[keyof typeof DecodeStatus];

/** Conntrack's answer for a row, as iptables' `--ctstate` names it. */
export const CtState = {
  none: 0, // not looked up yet
  new: 1,
  established: 2,
  related: 3,
  invalid: 4,
  untracked: 5,
} as const;
export type CtState = (typeof CtState)[keyof typeof CtState];

/** How a datagram that was put together came: it leaves in fragments again. */
export interface CameInFragments {
  /** Bytes of data of each fragment, in order. */
  readonly sizes: readonly number[];
  /** Size of the largest fragment's packet. */
  readonly largest: number;
  /** IPv4: the largest had the Don't Fragment bit. */
  readonly keepsDf: boolean;
}

/** What a node knows of a row and the wire does not carry. Cleared when the packet leaves the node or its namespace. */
export interface RowState {
  readonly mark: Uint32Array;
  readonly ctState: Uint32Array;
  /** Conntrack entry number + 1; 0 = none. Bit 31 set: the packet travels in the reply direction. Bit 30: no entry yet. */
  readonly ctEntry: Uint32Array;
  /** Conntrack zone that the row is looked up in (target CT, before the lookup); 0 = the default zone. */
  readonly ctZone: Uint16Array;
  /** In which directions the zone counts: 0 both, 1 original only, 2 reply only; the other is the default zone. */
  readonly ctZoneReach: Uint8Array;
  readonly fragments: (CameInFragments | undefined)[];
  /** Interface numbers of the node (`NodeFacts.interfaces`); 0 = none. */
  readonly iif: Uint32Array;
  readonly oif: Uint32Array;
}

export const HEADROOM_BYTES = 128;

/** Columns of up to `capacity` packets; see the module comment. */
export interface PacketBatch {
  readonly capacity: number;
  length: number;
  readonly bytes: Uint8Array;
  /** Start of each row's network header in `bytes`. */
  readonly offset: Uint32Array;
  /** Bytes of each row, from the network header on. */
  readonly size: Uint32Array;
  readonly status: Uint8Array;
  /** 4 or 6; 0 when not decoded. */
  readonly family: Uint8Array;
  /** IP protocol number of the transport header (IPv6: after the extension headers). */
  readonly protocol: Uint8Array;
  /** Four lanes a row (IPv4 uses lane 0); unsigned words, most significant first. */
  readonly src: Uint32Array;
  readonly dst: Uint32Array;
  readonly sport: Uint16Array;
  /** Destination port; for ICMP `type * 256 + code`. */
  readonly dport: Uint16Array;
  readonly tcpFlags: Uint8Array;
  /** Offset of the transport header from the network header; 0 when there is none to be read. */
  readonly transport: Uint32Array;
  readonly state: RowState;
  /** End of the used part of `bytes`. */
  used: number;
}

/** `bytesPerRow` (head-room not counted) times `capacity` bytes are reserved for slots. */
export function createBatch(capacity: number, bytesPerRow = 256): PacketBatch {
  assert(Number.isInteger(capacity) && capacity > 0, `capacity must be a positive integer: ${capacity}`);
  return {
    capacity,
    length: 0,
    bytes: new Uint8Array(capacity * (bytesPerRow + HEADROOM_BYTES)),
    offset: new Uint32Array(capacity),
    size: new Uint32Array(capacity),
    status: new Uint8Array(capacity),
    family: new Uint8Array(capacity),
    protocol: new Uint8Array(capacity),
    src: new Uint32Array(capacity * 4),
    dst: new Uint32Array(capacity * 4),
    sport: new Uint16Array(capacity),
    dport: new Uint16Array(capacity),
    tcpFlags: new Uint8Array(capacity),
    transport: new Uint32Array(capacity),
    state: {
      mark: new Uint32Array(capacity),
      ctState: new Uint32Array(capacity),
      ctEntry: new Uint32Array(capacity),
      ctZone: new Uint16Array(capacity),
      ctZoneReach: new Uint8Array(capacity),
      fragments: new Array<CameInFragments | undefined>(capacity).fill(undefined),
      iif: new Uint32Array(capacity),
      oif: new Uint32Array(capacity),
    },
    used: 0,
  };
}

/** Empties the batch; the memory stays. */
export function clearBatch(batch: PacketBatch): void {
  batch.length = 0;
  batch.used = 0;
}

/**
 * Copies a packet (from its network header on) into a new row, undecoded and with cleared state.
 * Returns the row, or -1 when rows or bytes have run out. Call `decode` before reading columns.
 */
export function append(batch: PacketBatch, packet: Uint8Array): number {
  const end = batch.used + HEADROOM_BYTES + packet.length;
  if (batch.length === batch.capacity || end > batch.bytes.length) return -1;
  const row = batch.length++;
  batch.offset[row] = batch.used + HEADROOM_BYTES;
  batch.size[row] = packet.length;
  batch.bytes.set(packet, batch.used + HEADROOM_BYTES);
  batch.used = end;
  batch.status[row] = DecodeStatus.dirty;
  clearRowState(batch, row);
  return row;
}

/**
 * Gives a row other bytes, undecoded; what the node knows of it stays. A longer packet moves to a slot of its own.
 * Answers false, with the row as it was, when the batch has no room. Call `decodeRow` before reading columns.
 */
export function replaceRow(batch: PacketBatch, row: number, packet: Uint8Array): boolean {
  if (packet.length > batch.size[row]!) {
    const start = batch.used + HEADROOM_BYTES;
    if (start + packet.length > batch.bytes.length) return false;
    batch.offset[row] = start;
    batch.used = start + packet.length;
  }
  batch.bytes.set(packet, batch.offset[row]!);
  batch.size[row] = packet.length;
  batch.status[row] = DecodeStatus.dirty;
  return true;
}

/** A `ctEntry` that is none, and yet keeps target CT and NOTRACK from deciding. */
const nothingAttached = 0x7fff_ffff;

/**
 * What a packet that a node sends back about a row (a reset, an ICMP error) knows of its connection: RELATED, in the
 * other direction (kernel net/netfilter/nf_conntrack_core.c, nf_conntrack_attach). About an untracked row it is looked up,
 * but is no longer free to be untracked.
 */
export function relatedState(
  { state }: PacketBatch,
  row: number,
): { readonly ctState: number; readonly ctEntry: number } {
  const entry = state.ctEntry[row]!;
  if (entry === 0) {
    const isUntracked = state.ctState[row] === CtState.untracked;
    return { ctState: CtState.none, ctEntry: isUntracked ? nothingAttached : 0 };
  }
  return { ctState: CtState.related, ctEntry: (entry ^ 0x8000_0000) >>> 0 };
}

/** Forgets what a node knew of the row: done when a packet leaves a node or a network namespace. */
export function clearRowState(batch: PacketBatch, row: number): void {
  const { mark, ctState, ctEntry, ctZone, ctZoneReach, fragments, iif, oif } = batch.state;
  mark[row] = 0;
  ctState[row] = 0;
  ctEntry[row] = 0;
  ctZone[row] = 0;
  ctZoneReach[row] = 0;
  if (fragments[row] !== undefined) fragments[row] = undefined;
  iif[row] = 0;
  oif[row] = 0;
}

/** The row's bytes, network header first. A view: valid until the batch is cleared. */
export function rowBytes(batch: PacketBatch, row: number): Uint8Array {
  const start = batch.offset[row]!;
  return batch.bytes.subarray(start, start + batch.size[row]!);
}
