/** What holds for every protocol of the wire, applied to each in a few lines. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Parsed } from "../../src/wire/index.ts";
import { runs } from "../runs.ts";

export interface Protocol<T> {
  readonly arbitrary: fc.Arbitrary<T>;
  size(repr: T): number;
  /** Writes at `start`, returns the bytes written. */
  emit(repr: T, bytes: Uint8Array, start: number): number;
  parse(bytes: Uint8Array, start: number, end: number): Parsed<unknown>;
  /** False where a cut that loses no stated length can still be whole (a payload that runs to the end). */
  readonly endsItself?: boolean;
}

const dirt = 0xa5;
const margin = 5;

export function describeProtocol<T>(name: string, protocol: Protocol<T>): void {
  describe(`${name}, as every protocol`, () => {
    it("law: parse of emit is identity, at any place, and nothing beside is touched", () => {
      fc.assert(
        fc.property(protocol.arbitrary, fc.integer({ min: 0, max: 9 }), (repr, start) => {
          const size = protocol.size(repr);
          const bytes = new Uint8Array(start + size + margin).fill(dirt);
          expect(protocol.emit(repr, bytes, start)).toBe(size);
          expect(protocol.parse(bytes, start, start + size)).toEqual({ ok: true, value: repr });
          expect([...bytes.subarray(0, start)]).toEqual(new Array(start).fill(dirt));
          expect([...bytes.subarray(start + size)]).toEqual(new Array(margin).fill(dirt));
        }),
      );
    });

    it("law: emit writes every byte: what was in the buffer never shows", () => {
      fc.assert(
        fc.property(protocol.arbitrary, (repr) => {
          const dirty = new Uint8Array(protocol.size(repr)).fill(dirt);
          const clean = new Uint8Array(protocol.size(repr));
          protocol.emit(repr, dirty, 0);
          protocol.emit(repr, clean, 0);
          expect(dirty).toEqual(clean);
        }),
      );
    });

    it("law: truncation at every length never throws, and never reads past its end", () => {
      fc.assert(
        fc.property(protocol.arbitrary, (repr) => {
          const whole = new Uint8Array(protocol.size(repr));
          protocol.emit(repr, whole, 0);
          const longer = new Uint8Array(whole.length + 64).fill(dirt);
          longer.set(whole);
          for (let length = 0; length < whole.length; length++) {
            const cut = protocol.parse(whole.slice(0, length), 0, length);
            // the same cut with bytes behind it: they must make no difference
            expect(protocol.parse(longer, 0, length)).toEqual(cut);
            if (protocol.endsItself === true) expect(cut.ok).toBe(false);
          }
        }),
        runs(50),
      );
    });

    it("law: random bytes never throw", () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
          const result = protocol.parse(bytes, 0, bytes.length);
          expect(result.ok ? "value" in result : "fault" in result).toBe(true);
        }),
        runs(500),
      );
    });
  });
}
