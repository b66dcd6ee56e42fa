/** Captured frames as the packets that filters saw. */
import { describe, expect, it } from "vitest";
import { completePacket } from "../../../src/harness/replay/captured-packet.ts";
import { tcp, udp } from "../../../src/packet/index.ts";
import { readU16, writeU16 } from "../../../src/wire/index.ts";

const ends = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1000, dport: 80 };
const segment = (): Uint8Array => tcp({ ...ends, flags: 24, seq: 1, payload: Uint8Array.of(1, 2, 3) });

/** The sum of the pseudo header alone, as the kernel leaves it for the card. */
function leftToCard(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  let sum = 6 + copy.length - 20;
  for (let at = 12; at < 20; at += 2) sum += readU16(copy, at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  writeU16(copy, 36, sum);
  return copy;
}

describe("a captured packet", () => {
  it("that is whole is the captured bytes themselves, without the link's padding", () => {
    const frame = Uint8Array.from([9, 9, ...segment(), 0, 0, 0]);
    const packet = completePacket(frame, 2, frame.length, frame.length - 2);
    expect(packet.buffer).toBe(frame.buffer);
    expect([...packet]).toEqual([...segment()]);
  });

  it("whose checksum was left to the card gets it, and the capture stays as it is", () => {
    const captured = leftToCard(segment());
    const before = captured.slice();
    expect(readU16(captured, 36)).not.toBe(readU16(segment(), 36));
    expect([...completePacket(captured, 0, captured.length, captured.length)]).toEqual([...segment()]);
    expect(captured).toEqual(before);
  });

  it("with a wrong checksum keeps it", () => {
    const wrong = segment();
    writeU16(wrong, 36, readU16(wrong, 36) ^ 0x1234);
    expect([...completePacket(wrong, 0, wrong.length, wrong.length)]).toEqual([...wrong]);
  });

  it("that was cut has its length, zeros, and a checksum that is good", () => {
    const whole = udp({ ...ends, payload: new Uint8Array(100) });
    expect([...completePacket(whole, 0, 40, whole.length)]).toEqual([...whole]);
  });

  it("of a segment that the card cuts gets its length", () => {
    const large = segment();
    writeU16(large, 2, 0);
    expect(readU16(completePacket(large, 0, large.length, large.length), 2)).toBe(segment().length);
  });
});
