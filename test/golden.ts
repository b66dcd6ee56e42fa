/**
 * Reviewed text in `test/golden`. PODWIRE_UPDATE_GOLDEN=1 writes what the code makes now; the difference is then
 * reviewed as any other change.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect } from "vitest";

const folder = join(import.meta.dirname, "golden");

export function expectGolden(name: string, text: string): void {
  const file = join(folder, name);
  if (process.env["PODWIRE_UPDATE_GOLDEN"] === "1") {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  expect(existsSync(file), `${name} is missing: run with PODWIRE_UPDATE_GOLDEN=1 and review it`).toBe(true);
  expect(text).toBe(readFileSync(file, "utf8"));
}
