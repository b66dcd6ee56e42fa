/** `podwire fuzz` as people call it: what it says, what it writes, and that what it writes shows the disagreement again. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readCapture } from "../../src/capture/index.ts";
import type { FuzzDocument } from "../../src/harness/index.ts";
import { loadScenario } from "../../src/scenario/index.ts";
import { folderWith, podwire } from "./installed.ts";

/** An engine that puts nothing on top of the platform, and says so to nobody. */
const blindEngine = `
export const engine = {
  name: "blind-linux",
  product: "program",
  os: "linux",
  version: "1",
  switches: {},
  features: { platforms: ["Linux"], networkPlugins: ["azure"], filters: "iptables", features: {} },
  divergences: [],
  isStatic: true,
  compile: () => (_node, base) => ({ tables: base, diagnostics: [] }),
  agent: () => ({ start() {}, event() {}, wake() {}, stop() {} }),
};
`;

const cwd = folderWith("fuzz", { "blind.mjs": blindEngine });

describe("podwire fuzz", () => {
  it("finds an engine that enforces nothing, and writes a small scenario that shows it", {
    timeout: 60_000,
  }, () => {
    const args = ["fuzz", "-e", "./blind.mjs", "--runs", "50", "--seed", "7", "--out", "found", "-o", "json"];
    const { code, stdout, stderr } = podwire(args, { cwd });
    expect(stderr).toBe("");
    expect(code).toBe(1);
    const document = JSON.parse(stdout) as FuzzDocument;
    const finding = document.results[0]?.finding;
    expect(finding?.lines.join()).toMatch(/deny by the API, allow by/);
    const [scenario = "", capture = ""] = finding?.files ?? [];
    const text = readFileSync(join(cwd, scenario), "utf8");
    const loaded = loadScenario({ name: scenario, text });
    expect(text.match(/kind: NetworkPolicy$/gm)).toHaveLength(1);
    expect(text.match(/kind: Pod$/gm)?.length).toBeLessThanOrEqual(2);
    expect(loaded.steps.length).toBe(1);
    // the oracle holds, the engine does not; an engine that enforces does
    expect(text).toMatch(/^# podwire fuzz, seed 7, .* Run with --engine oracle,\.\/blind\.mjs\.$/m);
    const again = podwire(["run", scenario, "-e", "oracle,./blind.mjs"], { cwd });
    expect(again.code).toBe(1);
    expect(again.stdout).toMatch(/^ok .* on oracle$/m);
    expect(again.stdout).toMatch(/^FAILED .* on \.\/blind\.mjs/m);
    expect(podwire(["run", scenario, "-e", "oracle,azure-npm"], { cwd }).code).toBe(0);
    const packets = readCapture(readFileSync(join(cwd, capture)), "packets");
    expect(packets.records.length).toBeGreaterThan(0);
  });

  it("does the same for the same seed, file by file", { timeout: 60_000 }, () => {
    const run = (out: string) =>
      podwire(["fuzz", "-e", "./blind.mjs", "--runs", "50", "--seed", "11", "--out", out], { cwd });
    const [first, second] = [run("a"), run("b")];
    expect(second.stdout.replaceAll("b/", "a/")).toBe(first.stdout);
    const [folder = ""] = readdirSync(join(cwd, "a"));
    for (const file of readdirSync(join(cwd, "a", folder)))
      expect(readFileSync(join(cwd, "b", folder, file))).toEqual(readFileSync(join(cwd, "a", folder, file)));
  });

  it("says nothing more than what it compared where all agree, and writes nothing", {
    timeout: 60_000,
  }, () => {
    const args = ["fuzz", "-e", "azure-npm,none", "--runs", "20", "--seed", "3", "--out", "nothing"];
    const { code, stdout, stderr } = podwire(args, { cwd });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^ok {4}azure-npm against the oracle: 20 of 20 clusters, [\d,]+ cells/m);
    expect(stdout).toMatch(/^ok {4}none against the oracle: 20 of 20 clusters.*none-not-enforced/m);
    expect(existsSync(join(cwd, "nothing"))).toBe(false);
  });

  it("compares two engines, and two readings of the API", { timeout: 60_000 }, () => {
    const two = podwire(
      ["fuzz", "-e", "azure-npm,none", "--against", "engine", "--runs", "20", "--seed", "3"],
      {
        cwd,
      },
    );
    expect(two.code).toBe(0);
    const readings = podwire(
      [
        "fuzz",
        "-e",
        "oracle,oracle+ipBlockPods=never",
        "--against",
        "engine",
        "--runs",
        "100",
        "--seed",
        "3",
      ],
      { cwd },
    );
    expect(readings.code).toBe(1);
    expect(readings.stdout).toMatch(/(allow|deny) by oracle, (allow|deny) by oracle\+ipBlockPods=never/);
  });

  it("draws a seed where none is given, and says it where it matters", { timeout: 60_000 }, () => {
    const seeds = [0, 1].map(() => {
      const { stdout } = podwire(["fuzz", "-e", "none", "--runs", "1", "-o", "json"], { cwd });
      return (JSON.parse(stdout) as FuzzDocument).seed;
    });
    expect(seeds[0]).not.toBe(seeds[1]);
  });

  it.each([
    [["fuzz"], /fuzz needs --engine, or --level tables/],
    [["fuzz", "-e", "azure-npm", "--level", "x"], /--level takes cluster or tables, not x/],
    [["fuzz", "-e", "azure-npm", "--against", "x"], /--against takes oracle, kernel or engine, not x/],
    [["fuzz", "--level", "tables", "--against", "oracle"], /no other judge than the kernel/],
    [["fuzz", "--level", "tables", "-e", "none"], /no engine: its rule sets are drawn/],
    [["fuzz", "--level", "tables", "--backend", "bsd"], /--backend takes legacy or nft, not bsd/],
    [["fuzz", "-e", "oracle"], /needs engines with tables/],
    [["fuzz", "-e", "azure-npm", "--against", "engine"], /compares two, not 1/],
    [["fuzz", "-e", "azure-npm", "--backend", "nft"], /--backend goes with --against kernel/],
    [["fuzz", "-e", "azure-npm", "--runs", "0"], /--runs must be at least 1, not 0/],
    [["fuzz", "-e", "azure-npmm"], /azure-npmm.*azure-npm/],
  ])("refuses %j", (args, says) => {
    const { code, stdout, stderr } = podwire(args, { cwd });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(says);
  });
});
