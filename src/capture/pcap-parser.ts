/**
 * Classic pcap in microseconds through the `pcap-parser` package, behind guards for what it does not check itself: the
 * magic number and version before it sees a byte, the captured length before it waits for one that never comes, and the
 * count of bytes that tells a cut file from a whole one. It is driven as a stream, one chunk at a time.
 */
import { EventEmitter } from "node:events";
import pcapParser from "pcap-parser";
import { captureError, emptyPacket, plainBytes } from "./format.ts";
import {
  capturedTooLong,
  cutRecord,
  normalizeTime,
  type PcapHeader,
  PcapMagic,
  pcapHeaderSize,
  readPcapHeader,
} from "./pcap.ts";
import type { CaptureReader, CaptureSink } from "./record.ts";

/** A stream as far as the package uses one; `push` has the pace, so pausing has no meaning. */
class ChunkSource extends EventEmitter {
  pause(): void {}
  resume(): void {}
}

export class PcapParserReader implements CaptureReader {
  readonly #file: string;
  readonly #sink: CaptureSink;
  readonly #source = new ChunkSource();
  readonly #packet = emptyPacket();
  #header: PcapHeader | undefined;
  /** Bytes of the file header until it is whole. */
  #head = Buffer.alloc(0);
  /** Where the next record begins, and how much of the file has come. */
  #recordAt = pcapHeaderSize;
  #received = 0;

  /** True for files whose magic number the package knows. */
  static takes(head: Uint8Array): boolean {
    if (head.length < 4) return false;
    const view = new DataView(head.buffer, head.byteOffset);
    return [true, false].some((isLittle) => view.getUint32(0, isLittle) === PcapMagic.microseconds);
  }

  constructor(file: string, sink: CaptureSink) {
    this.#file = file;
    this.#sink = sink;
    const parser = pcapParser.parse(this.#source);
    parser.on("packetHeader", ({ capturedLength }) => {
      const header = this.#header;
      if (header !== undefined && capturedLength > header.capturedMax)
        throw capturedTooLong(file, this.#recordAt, capturedLength, header);
    });
    parser.on("packet", ({ header, data }) => {
      const packet = this.#packet;
      packet.offset = this.#recordAt;
      packet.seconds = header.timestampSeconds;
      packet.nanoseconds = header.timestampMicroseconds * 1000;
      normalizeTime(packet);
      packet.originalLength = header.originalLength;
      packet.bytes = plainBytes(data);
      packet.end = data.length;
      this.#recordAt += 16 + data.length;
      sink.packet(packet);
    });
    parser.on("error", (error) => {
      throw captureError(file, 0, error.message);
    });
  }

  push(chunk: Uint8Array): void {
    this.#received += chunk.length;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (this.#header !== undefined) {
      this.#source.emit("data", bytes);
      return;
    }
    this.#head = Buffer.concat([this.#head, bytes]);
    if (this.#head.length < pcapHeaderSize) return;
    const header = readPcapHeader(this.#head, 0, this.#file);
    this.#header = header;
    this.#packet.linkType = header.linkType;
    this.#packet.isLittleEndian = header.isLittleEndian;
    this.#sink.interface?.(0, { linkType: header.linkType, snapLength: header.snapLength ?? 0 });
    this.#source.emit("data", this.#head);
  }

  end(): void {
    if (this.#header === undefined) {
      const message = this.#received === 0 ? "the file is empty" : "the file header is cut";
      throw captureError(this.#file, 0, message);
    }
    if (this.#recordAt < this.#received)
      throw cutRecord(this.#file, this.#recordAt, this.#received - this.#recordAt);
  }
}
