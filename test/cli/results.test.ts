/** What commands print and write: every form, equal bytes for equal input, exit codes, colours, files that are whole. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { LinkType, pcapHeader, pcapPacket } from "../../src/capture/index.ts";
import { tcp } from "../../src/packet/index.ts";
import { faultOf } from "../report/xml.ts";
import { folderWith, podwire, podwires } from "./installed.ts";

const cwd = folderWith("results", {
  "shop.yaml": `apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web } }
spec: { nodeName: n1, containers: [{ name: c, image: i, ports: [{ containerPort: 80 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: db, namespace: shop, labels: { app: db } }
spec: { nodeName: n2, containers: [{ name: c, image: i, ports: [{ containerPort: 80 }] }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: "db", namespace: shop }
spec:
  podSelector: { matchLabels: { app: db } }
  ingress: [{ from: [{ podSelector: { matchLabels: { app: api } } }] }]
---
apiVersion: v1
kind: Service
metadata: { name: db, namespace: shop }
spec: { selector: { app: db }, ports: [{ port: 8080, targetPort: 80 }] }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: sa, namespace: shop }
`,
  "block.yaml": `apiVersion: v1
kind: Pod
metadata: { name: a, namespace: x }
status: { podIP: 10.224.0.10 }
---
apiVersion: v1
kind: Pod
metadata: { name: b, namespace: x }
status: { podIP: 10.224.0.11 }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: from-block, namespace: x }
spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 10.224.0.0/16 } }] }] }
`,
  "good.yaml": `# a pod that answers
# connected
fixture: { nodes: 1, pods: [x/a, x/b], ports: [80/TCP] }
engines: [oracle, azure-npm]
steps:
  - probe: { from: x/a, to: x/b, port: 80, expect: connected }
`,
  "bad.yaml": `# an expectation that does not hold
# timeout is expected, <connected> & "quoted" is seen
name: 'bad "<&>" scenario'
fixture: { nodes: 1, pods: [x/a, x/b], ports: [80/TCP] }
engines: [azure-npm]
steps:
  - probe: { from: x/a, to: x/b, port: 80, expect: timeout }
`,
});

const web = ["--from", "shop/web", "--to", "shop/db", "--port", "80"];

const flow = { src: "10.224.0.11", dst: "10.224.0.10", sport: 40_000, dport: 80 };
writeFileSync(
  join(cwd, "flow.pcap"),
  Buffer.concat([
    pcapHeader(LinkType.raw),
    ...[flow, { ...flow, src: "192.0.2.1" }].map((fields, seconds) =>
      pcapPacket({ interfaceIndex: 0, seconds, nanoseconds: 0, bytes: tcp({ ...fields, flags: 2, seq: 1 }) }),
    ),
  ]),
);

interface Example {
  readonly document: string;
  readonly args: readonly string[];
  readonly forms: readonly string[];
  readonly code?: number;
  /** Times differ from run to run. */
  readonly timed?: true;
}

const forms = ["text", "json", "jsonl", "junit", "md", "csv"];
const examples: readonly Example[] = [
  { document: "matrix", args: ["matrix", "shop.yaml", "-e", "azure-npm,oracle,none"], forms },
  { document: "diff", args: ["diff", "shop.yaml", "-e", "none,oracle"], forms },
  { document: "probe", args: ["probe", "shop.yaml", "-e", "azure-npm", ...web], forms, code: 1 },
  { document: "trace", args: ["trace", "shop.yaml", "-e", "azure-npm", ...web], forms },
  {
    document: "replay",
    args: ["replay", "flow.pcap", "block.yaml", "-e", "azure-npm,none"],
    forms: ["text", "json", "jsonl"],
  },
  { document: "run", args: ["run", "good.yaml", "bad.yaml"], forms, code: 1 },
  { document: "engines", args: ["engines"], forms: ["text", "json", "jsonl", "md", "csv"] },
  { document: "version", args: ["version"], forms: ["text", "json", "jsonl"] },
  {
    document: "compile",
    args: ["compile", "shop.yaml", "-e", "azure-npm", "--out", "tables"],
    forms: ["text", "json", "jsonl", "md", "csv"],
  },
  {
    document: "generate",
    args: ["generate", "--profile", "adversarial", "--pods", "3", "--policies", "2", "--out", "made"],
    forms: ["text", "json", "jsonl"],
  },
  {
    document: "capacity",
    args: ["capacity", "shop.yaml", "-e", "azure-npm,cilium,none", "--nodes"],
    forms: ["text", "json", "jsonl", "md", "csv"],
  },
  {
    document: "bench",
    args: ["bench", "--nodes", "2", "--pods", "20", "--policies", "3"],
    forms: ["text", "json", "jsonl", "md", "csv"],
    timed: true,
  },
];

