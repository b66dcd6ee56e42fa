/**
 * The address space of BPF programs: one growing buffer in which an address is an index, and the regions of it that a
 * program may touch. Every load, store and helper argument passes `locate`, the one bounds check: it is what keeps an
 * untrusted program inside its memory. Addresses stay below 4 GiB, so that the 32-bit `data` and `data_end` of a
 * context are whole pointers. Page 0 is never mapped: null is no address, and the machine's registers lie there. What
 * holds the bytes can become WebAssembly's memory, for compiled programs, at any time between runs.
 */
import { assert } from "../../base/index.ts";
import { type WasmMemory, wasmEngine, wasmPageBytes } from "./wasm/engine.ts";

/** Region boundaries fall on pages, so that a page number finds its region. */
const pageBits = 12;
const pageBytes = 1 << pageBits;

/** Address of the register file: r0..r10, eight bytes each. */
export const registersAt = 64;
const registerWords = 22;

/** Why an access was refused. */
export class MemoryFault extends Error {
  override readonly name = "MemoryFault";
}

export interface RegionOptions {
  readonly name: string;
  readonly writable: boolean;
  /** Elements of a map: an access must stay inside one. `stride` apart, `size` bytes of each may be touched. */
  readonly elements?: { readonly stride: number; readonly size: number };
  /** By byte: may it be stored to? Absent: all alike. */
  readonly writableBytes?: Uint8Array;
}

/** A region's number; its bounds can move (a packet's head and tail, a stack's frame). */
export type Region = number;

export class BpfMemory {
  /** Replaced when the memory grows: read them anew after anything that may allocate. */
  bytes: Uint8Array = new Uint8Array(pageBytes);
  view: DataView = new DataView(this.bytes.buffer);
  /** The machine's, as words: r0 is [0] and [1]. */
  registers: Int32Array = new Int32Array(this.bytes.buffer, registersAt, registerWords);
  readonly #bytesMax: number;
  #wasm: WasmMemory | undefined;
  #end = pageBytes;
  /** Region by page; 0 = none. */
  #pages = new Int32Array(1);
  readonly #names: string[] = [""];
  readonly #starts: number[] = [0];
  readonly #ends: number[] = [0];
  readonly #isWritable: boolean[] = [false];
  readonly #strides: number[] = [0];
  readonly #sizes: number[] = [0];
  readonly #masks: (Uint8Array | undefined)[] = [undefined];

  /** At most 4 GiB. */
  constructor(bytesMax = 0x4000_0000) {
    assert(bytesMax > pageBytes && bytesMax <= 0x1_0000_0000, `memory limit out of range: ${bytesMax}`);
    this.#bytesMax = bytesMax;
  }

