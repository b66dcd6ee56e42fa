import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InputError } from "../../src/base/index.ts";
import {
  type CaptureInterface,
  type CaptureReader,
  type CaptureRecord,
  type CaptureSink,
  chooseCaptureReader,
  createCaptureReader,
  LinkType,
  PcapParserReader,
  pcapHeader,
  pcapPacket,
  readCapture,
  recordingSink,
} from "../../src/capture/index.ts";
import { bytesOf, join, type PcapForm, pcapFile, pcapForms, type RawRecord } from "./files.ts";

const u32 = fc.nat({ max: 0xffffffff });
const rawRecords = fc.array(
  fc.record<RawRecord>({
    seconds: u32,
    fraction: u32,
    original: u32,
    data: fc.uint8Array({ maxLength: 80 }),
  }),
  { maxLength: 8 },
);
const forms = fc.constantFrom<PcapForm>(...Object.values(pcapForms));

interface Reading {
  readonly interfaces: readonly CaptureInterface[];
  readonly records: readonly CaptureRecord[];
  /** Message and offset of the fault that ended it. */
  readonly fault: string | undefined;
}

/** Reads chunk by chunk; only an InputError with one offset inside the file may come out. */
function readChunked(
  bytes: Uint8Array,
  sizes: readonly number[],
  create: (file: string, sink: CaptureSink) => CaptureReader,
): Reading {
  const interfaces: CaptureInterface[] = [];
  const records: CaptureRecord[] = [];
  let fault: string | undefined;
  try {
    const reader = create("f.pcap", recordingSink(interfaces, records));
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const size = sizes[i % sizes.length] ?? bytes.length;
      reader.push(bytes.slice(at, at + size));
      at += size;
    }
    reader.end();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const [issue] = error.issues;
    expect(issue?.offset).toBeGreaterThanOrEqual(0);
    expect(issue?.offset).toBeLessThanOrEqual(bytes.length);
    fault = `${issue?.offset}: ${issue?.message}`;
  }
  return { interfaces, records, fault };
}

const chunkSizes = fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 5 });

