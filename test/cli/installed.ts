/**
 * podwire as a user has it: built from this tree, packed by `npm pack`, unpacked beside its dependencies. Made once for
 * a run of the tests (threads share the process) and removed at its end by test/cleanup.ts.
 */
import { execFileSync, type SpawnSyncReturns, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { usersFolder } from "../cleanup.ts";

const root = join(import.meta.dirname, "../..");

/** A folder with podwire in its `node_modules`; scratch space for the tests. */
export function installed(): string {
  const home = usersFolder(tmpdir(), process.pid);
  const ready = join(home, "ready");
  if (existsSync(ready)) return home;
  try {
    mkdirSync(home);
  } catch {
    for (let waitedMs = 0; !existsSync(ready); waitedMs += 50) {
      if (waitedMs > 60_000)
        throw new Error("podwire was not packed within a minute: see the other test files");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
    return home;
  }
  pack(home);
  writeFileSync(ready, "");
  return home;
}

function pack(home: string): void {
  const tree = join(home, "tree");
  mkdirSync(tree);
  const npm = (args: readonly string[], cwd: string): string =>
    execFileSync("npm", args, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, npm_config_offline: "true" },
    });
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", ".tsconfig.build.json", "--outDir", join(tree, "dist")], {
    cwd: root,
  });
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly files: readonly string[];
    readonly dependencies: object;
    readonly optionalDependencies: object;
  };
  for (const name of ["package.json", ...manifest.files.filter((one) => one !== "dist")])
    cpSync(join(root, name), join(tree, name), { recursive: true });
  const modules = join(home, "node_modules");
  mkdirSync(modules);
  const optional = Object.keys(manifest.optionalDependencies).filter((name) =>
    existsSync(join(root, "node_modules", name)),
  );
  for (const name of [...Object.keys(manifest.dependencies), ...optional]) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(root, "node_modules", name), join(modules, name));
  }
  execFileSync(process.execPath, ["dist/cli/main.js", "schema", "-o", "json=dist/schema.json"], {
    cwd: tree,
  });
  npm(["pack", "--ignore-scripts", "--pack-destination", home], tree);
  const tarball = readdirSync(home).find((name) => name.endsWith(".tgz"));
  if (tarball === undefined) throw new Error("npm pack made no tarball");
  const target = join(modules, "podwire");
  mkdirSync(target);
  execFileSync("tar", ["-xzf", join(home, tarball), "-C", target, "--strip-components=1"]);
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Options of node's own. */
  readonly nodeArgs?: readonly string[];
}

/** The command's file, for tests that start it themselves. */
export function commandFile(): string {
  const manifest = readFileSync(join(installed(), "node_modules/podwire/package.json"), "utf8");
  const { bin } = JSON.parse(manifest) as { readonly bin: { readonly podwire: string } };
  return join(installed(), "node_modules/podwire", bin.podwire);
}

/** Runs the packed command to its end. */
export function podwire(args: readonly string[], options: CommandOptions = {}): CommandResult {
  const { PATH = "", HOME = "" } = process.env;
  const ran: SpawnSyncReturns<string> = spawnSync(
    process.execPath,
    [...(options.nodeArgs ?? []), commandFile(), ...args],
    {
      cwd: options.cwd ?? root,
      input: options.input ?? "",
      encoding: "utf8",
      env: { PATH, HOME, ...options.env },
      maxBuffer: 1 << 28,
      timeout: 50_000,
    },
  );
  return { code: ran.status, stdout: ran.stdout, stderr: ran.stderr };
}

/** Runs command lines one after the other in one process: for tables of cases. */
export function podwires(argLists: readonly (readonly string[])[], cwd: string): readonly CommandResult[] {
  const program = join(dirname(commandFile()), "program.js");
  const { PATH = "", HOME = "" } = process.env;
  const ran = spawnSync(process.execPath, [join(import.meta.dirname, "many.mjs"), program], {
    input: JSON.stringify(argLists.map((args) => ({ args, cwd }))),
    encoding: "utf8",
    env: { PATH, HOME },
    maxBuffer: 1 << 28,
    timeout: 50_000,
  });
  if (ran.status !== 0) throw new Error(`many.mjs failed: ${ran.stderr}`);
  return JSON.parse(ran.stdout) as readonly CommandResult[];
}

/** A new folder with these files. */
export function folderWith(name: string, files: Readonly<Record<string, string>>): string {
  const folder = join(installed(), "scratch", name);
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  return folder;
}
