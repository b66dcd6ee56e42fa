/** Which packets of a capture are copies of one that was judged. */
import { describe, expect, it } from "vitest";
import { formatIpv4 } from "../../../src/addr/index.ts";
import { CopyFinder } from "../../../src/harness/replay/copies.ts";
import { newEnds, readEnds } from "../../../src/harness/replay/packet-ends.ts";
import { append, createBatch, decodeRow, type PacketBatch, tcp, udp } from "../../../src/packet/index.ts";

const node = "10.224.0.4";
const base = {
  src: "10.224.0.10",
  dst: "10.224.0.11",
  sport: 40_000,
  dport: 80,
  payload: new Uint8Array(20),
};

function rowOf(bytes: Uint8Array): PacketBatch {
  const batch = createBatch(1, 2048);
  append(batch, bytes);
  decodeRow(batch, 0);
  return batch;
}

/** For each sighting, the number of the packet that it is a copy of, -1 for none. */
function copies(
  sightings: readonly (readonly [bytes: Uint8Array, place: number, atNs: number])[],
): readonly number[] {
  const finder = new CopyFinder((_, words, at) => formatIpv4(words[at] ?? 0) === node);
  return sightings.map(([bytes, place, atNs]) => {
    const [batch, ends] = [rowOf(bytes), newEnds()];
    readEnds(batch, ends);
    const found = finder.find(batch, ends, place, atNs);
    if (found < 0) finder.remember(batch, ends, place, atNs);
    return found;
  });
}

const packet = (more: object = {}): Uint8Array => udp({ ...base, ttl: 64, ...more });

describe("a copy", () => {
  it("is the same packet at another interface, or with a lower TTL", () => {
    expect(
      copies([
        [packet(), 0, 0],
        [packet(), 1, 10],
        [packet({ ttl: 63 }), 0, 20],
      ]),
    ).toEqual([-1, 0, 0]);
  });

  it("is no packet that was sent again, nor one of other bytes, nor one much later", () => {
    expect(
      copies([
        [packet(), 0, 0],
        [packet(), 0, 10],
        [packet({ payload: new Uint8Array(20).fill(1) }), 1, 20],
        [packet(), 1, 3e9],
      ]),
    ).toEqual([-1, -1, -1, -1]);
  });

  it("may have the node's address where NAT put it, and no other", () => {
    expect(
      copies([
        [packet(), 0, 0],
        [packet({ src: node, sport: 1024, ttl: 63 }), 1, 10],
        [packet({ src: "10.9.9.9", ttl: 63 }), 1, 20],
      ]),
    ).toEqual([-1, 0, -1]);
  });

  it("may be translated without a hop: at another interface, or where it came in with new ends on both sides", () => {
    const asked = packet({ dst: node, dport: 30_080 });
    const elsewhere = packet({ dst: "10.224.1.11" });
    expect(
      copies([
        [asked, 0, 0],
        [elsewhere, 1, 1],
        [elsewhere, 1, 2], // sent again
      ]),
    ).toEqual([-1, 0, -1]);
    expect(
      copies([
        [asked, 0, 0],
        [packet({ src: node, sport: 1024, dst: "10.224.1.11" }), 0, 1],
      ]),
    ).toEqual([-1, 0]);
    expect(
      copies([
        [asked, 0, 0],
        [packet({ dst: "10.224.1.11" }), 0, 1], // asked of two at once
      ]),
    ).toEqual([-1, -1]);
  });

  it("is no echo", () => {
    const asked = packet({ dst: node });
    const echoed = packet({ src: node, sport: base.dport, dst: base.src, dport: base.sport });
    expect(
      copies([
        [asked, 0, 0],
        [echoed, 0, 1],
        [echoed, 1, 2],
      ]),
    ).toEqual([-1, -1, 1]);
  });

  it("is told from others by sequence numbers", () => {
    const segment = (seq: number, ttl: number): Uint8Array => tcp({ ...base, flags: 16, seq, ttl });
    expect(
      copies([
        [segment(1, 64), 0, 0],
        [segment(21, 64), 0, 1],
        [segment(21, 63), 1, 2],
        [segment(1, 63), 1, 3],
      ]),
    ).toEqual([-1, -1, 1, 0]);
  });

  it("is found again after more packets than are remembered have passed, but not of one that is forgotten", () => {
    const finder = new CopyFinder(() => false);
    const ends = newEnds();
    const see = (bytes: Uint8Array, place: number): number => {
      const batch = rowOf(bytes);
      readEnds(batch, ends);
      const found = finder.find(batch, ends, place, 0);
      if (found < 0) finder.remember(batch, ends, place, 0);
      return found;
    };
    const first = packet({ payload: Uint8Array.of(9) });
    see(first, 0);
    for (let i = 0; i < 65_536; i++) see(packet({ payload: Uint8Array.of(1, i, i >> 8) }), 0);
    expect(see(packet({ payload: Uint8Array.of(1, 255, 255) }), 1)).toBeGreaterThanOrEqual(0);
    expect(see(first, 1)).toBe(-1);
  });
});