const schemas = JSON.parse(podwires([["schema"]], cwd)[0]?.stdout ?? "") as {
  readonly $defs: Readonly<Record<string, object>>;
};

/** A validator of JSON Schema by another hand than the one that made it would be better; this one reads it anew. */
function problemsOf(name: string, document: unknown): readonly string[] {
  const schema = z.fromJSONSchema(schemas.$defs[name] as Parameters<typeof z.fromJSONSchema>[0]);
  const result = schema.safeParse(document);
  return result.success
    ? []
    : result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
}

/** The file that a document's form goes to; timed documents are made once, others twice. */
const formFile = (document: string, turn: string, form: string): string =>
  join("forms", turn, `${document}.${form}`);
const turnsOf = ({ timed }: Example): readonly string[] => (timed ? ["a"] : ["a", "b"]);

const written = podwires(
  examples.flatMap((example) =>
    turnsOf(example).map((turn) => [
      ...example.args,
      ...example.forms.flatMap((form) => ["-o", `${form}=${formFile(example.document, turn, form)}`]),
    ]),
  ),
  cwd,
);

describe.each(examples)("podwire $document", (example) => {
  const { document: name, forms: wanted, code = 0 } = example;
  const turns = turnsOf(example);
  const before = examples.slice(0, examples.indexOf(example)).flatMap(turnsOf).length;
  const results = written.slice(before, before + turns.length);
  const outputOf = (form: string, turn = "a"): string =>
    readFileSync(join(cwd, formFile(name, turn, form)), "utf8");

  it("writes every form, and exits as the result asks", () => {
    expect(results.map((result) => result.code)).toEqual(turns.map(() => code));
    for (const form of wanted) expect(outputOf(form), form).not.toBe("");
  });

  it("writes equal bytes for equal input", () => {
    for (const turn of turns)
      for (const form of wanted) expect(outputOf(form, turn), form).toBe(outputOf(form));
  });

  it("prints JSON as its published schema says", () => {
    const document = JSON.parse(outputOf("json")) as { readonly schema: string; readonly version: string };
    expect(document.schema).toBe(`podwire/${name}/v1`);
    expect(problemsOf(name, document)).toEqual([]);
    // the schema is no mere formality: it names every field, and their types
    expect(problemsOf(name, { ...document, extra: 1 })).not.toEqual([]);
    expect(problemsOf(name, { ...document, version: 1 })).not.toEqual([]);
    const { version: _, ...without } = document;
    expect(problemsOf(name, without)).not.toEqual([]);
  });

  it("prints JSON lines, each a value", () => {
    const lines = outputOf("jsonl").trimEnd().split("\n");
    for (const line of lines) expect(typeof JSON.parse(line)).toBe("object");
  });

  it("prints CSV with as many cells in each record as in the head", () => {
    if (!wanted.includes("csv")) return;
    const [head, ...records] = parseCsv(outputOf("csv"));
    expect(head?.length).toBeGreaterThan(1);
    expect(records.length).toBeGreaterThan(0);
    for (const record of records) expect(record).toHaveLength(head?.length ?? 0);
  });

  it("prints JUnit whose counts are those of its cases", () => {
    if (!wanted.includes("junit")) return;
    const xml = outputOf("junit");
    const root = /<testsuites name="podwire" tests="(\d+)" failures="(\d+)">/.exec(xml);
    expect(Number(root?.[1])).toBe(xml.match(/<testcase /g)?.length ?? 0);
    expect(Number(root?.[2])).toBe(xml.match(/<failure /g)?.length ?? 0);
    expect(Number(root?.[2]) > 0).toBe(code === 1 || name === "trace");
    expect(faultOf(xml)).toBe("");
  });
});

