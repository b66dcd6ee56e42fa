/** Law: the chain of a policy's entries decides what the programs decide with these entries in the map. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decidePolicies } from "../../../../src/engine/cilium/policy/decisions.ts";
import { comparePolicyEntries, type PolicyEntry } from "../../../../src/engine/cilium/policy/entry.ts";
import { tcp, udp } from "../../../../src/packet/index.ts";
import { ip } from "../../../filter/node.ts";
import { answerOf } from "../../../questions.ts";
import { isSoak, runs } from "../../../runs.ts";
import { identityA, identityB, LoneNode, podA, podB, variants } from "../lone-node.ts";

const origin = { kind: "engine", name: "cilium", path: "", role: "allow" } as const;
const outside = "203.0.113.7";
const identityOutside = 3000;

const blocks = [
  [0, 0],
  [80, 16],
  [81, 16],
  [80, 14],
  [64, 10],
  [0, 1],
] as const;

const entry: fc.Arbitrary<PolicyEntry> = fc
  .record({
    identity: fc.constantFrom(0, identityB, identityOutside),
    protocol: fc.constantFrom(0, 6, 6, 17),
    block: fc.constantFrom(...blocks),
    deny: fc.boolean(),
  })
  .map(({ identity, protocol, block: [port, portPrefix], deny }) => ({
    identity,
    direction: "egress",
    protocol,
    port: protocol === 0 ? 0 : port,
    portPrefix: protocol === 0 ? 0 : portPrefix,
    deny,
    redirect: 0,
    origin,
  }));

const entries = fc
  .uniqueArray(entry, {
    maxLength: 10,
    selector: (one) => `${one.identity} ${one.protocol} ${one.port} ${one.portPrefix}`,
  })
  .map((list) => list.sort(comparePolicyEntries));

const identities = [
  { net: { ...ip(podA), prefix: 32 }, identity: identityA },
  { net: { ...ip(podB), prefix: 32 }, identity: identityB },
  { net: { ...ip(outside), prefix: 32 }, identity: identityOutside },
];
const services = [6, 17].map((protocol) => ({ protocol, first: 0, last: 65_535 }));

describe.each(["G1", "G2", "G3"] as const)("chains of policies of %s", (generation) => {
  it("decide what the programs decide with the entries in a map", {
    timeout: isSoak ? 3_600_000 : 60_000,
  }, () => {
    let dropped = 0;
    fc.assert(
      fc.property(entries, (list) => {
        const words = { generation, services, identities, own: 1, policies: [list] };
        const [chains] = decidePolicies(words).chains;
        if (chains === undefined) throw new Error("a policy has chains");
        const node = new LoneNode({
          variant: variants[generation],
          prefixes: [[outside, 32, identityOutside]],
          policyA: list.map(({ identity, protocol, port, portPrefix, deny }) => ({
            identity,
            egress: true,
            protocol,
            deny,
            ...(portPrefix === 0 ? {} : { port, portBits: portPrefix }),
          })),
        });
        let sport = 1024;
        for (const dst of [ip(podB), ip(outside)])
          for (const port of [63, 79, 80, 81, 83, 127, 40_000])
            for (const protocol of [6, 17]) {
              const ends = { src: ip(podA), dst, sport: sport++, dport: port };
              const packet = protocol === 6 ? tcp({ ...ends, flags: 2 }) : udp(ends);
              const { verdict } = node.from("A", packet);
              const connection = { src: ip(podA), dst, protocol, port };
              const stated = answerOf([{ hook: 0, chain: chains.egress }], connection, () => false).verdict;
              expect(`${protocol}/${port} ${stated}`).toBe(`${protocol}/${port} ${verdict}`);
              if (verdict === "drop") dropped++;
            }
      }),
      { ...runs(25), seed: 20_261 },
    );
    expect(dropped).toBeGreaterThan(100);
  });
});
