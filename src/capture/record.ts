/** Captured packets as records, whatever the file's format, and what readers and their users say to each other. */

/** Link-layer types (tcpdump.org/linktypes.html) that podwire writes or knows how to strip. */
export const LinkType = {
  null: 0,
  ethernet: 1,
  /** LINKTYPE_RAW as BSD systems and OpenBSD wrote DLT_RAW into files. */
  rawBsd: 12,
  rawOpenBsd: 14,
  raw: 101,
  loop: 108,
  linuxSll: 113,
  ipv4: 228,
  ipv6: 229,
  linuxSll2: 276,
} as const;

/** An interface that packets of a capture were seen on. */
export interface CaptureInterface {
  /** Absent where the file names none. */
  readonly name?: string;
  /** A number of `LinkType`, or any other that a file holds. */
  readonly linkType: number;
  /** Absent or 0: packets were not cut. */
  readonly snapLength?: number;
  /** What a pcapng file says of it beside name and time: description, addresses, speed, filter, operating system. */
  readonly options?: readonly CaptureOption[];
}

/** An option of pcapng as it stands in the file, numbers little endian. */
export interface CaptureOption {
  readonly code: number;
  readonly value: Uint8Array;
}

/** Since 1970 (or the start of virtual time). Two numbers, since nanoseconds since 1970 do not fit into one. */
export interface CaptureTime {
  readonly seconds: number;
  /** 0..999,999,999 */
  readonly nanoseconds: number;
}

/** One packet of a capture. */
export interface CaptureRecord extends CaptureTime {
  /** Index in the capture's interfaces, from 0. */
  readonly interfaceIndex: number;
  /** Length on the wire, where it was cut; otherwise that of `bytes`. */
  readonly originalLength?: number;
  readonly bytes: Uint8Array;
  readonly comments?: readonly string[];
  readonly direction?: "in" | "out";
  /** Of a pcapng packet, comments apart; a direction in its flags counts before `direction`. */
  readonly options?: readonly CaptureOption[];
}

/** A packet as a reader hands it over: one object for all, good during the call only, so that nothing is allocated. */
export interface CapturedPacket extends CaptureTime {
  readonly interfaceIndex: number;
  readonly linkType: number;
  /** The captured bytes are `bytes[start..end)`. */
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly originalLength: number;
  /** Where its record begins in the file, in bytes. */
  readonly offset: number;
  /** Of pcapng; `readComments` reads them. Empty (equal ends) elsewhere. */
  readonly optionsStart: number;
  readonly optionsEnd: number;
  readonly isLittleEndian: boolean;
}

/** Receives what a reader finds, in file order. */
export interface CaptureSink {
  /** `index` counts over all sections of the file from 0. */
  interface?(index: number, description: CaptureInterface): void;
  packet(packet: CapturedPacket): void;
}

/** Chunks in, packets out. Memory is bounded by the largest record, whatever the size of the file. */
export interface CaptureReader {
  /** @throws InputError with the byte offset of the first fault; packets before it have been handed over. */
  push(chunk: Uint8Array): void;
  /** The file ends here. @throws InputError when that is in the middle of a record. */
  end(): void;
}

/** Splits integer nanoseconds (of virtual time, below 2^53). */
export function captureTime(ns: number): CaptureTime {
  const seconds = Math.floor(ns / 1e9);
  return { seconds, nanoseconds: ns - seconds * 1e9 };
}