/** RFC 4180, read strictly. */
function parseCsv(text: string): readonly (readonly string[])[] {
  const records: string[][] = [];
  let rest = text;
  let record: string[] = [];
  while (rest !== "") {
    const cell = /^(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/.exec(rest);
    if (cell === null) throw new Error(`not CSV: ${rest.slice(0, 40)}`);
    record.push(cell[1] === undefined ? (cell[2] ?? "") : cell[1].replaceAll('""', '"'));
    if (cell[3] !== ",") {
      records.push(record);
      record = [];
    }
    rest = rest.slice(cell[0].length);
  }
  return records;
}

describe("exit codes", () => {
  it("tell a probe that connects from one that does not, and print agnhost's words", () => {
    const probe = ["probe", "shop.yaml", "-e", "azure-npm"];
    const back = ["--from", "shop/db", "--to", "shop/web"];
    const results = podwires(
      [
        [...probe, ...back, "--port", "80"],
        [...probe, ...web],
        [...probe, ...back, "--port", "81"],
        [...probe, ...back, "--protocol", "icmp"],
      ],
      cwd,
    );
    expect(results.map(({ code, stdout }) => [code, stdout])).toEqual([
      [0, ""],
      [1, "TIMEOUT\n"],
      [1, "REFUSED\n"],
      [0, ""],
    ]);
  });

  it("tell documented differences from unexplained ones, scenarios that hold from those that do not", () => {
    const [documented, readings, good, bad] = podwires(
      [
        ["diff", "shop.yaml", "-e", "none,oracle"],
        // two readings of the API differ where a block covers a pod's address, and no engine is to blame
        ["diff", "block.yaml", "-e", "oracle,oracle+ipBlockPods=never"],
        ["run", "good.yaml"],
        ["run", "bad.yaml"],
      ],
      cwd,
    );
    expect(documented?.code).toBe(0);
    expect(readings?.code).toBe(1);
    expect(readings?.stdout).toContain("unexplained: ");
    expect(good?.code).toBe(0);
    expect(bad?.code).toBe(1);
    expect(bad?.stdout).toContain("step 1 probe (bad.yaml:7)");
    expect(bad?.stdout).toContain("expected timeout, was connected");
  });
});

describe("outputs", () => {
  const matrix = ["matrix", "shop.yaml", "-e", "oracle"];

  it("go to files, in folders made for them, beside at most one on standard output", () => {
    const [files, printed, both] = podwires(
      [
        [...matrix, ...forms.flatMap((form) => ["-o", `${form}=out/deep/m.${form}`])],
        [...matrix, "-o", "json"],
        [...matrix, "-o", "csv", "-o", "json=beside.json"],
      ],
      cwd,
    );
    expect(files).toMatchObject({ code: 0, stdout: "" });
    expect(readdirSync(join(cwd, "out/deep")).sort()).toEqual(forms.map((form) => `m.${form}`).sort());
    expect(readFileSync(join(cwd, "out/deep/m.json"), "utf8")).toBe(printed?.stdout);
    expect(both?.stdout).toMatch(/^engine,from,to,/);
    expect(readFileSync(join(cwd, "beside.json"), "utf8")).toBe(printed?.stdout);
  });

  it("of a capture are the run's, by default only of one that fails", () => {
    const [captured, run, quiet, loud] = podwires(
      [
        ["capture", "bad.yaml", "--out", "c.pcapng", "-q", "-o", "json"],
        ["run", "bad.yaml", "-o", "json"],
        ["capture", "good.yaml", "-e", "azure-npm", "--out", "c.pcapng", "-q"],
        ["capture", "bad.yaml", "--out", "c.pcapng", "-q"],
      ],
      cwd,
    );
    expect(captured).toMatchObject({ code: 1, stderr: "", stdout: run?.stdout });
    expect(quiet).toMatchObject({ code: 0, stderr: "", stdout: "" });
    expect(loud).toMatchObject({
      code: 1,
      stderr: "",
      stdout: expect.stringMatching(/^FAILED bad .*expected timeout, was connected/s),
    });
  });

  it("are not touched when the work fails, and leave nothing half done behind", () => {
    podwires([["matrix", "missing.yaml", "-e", "oracle", "-o", "json=never.json"]], cwd);
    expect(existsSync(join(cwd, "never.json"))).toBe(false);
    expect(readdirSync(cwd).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("say on standard error what was ignored, unless told to be quiet", () => {
    const [loud, quiet] = podwires([matrix, [...matrix, "--quiet"]], cwd);
    expect(loud?.stderr).toBe("podwire: ignored 1 ServiceAccount\n");
    expect(quiet?.stderr).toBe("");
  });

  it("are the same from standard input, but for the name", () => {
    const input = readFileSync(join(cwd, "shop.yaml"), "utf8");
    const result = podwire(["matrix", "-", "-e", "oracle", "-o", "json"], { cwd, input });
    const [printed] = podwires([[...matrix, "-o", "json"]], cwd);
    expect(result.stdout).toBe(printed?.stdout);
  });
});

describe("colour", () => {
  const args = ["matrix", "shop.yaml", "-e", "oracle"];
  const hasColour = (text: string): boolean => text.includes(String.fromCharCode(27));

  it("is for terminals: not in pipes, on demand, never in files", () => {
    const [plain, coloured] = podwires(
      [args, [...args, "--color"], [...args, "--color", "-o", "text=plain.txt"]],
      cwd,
    );
    expect(hasColour(plain?.stdout ?? "")).toBe(false);
    expect(hasColour(coloured?.stdout ?? "")).toBe(true);
    expect(hasColour(readFileSync(join(cwd, "plain.txt"), "utf8"))).toBe(false);
    // the user's own word wins over the environment's
    expect(hasColour(podwire([...args, "--color"], { cwd, env: { NO_COLOR: "1" } }).stdout)).toBe(true);
  });
});
