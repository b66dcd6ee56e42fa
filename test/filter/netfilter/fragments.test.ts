/** Reassembly: what was cut comes together, whatever the order, and what contradicts itself does not. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Hook, Verdict } from "../../../src/filter/index.ts";
import { restoreRuleset } from "../../../src/filter/iptables/index.ts";
import { fragment, leavingPackets, udp } from "../../../src/packet/index.ts";
import { TestNode } from "../node.ts";

const second = 1_000_000_000;
const ends = {
  4: { src: "10.0.0.1", dst: "10.0.0.2" },
  6: { src: "fd00::1", dst: "fd00::2" },
} as const;

function datagram(family: 4 | 6, size: number): Uint8Array {
  const payload = Uint8Array.from({ length: size }, (_, i) => i & 0xff);
  return udp({ ...ends[family], sport: 1, dport: 53, payload, dontFragment: false, identification: 7 });
}

const family = fc.constantFrom<4 | 6>(4, 6);

describe("fragments", () => {
  it("law: of one datagram, in any order, become that datagram with the last of them", () => {
    fc.assert(
      fc.property(
        family,
        fc.integer({ min: 100, max: 1200 }),
        fc.integer({ min: 96, max: 600 }),
        fc.infiniteStream(fc.nat()),
        (which, size, mtu, order) => {
          const whole = datagram(which, size);
          const parts = [...fragment(whole, mtu, 7)].sort(() => ((order.next().value ?? 0) % 3) - 1);
          const node = new TestNode();
          const passages = parts.map((part) => node.pass(part, [Hook.prerouting]));
          expect(passages.slice(0, -1).every(({ verdict }) => verdict === Verdict.stolen)).toBe(true);
          expect([...(passages.at(-1)?.bytes ?? [])]).toEqual([...whole]);
        },
      ),
    );
  });

  it("law: leave as they came, unless the datagram fits", () => {
    fc.assert(
      fc.property(
        family,
        fc.integer({ min: 100, max: 1200 }),
        fc.integer({ min: 96, max: 600 }),
        (which, size, mtu) => {
          const whole = datagram(which, size);
          const parts = fragment(whole, mtu, 7);
          const node = new TestNode();
          const passage = parts.map((part) => node.pass(part, [Hook.prerouting])).at(-1);
          if (passage === undefined || parts.length < 2) return;
          // Without its fragment header it may be no larger than the largest fragment; then it need not be cut.
          const isCut = whole.length > Math.max(...parts.map((part) => part.length));
          expect(leavingPackets(passage.batch, 0, 1500, 7)).toEqual(isCut ? parts : [whole]);
        },
      ),
    );
  });

  it("are forgotten after 30 s, in IPv6 after 60 s", () => {
    for (const [which, seconds] of [
      [4, 30],
      [6, 60],
    ] as const)
      for (const late of [0, 1]) {
        const [first, last] = fragment(datagram(which, 100), which === 4 ? 108 : 136, 7);
        const node = new TestNode();
        node.pass(first as Uint8Array, [Hook.prerouting]);
        node.clock.ns = seconds * second - 1 + late;
        const { verdict } = node.pass(last as Uint8Array, [Hook.prerouting]);
        expect(verdict, `IPv${which} ${late}`).toBe(late ? Verdict.stolen : Verdict.accept);
      }
  });

  it("that overlap void the datagram; doubled ones do no harm", () => {
    const parts = fragment(datagram(4, 100), 68, 7);
    const [a, b, c] = parts as [Uint8Array, Uint8Array, Uint8Array];
    const [wide] = fragment(datagram(4, 100), 76, 7) as [Uint8Array];
    const last = (packets: readonly Uint8Array[]): number => {
      const node = new TestNode();
      return packets.map((packet) => node.pass(packet, [Hook.prerouting]).verdict).at(-1) ?? -1;
    };
    expect(last([a, a, b, b, c])).toBe(Verdict.accept);
    expect(last([a, wide, b, c])).not.toBe(Verdict.accept);
  });

  it("pass one by one where no rule asks for connections, and are held where one does", () => {
    const parts = fragment(datagram(4, 100), 68, 7);
    const verdicts = (rules: string): readonly number[] => {
      const node = new TestNode({ v4: restoreRuleset(rules, "rules") }, { tracking: "by-rules" });
      return parts.map((part) => node.pass(part).verdict);
    };
    const plain = "*filter\n-A FORWARD -p udp -m udp --dport 53 -j DROP\nCOMMIT\n";
    expect(verdicts(plain)).toEqual([Verdict.drop, Verdict.accept, Verdict.accept]);
    const asking =
      "*filter\n-A FORWARD -p udp -m udp --dport 53 -j DROP\n-A INPUT -m state --state NEW -j DROP\nCOMMIT\n";
    expect(verdicts(asking)).toEqual([Verdict.stolen, Verdict.stolen, Verdict.drop]);
  });
});
