/** Flows of a replay: found from both sides, closed when they are over, never more than so many at a time. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ReplayFlowDocument } from "../../../src/harness/index.ts";
import { EndsTable } from "../../../src/harness/replay/ends-table.ts";
import { FlowTable } from "../../../src/harness/replay/flows.ts";
import { type PacketEnds, reverseEnds } from "../../../src/harness/replay/packet-ends.ts";

function ends(client: number, sport: number, protocol = 6): PacketEnds {
  return Uint32Array.of(client, 0, 0, 0, 9, 0, 0, 0, (sport << 16) | 80, (4 << 8) | protocol);
}

function reverse(of: PacketEnds): PacketEnds {
  const reversed = new Uint32Array(10);
  reverseEnds(of, reversed);
  return reversed;
}

const nowhere = { from: undefined, to: undefined };
const secondNs = 1e9;

it("law: a table of ends holds what a map holds", () => {
  const step = fc.record({
    client: fc.nat({ max: 8 }),
    sport: fc.nat({ max: 8 }),
    value: fc.option(fc.nat()),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const [table, map] = [new EndsTable(), new Map<string, number>()];
      for (const { client, sport, value } of steps) {
        const key = ends(client, sport);
        if (value === null) {
          table.delete(key);
          map.delete(key.join());
        } else {
          table.set(key, value % 1e6);
          map.set(key.join(), value % 1e6);
        }
        expect(table.size).toBe(map.size);
      }
      for (const { client, sport } of steps) {
        const key = ends(client, sport);
        expect(table.get(key)).toBe(map.get(key.join()) ?? -1);
      }
    }),
  );
});

describe("flows", () => {
  it("are found from both sides, and by what NAT made of them", () => {
    const table = new FlowTable(() => undefined);
    const flow = table.open(ends(1, 1000), 0, 0, nowhere);
    table.alias(flow, ends(5, 2000), false);
    expect([table.find(ends(1, 1000), 1), table.foundReply]).toEqual([flow, false]);
    expect([table.find(reverse(ends(1, 1000)), 1), table.foundReply]).toEqual([flow, true]);
    expect([table.find(reverse(ends(5, 2000)), 1), table.foundReply]).toEqual([flow, true]);
    expect(table.find(ends(2, 1000), 1)).toBeUndefined();
  });

  it("are over when tracking would have forgotten them, with all their names", () => {
    const closed: ReplayFlowDocument[] = [];
    const table = new FlowTable((flow) => closed.push(flow));
    const flow = table.open(ends(1, 53, 17), 0, 0, nowhere);
    table.alias(flow, ends(5, 53, 17), false);
    table.count(flow, 0, 0, 60, true);
    expect(table.find(ends(1, 53, 17), 119 * secondNs)).toBe(flow);
    expect(table.find(ends(1, 53, 17), 121 * secondNs)).toBeUndefined();
    expect(closed).toMatchObject([{ flow: 0, protocol: "udp", packets: 1, verdict: "allow" }]);
    expect(table.find(ends(5, 53, 17), 0)).toBeUndefined();
  });

  it("of too many, the one that has been silent longest is over", () => {
    const closed: number[] = [];
    const table = new FlowTable(({ flow }) => closed.push(flow), 3);
    const [a] = [1, 2, 3].map((client) => table.open(ends(client, 1), client, client, nowhere));
    if (a !== undefined) table.count(a, 4, 4, 60, false);
    table.open(ends(4, 1), 5, 5, nowhere);
    expect(closed).toEqual([1]);
    for (let client = 5; client < 500; client++) table.open(ends(client, 1), client, client, nowhere);
    expect(closed).toHaveLength(496);
    table.closeAll();
    expect(closed.slice(-3)).toEqual([496, 497, 498]);
    expect(table.size).toBe(499);
  });
});
