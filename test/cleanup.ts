/** Removes what the tests of one run share, when all of them have ended (vitest's globalSetup). */
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Where test/cli/installed.ts keeps the packed podwire of a run; `pid` is that of the run. */
export function usersFolder(temporary: string, pid: number): string {
  return join(temporary, `podwire-installed-${pid}`);
}

export function teardown(): void {
  rmSync(usersFolder(tmpdir(), process.pid), { recursive: true, force: true });
}
