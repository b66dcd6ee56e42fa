/** Checksums against published vectors: RFC 1071 section 3, RFC 1624 section 4, RFC 3720 appendix B.4. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  checksumHolds,
  crc32c,
  finishSum,
  internetChecksum,
  ipv4ChecksumHolds,
  pseudoHeaderSum,
  readCrc32c,
  readU16,
  sumWords,
  updateChecksum,
  updateChecksum32,
  writeCrc32c,
  writeU16,
} from "../../src/wire/index.ts";
import { data, u16, u32 } from "./arbitraries.ts";

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));

describe("the Internet checksum", () => {
  it("sums the example of RFC 1071 section 3 to ddf2", () => {
    const block = bytes("00 01 f2 03 f4 f5 f6 f7");
    expect(sumWords(block, 0, 8)).toBe(0x2ddf0);
    expect(finishSum(sumWords(block, 0, 8))).toBe(~0xddf2 & 0xffff);
  });

  it("takes an odd last byte as the upper half of a word", () => {
    expect(internetChecksum(bytes("01 02 03"))).toBe(internetChecksum(bytes("01 02 03 00")));
  });

  it("is 0xffff of nothing and 0 of all ones", () => {
    expect(internetChecksum(new Uint8Array(0))).toBe(0xffff);
    expect(internetChecksum(bytes("ffff"))).toBe(0);
  });

  it("folds as often as it must: 64 KiB of ones", () => {
    expect(internetChecksum(new Uint8Array(65_535).fill(0xff))).toBe(internetChecksum(bytes("ff00")));
    expect(finishSum(0x1_ffff)).toBe(0xfffe); // the carry of the carry
  });

  it("agrees with a widely printed IPv4 header", () => {
    const header = bytes("4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7");
    expect(internetChecksum(header)).toBe(0xb861);
    writeU16(header, 10, 0xb861);
    expect(ipv4ChecksumHolds(header, 0)).toBe(true);
    header[8] = 63;
    expect(ipv4ChecksumHolds(header, 0)).toBe(false);
  });

  it("updates as RFC 1624 section 4 does, where RFC 1141 went wrong", () => {
    expect(updateChecksum(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  it("law: it may be summed in parts at even places, in any order", () => {
    fc.assert(
      fc.property(data(40), data(40), (a, b) => {
        const even = a.length % 2 === 0 ? a : a.slice(1);
        const joined = Uint8Array.from([...even, ...b]);
        expect(finishSum(sumWords(b, 0, b.length, sumWords(even, 0, even.length)))).toBe(
          internetChecksum(joined),
        );
      }),
    );
  });

  it("law: a block with its own checksum in it holds, and one changed byte breaks it", () => {
    fc.assert(
      fc.property(data(60, 4), fc.nat(), fc.integer({ min: 1, max: 255 }), (block, place, change) => {
        writeU16(block, 2, 0);
        writeU16(block, 2, internetChecksum(block));
        expect(checksumHolds(block, 0, block.length)).toBe(true);
        block[place % block.length]! ^= change;
        expect(checksumHolds(block, 0, block.length)).toBe(false);
      }),
    );
  });

  it("law: the update for one word equals summing anew, for blocks that are not all zero", () => {
    fc.assert(
      fc.property(data(40, 4), u16, u32, (raw, half, word) => {
        const block = Uint8Array.from([0x45, 0, ...raw.subarray(0, raw.length & ~3)]);
        const before = internetChecksum(block);
        const view = new DataView(block.buffer);
        const at = 2;
        const oldHalf = readU16(block, at);
        writeU16(block, at, half);
        expect(updateChecksum(before, oldHalf, half)).toBe(internetChecksum(block));
        writeU16(block, at, oldHalf);
        const oldWord = view.getUint32(at);
        view.setUint32(at, word);
        expect(updateChecksum32(before, oldWord, word)).toBe(internetChecksum(block));
      }),
    );
  });

  it("law: the pseudo header's sum is the sum of its bytes (RFC 8200 section 8.1)", () => {
    const words = fc.array(u32, { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(words, words, fc.nat(255), u32, (src, dst, protocol, length) => {
        const block = new DataView(new ArrayBuffer(40));
        [...src, ...dst, length, protocol].forEach((word, i) => {
          block.setUint32(4 * i, word);
        });
        const flat = new Uint8Array(block.buffer);
        expect(finishSum(pseudoHeaderSum(src, dst, protocol, length))).toBe(internetChecksum(flat));
      }),
    );
  });
});

describe("CRC32c", () => {
  const ramp = Uint8Array.from({ length: 32 }, (_, i) => i);
  const readPdu =
    "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018 28000000 00000000 02000000 00000000";
  it.each([
    ["32 bytes of zeros", new Uint8Array(32), "aa36918a"],
    ["32 bytes of ones", new Uint8Array(32).fill(0xff), "43aba862"],
    ["32 rising bytes", ramp, "4e79dd46"],
    ["32 falling bytes", ramp.slice().reverse(), "5cdb3f11"],
    ["an iSCSI SCSI Read command PDU", bytes(readPdu), "563a96d9"],
  ])("of %s is as RFC 3720 appendix B.4 prints it", (_, block, printed) => {
    const field = new Uint8Array(4);
    writeCrc32c(field, 0, crc32c(block));
    expect(Buffer.from(field).toString("hex")).toBe(printed);
    expect(readCrc32c(field, 0)).toBe(crc32c(block));
  });

  it("of the digits 1 to 9 is the catalogued check value", () => {
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
  });

  it("takes its own field as zero", () => {
    const block = ramp.slice();
    const zeroed = ramp.slice();
    zeroed.fill(0, 8, 12);
    expect(crc32c(block, 0, 32, 8)).toBe(crc32c(zeroed));
    expect(crc32c(block, 4, 20)).toBe(crc32c(block.slice(4, 20)));
  });
});
