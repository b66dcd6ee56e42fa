/** The last line of a CI run: what it counts, and that nothing that failed is lost in it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "podwire-tally-"));
afterAll(() => rmSync(folder, { recursive: true }));

type Status = "passed" | "failed" | "skipped";

const file = (name: string, statuses: readonly Status[], status?: "failed"): object => ({
  name: `/clone/${name}`,
  status: status ?? (statuses.includes("failed") ? "failed" : "passed"),
  assertionResults: statuses.map((one, i) => ({ status: one, fullName: `${name} ${i}` })),
});

/** `undefined`: the step wrote no report. */
function tally(
  failedSteps: number,
  test: readonly object[] | undefined,
  kernel: readonly object[] | undefined,
): {
  readonly last: string | undefined;
  readonly listed: number;
  readonly code: number | null;
} {
  const paths = [test, kernel].map((testResults, i) => {
    const path = join(folder, `${i}.json`);
    rmSync(path, { force: true });
    if (testResults !== undefined) writeFileSync(path, JSON.stringify({ testResults }));
    return path;
  });
  const script = join(import.meta.dirname, "../../.ci/tally.mjs");
  const { stdout, status } = spawnSync(process.execPath, [script, String(failedSteps), ...paths], {
    encoding: "utf8",
  });
  const lines = stdout.trimEnd().split("\n");
  return {
    last: lines.at(-1),
    listed: lines.filter((line) => line.startsWith("skipped: ")).length,
    code: status,
  };
}

const ordinary = [
  file("test/a.test.ts", ["passed", "passed"]),
  file("test/kernel/k.test.ts", ["skipped", "skipped"]),
];
const kernel = [file("test/kernel/k.test.ts", ["passed", "passed"])];

describe("the tally", () => {
  it("counts a kernel suite in the run that runs it, not as skipped in the other", () => {
    expect(tally(0, ordinary, kernel)).toEqual({ last: "4 passed, 0 failed, 0 skipped", listed: 0, code: 0 });
  });

  it("counts and names what neither run ran", () => {
    const both = [...ordinary, file("test/conformance/c.test.ts", ["skipped"])];
    const k = [file("test/kernel/k.test.ts", ["passed", "skipped"])];
    expect(tally(0, both, k)).toEqual({ last: "3 passed, 0 failed, 2 skipped", listed: 2, code: 0 });
  });

  it("fails on a failed test of either run", () => {
    expect(tally(1, [file("test/a.test.ts", ["failed", "passed"])], kernel)).toMatchObject({
      last: "3 passed, 1 failed, 0 skipped",
      code: 1,
    });
    expect(tally(1, ordinary, [file("test/kernel/k.test.ts", ["failed"])]).code).toBe(1);
  });

  it("fails on a file that did not load, a step that failed without a test, and a report that is missing", () => {
    expect(tally(1, [file("test/a.test.ts", [], "failed")], kernel)).toMatchObject({
      last: "2 passed, 1 failed, 0 skipped",
      code: 1,
    });
    expect(tally(2, ordinary, kernel)).toMatchObject({ last: "4 passed, 2 failed, 0 skipped", code: 1 });
    expect(tally(0, ordinary, undefined)).toMatchObject({ last: "2 passed, 1 failed, 0 skipped", code: 1 });
  });
});
