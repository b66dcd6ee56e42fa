/** House rules that a machine can check. Each message says what to do instead. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { engineDefinitions } from "../src/engine/registry.ts";

const root = join(import.meta.dirname, "..");

function filesBelow(folder: string, suffix: string): readonly string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(suffix))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

const text = (file: string): string => readFileSync(join(root, file), "utf8");
const sources = filesBelow("src", ".ts");
const tests = filesBelow("test", ".ts");

/** Text without comments and the content of string literals; line breaks stay. */
function code(file: string): string {
  return text(file).replaceAll(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\$]|\\.)*`/g,
    (match) => match.replaceAll(/[^\n]/g, " "),
  );
}

/** Imported modules, relative to the root; packages as they are named. */
function importsOf(file: string): readonly { readonly module: string; readonly isRelative: boolean }[] {
  const found = text(file).matchAll(/^(?:import|export)\b[^"';]*?\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"/gm);
  return [...found].map(([, from, bare]) => {
    const module = from ?? bare ?? "";
    const isRelative = module.startsWith(".");
    return { module: isRelative ? normalize(join(dirname(file), module)) : module, isRelative };
  });
}

/** The unit of the layer table: a folder of `src`, or of `src/filter` and `src/engine`. */
function unitOf(file: string): string {
  const [, first = "", second = ""] = file.split("/");
  if (file.split("/").length === 2) return "index";
  if (first === "filter")
    return ["iptables", "hns", "bpf", "netfilter", "ipset"].includes(second) ? `filter/${second}` : "filter";
  if (first === "engine") return file.split("/").length > 3 ? `engine/${second}` : "engine";
  return first;
}

const reprs = ["filter", "filter/bpf", "filter/hns", "filter/iptables", "filter/ipset"];

/** What each unit may import beside itself (architecture, section 3). */
const layers: Readonly<Record<string, readonly string[]>> = {
  base: [],
  addr: ["base"],
  wire: ["base", "addr"],
  packet: ["base", "addr", "wire"],
  capture: ["base", "addr", "wire"],
  k8s: ["base", "addr"],
  filter: ["base", "addr", "wire", "packet"],
  "filter/bpf": ["base", "addr", "wire", "packet", "filter"],
  "filter/hns": ["base", "addr", "wire", "packet", "filter"],
  "filter/ipset": ["base", "addr", "wire", "packet", "filter"],
  "filter/netfilter": ["base", "addr", "wire", "packet", "filter"],
  "filter/iptables": ["base", "addr", "wire", "packet", "filter", "filter/ipset", "filter/netfilter"],
  engine: [
    "base",
    "addr",
    "k8s",
    ...reprs,
    "engine/azure-npm",
    "engine/cilium",
    "engine/none",
    "engine/platform",
  ],
  "engine/platform": ["base", "addr", "k8s", "engine", ...reprs],
  "engine/azure-npm": ["base", "addr", "k8s", "engine", "engine/platform", ...reprs],
  "engine/cilium": ["base", "addr", "k8s", "engine", "engine/platform", ...reprs],
  "engine/program": ["base", "addr", "k8s", "engine", ...reprs],
  "engine/none": ["base", "addr", "k8s", "engine", "engine/platform", ...reprs],
  oracle: ["base", "addr", "k8s"],
  classify: ["base", "addr", "wire", "packet", "filter"],
  sim: ["base", "addr", "wire", "packet", "capture", "filter"],
  scenario: ["base", "addr", "k8s"],
  harness: [
    "base",
    "addr",
    "wire",
    "packet",
    "capture",
    "k8s",
    "filter",
    "filter/bpf",
    "filter/hns",
    "filter/iptables",
    "filter/ipset",
    "filter/netfilter",
    "engine",
    "engine/platform",
    "engine/program",
    "oracle",
    "classify",
    "sim",
    "scenario",
  ],
  report: ["harness"],
  cli: ["base", "addr", "k8s", "filter/bpf", "packet", "capture", "scenario", "harness", "report"],
  index: [
    "base",
    "addr",
    "wire",
    "packet",
    "capture",
    "k8s",
    "filter",
    "filter/hns",
    "filter/iptables",
    "filter/ipset",
    "engine",
    "oracle",
    "classify",
    "sim",
    "scenario",
    "harness",
    "report",
  ],
};

/** Folders that an engine may take data forms from, but whose running parts it may not call. */
const evaluators =
  /\b(?:linkIptables|IptablesDatapath|evaluateChain|LiveSet|SetCollection|linkHns|HnsDatapath|HnsSets)\b/;

describe("the layer table", () => {
  it("is kept by every import: move the code down, or inject what it needs", () => {
    const wrong: string[] = [];
    for (const file of sources) {
      const unit = unitOf(file);
      const allowed = layers[unit];
      expect(
        allowed,
        `${file}: ${unit} is not in the layer table of test/tidy.test.ts; add it there and in docs/architecture.md`,
      ).toBeDefined();
      for (const { module, isRelative } of importsOf(file)) {
        if (!isRelative) continue;
        const target = unitOf(module);
        if (target !== unit && !allowed?.includes(target))
          wrong.push(`${file} imports ${module}: ${unit} may not know ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("lets other folders in through index.ts only: export the name there", () => {
    const entries = new Set(["src/engine/registry.ts"]);
    const wrong = sources.flatMap((file) =>
      importsOf(file)
        .filter(
          ({ module, isRelative }) =>
            isRelative &&
            unitOf(module) !== unitOf(file) &&
            !module.endsWith("/index.ts") &&
            !entries.has(module),
        )
        .filter(({ module }) => !(unitOf(file).startsWith("engine/") && module === "src/engine/engine.ts"))
        .filter(
          ({ module }) => !(unitOf(file).startsWith("filter/") && /^src\/filter\/[a-z-]+\.ts$/.test(module)),
        )
        .map(({ module }) => `${file} imports ${module}`),
    );
    expect(wrong).toEqual([]);
  });

  it("keeps the oracle independent: of k8s it takes types, of the rest nothing", () => {
    for (const file of sources.filter((one) => unitOf(one) === "oracle"))
      for (const [statement] of text(file).matchAll(/^import[^;]*k8s\/index\.ts";/gm))
        expect(statement, file).toMatch(/^import type/);
  });

  it("keeps compilers from running tables, and reports from behaviour", () => {
    for (const file of sources.filter((one) => unitOf(one).startsWith("engine")))
      expect(code(file), `${file}: an engine makes data; the harness links and runs it`).not.toMatch(
        evaluators,
      );
    for (const file of sources.filter((one) => unitOf(one) === "report"))
      for (const [statement] of text(file).matchAll(/^import[^;]*harness\/index\.ts";/gm))
        expect(statement, `${file}: a report takes types of the harness only`).toMatch(/^import type/);
  });

  it("has no cycles between files: what two files need belongs into a third", () => {
    const state = new Map<string, "open" | "done">();
    const cycles: string[] = [];
    const visit = (file: string, trail: readonly string[]): void => {
      if (state.get(file) === "done") return;
      if (state.get(file) === "open") {
        cycles.push([...trail.slice(trail.indexOf(file)), file].join(" -> "));
        return;
      }
      state.set(file, "open");
      const runtime = text(file).matchAll(/^(?:import|export)\s+(?!type\b)([^"';]*?)\s*from\s+"(\.[^"]+)"/gm);
      for (const [, names = "", module = ""] of runtime) {
        const isTypesOnly =
          names.startsWith("{") &&
          names
            .replaceAll(/[{}]/g, "")
            .split(",")
            .every((name) => name.trim() === "" || name.trim().startsWith("type "));
        if (!isTypesOnly) visit(normalize(join(dirname(file), module)), [...trail, file]);
      }
      state.set(file, "done");
    };
    for (const file of sources) visit(file, []);
    expect(cycles).toEqual([]);
  });
});

interface Ban {
  readonly pattern: RegExp;
  readonly instead: string;
  readonly where: (file: string) => boolean;
}

const everywhere = (): boolean => true;
const outside =
  (...folders: readonly string[]) =>
  (file: string): boolean =>
    !folders.some((folder) => file.startsWith(`src/${folder}/`));

const bans: readonly Ban[] = [
  {
    pattern: /\bDate\.now\b|\bnew Date\b|\bperformance\.now\b/,
    instead: "take virtual time from the event loop, or a clock as an argument",
    where: outside("cli"),
  },
  {
    pattern: /\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b/,
    instead: "use the virtual event loop",
    where: outside("cli", "harness/netns"), // real namespaces live in real time
  },
  { pattern: /\bMath\.random\b/, instead: "use a Prng from base, forked by purpose", where: everywhere },
  { pattern: /\bconsole\./, instead: "write through cli/output", where: everywhere },
  {
    pattern: /\bprocess\./,
    instead: "hand it in from cli",
    where: outside("cli", "harness/kernel", "harness/netns"),
  },
  {
    pattern: /(?<![.\w])any\b(?=[\s,;)>\]|&[])/,
    instead: "use unknown and narrow it, or a real type",
    where: everywhere,
  },
  {
    pattern: /^\s*(?:export\s+)?(?:const\s+)?enum\s/m,
    instead: "use `const X = {...} as const` and a type of the same name",
    where: everywhere,
  },
  { pattern: /^export default\b/m, instead: "use a named export", where: everywhere },
];

describe("bans", () => {
  it.each(bans.map((ban) => [ban.instead, ban] as const))("%s", (_, { pattern, where }) => {
    const wrong = sources.filter(where).flatMap((file) => {
      const lines = code(file).split("\n");
      return lines.flatMap((line, i) =>
        new RegExp(pattern.source, pattern.flags.replace("m", "")).test(line)
          ? [`${file}:${i + 1}: ${line.trim()}`]
          : [],
      );
    });
    expect(wrong).toEqual([]);
  });

  it("files are touched by cli, the kernel judge and live mode alone: hand texts and bytes in", () => {
    const wrong = sources
      .filter(outside("cli", "harness/kernel", "harness/netns"))
      .filter((file) =>
        importsOf(file).some(({ module }) => /^node:(fs|child_process|net|worker_threads|os)/.test(module)),
      );
    expect(wrong).toEqual([]);
  });

  it("no test is focused, skipped for good, or left to do", () => {
    const wrong = tests.filter(
      (file) =>
        file !== "test/tidy.test.ts" && /\.(only|todo)\(|\b(?:it|test|describe)\.skip\(/.test(code(file)),
    );
    expect(wrong).toEqual([]);
  });

  it("work left open has a place of its own, not a mark in the code", () => {
    const marks = new RegExp(["TO", "DO|FIX", "ME|XX", "X"].join(""));
    expect([...sources, ...tests].filter((file) => marks.test(text(file)))).toEqual([]);
  });

  it("array reads are asserted with ! only where typed arrays are", () => {
    const allowed = ["base", "addr", "wire", "packet", "filter", "capture", "sim", "classify"];
    const wrong = sources
      .filter((file) => !allowed.some((folder) => file.startsWith(`src/${folder}/`)))
      .filter((file) => /[\])\w]!(?=[.;,)\]\s[])(?!=)/.test(code(file)));
    expect(wrong).toEqual([]);
  });
});

describe("files", () => {
  it("are at most 500 lines long: split by what the parts are about", () => {
    expect([...sources, ...tests].filter((file) => text(file).split("\n").length > 501)).toEqual([]);
  });

  it("begin with a comment that says what they are (lists of names and the entry point excepted)", () => {
    const wrong = sources.filter(
      (file) =>
        !/^(#![^\n]*\n)?\/\*\*/.test(text(file)) && !file.endsWith("/index.ts") && file !== "src/index.ts",
    );
    expect(wrong).toEqual([]);
  });

  it("are named after the thing, in kebab-case", () => {
    // BPF's own word for the functions that the kernel offers to programs
    const helpersOfBpf = "src/filter/bpf/helpers/";
    const wrong = [...sources, ...tests].filter((file) =>
      file
        .replace(helpersOfBpf, "")
        .split("/")
        .some(
          (part) =>
            /^(utils?|helpers?|common|misc|managers?)(\.|$)/.test(part) ||
            /[A-Z_]/.test(part.replace(/\.test\.ts$/, "")),
        ),
    );
    expect(wrong).toEqual([]);
  });

  it("are imported by something: delete what is dead", () => {
    const entries = new Set(["src/index.ts", "src/cli/main.ts"]);
    const imported = new Set(
      [...sources, ...tests, ...filesBelow("bench", ".ts")].flatMap((file) =>
        importsOf(file).map(({ module }) => module),
      ),
    );
    // declarations of packages without types are found by the compiler
    const isUnused = (file: string): boolean =>
      !entries.has(file) && !imported.has(file) && !file.endsWith(".d.ts");
    expect(sources.filter(isUnused)).toEqual([]);
  });
});

describe("the repository", () => {
  it("tells in docs/architecture.md of every folder of the layer table", () => {
    const plan = text("docs/architecture.md");
    const folders = Object.keys(layers).filter((unit) => unit !== "index");
    expect(folders.filter((unit) => !plan.includes(unit.split("/").at(-1) ?? unit))).toEqual([]);
  });

  it("has two lines of comment on top of each scenario: what it shows, what to look at", () => {
    const wrong = filesBelow("scenarios", ".yaml").filter((file) => !/^# \S[^\n]*\n# \S/.test(text(file)));
    expect(wrong).toEqual([]);
  });

  it("says in package.json why each runtime dependency is there", () => {
    const manifest = JSON.parse(text("package.json")) as {
      readonly dependencies: object;
      readonly "//dependencies": object;
    };
    expect(Object.keys(manifest["//dependencies"]).sort()).toEqual(Object.keys(manifest.dependencies).sort());
  });

  it("names only divergences that exist in DIVERGES comments", () => {
    const ids = new Set(
      engineDefinitions.flatMap((definition) =>
        definition.create(definition.defaultVersion, {}).divergences.map((one) => one.id),
      ),
    );
    const named = sources.flatMap((file) =>
      [...text(file).matchAll(/DIVERGES\(([^)]+)\)/g)].map(([, id]) => id ?? ""),
    );
    expect(named.filter((id) => !ids.has(id))).toEqual([]);
  });

  it("names no package registry and no path of a machine", () => {
    const tracked = existsSync(join(root, ".git"))
      ? execFileSync("git", ["ls-files"], { cwd: root, encoding: "utf8" }).split("\n").filter(Boolean)
      : [];
    const pattern = new RegExp(["registry\\.", "npmjs|/ho", "me/[a-z]|/ro", "ot/|/wo", "rk/"].join(""));
    const wrong = tracked.filter((file) => existsSync(join(root, file)) && pattern.test(text(file)));
    expect(wrong).toEqual([]);
  });
});
