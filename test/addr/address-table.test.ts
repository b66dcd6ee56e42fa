/** Numbers by address: what a Map over texts would hold. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { AddressTable, formatIp, type Ip } from "../../src/addr/index.ts";

const word = fc.constantFrom(0, 1, 2, 0x0a000001, 0xffffffff);
const address: fc.Arbitrary<Ip> = fc.oneof(
  word.map((one): Ip => ({ family: 4, words: [one] })),
  fc.tuple(word, word, word, word).map((words): Ip => ({ family: 6, words })),
  fc.nat().map((one): Ip => ({ family: 4, words: [one] })),
);

it("law: a table holds what a map of the same puts and removals holds", () => {
  const step = fc.record({ ip: address, value: fc.option(fc.nat({ max: 1000 })) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const [table, map] = [new AddressTable(), new Map<string, number>()];
      for (const { ip, value } of steps) {
        if (value === null) {
          table.delete(ip);
          map.delete(formatIp(ip) + ip.family);
        } else {
          table.set(ip, value);
          map.set(formatIp(ip) + ip.family, value);
        }
      }
      for (const { ip } of steps)
        expect(table.get(ip.family, [7, ...ip.words], 1)).toBe(map.get(formatIp(ip) + ip.family) ?? -1);
    }),
  );
});
