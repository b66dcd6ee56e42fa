/** The segment size that a SYN announces: lowered, added, never raised, with every length and checksum right. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { append, createBatch, decodeRow, lowerMss, rowBytes, tcp } from "../../src/packet/index.ts";
import { parseTcp, TcpFlag, type TcpOption } from "../../src/wire/index.ts";
import { runs } from "../runs.ts";
import { u16 } from "../wire/arbitraries.ts";
import { recomputed } from "./recomputed.ts";

const ends = {
  4: { src: "10.0.0.1", dst: "203.0.113.1" },
  6: { src: "fd00::1", dst: "2001:db8::1" },
} as const;

/** At even offsets: elsewhere the kernel's own checksum comes out wrong. */
const otherOptions: readonly (readonly TcpOption[])[] = [
  [],
  [{ kind: "nop" }, { kind: "window-scale", shift: 7 }],
  [{ kind: "sack-permitted" }],
  [{ kind: "nop" }, { kind: "nop" }, { kind: "timestamps", value: 1, echo: 2 }],
];

it("law: a SYN announces the smaller of what it did and what is asked for, and all its checksums hold", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(4 as const, 6 as const),
      fc.constantFrom(...otherOptions),
      fc.option(u16, { nil: undefined }),
      fc.nat(3),
      u16,
      (family, others, announced, payloadSize, asked) => {
        const own: readonly TcpOption[] = announced === undefined ? [] : [{ kind: "mss", bytes: announced }];
        const fields = { ...ends[family], sport: 1, dport: 2, flags: TcpFlag.syn };
        const sent = tcp({ ...fields, options: [...others, ...own], payload: new Uint8Array(payloadSize) });
        const batch = createBatch(1);
        append(batch, sent);
        decodeRow(batch, 0);
        expect(lowerMss(batch, 0, asked)).toBe(true);
        const left = rowBytes(batch, 0);
        expect(left).toEqual(recomputed(left));
        const parsed = parseTcp(left.slice(), family === 4 ? 20 : 40);
        const found = parsed.ok ? parsed.value.options.filter(({ kind }) => kind === "mss") : [];
        const added = Math.min(asked, family === 4 ? 536 : 1220);
        if (announced !== undefined)
          expect(found).toEqual([{ kind: "mss", bytes: Math.min(announced, asked) }]);
        else expect(found).toEqual(payloadSize > 0 ? [] : [{ kind: "mss", bytes: added }]);
      },
    ),
    runs(300),
  );
});
