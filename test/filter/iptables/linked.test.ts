import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Hook, Verdict, verdictName } from "../../../src/filter/index.ts";
import { fragment, icmpEcho, ipPacket, sctp, tcp, udp } from "../../../src/packet/index.ts";
import { type PacketSpec, packet, ruleset, sets } from "../arbitraries.ts";
import { naiveForward } from "../naive-iptables.ts";
import { emptyV4, emptyV6, TestNode } from "../node.ts";

const numRuns = process.env.PODWIRE_SOAK ? 20_000 : 400;

function bytesOf(spec: PacketSpec): Uint8Array {
  const { src, dst, sport, dport } = spec;
  const ends = { src, dst, sport, dport, payload: new Uint8Array(120) };
  const build = (): Uint8Array => {
    switch (spec.protocol) {
      case "tcp":
        return tcp({ ...ends, flags: spec.flags });
      case "udp":
        return udp(ends);
      case "sctp":
        return sctp({
          src,
          dst,
          sport,
          dport,
          verificationTag: 1,
          chunks: [{ kind: "unknown", type: 200, flags: 0, value: new Uint8Array(120) }],
        });
      case "icmp":
        return icmpEcho({ src, dst, identifier: 1, sequence: 1, payload: new Uint8Array(120) });
      case "gre":
        return ipPacket({ src, dst, protocol: 47, payload: new Uint8Array(120) });
    }
  };
  const whole = build();
  return spec.isLaterFragment ? (fragment(whole, 92)[1] ?? whole) : whole;
}

describe("linked rules", () => {
  it.each([4, 6] as const)("decide as the rules read straight from their data do (IPv%i)", (family) => {
    const decided = { accept: 0, drop: 0, reject: 0 };
    fc.assert(
      fc.property(
        ruleset(family),
        sets(family),
        fc.array(packet(family), { minLength: 10, maxLength: 30 }),
        (rules, ipsets, packets) => {
          const node = new TestNode({
            v4: family === 4 ? rules : emptyV4,
            v6: family === 6 ? rules : emptyV6,
            sets: ipsets,
          });
          for (const spec of packets) {
            const expected = naiveForward(rules, ipsets, spec);
            const got = node.pass(bytesOf(spec), [Hook.forward], spec);
            decided[expected.verdict]++;
            const rule = got.rule < 0 ? undefined : node.datapath.describeRule(got.rule);
            expect({
              verdict: verdictName[got.verdict],
              rule: rule === undefined ? undefined : `${rule.chain} ${rule.number}`,
              mark: got.mark,
              ...(got.verdict === Verdict.reject ? { rejectWith: got.detail } : {}),
            }).toEqual(expected);
          }
        },
      ),
      { numRuns },
    );
    expect(Math.min(...Object.values(decided))).toBeGreaterThan(50); // each verdict was really exercised
  });
});
