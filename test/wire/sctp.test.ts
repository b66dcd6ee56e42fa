/** SCTP against bytes laid out by hand from the figures of RFC 9260 sections 3.1 to 3.3. */
import { describe, expect, it } from "vitest";
import {
  crc32c,
  emitSctp,
  parseSctp,
  type SctpChunk,
  type SctpRepr,
  sizeSctp,
} from "../../src/wire/index.ts";

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Common header of section 3.1: ports 40000 and 80, tag 0x01020304, checksum left out. */
const header = "9c40 0050 01020304 00000000";

const cases: readonly (readonly [string, SctpChunk, string])[] = [
  [
    "DATA with one byte of padding (3.3.1)",
    {
      kind: "data",
      flags: 3,
      tsn: 0x0a0b0c0d,
      stream: 1,
      sequence: 2,
      payloadProtocol: 46,
      data: text("podwire"),
    },
    "00 03 0017 0a0b0c0d 0001 0002 0000002e 706f6477697265 00",
  ],
  [
    "INIT with supported address types and forward TSN (3.3.2)",
    {
      kind: "init",
      initiateTag: 0x11223344,
      advertisedWindow: 0x1a000,
      outboundStreams: 10,
      inboundStreams: 65535,
      initialTsn: 7,
      parameters: [
        { type: 12, value: bytes("0005 0006") },
        { type: 0xc000, value: bytes("") },
      ],
    },
    "01 00 0020 11223344 0001a000 000a ffff 00000007 000c 0008 0005 0006 c000 0004",
  ],
  [
    "INIT ACK with a cookie of three bytes, whose padding the chunk's length leaves out (3.2.1, 3.3.3)",
    {
      kind: "init-ack",
      initiateTag: 1,
      advertisedWindow: 2,
      outboundStreams: 3,
      inboundStreams: 4,
      initialTsn: 5,
      parameters: [{ type: 7, value: bytes("aabbcc") }],
    },
    "02 00 001b 00000001 00000002 0003 0004 00000005 0007 0007 aabbcc 00",
  ],
  [
    "INIT ACK whose first parameter is padded inside the chunk",
    {
      kind: "init-ack",
      initiateTag: 1,
      advertisedWindow: 2,
      outboundStreams: 3,
      inboundStreams: 4,
      initialTsn: 5,
      parameters: [
        { type: 7, value: bytes("aabbcc") },
        { type: 0x8000, value: bytes("") },
      ],
    },
    "02 00 0020 00000001 00000002 0003 0004 00000005 0007 0007 aabbcc 00 8000 0004",
  ],
  [
    "SACK with a gap and two duplicates (3.3.4)",
    { kind: "sack", cumulativeTsn: 9, advertisedWindow: 8, gaps: [[2, 3]], duplicates: [7, 6] },
    "03 00 001c 00000009 00000008 0001 0002 0002 0003 00000007 00000006",
  ],
  [
    "HEARTBEAT with its information (3.3.5)",
    { kind: "heartbeat", info: [{ type: 1, value: bytes("01020304") }] },
    "04 00 000c 0001 0008 01020304",
  ],
  [
    "HEARTBEAT ACK (3.3.6)",
    { kind: "heartbeat-ack", info: [{ type: 1, value: bytes("01020304") }] },
    "05 00 000c 0001 0008 01020304",
  ],
  ["ABORT, tag reflected (3.3.7)", { kind: "abort", reflected: true, causes: [] }, "06 01 0004"],
  [
    "ABORT by the user, with a reason (3.3.10.12)",
    { kind: "abort", reflected: false, causes: [{ type: 12, value: text("bye") }] },
    "06 00 000b 000c 0007 627965 00",
  ],
  ["SHUTDOWN (3.3.8)", { kind: "shutdown", cumulativeTsn: 0xffffffff }, "07 00 0008 ffffffff"],
  ["SHUTDOWN ACK (3.3.9)", { kind: "shutdown-ack" }, "08 00 0004"],
  [
    "ERROR: stale cookie (3.3.10.3)",
    { kind: "error", causes: [{ type: 3, value: bytes("000003e8") }] },
    "09 00 000c 0003 0008 000003e8",
  ],
  [
    "COOKIE ECHO (3.3.11)",
    { kind: "cookie-echo", cookie: bytes("aabbccddee") },
    "0a 00 0009 aabbccddee 000000",
  ],
  ["COOKIE ACK (3.3.12)", { kind: "cookie-ack" }, "0b 00 0004"],
  ["SHUTDOWN COMPLETE (3.3.13)", { kind: "shutdown-complete", reflected: true }, "0e 01 0004"],
  [
    "a chunk of no known type (3.2)",
    { kind: "unknown", type: 0xc1, flags: 9, value: bytes("0102") },
    "c1 09 0006 0102 0000",
  ],
];

function packet(chunks: readonly SctpChunk[]): SctpRepr {
  return { sport: 40000, dport: 80, verificationTag: 0x01020304, chunks };
}

describe("SCTP chunks", () => {
  it.each(cases)("%s", (_, chunk, hex) => {
    const expected = bytes(header + hex);
    const written = new Uint8Array(sizeSctp(packet([chunk]))).fill(0xa5);
    emitSctp(packet([chunk]), written, 0, { checksum: 0 });
    expect(Buffer.from(written).toString("hex")).toBe(Buffer.from(expected).toString("hex"));
    expect(parseSctp(expected)).toEqual({ ok: true, value: packet([chunk]) });
  });

  it("all in one packet keep their order", () => {
    const chunks = cases.map(([, chunk]) => chunk);
    const written = new Uint8Array(sizeSctp(packet(chunks)));
    emitSctp(packet(chunks), written);
    expect(parseSctp(written)).toEqual({ ok: true, value: packet(chunks) });
  });

  it("the checksum is CRC32c over the packet with its field as zero, least significant byte first", () => {
    const written = new Uint8Array(16);
    emitSctp(packet([{ kind: "cookie-ack" }]), written);
    const crc = crc32c(bytes(`${header}0b000004`));
    expect(new DataView(written.buffer).getUint32(8, true)).toBe(crc);
  });

  it("the padding of the last chunk may be missing", () => {
    const cut = bytes(`${header}0a 00 0009 aabbccddee`);
    expect(parseSctp(cut)).toEqual({
      ok: true,
      value: packet([{ kind: "cookie-echo", cookie: bytes("aabbccddee") }]),
    });
  });

  it.each([
    ["a cut common header", header.slice(0, 20), "truncated"],
    ["a chunk header that is cut", `${header}0b00`, "truncated"],
    ["a chunk length below its header", `${header}0b000003`, "bad-length"],
    ["a chunk longer than the packet", `${header}0b000008`, "truncated"],
    ["DATA without its fixed part", `${header}0003000c 0a0b0c0d 00010002`, "bad-length"],
    ["an INIT without its fixed part", `${header}01000008 00000001`, "bad-length"],
    ["a SACK whose counts lie", `${header}03000010 00000009 00000008 0001 0000`, "bad-length"],
    ["a parameter of length zero", `${header}0400000c 0001 0000 01020304`, "bad-length"],
    ["a parameter beyond its chunk", `${header}0400000c 0001 0009 01020304`, "bad-length"],
    ["a COOKIE ACK with a value", `${header}0b000008 00000000`, "bad-length"],
    ["a SHUTDOWN of the wrong size", `${header}0700000c 00000000 00000000`, "bad-length"],
  ])("%s is a fault", (_, hex, fault) => {
    expect(parseSctp(bytes(hex))).toEqual({ ok: false, fault });
  });
});
