import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InputError } from "../../src/base/index.ts";
import {
  type CaptureInterface,
  type CaptureRecord,
  captureTime,
  createCaptureReader,
  pcapngHeader,
  pcapngInterface,
  pcapngPacket,
  readCapture,
  recordingSink,
} from "../../src/capture/index.ts";
import { block, bytesOf, enhancedPacket, interfaceBlock, join, option, section } from "./files.ts";

const data = Uint8Array.of(1, 2, 3, 4, 5);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

describe("pcapng written", () => {
  const interfaces = fc.array(
    fc.record(
      {
        name: fc.string({ maxLength: 12 }),
        linkType: fc.nat({ max: 0xffff }),
        snapLength: fc.nat({ max: 0xffffffff }),
      },
      { requiredKeys: ["linkType", "snapLength"] },
    ),
    { minLength: 1, maxLength: 3 },
  );
  const records = fc.array(
    fc.record(
      {
        interfaceIndex: fc.constant(0),
        seconds: fc.nat({ max: 0xffffffff }),
        nanoseconds: fc.nat({ max: 999_999_999 }),
        originalLength: fc.nat({ max: 0xffffffff }),
        bytes: fc.uint8Array({ maxLength: 60 }),
        comments: fc.array(fc.string({ maxLength: 20, unit: "grapheme" }), { minLength: 1, maxLength: 3 }),
      },
      { requiredKeys: ["interfaceIndex", "seconds", "nanoseconds", "originalLength", "bytes"] },
    ),
    { maxLength: 6 },
  );

  it("law: is read back whole, comments and all, in chunks of any size", () => {
    fc.assert(
      fc.property(interfaces, records, fc.integer({ min: 1, max: 90 }), (made, packets, size) => {
        const file = join([pcapngHeader(made), ...packets.map(pcapngPacket)]);
        const readInterfaces: CaptureInterface[] = [];
        const read: CaptureRecord[] = [];
        const reader = createCaptureReader("f", recordingSink(readInterfaces, read));
        for (let at = 0; at < file.length; at += size) reader.push(file.slice(at, at + size));
        reader.end();
        expect(readInterfaces).toEqual(made);
        expect(read).toEqual(packets);
      }),
    );
  });

  it("takes interfaces between packets, and times before 1970 or after 2262 wrap as in 64 bits", () => {
    const one = { interfaceIndex: 1, ...captureTime(1_500_000_007), bytes: data };
    const file = join([
      pcapngHeader([{ linkType: 1 }]),
      pcapngInterface({ linkType: 101 }),
      pcapngPacket(one),
    ]);
    expect(readCapture(file, "f")).toEqual({
      interfaces: [
        { linkType: 1, snapLength: 0 },
        { linkType: 101, snapLength: 0 },
      ],
      records: [{ ...one, originalLength: 5 }],
    });
  });
});

