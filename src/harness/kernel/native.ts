/**
 * Small C programs of the judges: found beside the modules, compiled on demand, once for each content of the source,
 * into a folder of the user's own.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function isInstalled(tool: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${tool}`]).status === 0;
}

/** A C compiler of this machine, if there is one. */
export function findCompiler(): string | undefined {
  return ["cc", "gcc", "clang"].find(isInstalled);
}

/** Beside this module in a checkout; in a build (the benchmarks' is one folder deeper), the package's sources. */
export function sourceFile(name: string): string {
  const above = ["../../..", "../../../.."].map((up) => join(import.meta.dirname, up, "src/harness/kernel"));
  const places = [import.meta.dirname, ...above];
  const found = places.map((place) => join(place, name)).find((file) => existsSync(file));
  if (found === undefined) throw new Error(`kernel judge: ${name} is missing from the package`);
  return found;
}

/** Path of the program made from `NAME.c`. @throws Error when it does not compile. */
export function compiledProgram(name: string, compiler: string): string {
  const source = sourceFile(`${name}.c`);
  const folder = join(tmpdir(), `podwire-${process.getuid?.() ?? 0}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { uid, mode } = statSync(folder);
  if (uid !== process.getuid?.() || (mode & 0o022) !== 0)
    throw new Error(`kernel judge: ${folder} is not ours alone`);
  const digest = createHash("sha256").update(readFileSync(source)).digest("hex").slice(0, 16);
  const program = join(folder, `${name}-${digest}`);
  if (existsSync(program)) return program;
  const scratch = mkdtempSync(join(folder, "compile-"));
  const made = spawnSync(compiler, ["-O2", "-o", join(scratch, name), source], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`kernel judge: ${compiler} failed: ${made.stderr}`);
  renameSync(join(scratch, name), program);
  rmSync(scratch, { recursive: true });
  return program;
}
