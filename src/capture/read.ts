/**
 * Reading captures in either format: chunks of a file in, packets out. What is not complete yet is kept for the next
 * chunk, so memory stays within the largest record and its growth. `readCapture` is the short form for small files.
 */
import { captureError, type FormatReader, plainBytes, recordBytesMax } from "./format.ts";
import { isPcap, PcapReader } from "./pcap.ts";
import { PcapParserReader } from "./pcap-parser.ts";
import { isPcapng, PcapngReader, readComments, readOptions } from "./pcapng.ts";
import type { CaptureInterface, CaptureReader, CaptureRecord, CaptureSink } from "./record.ts";

const gzipMagic = 0x1f8b;

/** podwire's own reader, for every format. `file` names the capture in errors. */
export function createCaptureReader(file: string, sink: CaptureSink): CaptureReader {
  return new ChunkedReader(file, (bytes, start) => {
    if (isPcap(bytes, start)) return new PcapReader(file, sink);
    if (isPcapng(bytes, start)) return new PcapngReader(file, sink);
    if (((bytes[start]! << 8) | bytes[start + 1]!) === gzipMagic)
      throw captureError(file, 0, "compressed by gzip: unpack it first", "not-supported");
    throw captureError(file, 0, "neither a pcap nor a pcapng file");
  });
}

/** Largest file that `pcap-parser` is given: it reads a tenth as fast as the reader here. */
export const pcapParserBytesMax: number = 4 * 1024 * 1024;

/**
 * The reader for a file of which `head` are the first bytes: `pcap-parser` for classic captures in microseconds of
 * moderate size, podwire's own for everything else. Both read alike (a law in the tests).
 */
export function chooseCaptureReader(
  head: Uint8Array,
  sizeBytes: number,
  file: string,
  sink: CaptureSink,
): CaptureReader {
  return sizeBytes <= pcapParserBytesMax && PcapParserReader.takes(head)
    ? new PcapParserReader(file, sink)
    : createCaptureReader(file, sink);
}

class ChunkedReader implements CaptureReader {
  readonly #file: string;
  readonly #open: (bytes: Uint8Array, start: number) => FormatReader;
  #format: FormatReader | undefined;
  /** The beginning of a record that is not complete: `#kept[0..#keptSize)`. */
  #kept = new Uint8Array(0);
  #keptSize = 0;
  /** Offset in the file of the first byte that is not consumed. */
  #offset = 0;

  constructor(file: string, open: (bytes: Uint8Array, start: number) => FormatReader) {
    this.#file = file;
    this.#open = open;
  }

  push(data: Uint8Array): void {
    const chunk = plainBytes(data);
    if (this.#keptSize === 0) {
      const at = this.#consume(chunk, 0, chunk.length);
      this.#keep(chunk, at, chunk.length);
      return;
    }
    this.#keep(chunk, 0, chunk.length);
    const at = this.#consume(this.#kept, 0, this.#keptSize);
    this.#kept.copyWithin(0, at, this.#keptSize);
    this.#keptSize -= at;
  }

  end(): void {
    if (this.#format === undefined)
      throw captureError(
        this.#file,
        0,
        this.#keptSize === 0 ? "the file is empty" : "the file header is cut",
      );
    if (this.#keptSize > 0) throw this.#format.cut(this.#offset, this.#keptSize);
  }

  #consume(bytes: Uint8Array, start: number, end: number): number {
    if (this.#format === undefined) {
      if (end - start < 4) return start;
      this.#format = this.#open(bytes, start);
    }
    const at = this.#format.consume(bytes, start, end, this.#offset);
    this.#offset += at - start;
    return at;
  }

  #keep(bytes: Uint8Array, start: number, end: number): void {
    const size = this.#keptSize + end - start;
    if (size > this.#kept.length) {
      const grown = new Uint8Array(Math.max(size, Math.min(2 * this.#kept.length, 2 * recordBytesMax)));
      grown.set(this.#kept.subarray(0, this.#keptSize));
      this.#kept = grown;
    }
    this.#kept.set(bytes.subarray(start, end), this.#keptSize);
    this.#keptSize = size;
  }
}

/** A capture read whole. */
export interface ReadCapture {
  readonly interfaces: readonly CaptureInterface[];
  readonly records: readonly CaptureRecord[];
}

/** A whole capture at once, copied into records. @throws InputError with the byte offset of the first fault. */
export function readCapture(bytes: Uint8Array, file: string): ReadCapture {
  const interfaces: CaptureInterface[] = [];
  const records: CaptureRecord[] = [];
  const reader = createCaptureReader(file, recordingSink(interfaces, records));
  reader.push(bytes);
  reader.end();
  return { interfaces, records };
}

/** A sink that copies everything into lists. */
export function recordingSink(interfaces: CaptureInterface[], records: CaptureRecord[]): CaptureSink {
  return {
    interface: (_, description) => interfaces.push(description),
    packet(packet) {
      const { interfaceIndex, seconds, nanoseconds, originalLength, bytes, start, end } = packet;
      const comments = readComments(packet);
      const options = readOptions(packet);
      records.push({
        interfaceIndex,
        seconds,
        nanoseconds,
        originalLength,
        bytes: bytes.slice(start, end),
        ...(comments.length === 0 ? {} : { comments }),
        ...(options.length === 0 ? {} : { options }),
      });
    },
  };
}
