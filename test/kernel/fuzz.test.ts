/** `podwire fuzz` against the running kernel, as people call it. */
import { expect, it } from "vitest";
import type { FuzzDocument } from "../../src/harness/index.ts";
import { folderWith, podwire } from "../cli/installed.ts";
import { describeNeeding } from "../needs.ts";

const needs = ["root", "tun", "iptables", "iptables-nft", "ipset", "conntrack", "ip"] as const;
const cwd = folderWith("fuzz-kernel", {});

describeNeeding("podwire fuzz against the kernel", needs, () => {
  it.each([
    ["an engine's tables", ["-e", "azure-npm", "--against", "kernel", "--runs", "5"]],
    ["raw rule sets", ["--level", "tables", "--runs", "5", "--packets", "100"]],
  ])("compares %s on both backends", (_, args) => {
    const { code, stdout, stderr } = podwire(["fuzz", ...args, "--seed", "1", "-o", "json"], { cwd });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { against, results } = JSON.parse(stdout) as FuzzDocument;
    expect(against).toBe("kernel");
    expect(results.map(({ backend, runs }) => [backend, runs])).toEqual([
      ["legacy", 5],
      ["nft", 5],
    ]);
    for (const { compared } of results) expect(compared).toBeGreaterThan(400);
  });
});
