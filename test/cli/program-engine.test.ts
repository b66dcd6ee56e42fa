/** Files that stand where an engine may stand: the examples of docs/programs.md, and dumps that differ. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { DiffDocument, MatrixDocument } from "../../src/harness/index.ts";
import { folderWith, podwire, podwires } from "./installed.ts";

const docs = join(import.meta.dirname, "../../docs");
const example = (name: string): string => join(docs, "examples", name);

/** Verdicts of the first engine's cells from one pod to the other, by `port/protocol`. */
function verdicts(
  { results }: MatrixDocument,
  engine: number,
  from: string,
  to: string,
): Readonly<Record<string, string>> {
  const cells = results[engine]?.cells.filter((cell) => cell.from === from && cell.to === to) ?? [];
  return Object.fromEntries(cells.map((cell) => [`${cell.port}/${cell.protocol}`, cell.verdict]));
}

describe("the examples of docs/programs.md", () => {
  it("do what the page says of them, beside azure-npm", () => {
    const command =
      /^ {4}podwire (matrix .*)$/m.exec(readFileSync(join(docs, "programs.md"), "utf8"))?.[1] ?? "";
    const { code, stdout, stderr } = podwire([...command.split(" "), "-o", "json"], { cwd: docs });
    expect(stderr).not.toContain("podwire:");
    expect(code).toBe(0);
    const matrix = JSON.parse(stdout) as MatrixDocument;
    const [client, server] = ["demo/client", "demo/server"];
    expect(verdicts(matrix, 0, client, server)).toEqual({
      "53/UDP": "deny",
      "80/TCP": "allow",
      "8080/TCP": "deny",
    });
    expect(verdicts(matrix, 1, client, server)).toEqual({
      "53/UDP": "allow",
      "80/TCP": "allow",
      "8080/TCP": "deny",
    });
    expect(verdicts(matrix, 2, client, server)).toEqual({
      "53/UDP": "deny",
      "80/TCP": "allow",
      "8080/TCP": "allow",
    });
    expect(verdicts(matrix, 3, client, server)).toEqual({
      "53/UDP": "deny",
      "80/TCP": "deny",
      "8080/TCP": "deny",
    });
  });

  it("stand in scenarios and traces too", () => {
    const trace = podwire([
      "trace",
      example("pods.yaml"),
      "-e",
      `program:${example("web-only.bpf")}`,
      "--from",
      "demo/client",
      "--to",
      "demo/server",
      "--port",
      "8080",
    ]);
    expect(trace.code).toBe(0);
    expect(trace.stdout).toContain("tc ingress azv+: main returned TC_ACT_SHOT");
    const cwd = folderWith("program-scenario", {
      "deny.yaml":
        "# A scenario on a program: what the program drops times out.\n# Look at the engine's name.\nname: program\nfixture: { nodes: 1, pods: [x/a, x/b] }\nengines: [oracle]\nsteps:\n  - probe: { from: x/a, to: x/b, port: 81, expect: timeout }\n  - probe: { from: x/a, to: x/b, port: 443, expect: refused }\n",
    });
    const run = podwire(["run", "deny.yaml", "-e", `program:${example("web-only.bpf")}`], { cwd });
    expect(`${run.stdout}${run.stderr}`).toContain("ok");
    expect(run.code).toBe(0);
  });

  it("are found beside the scenario that names them", () => {
    const text = (engine: string): string =>
      `# A scenario on a program beside it.\n# Look at the engine's name.\nname: program\nfixture: { nodes: 1, pods: [x/a, x/b] }\nengines: ["program:${engine}"]\nsteps:\n  - probe: { from: x/a, to: x/b, port: 81, expect: timeout }\n`;
    const cwd = folderWith("program-beside", {
      "inner/deny.yaml": text("web.bpf"),
      "inner/gone.yaml": text("gone.bpf"),
      "inner/web.bpf": readFileSync(example("web-only.bpf"), "utf8"),
    });
    const [found, gone] = podwires(
      [
        ["run", "inner/deny.yaml"],
        ["run", "inner/gone.yaml"],
      ],
      cwd,
    );
    expect(found?.stdout).toContain("program:web.bpf");
    expect(found?.code).toBe(0);
    expect(gone?.code).toBe(2);
    expect(gone?.stderr).toContain("inner/gone.bpf: no such file");
  });
});

