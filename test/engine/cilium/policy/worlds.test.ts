/** Who the world is: one identity, or one a family where the cluster has both; blocks of everything, and groups of blocks. */
import { describe, expect, it } from "vitest";
import { node, pod, policy, type RawObject } from "../../../oracle/world.ts";
import { allowed, cnp } from "../questions.ts";

const ipFamilies = ["ipv4", "ipv6"] as const;
const of4 = "x/a > ip:203.0.113.7 TCP 80";
const of6 = "x/a > ip:2001:db8::7 TCP 80";
const elsewhere4 = "x/a > ip:8.8.8.8 TCP 80";

const to = (rule: RawObject): readonly RawObject[] => [node("n1"), pod("x/a"), cnp("p", { egress: [rule] })];
const toBlock = (cidr: string, ...except: readonly string[]): readonly RawObject[] => [
  node("n1"),
  pod("x/a"),
  policy("x/p", {
    podSelector: {},
    policyTypes: ["Egress"],
    egress: [{ to: [{ ipBlock: { cidr, except } }] }],
  }),
];

describe("on a cluster of both families", () => {
  it.each([
    ["world", { toEntities: ["world"] }, [of4, of6]],
    ["world-ipv4", { toEntities: ["world-ipv4"] }, [of4]],
    ["world-ipv6", { toEntities: ["world-ipv6"] }, [of6]],
    ["0.0.0.0/0", { toCIDR: ["0.0.0.0/0"] }, [of4]],
    ["::/0", { toCIDRSet: [{ cidr: "::/0" }] }, [of6]],
    ["both blocks", { toCIDR: ["0.0.0.0/0", "::/0"] }, [of4, of6]],
    ["a block of IPv6", { toCIDR: ["2001:db8::/32"] }, [of6]],
    ["::/0 but for a block", { toCIDRSet: [{ cidr: "::/0", except: ["2001:db8::/32"] }] }, []],
  ])("%s is of its own", (_, rule, expected) => {
    for (const engine of ["cilium@1.16", "cilium@1.18", "cilium@1.19"])
      expect(allowed(engine, { objects: to(rule), asked: [of4, of6], ipFamilies })).toEqual(expected);
  });

  it("1.14 has one world: a block of everything of either family opens it", () => {
    const ask = (objects: readonly RawObject[]): readonly string[] =>
      allowed("cilium@1.14", { objects, asked: [of4, of6], ipFamilies });
    expect(ask(toBlock("0.0.0.0/0"))).toEqual([of4, of6]);
    expect(ask(toBlock("::/0"))).toEqual([of4, of6]);
    expect(ask(toBlock("0.0.0.0/0", "203.0.113.0/24"))).toEqual([]);
    expect(ask(toBlock("0.0.0.0/0", "198.51.100.0/24"))).toEqual([of4]);
  });
});

describe("on a cluster of IPv4, ::/0", () => {
  it.each([
    { engine: "cilium@1.14", inCidr: true, inSet: true, inSetWithHole: false },
    { engine: "cilium@1.16", inCidr: false, inSet: false, inSetWithHole: false },
    { engine: "cilium@1.17", inCidr: false, inSet: true, inSetWithHole: true },
    { engine: "cilium@1.18", inCidr: false, inSet: true, inSetWithHole: true },
    { engine: "cilium@1.19", inCidr: true, inSet: true, inSetWithHole: true },
  ])("is the world or nothing: $engine", ({ engine, inCidr, inSet, inSetWithHole }) => {
    const opens = (objects: readonly RawObject[]): boolean =>
      allowed(engine, { objects, asked: [of4] }).length > 0;
    expect(opens(to({ toCIDR: ["::/0"] }))).toBe(inCidr);
    expect(opens(to({ toCIDRSet: [{ cidr: "::/0" }] }))).toBe(inSet);
    expect(opens(toBlock("::/0"))).toBe(inSet);
    expect(opens(toBlock("::/0", "2001:db8::/32"))).toBe(inSetWithHole);
  });
});

describe("a block with exceptions", () => {
  it.each(["cilium@1.14", "cilium@1.16", "cilium@1.18", "cilium@1.19"])(
    "leaves them out, and nothing else, whatever blocks others name: %s",
    (engine) => {
      const objects = [
        ...toBlock("203.0.113.0/24", "203.0.113.64/26"),
        cnp("other", {
          endpointSelector: { matchLabels: { none: "such" } },
          egress: [{ toCIDR: ["203.0.113.80/28"] }],
        }),
      ];
      const hosts = [0, 63, 64, 80, 95, 127, 128, 255].map((host) => `x/a > ip:203.0.113.${host} TCP 80`);
      const inside = hosts.filter((_, i) => i < 2 || i > 5);
      expect(allowed(engine, { objects, asked: [...hosts, elsewhere4] })).toEqual(inside);
    },
  );
});

describe("a group of blocks", () => {
  const group = (...externalCIDRs: readonly string[]): RawObject => ({
    apiVersion: "cilium.io/v2alpha1",
    kind: "CiliumCIDRGroup",
    metadata: { name: "partners", labels: { tier: "gold" } },
    spec: { externalCIDRs },
  });
  const toGroup = (more: RawObject = {}): readonly RawObject[] =>
    to({ toCIDRSet: [{ cidrGroupRef: "partners", ...more }] });
  const asked = [of4, elsewhere4, "x/a > ip:198.51.100.1 TCP 80"];

  it.each(["cilium@1.16", "cilium@1.18"])("is each of them; without it a rule is of nobody: %s", (engine) => {
    const blocks = group("203.0.113.0/24", "198.51.100.0/24");
    expect(allowed(engine, { objects: [...toGroup(), blocks], asked })).toEqual([asked[0], asked[2]]);
    expect(allowed(engine, { objects: toGroup(), asked })).toEqual([]);
  });

  it("loses what a rule excepts, and is found by its labels", () => {
    const blocks = group("203.0.113.0/24", "198.51.100.0/24");
    const excepting = toGroup({ except: ["203.0.113.0/28"] });
    expect(allowed("cilium", { objects: [...excepting, blocks], asked })).toEqual([asked[2]]);
    const bySelector = to({ toCIDRSet: [{ cidrGroupSelector: { matchLabels: { tier: "gold" } } }] });
    expect(allowed("cilium", { objects: [...bySelector, blocks], asked })).toEqual([asked[0], asked[2]]);
  });
});