describe("classic pcap", () => {
  it("law: every form is read back as it was made, in chunks of any size", () => {
    fc.assert(
      fc.property(forms, rawRecords, chunkSizes, (form, made, sizes) => {
        const reading = readChunked(pcapFile(form, made), sizes, createCaptureReader);
        expect(reading.fault).toBeUndefined();
        const unit = form.magic === pcapForms.nanosecondsLittle.magic ? 1n : 1000n;
        expect(reading.records).toEqual(
          made.map(({ seconds, fraction, original, data }) => {
            const ns = BigInt(seconds) * 1_000_000_000n + BigInt(fraction) * unit;
            return {
              interfaceIndex: 0,
              seconds: Number(ns / 1_000_000_000n),
              nanoseconds: Number(ns % 1_000_000_000n),
              originalLength: original,
              bytes: data,
            };
          }),
        );
      }),
    );
  });

  it("law: pcap-parser behind its guards and the reader here read alike, good files and damaged ones", () => {
    const damage = fc.record({
      at: fc.nat(),
      bits: fc.integer({ min: 1, max: 255 }),
      keep: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    const micro = fc.constantFrom<PcapForm>(pcapForms.microsecondsLittle, pcapForms.microsecondsBig);
    fc.assert(
      fc.property(micro, rawRecords, chunkSizes, fc.option(damage), (form, made, sizes, harm) => {
        let file = pcapFile(form, made);
        if (harm !== null) {
          const at = 24 + (harm.at % Math.max(1, file.length - 24)); // the magic must stay for both to be asked
          if (at < file.length) file[at] = file[at]! ^ harm.bits;
          file = file.slice(0, Math.max(24, Math.ceil(file.length * harm.keep)));
        }
        const theirs = readChunked(file, sizes, (name, sink) => new PcapParserReader(name, sink));
        expect(theirs).toEqual(readChunked(file, sizes, createCaptureReader));
      }),
      { numRuns: 300 },
    );
  });

  it("is read by pcap-parser in microseconds and moderate size, and by the reader here otherwise", () => {
    const sink: CaptureSink = { packet() {} };
    const chosen = (form: PcapForm, size: number): boolean =>
      chooseCaptureReader(pcapFile(form, []), size, "f", sink) instanceof PcapParserReader;
    expect(chosen(pcapForms.microsecondsBig, 1000)).toBe(true);
    expect(chosen(pcapForms.microsecondsLittle, 1e9)).toBe(false);
    expect(chosen(pcapForms.nanosecondsLittle, 1000)).toBe(false);
    expect(chosen(pcapForms.modifiedLittle, 1000)).toBe(false);
    expect(chooseCaptureReader(new Uint8Array(2), 2, "f", sink)).not.toBeInstanceOf(PcapParserReader);
  });

  it("masks the bits that tell of a frame check sequence out of the link type", () => {
    const file = pcapFile(pcapForms.microsecondsLittle, [], { linkType: 0x2400_0001 });
    expect(readCapture(file, "f").interfaces).toEqual([{ linkType: 1, snapLength: 65_535 }]);
  });

  it("says where the file is cut", () => {
    const file = pcapFile(pcapForms.microsecondsLittle, [
      { seconds: 1, fraction: 2, original: 4, data: Uint8Array.of(1, 2, 3, 4) },
      { seconds: 1, fraction: 3, original: 4, data: Uint8Array.of(5, 6, 7, 8) },
    ]);
    const { records, fault } = readChunked(file.slice(0, -1), [7], createCaptureReader);
    expect(records).toHaveLength(1);
    expect(fault).toBe("44: the file ends 19 bytes into this packet's record");
  });

  it("does not believe a captured length that would swallow the file", () => {
    const file = pcapFile(pcapForms.microsecondsLittle, [
      { seconds: 0, fraction: 0, original: 0, data: new Uint8Array(20) },
    ]);
    file.set([0xff, 0xff, 0xff, 0xff], 32);
    expect(() => readCapture(file, "f")).toThrow(
      /byte 32: captured length 4294967295 is more than 262144 bytes/,
    );
  });

  it("holds a record as long as its snapshot length allows, up to 16 MiB", () => {
    const big = { seconds: 0, fraction: 0, original: 300_000, data: new Uint8Array(300_000) };
    const form = pcapForms.nanosecondsBig;
    expect(readCapture(pcapFile(form, [big], { snapLength: 400_000 }), "f").records).toHaveLength(1);
    expect(() => readCapture(pcapFile(form, [big], { snapLength: 65_535 }), "f")).toThrow(InputError);
    const huge = { ...big, data: new Uint8Array(17 * 1024 * 1024) };
    expect(() => readCapture(pcapFile(form, [huge], { snapLength: 0xffffffff }), "f")).toThrow(
      /is more than/,
    );
  });

  it.each([
    ["an empty file", new Uint8Array(0), "f:byte 0: the file is empty"],
    ["three bytes", Uint8Array.of(0xd4, 0xc3, 0xb2), "f:byte 0: the file header is cut"],
    ["half a header", pcapFile(pcapForms.microsecondsBig, []).slice(0, 12), "12 of 24 bytes"],
    ["a text", new TextEncoder().encode("hello, world"), "neither a pcap nor a pcapng file"],
    ["a compressed file", Uint8Array.of(0x1f, 0x8b, 8, 0), "compressed by gzip"],
    [
      "another version",
      bytesOf(true, [4, 0xa1b2c3d4], [2, 9], [2, 4], new Uint8Array(16)),
      "byte 4: version 9.4",
    ],
    ["a relative", bytesOf(false, [4, 0xa1b234cd], [2, 2], [2, 4], new Uint8Array(16)), "Fmesquid"],
  ])("refuses %s", (_, bytes, message) => {
    expect(() => readCapture(bytes, "f")).toThrow(message);
  });

  it("law: what is written is read back to the nanosecond", () => {
    fc.assert(
      fc.property(rawRecords, (made) => {
        const records = made.map(({ seconds, fraction, original, data }) => ({
          interfaceIndex: 0,
          seconds,
          nanoseconds: fraction % 1e9,
          originalLength: original,
          bytes: data,
        }));
        const file = join([pcapHeader(LinkType.ethernet), ...records.map(pcapPacket)]);
        expect(readCapture(file, "f").records).toEqual(records);
      }),
    );
  });
});