  /** Reserves `sizeBytes` zeroed bytes as a region of its own. Returns `undefined` when the memory's limit is met. */
  allocate(sizeBytes: number, options: RegionOptions): Region | undefined {
    const start = this.#end;
    const end = start + Math.max(1, Math.ceil(sizeBytes / pageBytes)) * pageBytes;
    if (end > this.#bytesMax) return undefined;
    this.#grow(end);
    const region = this.#names.length;
    this.#pages.fill(region, start >>> pageBits, end >>> pageBits);
    this.#end = end + pageBytes; // an unmapped page between regions: what runs past one never lands in another
    this.#names.push(options.name);
    this.#starts.push(start);
    this.#ends.push(start + sizeBytes);
    this.#isWritable.push(options.writable);
    this.#strides.push(options.elements?.stride ?? 0);
    this.#sizes.push(options.elements?.size ?? 0);
    this.#masks.push(options.writableBytes);
    return region;
  }

  start(region: Region): number {
    return this.#starts[region]!;
  }

  /** One past the last byte. */
  end(region: Region): number {
    return this.#ends[region]!;
  }

  /** Moves a region's bounds within what was allocated for it. */
  setBounds(region: Region, start: number, end: number): void {
    this.#starts[region] = start;
    this.#ends[region] = end;
  }

  /**
   * The index in `bytes` of `size` bytes at the address whose low and high words are given.
   * @throws MemoryFault when any of them is outside the regions, or the region is read-only and `isStore`.
   */
  locate(low: number, high: number, size: number, isStore: boolean): number {
    const address = low >>> 0;
    const region = high === 0 ? (this.#pages[address >>> pageBits] ?? 0) : 0;
    const start = this.#starts[region]!;
    if (region === 0 || address < start || address + size > this.#ends[region]!)
      throw this.#fault(region, low, high, size, isStore);
    const stride = this.#strides[region]!;
    if (stride !== 0 && ((address - start) % stride) + size > this.#sizes[region]!)
      throw this.#fault(region, low, high, size, isStore);
    if (isStore && !this.#mayStore(region, address - start, size))
      throw this.#fault(region, low, high, size, isStore);
    return address;
  }

  /** The memory as compiled programs import it; `undefined`: the process can have no more of them. Not during a run. */
  wasmMemory(): WasmMemory | undefined {
    if (this.#wasm !== undefined) return this.#wasm;
    const pages = (bytes: number): number => Math.ceil(bytes / wasmPageBytes);
    let made: WasmMemory;
    try {
      made = new wasmEngine.Memory({ initial: pages(this.bytes.length), maximum: pages(this.#bytesMax) });
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
    new Uint8Array(made.buffer).set(this.bytes);
    this.#wasm = made;
    this.#hold(made.buffer);
    return made;
  }

  /** A buffer that may have been this memory's before it grew: then the one that holds the same bytes now. */
  live(bytes: Uint8Array): Uint8Array {
    return bytes.length === 0 ? this.bytes : bytes;
  }

  /** Region that an address lies in, 0 for none; bounds are not looked at. */
  regionAt(address: number): Region {
    return this.#pages[address >>> pageBits] ?? 0;
  }

  #mayStore(region: Region, offset: number, size: number): boolean {
    const mask = this.#masks[region];
    if (mask === undefined) return this.#isWritable[region]!;
    for (let i = offset; i < offset + size; i++) if (mask[i] !== 1) return false;
    return true;
  }

  #grow(end: number): void {
    if (end > this.bytes.length) {
      const size = Math.min(this.#bytesMax, Math.max(end, this.bytes.length * 2));
      if (this.#wasm === undefined) {
        const bytes = new Uint8Array(size);
        bytes.set(this.bytes);
        this.#hold(bytes.buffer);
      } else {
        this.#wasm.grow(Math.ceil((size - this.bytes.length) / wasmPageBytes));
        this.#hold(this.#wasm.buffer);
      }
    }
    if (end >>> pageBits > this.#pages.length) {
      const pages = new Int32Array(this.bytes.length >>> pageBits);
      pages.set(this.#pages);
      this.#pages = pages;
    }
  }

  #hold(buffer: ArrayBuffer): void {
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.registers = new Int32Array(buffer, registersAt, registerWords);
  }

  #fault(region: Region, low: number, high: number, size: number, isStore: boolean): MemoryFault {
    const address = `0x${(BigInt(high >>> 0) * 0x1_0000_0000n + BigInt(low >>> 0)).toString(16)}`;
    const what = `${isStore ? "store" : "load"} of ${size} byte${size === 1 ? "" : "s"} at ${address}`;
    if (region === 0) return new MemoryFault(`${what} is outside the program's memory`);
    const start = this.#starts[region]!;
    const offset = (low >>> 0) - start;
    const length = this.#ends[region]! - start;
    const name = this.#names[region]!;
    if (isStore && offset >= 0 && offset + size <= length && !this.#mayStore(region, offset, size))
      return new MemoryFault(
        `${what}: ${name} is read-only${this.#masks[region] ? ` at offset ${offset}` : ""}`,
      );
    if (this.#strides[region] !== 0 && offset >= 0 && offset + size <= length)
      return new MemoryFault(`${what} leaves its element of ${name} (${this.#sizes[region]} bytes)`);
    return new MemoryFault(`${what} is outside ${name} (offset ${offset} of ${length})`);
  }
}
