/** Damaged captures: whatever the bytes, packets come out or an InputError with its place, in bounded time. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InputError } from "../../src/base/index.ts";
import {
  type CapturedPacket,
  createCaptureReader,
  networkOffset,
  readComments,
} from "../../src/capture/index.ts";
import { enhancedPacket, interfaceBlock, join, option, pcapFile, pcapForms, section } from "./files.ts";

interface Tally {
  packets: number;
  fault: InputError | undefined;
}

function readAll(bytes: Uint8Array): Tally {
  const tally: Tally = { packets: 0, fault: undefined };
  const check = (packet: CapturedPacket): void => {
    tally.packets++;
    const { start, end, bytes: chunk, seconds } = packet;
    const isInside = start <= end && end <= chunk.length && networkOffset(packet) <= end;
    if (!isInside || !Number.isSafeInteger(seconds))
      expect.unreachable(`a packet past its bytes: ${start}..${end}`);
    readComments(packet);
  };
  try {
    const reader = createCaptureReader("f", { packet: check });
    reader.push(bytes);
    reader.end();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    tally.fault = error;
    const offset = error.issues[0]?.offset ?? -1;
    if (offset < 0 || offset > bytes.length) expect.unreachable(`an error outside the file: byte ${offset}`);
  }
  return tally;
}

const frame = Uint8Array.from({ length: 34 }, (_, i) => (i === 12 ? 8 : i === 13 ? 0 : i === 14 ? 0x45 : i));
const records = [1, 2, 3].map((seconds) => ({ seconds, fraction: 5, original: 34, data: frame }));
const samples: readonly (readonly [string, Uint8Array])[] = [
  ...Object.entries(pcapForms).map(
    ([name, form]) => [name, pcapFile(form, records, { linkType: 1 })] as const,
  ),
  ...[true, false].map((isLittle) => {
    const packets = [0, 1, 2].map((low) =>
      enhancedPacket(isLittle, { number: 0, high: 0, low }, frame, option(isLittle, 1, frame)),
    );
    return [
      isLittle ? "pcapng, little endian" : "pcapng, big endian",
      join([section(isLittle), interfaceBlock(isLittle, 1), ...packets]),
    ] as const;
  }),
];

describe.each(samples)("%s", (_, file) => {
  it("is read up to the last whole record at every length", () => {
    const counts = Array.from({ length: file.length + 1 }, (_unused, size) => readAll(file.slice(0, size)));
    for (const [size, { packets, fault }] of counts.entries()) {
      const before = counts[size - 1]?.packets ?? 0;
      if (packets - before !== 0 && packets - before !== 1)
        expect.unreachable(`${packets} packets of ${size} bytes`);
      if (fault !== undefined && size === file.length) throw fault;
    }
    expect(counts.at(-1)).toEqual({ packets: 3, fault: undefined });
  });

  it("with any bit turned gives packets or an error with its place", () => {
    for (let bit = 0; bit < file.length * 8; bit++) {
      const damaged = file.slice();
      damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
      expect(readAll(damaged).packets).toBeLessThanOrEqual(3);
    }
  });
});

it("law: random bytes, behind any magic number, give packets or an error with its place", () => {
  const magics = [...samples.map(([, file]) => file.slice(0, 28)), new Uint8Array(0)];
  fc.assert(
    fc.property(fc.constantFrom(...magics), fc.uint8Array({ maxLength: 400 }), (magic, rest) => {
      readAll(join([magic, rest]));
    }),
    { numRuns: 2000 },
  );
});

const captures = joinPath(process.env["PODWIRE_SHARED"] ?? "../shared", "captures");

describe.skipIf(!existsSync(captures))("captures of others (PODWIRE_SHARED)", () => {
  const names = existsSync(captures) ? readdirSync(captures).sort() : [];

  it.each(names)("%s is read, cut anywhere or damaged", (name) => {
    const bytes = new Uint8Array(readFileSync(joinPath(captures, name)));
    const whole = readAll(bytes);
    expect(whole.packets).toBeGreaterThan(0);
    expect(whole.fault).toBeUndefined();
    const step = Math.max(1, Math.floor(bytes.length / 150));
    for (let size = 0; size < bytes.length; size += step) {
      const { packets, fault } = readAll(bytes.slice(0, size));
      if (packets === whole.packets && fault === undefined) expect.unreachable(`${size} bytes seem whole`);
    }
    for (let at = 0; at < bytes.length; at += step) {
      const damaged = bytes.slice();
      damaged[at] = damaged[at]! ^ 0xff;
      readAll(damaged);
    }
  });
});
