/** What the package gives to programs: the public API is whole, documented, and there in the tarball. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as api from "../src/index.ts";
import { installed, podwire } from "./cli/installed.ts";

const root = join(import.meta.dirname, "..");
const source = (file: string): string => readFileSync(join(root, file), "utf8");
const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && file !== "index.ts")
  .map((file) => join("src", file));

/** Names of `export { ... }` lists, types among them. */
function listedNames(text: string): readonly string[] {
  const lists = text.matchAll(/export (?:type )?\{([^}]*)\}/g);
  return [...lists].flatMap(([, list = ""]) =>
    list
      .split(",")
      .map((name) =>
        name
          .replace(/\/\/.*/g, "")
          .trim()
          .replace(/^type /, ""),
      )
      .filter((name) => name !== ""),
  );
}

const names = listedNames(source("src/index.ts"));

describe("the public API", () => {
  it("lists every name by hand, once", () => {
    expect(source("src/index.ts")).not.toMatch(/export \*/);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
    expect(Object.keys(api).filter((name) => !names.includes(name))).toEqual([]);
  });

  it("holds whatever the command line does: a program can do it too", () => {
    const used = readdirSync(join(root, "src/cli"), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .flatMap((file) => {
        const imports = source(join("src/cli", file)).matchAll(
          /^import \{([^}]*)\} from "[./]+\/(?:harness|k8s|scenario|report|capture|oracle)\/index\.ts";/gm,
        );
        return [...imports].flatMap(([, list = ""]) =>
          list.split(",").flatMap((name) => {
            const plain = name.trim();
            return plain === "" || plain.startsWith("type ") ? [] : [plain];
          }),
        );
      });
    expect(used.length).toBeGreaterThan(20);
    expect([...new Set(used)].filter((name) => !names.includes(name)).sort()).toEqual([]);
  });

  it("has a comment on every name, where it is declared", () => {
    const texts = files.map(source);
    const declared = (name: string): string =>
      `^export (?:async |abstract )?(?:const|function\\*?|class|interface|type) ${name}\\b`;
    const bare = names.filter((name) => {
      const places = texts.filter((text) => new RegExp(declared(name), "m").test(text));
      expect(places, `${name} is declared nowhere`).not.toEqual([]);
      return !places.some((text) => new RegExp(`\\*/\\n${declared(name).slice(1)}`, "m").test(text));
    });
    expect(bare).toEqual([]);
  });
});

describe("the tarball", () => {
  const home = join(installed(), "node_modules/podwire");

  it("holds what it needs and nothing else", () => {
    expect(readdirSync(home).sort()).toEqual([
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "dist",
      "docs",
      "package.json",
      "scenarios",
      "src", // small programs of the kernel's checks, in other languages
    ]);
    expect(existsSync(join(home, "dist/index.d.ts"))).toBe(true);
  });

  it("answers a program's import with every name, types and schema included", () => {
    const script = `
      import * as api from "podwire";
      import schema from "podwire/schema.json" with { type: "json" };
      const { state } = api.buildCluster(api.loadManifests([{ name: "m", text: \`
        apiVersion: v1
        kind: Pod
        metadata: { name: a, namespace: x }\` }]), {});
      const selection = api.parseSelection("azure-npm");
      const matrix = await api.computeMatrix([{ selection, state }], "0", { seed: 1 });
      console.log(JSON.stringify({ names: Object.keys(api), cells: matrix.results[0].cells.length, defs: Object.keys(schema.$defs) }));
    `;
    const text = execFileSync(process.execPath, ["--no-warnings", "--input-type=module", "-e", script], {
      cwd: installed(),
      encoding: "utf8",
    });
    const said = JSON.parse(text) as { names: string[]; cells: number; defs: string[] };
    expect(said.names.sort()).toEqual(Object.keys(api).sort());
    expect(said.cells).toBeGreaterThan(0);
    expect(said.defs).toContain("matrix");
  });

  it("runs its command, from any folder", () => {
    const { version } = JSON.parse(source("package.json")) as { readonly version: string };
    expect(podwire(["--version"], { cwd: installed() })).toEqual({
      code: 0,
      stdout: `${version}\n`,
      stderr: "",
    });
  });
});

/**
 * The tour in README is real. PODWIRE_UPDATE=1 writes what is printed now into the blocks that show all of it; those with
 * lines left out (three dots) are changed by hand.
 */
describe("README", () => {
  const text = source("README.md");
  const blocks = [...text.matchAll(/```console\n\$ podwire ([^\n]*)\n([\s\S]*?)```/g)];
  const print = (command: string): string =>
    podwire(command.split(" "), { cwd: root }).stdout.replaceAll(/[ ]+$/gm, "").trimEnd();

  it("has a tour", () => {
    expect(blocks.length).toBeGreaterThanOrEqual(4);
  });

  it.each(blocks.map(([, command = "", output = ""]) => [command, output]))(
    "shows what `podwire %s` prints",
    (command, output) => {
      const printed = print(command);
      const isWhole = !/^\.\.\.$/m.test(output);
      if (isWhole && process.env["PODWIRE_UPDATE"] === "1")
        writeFileSync(
          join(root, "README.md"),
          source("README.md").replace(output, () => `${printed}\n`),
        );
      else expect(printed).toMatch(patternOf(output.trimEnd()));
    },
  );

  it("names every command that there is", () => {
    const help = podwire(["--help"], { cwd: root }).stdout;
    const commands = /Commands:\n([\s\S]*)/.exec(help)?.[1] ?? "";
    const names = [...commands.matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name ?? "");
    expect(names.length).toBeGreaterThan(8);
    const isNamed = (name: string): boolean =>
      text.includes(`\`${name}\``) || text.includes(`podwire ${name}`);
    expect(names.filter((name) => !isNamed(name) && name !== "help" && name !== "demo")).toEqual([]);
  });
});

function patternOf(output: string): RegExp {
  const lines = output
    .split("\n")
    .map((line) => (line === "..." ? "(?:.*\\n)*?.*" : line.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  return new RegExp(`^${lines.join("\n")}$`);
}
