/**
 * Whatever a capture holds, replay has a word on every packet: captures of others, and random damage, into engines on
 * manifests and into a node's dump.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InputError } from "../../../src/base/index.ts";
import { createCaptureReader, LinkType, pcapHeader, pcapPacket } from "../../../src/capture/index.ts";
import {
  createOriginPlacer,
  DumpTarget,
  emulate,
  NetworkTarget,
  parseSelection,
  Replayer,
  type ReplayTarget,
  readDump,
} from "../../../src/harness/index.ts";
import { buildCluster, loadManifests } from "../../../src/k8s/index.ts";
import { corpus } from "../../packet/corpus.ts";
import { runs } from "../../runs.ts";
import { manifest, pod, policy } from "../cluster.ts";

const objects = manifest(
  pod("x/a", { node: "n1" }),
  pod("x/b", { node: "n2" }),
  policy("x/in", "{ podSelector: {}, ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 80 }] }] }"),
);

/** Every packet comes in at a node's uplink, whatever its addresses. */
function engineTarget(engine: string): ReplayTarget {
  const selection = parseSelection(engine);
  if (selection.kind !== "product") throw new Error(`${engine} is no product`);
  const { state } = buildCluster(loadManifests(objects), selection.aks);
  return new NetworkTarget(emulate(state, selection, { seed: 1 }).network, () => state, { node: "n1" });
}

const rules = `*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p udp --dport 53 -j CT --notrack
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.9:8080
-A POSTROUTING -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p tcp -m multiport --dports 22,179 -j REJECT --reject-with tcp-reset
-A FORWARD -p udp -j REJECT
COMMIT
`;
const rules6 = rules.replace("10.0.0.9:8080", "[fd00::9]:8080");

function dumpTarget(hook?: string): ReplayTarget {
  const tables = readDump({
    iptables: { name: "4", text: rules },
    ip6tables: { name: "6", text: rules6 },
  });
  const addresses = [{ family: 4 as const, words: [0x0a00_0001] }];
  const place = { node: "n", inInterface: undefined, outInterface: undefined, families: [4, 6] as const };
  return new DumpTarget(tables, { ...place, hook }, { addresses, interfaces: [], routes: [] }, 1);
}

const targets: readonly (readonly [string, () => ReplayTarget])[] = [
  ["azure-npm", () => engineTarget("azure-npm")],
  ["cilium", () => engineTarget("cilium")],
  ["a dump", () => dumpTarget()],
  ["a dump's FORWARD", () => dumpTarget("FORWARD")],
];

/** Replays as much as can be read; returns the number of packets. */
function replayAll(target: ReplayTarget, name: string, bytes: Uint8Array): number {
  const replayer = new Replayer(target, createOriginPlacer([]));
  try {
    const reader = createCaptureReader(name, {
      packet(packet) {
        const { index, line } = replayer.replay(packet);
        expect(line, `packet ${index}`).not.toBe("");
      },
    });
    reader.push(bytes);
    reader.end();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    expect(error.issues[0]?.offset).toBeGreaterThanOrEqual(0);
  }
  replayer.finish();
  const { counts } = replayer;
  const { notIp, unknownAddress, notUnicast, noTables, held, copies, judged } = counts;
  expect(notIp + unknownAddress + notUnicast + noTables + held + copies + judged).toBe(counts.packets);
  expect(counts.delivered + counts.denied + counts.failed).toBe(judged);
  expect(counts.flows).toBeLessThanOrEqual(judged);
  return counts.packets;
}

const folder = join(process.env["PODWIRE_SHARED"] ?? "../shared", "captures");

describe.each(targets)("into %s", (_, makeTarget) => {
  it.skipIf(!existsSync(folder))("goes every packet of every capture of others (PODWIRE_SHARED)", () => {
    let packets = 0;
    for (const name of readdirSync(folder).sort()) {
      const bytes = readFileSync(join(folder, name));
      let count = 0;
      const reader = createCaptureReader(name, { packet: () => count++ });
      reader.push(bytes);
      reader.end();
      expect(replayAll(makeTarget(), name, bytes), name).toBe(count);
      packets += count;
    }
    expect(packets).toBeGreaterThan(300);
  });

  it("law: goes whatever is left of a damaged capture", () => {
    const packets = fc.array(fc.constantFrom(...corpus), { minLength: 1, maxLength: 12, size: "max" });
    const damage = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), bits: fc.nat({ max: 255 }) });
    const damages = fc.array(damage, { maxLength: 12, size: "max" });
    const target = makeTarget(); // one for all: what stays in its tables is part of the damage
    fc.assert(
      fc.property(packets, damages, fc.double({ min: 0.5, max: 1, noNaN: true }), (made, harm, kept) => {
        const records = made.map(({ bytes }, i) =>
          pcapPacket({
            interfaceIndex: 0,
            seconds: i,
            nanoseconds: 0,
            bytes,
            originalLength: bytes.length + (i % 3),
          }),
        );
        const file = new Uint8Array(Buffer.concat([pcapHeader(LinkType.raw), ...records]));
        for (const { at, bits } of harm) {
          const place = 24 + Math.floor(at * (file.length - 24));
          if (place < file.length) file[place] = (file[place] ?? 0) ^ bits;
        }
        replayAll(target, "damaged", file.slice(0, Math.max(24, Math.ceil(file.length * kept))));
      }),
      runs(60),
    );
  });
});
