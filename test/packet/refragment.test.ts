/** A datagram that came in fragments leaves in them again (test/kernel/fragments.test.ts asks the kernel). */
import { describe, expect, it } from "vitest";
import { append, createBatch, decodeRow, fragment, leavingPackets, udp } from "../../src/packet/index.ts";
import { emitIpv4Options, optionsHeader } from "../../src/wire/index.ts";

const ends = {
  4: { src: "10.0.0.1", dst: "10.0.0.2", identification: 77, dontFragment: false },
  6: { src: "fd00::1", dst: "fd00::2" },
} as const;

/** The joined datagram's row, which remembers the sizes of `parts`. */
function leaving(whole: Uint8Array, parts: readonly Uint8Array[], mtu: number): readonly Uint8Array[] {
  const batch = createBatch(1, 4000);
  append(batch, whole);
  decodeRow(batch, 0);
  const headers = parts.map((part) => (part[0]! >>> 4 === 4 ? (part[0]! & 15) * 4 : 48));
  batch.state.fragments[0] = {
    sizes: parts.map((part, i) => part.length - headers[i]!),
    largest: Math.max(...parts.map((part) => part.length)),
    keepsDf: false,
  };
  return leavingPackets(batch, 0, mtu, 77);
}

describe("leaving packets", () => {
  it.each([4, 6] as const)("are the fragments that came (IPv%i)", (family) => {
    const whole = udp({
      ...ends[family],
      sport: 1,
      dport: 2,
      payload: new Uint8Array(3000).map((_, i) => i),
    });
    const parts = fragment(whole, 1400, 77);
    expect(parts.length).toBe(3);
    expect(leaving(whole, parts, 1500)).toEqual(parts);
  });

  it("are the datagram itself where it came whole", () => {
    const whole = udp({ ...ends[4], sport: 1, dport: 2 });
    const batch = createBatch(1);
    append(batch, whole);
    decodeRow(batch, 0);
    expect(leavingPackets(batch, 0)).toEqual([whole]);
  });

  it("are smaller where the way is, and always join to the datagram", () => {
    const payload = new Uint8Array(1000).map((_, i) => i * 7);
    const whole = udp({ ...ends[4], sport: 1, dport: 2, payload });
    const parts = leaving(whole, fragment(whole, 900, 77), 400);
    expect(parts).toEqual(fragment(whole, 400, 77));
  });

  it("carry in later fragments no-operations for options that the first one alone has", () => {
    const options = [
      { type: 148, data: new Uint8Array(2) },
      { type: 7, data: new Uint8Array(2) },
    ];
    const fields = { ...ends[4], sport: 1, dport: 2, ipOptions: emitIpv4Options(options) };
    const whole = udp({ ...fields, payload: new Uint8Array(300) });
    const [first, second] = leaving(whole, fragment(whole, 200, 77), 1500);
    expect([...(first ?? []).slice(20, 28)]).toEqual([148, 4, 0, 0, 7, 4, 0, 0]);
    expect([...(second ?? []).slice(20, 28)]).toEqual([148, 4, 0, 0, 1, 1, 1, 1]);
  });

  it("have their fragment header behind what every hop reads", () => {
    const extensions = [optionsHeader(0), optionsHeader(60)];
    const whole = udp({ ...ends[6], sport: 1, dport: 2, extensions, payload: new Uint8Array(2000) });
    const [first] = leaving(whole, fragment(whole, 1400, 77), 1400);
    expect([first?.[6], first?.[40], first?.[48]]).toEqual([0, 44, 60]);
  });
});
