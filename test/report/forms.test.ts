/** Forms of reports on documents made by hand: what real runs seldom hold (quotes, bars, angle brackets, long tables). */
import { describe, expect, it } from "vitest";
import type {
  CellDocument,
  DiffDocument,
  MatrixDocument,
  RunDocument,
  TraceDocument,
} from "../../src/harness/index.ts";
import {
  diffReport,
  jsonPieces,
  matrixReport,
  type Renderer,
  runReport,
  traceReport,
} from "../../src/report/index.ts";
import { faultOf } from "./xml.ts";

function form<D>(report: Renderer<D>, name: string, document: D, color = false): string {
  const render = report[name];
  if (render === undefined) throw new Error(`no form ${name}`);
  return [...render(document, { color })].join("");
}

const nasty = "a \"b\", <c> & 'd' | e\nf \u0000\ud800 ü 漢";

const run: RunDocument = {
  schema: "podwire/run/v1",
  version: "0",
  seed: 1,
  results: [
    {
      scenario: nasty,
      file: "a.yaml",
      engine: "azure-npm",
      engineVersion: "1",
      seed: 1,
      ok: false,
      virtualNs: 1.5e9,
      packets: 3,
      steps: [
        { step: 1, action: "probe", line: 4, ok: false, problems: [nasty, "second"] },
        { step: 2, action: "advance", ok: true, problems: [] },
      ],
      diagnostics: [],
    },
  ],
  passed: 0,
  failed: 1,
};

const cell = (from: string, to: string, more: Partial<CellDocument> = {}): CellDocument => ({
  from,
  to,
  protocol: "TCP",
  port: 80,
  verdict: "allow",
  ...more,
});

function matrix(cells: readonly CellDocument[], ends: readonly string[]): MatrixDocument {
  return {
    schema: "podwire/matrix/v1",
    version: "0",
    seed: 1,
    endpoints: ends.map((id) => ({ id, kind: "pod", addresses: ["10.0.0.1"] })),
    ports: [{ protocol: "TCP", port: 80 }],
    results: [{ engine: "e", engineVersion: "1", method: "walk", cells, diagnostics: [] }],
  };
}

describe("JUnit", () => {
  it("is well-formed whatever names and problems hold", () => {
    const xml = form(runReport, "junit", run);
    expect(faultOf(xml)).toBe("");
    expect(xml).toContain("&lt;c&gt; &amp;");
    for (const character of ["\u0000", "\ud800"]) expect(xml).not.toContain(character);
    expect(xml).toContain('tests="1" failures="1"');
  });
});

describe("CSV", () => {
  it("quotes what RFC 4180 says must be quoted, and doubles quotes", () => {
    const csv = form(runReport, "csv", run);
    expect(csv.split("\r\n")[0]).toBe("scenario,engine,ok,virtualNs,packets,problems");
    expect(csv).toContain('"a ""b"", <c>');
    expect(csv.endsWith("\r\n")).toBe(true);
  });

  it("leaves absent values empty", () => {
    const csv = form(matrixReport, "csv", matrix([cell("x/a", "x/b")], ["x/a", "x/b"]));
    expect(csv).toBe("engine,from,to,protocol,port,family,verdict,by,place\r\ne,x/a,x/b,TCP,80,,allow,,\r\n");
  });
});

describe("Markdown", () => {
  it("keeps bars and line breaks from breaking a table", () => {
    const lines = form(runReport, "md", run).trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line.replaceAll("\\|", "").match(/\|/g)).toHaveLength(5);
  });
});

describe("JSON", () => {
  it("is one value, read back as it was, whatever it holds", () => {
    for (const value of [run, { a: [], b: {}, c: [[1, 2], [[3]]], d: null, e: [{ f: [{ g: 1 }] }] }])
      expect(JSON.parse([...jsonPieces(value)].join(""))).toEqual(value);
  });

  it("comes in pieces that are small beside the whole, so that it can be streamed", () => {
    const cells = Array.from({ length: 5000 }, (_, i) => cell(`x/${i}`, "x/b"));
    const pieces = [...jsonPieces(matrix(cells, ["x/b"]))];
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThan(1000);
    expect(pieces.length).toBeGreaterThan(5000);
  });

  it("leaves out what is undefined, as JSON.stringify does", () => {
    expect(JSON.parse([...jsonPieces({ a: undefined, b: { c: undefined, d: [{}] } })].join(""))).toEqual({
      b: { d: [{}] },
    });
  });
});

