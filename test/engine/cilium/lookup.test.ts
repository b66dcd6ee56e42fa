/** The policy lookup of each generation, through the emitted programs: raw maps in, verdict and match type out. */
import { describe, expect, it } from "vitest";
import { tcp } from "../../../src/packet/index.ts";
import { ip } from "../../filter/node.ts";
import { LoneNode, podA, podB, type RawPolicy, variants } from "./lone-node.ts";

const id = 1000;
const exact: RawPolicy = { identity: id, protocol: 6, port: 80 };
const any: RawPolicy = { identity: 0, protocol: 6, port: 80 };

/** From published behaviour of the generations: `133`, `181 mtN`, `mtN`, `redirect mtN`. */
const vectors: readonly (readonly [string, readonly RawPolicy[], string, string, string])[] = [
  ["nothing", [], "133", "133", "133"],
  ["identity and port", [exact], "mt2", "mt2", "mt2"],
  ["any and port", [any], "mt3", "mt3", "mt3"],
  [
    "identity, and a deny of the port",
    [{ identity: id }, { ...any, deny: true }],
    "181 mt3",
    "181 mt3",
    "181 mt3",
  ],
  ["a deny of the identity, and the port", [{ identity: id, deny: true }, any], "mt3", "181 mt1", "181 mt1"],
  [
    "identity and port, and any to the proxy",
    [exact, { ...any, proxyPort: 15001 }],
    "mt2",
    "redirect mt3",
    "redirect mt3",
  ],
  ["identity and protocol, and any and port", [{ identity: id, protocol: 6 }, any], "mt3", "mt3", "mt3"],
  ["identity and any, both with the port", [exact, any], "mt2", "mt2", "mt2"],
  [
    "a deny hidden by a narrower allow of its identity",
    [exact, { identity: id, deny: true }],
    "mt2",
    "mt2",
    "mt2",
  ],
  ["identity and port, and a deny of all", [exact, { identity: 0, deny: true }], "mt2", "181 mt4", "181 mt4"],
  ["another protocol", [{ identity: 0, protocol: 17, port: 80 }], "133", "133", "133"],
  [
    "a block of ports that covers it",
    [{ identity: id, protocol: 6, port: 80, portBits: 14 }],
    "mt2",
    "mt2",
    "mt2",
  ],
  [
    "a block of ports beside it",
    [{ identity: id, protocol: 6, port: 84, portBits: 14 }],
    "133",
    "133",
    "133",
  ],
  ["any and protocol", [{ identity: 0, protocol: 6 }], "mt6", "mt6", "mt6"],
  ["identity and protocol", [{ identity: id, protocol: 6 }], "mt5", "mt5", "mt5"],
  ["all", [{ identity: 0 }], "mt4", "mt4", "mt4"],
];

function answer(generation: keyof typeof variants, policyB: readonly RawPolicy[]): string {
  const node = new LoneNode({ variant: variants[generation], policyB });
  const syn = tcp({ src: ip(podA), dst: ip(podB), sport: 40_000, dport: 80, flags: 2 });
  const { verdict, reason, matchType, proxyPort } = node.to("B", syn, (id << 16) | 0x0f00);
  if (verdict === "drop") return matchType === 0 ? String(reason) : `${reason} mt${matchType}`;
  return `${proxyPort === 0 ? "" : "redirect "}mt${matchType}`;
}

describe("the policy lookup", () => {
  it.each(vectors)("of %s", (_name, entries, g1, g2, g3) => {
    expect([answer("G1", entries), answer("G2", entries), answer("G3", entries)]).toEqual([g1, g2, g3]);
  });
});
