/** Listings of a node as Cilium's command line prints them, for each version; and what Go's printers do. */
import { describe, expect, it } from "vitest";
import { goJson, goTable } from "../../../../src/engine/cilium/listings/go-text.ts";
import { datapathMaps, firstPolicyPlace } from "../../../../src/engine/cilium/maps.ts";
import { contentOf } from "../../../../src/filter/bpf/index.ts";
import { compileCluster, vendorKinds } from "../../../../src/harness/index.ts";
import { expectGolden } from "../../../golden.ts";
import { listingsOf, product, stateOf } from "./cluster.ts";

const state = stateOf({ vendorKinds });

interface Entry {
  readonly Flags: number;
  readonly Key: Readonly<Record<string, number>>;
}
interface Listed {
  readonly EndpointID: string;
  readonly Path: string;
  readonly Content: readonly Entry[];
}

const policiesOf = (version: string): readonly Listed[] =>
  JSON.parse(listingsOf(state, product(`cilium@${version}`), "n1").get("policy.json") ?? "");

describe("the listings of a node", () => {
  it.each(["1.16", "1.18", "1.19"])("of Cilium %s are those that were reviewed", (version) => {
    const listings = listingsOf(state, product(`cilium@${version}`), "n1");
    const texts = [...listings].filter(([name]) => !name.startsWith("programs/") && name !== "maps.txt");
    expectGolden(`cilium/${version}.txt`, texts.map(([name, text]) => `=== ${name}\n${text}`).join(""));
  });

  it("differ between versions of one generation where Cilium's do", () => {
    const text = (version: string, name: string): string =>
      listingsOf(state, product(`cilium@${version}`), "n1").get(name) ?? "";
    expect(text("1.14", "ipcache.txt")).toMatch(/^10\.244\.0\.2\/32 .* tunnelendpoint=0\.0\.0\.0 *$/m);
    expect(text("1.16", "ipcache.txt")).toMatch(/^10\.244\.0\.2\/32 .* flags=<none> *$/m);
    expect(text("1.17", "policy.txt")).toMatch(/^Allow +Egress +reserved:unknown +8\/ICMP /m);
    expect(text("1.18", "policy.txt")).toMatch(/^Allow +Egress +ANY +8\/ICMP /m);
    expect(text("1.17", "lxc.txt")).not.toContain("parent_ifindex");
    expect(text("1.18", "lxc.txt")).toContain("parent_ifindex=0");
  });

  it("say the same of a map as text and as JSON", () => {
    for (const version of ["1.14", "1.18", "1.19"]) {
      const listings = listingsOf(state, product(`cilium@${version}`), "n1");
      const text = listings.get("policy.txt") ?? "";
      for (const { EndpointID, Path, Content } of policiesOf(version)) {
        const [, rest = ""] = text.split(`Endpoint ID: ${EndpointID}\nPath: ${Path}\n\n`);
        const lines = (rest.split("\n\n")[0] ?? "").split("\n");
        const rows = lines.filter((line) => /^(Allow|Deny)/.test(line));
        expect(rows.map((row) => [row.startsWith("Deny"), / Egress /.test(row)])).toEqual(
          Content.map(({ Flags, Key }) => [(Flags & 1) === 1, Key["TrafficDirection"] === 1]),
        );
      }
    }
  });

  it("hold each entry of each endpoint's map, ports with their bytes as they lie in memory", () => {
    const { bpf } = compileCluster(state, product("cilium")).get("n1")?.tables ?? {};
    const maps = bpf?.maps.slice(firstPolicyPlace) ?? [];
    expect(firstPolicyPlace).toBe(datapathMaps({ generation: "G2", policyMapMax: 1 }).length);
    const listed = policiesOf("1.18");
    expect(listed.map(({ Content }) => Content.length).sort()).toEqual(
      maps.map((map) => contentOf(map).length).sort(),
    );
    const ports = listed.flatMap(({ Content }) =>
      Content.map(({ Key }) => [Key["Nexthdr"], Key["Prefixlen"], Key["DestPortNetwork"]]),
    );
    expect(ports).toContainEqual([6, 64, 0x5000]); // port 80
    expect(ports).toContainEqual([17, 60, 0x3075]); // 30000/12
    expect(ports).toContainEqual([1, 64, 0x0800]); // echo request
  });

  it("name the endpoint of each map, by the number in its file's name", () => {
    for (const [version, name] of [
      ["1.16", "cilium_policy_"],
      ["1.17", "cilium_policy_v2_"],
    ] as const)
      for (const { EndpointID, Path } of policiesOf(version))
        expect(Path).toBe(`/sys/fs/bpf/tc/globals/${name}${EndpointID.padStart(5, "0")}`);
  });

  it("are there for engines that have them alone", () => {
    const none = compileCluster(state, product("cilium")).get("n1");
    expect(none?.tables.bpf?.programs.length).toBe(4);
    const listings = listingsOf(state, product("cilium"), "n1");
    expect([...listings.keys()].filter((name) => name.startsWith("programs/"))).toHaveLength(4);
    expect(listingsOf(stateOf({ vendorKinds }), product("none"), "n1").size).toBe(0);
  });
});

describe("Go's printers", () => {
  it("indent JSON by two, escape what HTML would read, and leave empty lists on one line", () => {
    expect(goJson({ a: [], b: {}, c: undefined, d: ["<&>", 2n ** 64n - 1n, true], e: { f: 'x"y' } })).toBe(
      `{
  "a": [],
  "b": {},
  "d": [
    "\\u003c\\u0026\\u003e",
    18446744073709551615,
    true
  ],
  "e": {
    "f": "x\\"y"
  }
}
`,
    );
  });

  it("set columns over neighbouring lines that have them, each as wide as its widest cell and three more", () => {
    const lines = [
      { cells: ["A"], rest: "LONG TITLE BEHIND" },
      { cells: ["longest cell", "b"] },
      { cells: ["x", "second"], rest: "end" },
      { cells: [] },
      { cells: ["y"] },
    ];
    expect(goTable(lines, 5)).toBe(
      [
        "A              LONG TITLE BEHIND",
        "longest cell   b        ",
        "x              second   end",
        "",
        "y    ",
        "",
      ].join("\n"),
    );
  });
});
