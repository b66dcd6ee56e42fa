/**
 * Sums the test reports of a CI run: `node tally.mjs FAILED_STEPS TEST.json KERNEL.json`. Suites under test/kernel count
 * in the report of the run that runs them, so the skipped ones of `npm test` are left out of the sum. A step that failed
 * without a failed test (lint, types, the demo, a report that is not there) counts as a failure. Lists what was skipped;
 * the last line is the tally; exits 1 if anything failed.
 */
import { existsSync, readFileSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

/** @typedef {{ passed: number, failed: number, skipped: string[] }} Tally */

const isKernelSuite = (/** @type {string} */ file) => /(^|\/)test\/kernel\//.test(file);

/**
 * One vitest JSON report; `include` chooses its files.
 * @param {{ testResults: { name: string, status: string, assertionResults: { status: string, fullName: string }[] }[] }} report
 * @param {(file: string) => boolean} include
 * @returns {Tally}
 */
export function tallyReport(report, include) {
  const tally = { passed: 0, failed: 0, skipped: /** @type {string[]} */ ([]) };
  for (const { name, status, assertionResults } of report.testResults) {
    if (!include(name)) continue;
    // a file that could not be loaded, or a suite hook that failed, has no failed test to show for it
    if (status === "failed" && !assertionResults.some((one) => one.status === "failed")) tally.failed++;
    for (const one of assertionResults) {
      if (one.status === "passed") tally.passed++;
      else if (one.status === "failed") tally.failed++;
      else tally.skipped.push(`${relative(process.cwd(), name)}: ${one.fullName}`);
    }
  }
  return tally;
}

/**
 * @param {number} failedSteps
 * @param {object | undefined} test
 * @param {object | undefined} kernel
 * @returns {Tally}
 */
export function tallyRun(failedSteps, test, kernel) {
  const parts = [];
  if (test !== undefined) parts.push(tallyReport(test, (file) => !isKernelSuite(file)));
  if (kernel !== undefined) parts.push(tallyReport(kernel, isKernelSuite));
  const passed = parts.reduce((sum, part) => sum + part.passed, 0);
  const failedTests = parts.reduce((sum, part) => sum + part.failed, 0);
  // each failed step counts once at least
  return { passed, failed: Math.max(failedTests, failedSteps), skipped: parts.flatMap((part) => part.skipped) };
}

const read = (/** @type {string} */ file) =>
  existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [failedSteps = "0", test = "", kernel = ""] = process.argv.slice(2);
  const missing = [test, kernel].filter((file) => !existsSync(file)).length;
  const { passed, failed, skipped } = tallyRun(
    Math.max(Number(failedSteps), missing),
    read(test),
    read(kernel),
  );
  for (const title of skipped) process.stdout.write(`skipped: ${title}\n`);
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
  process.exitCode = failed > 0 ? 1 : 0;
}
