/** Cilium's programs, compiled, leave what they leave interpreted: verdicts, packets, marks, records, maps. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { contentOf } from "../../../src/filter/bpf/index.ts";
import { everyVariant, LoneNode, type LoneNodeOptions } from "./lone-node.ts";
import { outerPrefixes, type Placed, placedPackets, randomPolicies, services } from "./random-world.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Everything that the packets leave on the node, one after another. */
function leftBy(options: LoneNodeOptions, packets: readonly Placed[]): readonly string[] {
  const node = new LoneNode(options);
  const passed = packets.map(({ spot, bytes, mark }) => {
    node.clock.ns += 1e6;
    const { verdict, bytes: after, mark: markAfter, oif } = node.pass(spot.hook, spot.index, bytes, mark);
    const records = node.datapath.sent.map((event) => hex(event.bytes));
    return `${verdict} ${hex(after)} ${markAfter} ${oif} ${records.join()}`;
  });
  const maps = node.datapath.tables().maps.map(
    (map) =>
      `${map.name} ${contentOf(map)
        .map(({ key, value }) => `${hex(key)}=${hex(value)}`)
        .join()}`,
  );
  return [...passed, ...maps, JSON.stringify(node.datapath.faults)];
}

describe("Cilium's programs", () => {
  it.each([...everyVariant])("of %s leave compiled what they leave interpreted", (_, variant) => {
    const world = fc.record({
      policyA: randomPolicies,
      policyB: randomPolicies,
      policyOfHost: randomPolicies,
      packets: fc.array(placedPackets, { minLength: 30, maxLength: 60 }),
    });
    const entries = services();
    const verdicts = new Set<string>();
    fc.assert(
      fc.property(world, ({ packets, ...policies }) => {
        const options = { variant, ...policies, entries, prefixes: outerPrefixes };
        const compiled = leftBy({ ...options, compileAfter: 0 }, packets);
        expect(compiled).toEqual(leftBy({ ...options, compileAfter: Number.POSITIVE_INFINITY }, packets));
        for (const line of compiled.slice(0, packets.length)) verdicts.add(line.split(" ", 1)[0] ?? "");
      }),
      { numRuns: isSoak ? 1000 : 6, seed: isSoak ? Date.now() : 20_272 },
    );
    expect([...verdicts].sort()).toEqual(["accept", "drop", "redirect"]);
  });
});