describe.each([
  ["little endian", true],
  ["big endian", false],
])("pcapng read, %s", (_, isLittle) => {
  it("reads enhanced, simple and obsolete packet blocks, passes over others and changes sections", () => {
    const file = join([
      section(isLittle),
      interfaceBlock(isLittle, 101, 3, option(isLittle, 2, text("eth0"))),
      block(isLittle, 4, new Uint8Array(16)), // name resolution
      enhancedPacket(
        isLittle,
        { number: 0, high: 0, low: 1_000_001 },
        data,
        option(isLittle, 1, text("why")),
      ),
      block(isLittle, 3, bytesOf(isLittle, [4, 5]), data.slice(0, 3)), // simple: cut to the interface's 3
      block(isLittle, 2, bytesOf(isLittle, [2, 0], [2, 9], [4, 0], [4, 5], [4, 5], [4, 50]), data),
      section(!isLittle),
      interfaceBlock(!isLittle, 1),
      enhancedPacket(!isLittle, { number: 0, high: 0, low: 7 }, data),
    ]);
    const read = readCapture(file, "f");
    expect(read.interfaces).toEqual([
      { name: "eth0", linkType: 101, snapLength: 3 },
      { linkType: 1, snapLength: 0 },
    ]);
    const made = { interfaceIndex: 0, bytes: data, originalLength: 5 };
    expect(read.records).toEqual([
      { ...made, seconds: 1, nanoseconds: 1000, comments: ["why"] },
      { ...made, seconds: 0, nanoseconds: 0, bytes: data.slice(0, 3) },
      { ...made, seconds: 0, nanoseconds: 5000, originalLength: 50 },
      { ...made, interfaceIndex: 1, seconds: 0, nanoseconds: 7000 },
    ]);
  });

  it("law: any resolution and offset give the time that exact arithmetic gives", () => {
    const resolution = fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0x80, max: 0x80 + 64 }));
    const word = fc.nat({ max: 0xffffffff });
    fc.assert(
      fc.property(
        resolution,
        fc.integer({ min: -1000, max: 1000 }),
        word,
        word,
        (unit, offset, high, low) => {
          const seconds = new Uint8Array(8);
          new DataView(seconds.buffer).setBigInt64(0, BigInt(offset), isLittle);
          const file = join([
            section(isLittle),
            interfaceBlock(
              isLittle,
              101,
              0,
              option(isLittle, 9, Uint8Array.of(unit)),
              option(isLittle, 14, seconds),
            ),
            enhancedPacket(isLittle, { number: 0, high, low }, data),
          ]);
          const ticksPerSecond = (unit & 0x80) === 0 ? 10n ** BigInt(unit) : 2n ** BigInt(unit & 0x7f);
          const ticks = (BigInt(high) << 32n) | BigInt(low);
          const [record] = readCapture(file, "f").records;
          expect(record?.seconds).toBe(Number(ticks / ticksPerSecond) + offset);
          expect(record?.nanoseconds).toBe(
            Number(((ticks % ticksPerSecond) * 1_000_000_000n) / ticksPerSecond),
          );
        },
      ),
    );
  });

  it("leaves options unread that do not fit their block", () => {
    const wild = bytesOf(isLittle, [2, 1], [2, 60_000]);
    const file = join([
      section(isLittle),
      interfaceBlock(isLittle, 101, 0, wild),
      enhancedPacket(isLittle, { number: 0, high: 0, low: 0 }, data, wild),
    ]);
    expect(readCapture(file, "f").records).toMatchObject([{ bytes: data }]);
  });

  const head = join([section(isLittle), interfaceBlock(isLittle, 101)]);
  const at = head.length;
  const packet = (fields: readonly (readonly [2 | 4, number])[]): Uint8Array =>
    block(isLittle, 6, bytesOf(isLittle, ...fields));
  const sectionOf = (magic: number, major: number): Uint8Array =>
    block(isLittle, 0x0a0d0d0a, bytesOf(isLittle, [4, magic], [2, major], [2, 0]), new Uint8Array(8));
  it.each([
    [
      "an interface that is not there",
      packet([
        [4, 3],
        [4, 0],
        [4, 0],
        [4, 0],
        [4, 0],
      ]),
      at + 8,
      "no interface 3",
    ],
    [
      "a captured length past its block",
      packet([
        [4, 0],
        [4, 0],
        [4, 0],
        [4, 99],
        [4, 0],
      ]),
      at + 20,
      "captured length 99",
    ],
    [
      "a packet block that is too short",
      packet([
        [4, 0],
        [4, 0],
      ]),
      at,
      "the packet block is cut",
    ],
    [
      "an interface block that is too short",
      block(isLittle, 1, new Uint8Array(4)),
      at,
      "interface block is cut",
    ],
    [
      "a section that is too short",
      block(isLittle, 0x0a0d0d0a, bytesOf(isLittle, [4, 0x1a2b3c4d])),
      at,
      "section header is cut",
    ],
    ["a byte order that is none", sectionOf(7, 1), at + 8, "magic is neither"],
    ["a version of the future", sectionOf(0x1a2b3c4d, 2), at + 12, "version 2.0"],
    [
      "a block length that is no multiple of four",
      bytesOf(isLittle, [4, 9], [4, 13], [4, 0], [4, 0]),
      at + 4,
      "a block of 13 bytes",
    ],
    ["a block length past belief", bytesOf(isLittle, [4, 9], [4, 0x7fffff00], [4, 0]), at + 4, "cannot be"],
    [
      "two lengths that differ",
      bytesOf(isLittle, [4, 9], [4, 16], [4, 0], [4, 12]),
      at + 12,
      "lengths of the block differ",
    ],
    [
      "half a block",
      bytesOf(isLittle, [4, 9], [4, 16], [4, 0]),
      at,
      "the file ends 12 bytes into this block",
    ],
  ])("refuses %s, with its place", (_what, rest, offset, message) => {
    try {
      readCapture(join([head, rest]), "f");
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      expect(error.issues[0]?.message).toContain(message);
      expect(error.issues[0]?.offset).toBe(offset);
    }
  });
});

it("a simple packet before any interface is refused", () => {
  const file = join([section(true), block(true, 3, bytesOf(true, [4, 5]), data)]);
  expect(() => readCapture(file, "f")).toThrow("a packet stands before any interface");
});
