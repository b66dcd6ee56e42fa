/** Laws of the HNS kind: what is written is read back, and a long list asked through bits is the list asked one by one. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type HnsTables, restoreHns, saveHns } from "../../../src/filter/hns/index.ts";
import { type FilterObserver, Hook } from "../../../src/filter/index.ts";
import { icmpEcho, tcp, udp } from "../../../src/packet/index.ts";
import { addresses } from "../arbitraries.ts";
import { ip } from "../node.ts";
import { acl, tables } from "./arbitraries.ts";
import { HnsTestNode } from "./node.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";
const runs = (count: number) => ({ numRuns: isSoak ? count * 30 : count });
const quiet: FilterObserver = { enter: () => {}, rule: () => {}, lookup: () => {}, verdict: () => {} };

const packets: readonly Uint8Array[] = ([4, 6] as const).flatMap((family) => {
  const list = addresses[family].map(ip);
  return list.flatMap((src, i) => {
    const dst = list[(i * 5 + 2) % list.length] ?? src;
    const ends = { src, dst, sport: i % 2 === 0 ? 79 : 443, dport: i % 3 === 0 ? 80 : 8000 };
    return [tcp({ ...ends, flags: 2 }), udp(ends), icmpEcho({ src, dst, identifier: 1, sequence: 1 })];
  });
});

describe("the HNS kind", () => {
  it("law: restore(save(x)) = x", () => {
    fc.assert(
      fc.property(tables(), (x) => {
        expect(restoreHns([{ name: "hns.json", text: saveHns(x) }])).toEqual(x);
      }),
      runs(150),
    );
  });

  it("law: tables() of what was linked is what was linked", () => {
    fc.assert(
      fc.property(tables(), (x) => {
        expect(new HnsTestNode(x).datapath.tables()).toEqual(x);
      }),
      runs(50),
    );
  });

  it("law: asked through bits = asked one by one, whatever happens to ACLs and sets in between", () => {
    const change = fc.oneof(
      fc
        .array(acl, { maxLength: 3 })
        .map((acls) => ({ kind: "hns-acls", op: "add", endpoint: "endpoint-1", acls })),
      tables().map((x) => ({
        kind: "hns-sets",
        op: "put",
        network: "net-1",
        sets: x.networks[0]?.sets ?? [],
      })),
    );
    fc.assert(
      fc.property(longTables, fc.array(change, { maxLength: 3 }), (x, changes) => {
        const [bits, byOne] = [new HnsTestNode(x), new HnsTestNode(x)];
        for (const op of [undefined, ...changes]) {
          if (op !== undefined) expect(bits.datapath.apply(op)).toEqual(byOne.datapath.apply(op));
          for (const packet of packets)
            for (const hook of [Hook.endpointIn, Hook.endpointOut] as const) {
              bits.datapath.forgetFlows();
              byOne.datapath.forgetFlows();
              expect(bits.pass(packet, hook, 1)).toEqual(byOne.pass(packet, hook, 1, quiet));
            }
        }
      }),
      runs(60),
    );
  });
});

/** Lists long enough for bits, without which the law would say nothing. */
const longTables: fc.Arbitrary<HnsTables> = fc
  .tuple(tables(), fc.array(acl, { minLength: 60, maxLength: 120 }))
  .map(([x, acls]) => ({
    ...x,
    endpoints: x.endpoints.map((one) => (one.id === "endpoint-1" ? { ...one, acls } : one)),
  }));
