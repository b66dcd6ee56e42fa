/**
 * Ring buffers as outputs (kernel/bpf/ringbuf.c): records are reserved, filled, then submitted or discarded. A reader
 * drains the ring between packets, so that a full ring means records that one run reserved and did not submit, or more
 * records between two drains than the ring holds.
 */
import type { BpfMemory } from "../memory.ts";
import { type BpfMap, Errno, type MapEntry, type MapShape } from "./shape.ts";

/** Bytes of a record's header. */
const headerBytes = 8;

export class RingBuffer implements BpfMap {
  readonly shape: MapShape;
  readonly #memory: BpfMemory;
  readonly #start: number;
  /** Open and submitted records by address of their data, oldest first. */
  readonly #records = new Map<number, { readonly size: number; state: "open" | "submitted" | "discarded" }>();
  /** Bytes ever reserved and ever drained. */
  producer = 0;
  consumer = 0;

  private constructor(memory: BpfMemory, shape: MapShape, start: number) {
    this.shape = shape;
    this.#memory = memory;
    this.#start = start;
  }

  /** A record may wrap round the end: the kernel maps the data twice in a row, and so is the region twice as long. */
  static create(memory: BpfMemory, shape: MapShape): RingBuffer | undefined {
    const region = memory.allocate(shape.maxEntries * 2, { name: `map ${shape.name}`, writable: true });
    return region === undefined ? undefined : new RingBuffer(memory, shape, memory.start(region));
  }

  get count(): number {
    return this.#records.size;
  }

  /** Bytes between consumer and producer. */
  get pendingBytes(): number {
    return this.producer - this.consumer;
  }

  /** Address of a record's data, 0 when it does not fit. */
  reserve(size: number): number {
    const whole = (size + headerBytes + 7) & ~7;
    if (size > 0x3fff_ffff || whole > this.shape.maxEntries) return 0;
    if (this.pendingBytes + whole >= this.shape.maxEntries) return 0; // the kernel never fills the last byte
    const address = this.#start + (this.producer % this.shape.maxEntries) + headerBytes;
    this.producer += whole;
    this.#records.set(address, { size, state: "open" });
    return address;
  }

  /** False: no record was reserved there. */
  finish(address: number, isDiscarded: boolean): boolean {
    const record = this.#records.get(address);
    if (record === undefined || record.state !== "open") return false;
    record.state = isDiscarded ? "discarded" : "submitted";
    return true;
  }

  /** Takes the submitted records out, up to the first that is still open. */
  drain(): readonly Uint8Array[] {
    const taken: Uint8Array[] = [];
    for (const [address, { size, state }] of this.#records) {
      if (state === "open") break;
      if (state === "submitted") taken.push(this.#memory.bytes.slice(address, address + size));
      this.consumer += (size + headerBytes + 7) & ~7;
      this.#records.delete(address);
    }
    return taken;
  }

  lookup(): number {
    return 0;
  }

  update(): number {
    return -Errno.ENOTSUPP;
  }

  remove(): number {
    return -Errno.ENOTSUPP;
  }

  entries(): readonly MapEntry[] {
    return [];
  }
}
