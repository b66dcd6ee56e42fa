/** MAC addresses as text and as six bytes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatMac, localMac, parseMac } from "../../src/addr/index.ts";

describe("MAC addresses", () => {
  it("law: what is written is read back, with colons or dashes, in either case", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(255), { minLength: 6, maxLength: 6 }), (mac) => {
        const text = formatMac(mac);
        for (const one of [text, text.toUpperCase(), text.replaceAll(":", "-")])
          expect(parseMac(one)).toEqual(mac);
      }),
    );
  });

  it.each([
    "",
    "02:00:00:00:00",
    "02:00:00:00:00:00:00",
    "2:0:0:0:0:0",
    "02:00:00:00:00:0g",
    "020000000000",
    "02-00:00:00:00:00",
  ])("refuses %j", (text) => {
    expect(parseMac(text)).toBeUndefined();
  });

  it("made for a number are unicast, locally administered, and differ as the numbers do", () => {
    const macs = [0, 1, 255, 256, 0x01020304, 0xffffffff].map(localMac);
    for (const mac of macs) expect((mac[0] ?? 0) & 3).toBe(2);
    expect(new Set(macs.map(formatMac)).size).toBe(macs.length);
    expect(formatMac(localMac(0x01020304))).toBe("02:50:01:02:03:04");
  });
});
