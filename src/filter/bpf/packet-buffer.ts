/**
 * One packet in the program's memory, with room before and behind it, and the context that points to it. The packet's
 * region is what lies between `data_meta` (or `data`) and `data_end`: programs reach nothing else of the buffer.
 */
import { assert } from "../../base/index.ts";
import { type ContextLayout, contextLayout, ProgramType } from "./context.ts";
import type { BpfMemory, Region } from "./memory.ts";

/** XDP_PACKET_HEADROOM. */
export const headroomBytes = 256;
const tailroomBytes = 4096;
/** The longest datagram (IPv6 does not count its header), with an Ethernet header and one tag. */
export const packetBytesMax: number = 40 + 65_535 + 18;
export const ethernetHeaderBytes = 14;

/** Context fields to start with; the rest is zero, or follows from the packet. */
export type ContextValues = Readonly<Record<string, number>>;

export class PacketBuffer {
  readonly memory: BpfMemory;
  readonly type: ProgramType;
  readonly #layout: ContextLayout;
  readonly #packet: Region;
  readonly #base: number;
  /** Address of `xdp_md` or `__sk_buff`. */
  readonly contextAt: number;
  /** Addresses of the fields that follow from the packet: pointers, then lengths. */
  readonly #pointersAt: { readonly data: number; readonly end: number; readonly meta: number };
  readonly #lengthsAt: readonly number[];
  meta = 0;
  data = 0;
  end = 0;
  /** Distance from `data` to the network header. */
  networkOffset = 0;

  constructor(memory: BpfMemory, type: ProgramType) {
    this.memory = memory;
    this.type = type;
    this.#layout = contextLayout(type);
    const packet = memory.allocate(headroomBytes + packetBytesMax + tailroomBytes, {
      name: "the packet",
      writable: true,
    });
    const context = memory.allocate(this.#layout.sizeBytes, {
      name: type === ProgramType.xdp ? "xdp_md" : "__sk_buff",
      writable: true,
      writableBytes: this.#layout.writable,
    });
    assert(packet !== undefined && context !== undefined, "the memory has room for a packet");
    this.#packet = packet;
    this.#base = memory.start(packet);
    this.contextAt = memory.start(context);
    const at = (name: string): number => this.contextAt + this.#layout.offsetOf(name);
    this.#pointersAt = { data: at("data"), end: at("data_end"), meta: at("data_meta") };
    this.#lengthsAt = type === ProgramType.xdp ? [] : [at("len"), at("wire_len")];
  }

  /** Starts over with a packet. `networkOffset`: 14 behind an Ethernet header, 0 when the packet starts with its network header. */
  load(packet: Uint8Array, networkOffset: number, values: ContextValues): void {
    this.open(packet.length, networkOffset);
    this.memory.bytes.set(packet, this.data);
    for (const name in values) this.set(name, values[name]!);
  }

  /** Starts over with a packet of that many bytes, for the caller to write from `data` on, and a context that follows from it. */
  open(sizeBytes: number, networkOffset: number): void {
    assert(sizeBytes <= packetBytesMax, `a packet has at most ${packetBytesMax} bytes, not ${sizeBytes}`);
    const { bytes } = this.memory;
    this.data = this.#base + headroomBytes;
    this.meta = this.data;
    this.end = this.data + sizeBytes;
    this.networkOffset = networkOffset;
    bytes.fill(0, this.#base, this.data); // what a program uncovers is no earlier packet's
    bytes.fill(0, this.contextAt, this.contextAt + this.#layout.sizeBytes);
    this.sync();
  }

  get length(): number {
    return this.end - this.data;
  }

  /** Lowest address that `data` and `data_meta` may have. */
  get floor(): number {
    return this.#base;
  }

  /** Highest address that `data_end` may have. */
  get ceiling(): number {
    return this.#base + headroomBytes + packetBytesMax + tailroomBytes;
  }

  /** A copy of the packet as it is now. */
  copy(): Uint8Array {
    return this.memory.bytes.slice(this.data, this.end);
  }

  /** Whether exactly these bytes stand behind the first `offset` ones. */
  holds(offset: number, source: Uint8Array, start: number, sizeBytes: number): boolean {
    if (this.length !== offset + sizeBytes) return false;
    const { bytes } = this.memory;
    const at = this.data + offset;
    for (let i = 0; i < sizeBytes; i++) if (bytes[at + i] !== source[start + i]) return false;
    return true;
  }

  /** What stands before the packet: metadata that an XDP program made room for. */
  copyMeta(): Uint8Array {
    return this.memory.bytes.slice(this.meta, this.data);
  }

  /** Address of a context field. */
  fieldAt(name: string): number {
    return this.contextAt + this.#layout.offsetOf(name);
  }

  /** A context field's word. */
  get(name: string): number {
    return this.memory.view.getUint32(this.fieldAt(name), true);
  }

  set(name: string, value: number): void {
    this.memory.view.setUint32(this.fieldAt(name), value, true);
  }

  /** Index of `size` packet bytes at an offset from `data`, or -1. */
  at(offset: number, size: number): number {
    return offset >= 0 && offset + size <= this.length ? this.data + offset : -1;
  }

  /** Writes the pointers and the length to the context, after any of them has changed. */
  sync(): void {
    this.memory.setBounds(this.#packet, this.meta, this.end);
    const { view } = this.memory;
    view.setUint32(this.#pointersAt.data, this.data, true);
    view.setUint32(this.#pointersAt.end, this.end, true);
    view.setUint32(this.#pointersAt.meta, this.meta, true);
    for (const at of this.#lengthsAt) view.setUint32(at, this.length, true);
  }

  isContext(low: number, high: number): boolean {
    return high === 0 && low >>> 0 === this.contextAt;
  }
}
