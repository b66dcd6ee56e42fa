/**
 * The search judged in its turn: cases are drawn and given to the kernel once, then every mutant of the built package
 * judges them, each in a process of its own. One that no case tells from the kernel would show a blind spot.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serialize } from "node:v8";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTableJudge } from "../../src/harness/fuzz/table-judge.ts";
import { caseRandom, type JudgedCase, judgeRandomCase } from "../../src/harness/fuzz/tables.ts";
import { describeNeeding } from "../needs.ts";
import { type Mutant, mutants } from "./mutants.ts";

const root = join(import.meta.dirname, "../..");
const caseCount = 240;
const seed = 1; // as search.test.ts, which holds the original to the kernel

describeNeeding("mutants", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  let folder = "";
  const built = (): string => join(folder, "built");

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "podwire-mutants-"));
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    const compiler = join(root, "node_modules/.bin/tsc");
    execFileSync(compiler, ["-p", ".tsconfig.build.json", "--outDir", built()], { cwd: root });
    const judge = await startTableJudge("legacy");
    const cases: JudgedCase[] = [];
    for (let run = 0; run < caseCount; run++)
      cases.push(await judgeRandomCase(judge, caseRandom(seed, run), 300, run * 97));
    await judge.close();
    writeFileSync(join(folder, "cases"), serialize(cases));
  }, 600_000);
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  const firstDifference = (packageFolder: string): string =>
    execFileSync(
      process.execPath,
      [join(import.meta.dirname, "mutant-cases.mjs"), packageFolder, join(folder, "cases"), "legacy"],
      { encoding: "utf8" },
    );

  function judgeMutant({ file, from, to }: Mutant): string {
    const copy = join(folder, "mutant");
    cpSync(built(), copy, { recursive: true });
    const text = readFileSync(join(copy, file), "utf8");
    expect(text, `${file} no longer says what the mutant changes`).toContain(from);
    writeFileSync(join(copy, file), text.replaceAll(from, to));
    const found = firstDifference(copy);
    rmSync(copy, { recursive: true });
    return found;
  }

  it("are at least 25, and the original is none of them", { timeout: 300_000 }, () => {
    expect(mutants.length).toBeGreaterThanOrEqual(25);
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
    expect(firstDifference(built())).toBe("none");
  });

  it.each(mutants.map((one) => [one.name, one] as const))("dies: %s", { timeout: 300_000 }, (_, mutant) => {
    expect(judgeMutant(mutant), `survives ${caseCount} rule sets of 300 packets`).not.toBe("none");
  });
});