describe("the text of a truth table", () => {
  const four = matrix(
    [
      cell("x/a", "x/a", { self: true }),
      cell("x/a", "x/b", { verdict: "deny", by: "ingress" }),
      cell("x/b", "x/a", { verdict: "undefined" }),
      cell("x/b", "x/b", { verdict: "some" }),
    ],
    ["x/a", "x/b"],
  );

  it("is a grid with a sign for each verdict", () => {
    const text = form(matrixReport, "text", four);
    expect(text).toContain("1 denied, 1 left open, 1 mixed");
    expect(text).toMatch(/1 x\/a {2}\\ {2}X\n.*2 x\/b {2}\? {2}~\n/);
  });

  it("puts ports with the same table into one grid", () => {
    const more = four.results[0]?.cells.map((one) => ({ ...one, port: 81 })) ?? [];
    const both = matrix([...(four.results[0]?.cells ?? []), ...more], ["x/a", "x/b"]);
    expect(form(matrixReport, "text", both)).toContain("  80/TCP, 81/TCP\n");
  });

  it("becomes a list of what is not allowed when a screen is too narrow for the grid", () => {
    const ends = Array.from({ length: 40 }, (_, i) => `x/p${i}`);
    const cells = ends.map((to) => cell("x/p0", to, { verdict: to === "x/p7" ? "deny" : "allow" }));
    const text = form(matrixReport, "text", matrix(cells, ends));
    expect(text.match(/ -> /g)).toHaveLength(1);
    expect(text).toContain("x/p0 -> x/p7 80/TCP");
  });

  it("cuts a long list, and says what it left out and where it is", () => {
    const ends = Array.from({ length: 300 }, (_, i) => `x/p${i}`);
    const cells = ends.map((to) => cell("x/p0", to, { verdict: "deny" }));
    const text = form(matrixReport, "text", matrix(cells, ends));
    expect(text).toMatch(/\.\.\. and 100 more \(-o json or -o csv has all\)/);
  });

  it("lists what is not allowed between classes, and says who they are", () => {
    const table = matrix(
      [cell("class:1", "x/b", { verdict: "deny", place: "same-node" })],
      ["x/a1", "x/a2", "x/b"],
    );
    const classes = [
      { id: "class:1", kind: "pod", count: 2, members: ["x/a1", "x/a2"] },
      { id: "x/b", kind: "pod", count: 1, members: ["x/b"] },
    ] as const;
    const results = table.results.map((result) => ({ ...result, classes }));
    const text = form(matrixReport, "text", { ...table, results });
    expect(text).toContain("1 denied between 2 classes of ends");
    expect(text).toContain("X class:1 -> x/b 80/TCP (same node)");
    expect(text).toContain("class:1: x/a1, x/a2\n");
  });

  it("is the same with colours, but for the colours", () => {
    const coloured = form(matrixReport, "text", four, true);
    expect(coloured).not.toBe(form(matrixReport, "text", four));
    expect(coloured.replaceAll(new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, "g"), "")).toBe(
      form(matrixReport, "text", four),
    );
  });
});

describe("reports of differences", () => {
  const diff: DiffDocument = {
    schema: "podwire/diff/v1",
    version: "0",
    seed: 1,
    engines: ["a", "b"],
    compared: 10,
    undefined: 2,
    groups: [
      { divergence: "unexplained", cells: 1, witness: { ...cell("x/a", "x/b"), a: "allow", b: "deny" } },
      {
        divergence: "d",
        cause: "c",
        source: "s",
        cells: 2,
        witness: { ...cell("x/c", "x/b"), a: "deny", b: "allow" },
      },
    ],
  };

  it("fail in JUnit where nothing explains them, and only there", () => {
    const xml = form(diffReport, "junit", diff);
    expect(faultOf(xml)).toBe("");
    expect(xml).toContain('tests="2" failures="1"');
    expect(xml).toMatch(
      /name="unexplained"[^>]*>\s*<failure message="1 of 10 cells, for example x\/a -&gt; x\/b/,
    );
  });

  it("have a passed case in JUnit where there are none", () => {
    expect(form(diffReport, "junit", { ...diff, groups: [] })).toContain('tests="1" failures="0"');
  });

  it("give cause and source in text", () => {
    expect(form(diffReport, "text", diff)).toBe(
      "a and b: 3 of 10 cells differ, 2 left open by the API\n\nunexplained: 1 cell\n  for example x/a -> x/b 80/TCP: a says allow, b says deny\n\nd: 2 cells\n  c\n  s\n  for example x/c -> x/b 80/TCP: a says deny, b says allow\n",
    );
  });
});

describe("reports of a trace", () => {
  const trace: TraceDocument = {
    schema: "podwire/trace/v1",
    version: "0",
    seed: 1,
    engine: "e",
    engineVersion: "1",
    from: "x/a",
    to: "x/b",
    protocol: "TCP",
    port: 80,
    verdict: "deny",
    by: "ingress",
    packets: [
      {
        line: "IP a > b",
        direction: "request",
        disposition: "denied-ingress",
        at: "n1",
        hooks: [{ node: "n1", hook: "FORWARD", verdict: "drop" }],
        entries: [
          {
            node: "n1",
            hook: "FORWARD",
            table: "filter",
            chain: "C",
            depth: 1,
            rule: 2,
            text: "-A C",
            matched: false,
            why: nasty,
          },
          {
            node: "n1",
            hook: "FORWARD",
            table: "filter",
            chain: "FORWARD",
            depth: 0,
            rule: 0,
            text: "-P FORWARD DROP",
            matched: true,
            decided: true,
          },
        ],
      },
    ],
    oracle: { verdict: "deny", explanation: ["because"] },
    deniedBecause: [{ policy: "x/p", path: "spec.ingress", file: "f.yaml", line: 7 }],
  };

  it("mark the miss, the deciding rule and a chain's policy", () => {
    const text = form(traceReport, "text", trace);
    expect(text).toContain("~  filter/C #2  -A C");
    expect(text).toContain("=> filter/FORWARD policy  -P FORWARD DROP");
    expect(text).toContain("denied because of x/p spec.ingress at f.yaml:7");
  });

  it("fail in JUnit with the reason, and are well-formed", () => {
    const xml = form(traceReport, "junit", trace);
    expect(faultOf(xml)).toBe("");
    expect(xml).toContain('message="denied because of x/p spec.ingress at f.yaml:7"');
  });
});