describe("a Windows node's dump", () => {
  const cwd = folderWith("program-hns", { "pods.yaml": readFileSync(example("pods.yaml"), "utf8") });
  const pool = ["--node-pool", "name=win,osType=Windows,count=2"];

  it("that is what compile wrote differs nowhere; one without a block differs where it mattered", () => {
    const compiled = podwire(["compile", "pods.yaml", "-e", "azure-npm-windows", ...pool, "--out", "dump"], {
      cwd,
    });
    expect(compiled.code).toBe(0);
    const diff = (folder: string) =>
      podwire(["diff", "pods.yaml", "-e", `azure-npm-windows,program:${folder}`, ...pool, "-o", "json"], {
        cwd,
      });
    const same = diff("dump");
    expect(same).toMatchObject({ code: 0 });
    expect((JSON.parse(same.stdout) as DiffDocument).groups).toEqual([]);
    for (const folder of readdirSync(join(cwd, "dump"))) {
      const text = readFileSync(join(cwd, "dump", folder, "hns.json"), "utf8");
      mkdirSync(join(cwd, "open", folder), { recursive: true });
      writeFileSync(join(cwd, "open", folder, "hns.json"), text.replaceAll('"Block"', '"Allow"'));
    }
    const { groups } = JSON.parse(diff("open").stdout) as DiffDocument;
    expect(groups.map(({ divergence, witness }) => [divergence, witness.a, witness.b])).toEqual([
      ["unexplained", "deny", "allow"],
    ]);
  });

  it("is refused where it is of another system, or not understood", () => {
    const linux = podwire(["matrix", "pods.yaml", "-e", "program:dump", "--node-pool", "name=lin,count=1"], {
      cwd,
    });
    expect(linux).toMatchObject({ code: 2, stdout: "" });
    expect(linux.stderr).toMatch(/no folder is named after a node of the cluster's \(aks-lin-/);
    const [first = ""] = readdirSync(join(cwd, "dump"));
    const text = readFileSync(join(cwd, "dump", first, "hns.json"), "utf8");
    mkdirSync(join(cwd, "bad"), { recursive: true });
    writeFileSync(join(cwd, "bad/hns.json"), text.replace('"Direction": "In"', '"Direction": "Inwards"'));
    const bad = podwire(["matrix", "pods.yaml", "-e", "program:bad", ...pool], { cwd });
    expect(bad.code).toBe(2);
    expect(bad.stderr).toMatch(
      /bad\/hns\.json:\d+:\d+: Endpoints\[\d+\]\.Policies\[\d+\]\.Settings\.Direction: must be In, Out, not Inwards/,
    );
  });
});

describe("a node's dump", () => {
  const cwd = folderWith("program-dump", { "pods.yaml": readFileSync(example("pods.yaml"), "utf8") });
  const node = (): string => {
    const matrix = podwire(["matrix", "pods.yaml", "-e", "none", "-o", "json"], { cwd });
    const nodes = (JSON.parse(matrix.stdout) as MatrixDocument).endpoints.filter(
      ({ kind }) => kind === "node",
    );
    return nodes[0]?.id.slice("node:".length) ?? "";
  };

  it("that is what compile wrote differs nowhere; one with a rule less differs where the rule mattered", () => {
    expect(podwire(["compile", "pods.yaml", "-e", "azure-npm", "--out", "dump"], { cwd }).code).toBe(0);
    const same = podwire(["diff", "pods.yaml", "-e", "azure-npm,program:dump", "-o", "json"], { cwd });
    expect(same.code).toBe(0);
    expect((JSON.parse(same.stdout) as DiffDocument).groups).toEqual([]);
    const file = join(cwd, "dump", node(), "iptables.save");
    const text = readFileSync(file, "utf8");
    const less = text
      .split("\n")
      .filter((line) => !line.includes("--comment DROP-ALL -j MARK"))
      .join("\n");
    expect(less).not.toBe(text);
    podwire(["compile", "pods.yaml", "-e", "azure-npm", "--node", node(), "--out", "one"], { cwd });
    writeFileSync(join(cwd, "one/iptables.save"), less);
    const differs = podwire(["diff", "pods.yaml", "-e", "azure-npm,program:one", "-o", "json"], { cwd });
    expect(differs.code).toBe(1);
    const { groups } = JSON.parse(differs.stdout) as DiffDocument;
    expect(groups.map(({ divergence, witness }) => [divergence, witness.a, witness.b])).toEqual([
      ["unexplained", "deny", "allow"],
    ]);
    expect(groups[0]?.witness.to).toBe("demo/server");
  });

  it("of Cilium's maps says what its policies let through; a wrong one is refused with its place", () => {
    expect(podwire(["compile", "pods.yaml", "-e", "cilium", "--out", "maps"], { cwd }).code).toBe(0);
    const same = podwire(["diff", "pods.yaml", "-e", "cilium,program:maps", "-o", "json"], { cwd });
    expect(same.code).toBe(0);
    const { groups, compared } = JSON.parse(same.stdout) as DiffDocument;
    expect([groups, compared > 0]).toEqual([[], true]);
    const file = join(cwd, "maps", node(), "bpf/policy.json");
    writeFileSync(file, readFileSync(file, "utf8").replace(/"Identity": \d+,/, '"Identity": -1,'));
    const refused = podwire(["matrix", "pods.yaml", "-e", "program:maps"], { cwd });
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(
      /bpf\/policy\.json:\d+:11: \[\d\]\.Content\[\d\]\.Key\.Identity: .*-1: must fit 32 bits/,
    );
    expect(refused.stderr).toMatch(/\d+ \| +"Identity": -1/);
  });

  it("or program that is not understood is refused with its place", () => {
    const bad = folderWith("program-bad", {
      "pods.yaml": readFileSync(example("pods.yaml"), "utf8"),
      "dump/iptables.save": "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m unheard-of -j DROP\nCOMMIT\n",
      "empty/readme": "",
      "loop.bpf": "L:\nmov %r0, 0\njne %r10, 0, L\nexit\n",
      "bad.bpf": "mov %r0\nexit\n",
      "broken.mjs": "export const engine = {",
      "nothing.mjs": "export const engine = 1;\n",
      "short.o": "\u007fELF",
    });
    const engines = [
      "program:dump",
      "program:empty",
      "program:gone",
      "program:loop.bpf",
      "program:bad.bpf",
      "./broken.mjs",
      "./nothing.mjs",
      "./gone.mjs",
      "program:short.o",
      `program:${example("web-only.bpf")}@somewhere`,
      `program:${example("web-only.bpf")}:tc@tc-ingress`,
    ];
    const said = podwires(
      engines.map((engine) => ["matrix", "pods.yaml", "-e", engine]),
      bad,
    );
    expect(said.map(({ code }) => code)).toEqual(engines.map(() => 2));
    const words = [
      /dump\/iptables\.save:3:15: .*unheard-of/,
      /empty: no iptables\.save/,
      /gone: no such file/,
      /loop\.bpf: main\[\d+\]: .*may never end.*\+unverified/,
      /bad\.bpf:1:1: mov takes 2 operands/,
      /broken\.mjs: cannot be loaded/,
      /nothing\.mjs exports no engine/,
      /gone\.mjs: no such file/,
      /short\.o:byte \d+: cut short/,
      /no hook somewhere/,
      /no program tc; there is main/,
    ];
    said.forEach(({ stderr }, i) => {
      expect(stderr).toMatch(words[i] ?? /^$/);
      expect(stderr).not.toContain("    at ");
    });
  });

  it("of a program that does not verify runs under guards when the user says so", () => {
    const bad = folderWith("program-loop", {
      "pods.yaml": readFileSync(example("pods.yaml"), "utf8"),
      "loop.bpf": "L:\nmov %r0, 0\njne %r10, 0, L\nexit\n",
    });
    const { code, stdout } = podwire(
      [
        "matrix",
        "pods.yaml",
        "-e",
        "program:loop.bpf+unverified",
        "--ends",
        "pods",
        "--ports",
        "80/TCP",
        "-o",
        "json",
      ],
      { cwd: bad },
    );
    expect(code).toBe(0);
    expect(verdicts(JSON.parse(stdout) as MatrixDocument, 0, "demo/client", "demo/server")).toEqual({
      "80/TCP": "deny",
    });
  });
});
