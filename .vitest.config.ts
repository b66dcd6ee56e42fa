import { defineConfig } from "vitest/config";

const reportFile = process.env["PODWIRE_REPORT"];

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "threads",
    globalSetup: "test/cleanup.ts",
    maxWorkers: 2,
    // PODWIRE_REPORT=FILE writes what ran as JSON too (see .ci/run)
    reporters: reportFile === undefined ? ["default"] : ["default", ["json", { outputFile: reportFile }]],
  },
});
