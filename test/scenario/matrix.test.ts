/** Truth tables: how defaults, overrides and grids become cells. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loadManifests } from "../../src/k8s/index.ts";
import {
  type ExpectedCell,
  expandExpectedMatrix,
  expandFixture,
  expectedValue,
  formatPort,
  loadScenario,
  type MatrixExpectation,
} from "../../src/scenario/index.ts";

function matrixOf(yaml: string): MatrixExpectation {
  const text = `engines: [oracle]\nsteps:\n  - expectMatrix:\n${yaml.replace(/^/gm, "      ")}\n`;
  const [step] = loadScenario({ name: "m.yaml", text }).steps;
  if (step?.action !== "expectMatrix") throw new Error("expected a matrix");
  return step.matrix;
}

function print(cells: readonly ExpectedCell[], engine = "oracle"): readonly string[] {
  return cells.map(
    (cell) => `${cell.from}>${cell.to}:${formatPort(cell.port)} ${expectedValue(cell.verdict, engine)}`,
  );
}

describe("an expected truth table", () => {
  it("has every ordered pair of different pods for every port", () => {
    const cells = print(expandExpectedMatrix(matrixOf("ports: [80, 81]"), ["x/a", "x/b"]));
    expect(cells).toEqual([
      "x/a>x/b:80/TCP allow",
      "x/a>x/b:81/TCP allow",
      "x/b>x/a:80/TCP allow",
      "x/b>x/a:81/TCP allow",
    ]);
  });

  it("lets the last override that matches win", () => {
    const matrix = matrixOf(`ports: [80, 81]
default: allow
overrides:
  - { from: "*", to: x/*, verdict: deny }
  - { from: [y/a, y/b], to: x/a, verdict: allow, ports: [81] }
  - { from: y/b, to: x/a, verdict: { default: undefined, azure-npm: deny } }`);
    const cells = expandExpectedMatrix(matrix, ["x/a", "y/a", "y/b"]);
    expect(print(cells).filter((line) => line.includes(">x/a"))).toEqual([
      "y/a>x/a:80/TCP deny",
      "y/a>x/a:81/TCP allow",
      "y/b>x/a:80/TCP undefined",
      "y/b>x/a:81/TCP undefined",
    ]);
    expect(print(cells, "azure-npm@2026-08")).toContain("y/b>x/a:81/TCP deny");
    expect(print(cells)).toContain("x/a>y/a:80/TCP allow");
  });

  it("keeps to the pods it names", () => {
    expect(
      print(expandExpectedMatrix(matrixOf("ports: [80]\npods: [x/a, y/a]"), ["x/a", "x/b", "y/a"])),
    ).toHaveLength(2);
  });

  it("names a pod that does not exist, and an override that says nothing", () => {
    const matrix = matrixOf(`ports: [80]
pods: [x/a, x/z, y/a]
overrides:
  - { from: z/*, to: x/a, verdict: deny }
  - { from: x/a, to: x/a, verdict: deny }`);
    expect(() => expandExpectedMatrix(matrix, ["x/a", "y/a"])).toThrow(
      /there is no pod x\/z[\s\S]*m.yaml:7:11: .*no cell matches from z\/\* to x\/a[\s\S]*m.yaml:8:11: .*from x\/a to x\/a/,
    );
  });

  it("does not take a namespace for another that it begins like", () => {
    const matrix = matrixOf('ports: [80]\noverrides: [{ from: "*", to: x/*, verdict: deny }]');
    expect(print(expandExpectedMatrix(matrix, ["x/a", "xy/a"]))).toEqual([
      "x/a>xy/a:80/TCP allow",
      "xy/a>x/a:80/TCP deny",
    ]);
  });

  it("law: a grid says what the same overrides say", () => {
    const pods = ["x/a", "x/b", "y/a"];
    const letter = fc.constantFrom(".", "X", "?");
    const names = { ".": "allow", X: "deny", "?": "undefined" };
    fc.assert(
      fc.property(fc.array(fc.tuple(letter, letter), { minLength: 9, maxLength: 9 }), (letters) => {
        const cell = (from: number, to: number): readonly [string, string] =>
          letters[from * 3 + to] ?? [".", "."];
        const rows = pods.map((from, i) => [from, ...pods.map((_, j) => cell(i, j).join(""))].join(" "));
        const grid = matrixOf(
          `ports: [80/TCP, 80/UDP]\ntable: |\n  from ${pods.join(" ")}\n  ${rows.join("\n  ")}`,
        );
        const overrides = pods.flatMap((from, i) =>
          pods.flatMap((to, j) =>
            i === j
              ? []
              : ["80/TCP", "80/UDP"].map(
                  (port, k) =>
                    `{ from: ${from}, to: ${to}, ports: [${port}], verdict: ${names[cell(i, j)[k] as "."]} }`,
                ),
          ),
        );
        const listed = matrixOf(`ports: [80/TCP, 80/UDP]\noverrides: [${overrides.join(", ")}]`);
        expect(print(expandExpectedMatrix(grid, pods))).toEqual(print(expandExpectedMatrix(listed, pods)));
      }),
      { numRuns: 30 },
    );
  });

  it("reads a grid with or without a word in its corner, and anything on its diagonal", () => {
    const plain = matrixOf("ports: [80]\ntable: |\n  x/a x/b\n  x/a - X\n  x/b . #");
    const corner = matrixOf("ports: [80]\ntable: |\n  to>  x/a x/b\n  x/a \\ X\n  x/b . \\");
    for (const matrix of [plain, corner])
      expect(print(expandExpectedMatrix(matrix, ["x/a", "x/b", "x/c"]))).toEqual([
        "x/a>x/b:80/TCP deny",
        "x/b>x/a:80/TCP allow",
      ]);
  });

  it("refuses a grid with missing rows, cells, or unknown letters", () => {
    const grid =
      (rows: string): (() => unknown) =>
      () =>
        matrixOf(`ports: [80]\ntable: |\n  ${rows.replaceAll("|", "\n  ")}`);
    expect(grid("x/a x/b|x/a . .")).toThrow(/column x\/b has no row/);
    expect(grid("x/a x/b|x/a . .|x/b .")).toThrow(/row x\/b has 1 cells, the header 2/);
    expect(grid("x/a x/b|x/a . Z|x/b . .")).toThrow(/unknown letter Z/);
    expect(grid("x/a x/b|x/a . XX|x/b . .")).toThrow(/2 letters for 1 ports/);
    expect(grid("x/a x/b|x/a . .|x/c . .")).toThrow(/row x\/c has no column/);
    expect(grid("x/a x/b|x/a . .|x/b . .|x/b . .")).toThrow(/a row stands twice/);
    expect(grid("x/a x/b")).toThrow(/needs a header line and rows/);
  });
});

describe("a truth table of ends", () => {
  it("has those that it names, with one verdict", () => {
    const matrix = matrixOf(
      "ports: [80]\nfrom: [x/a, 'ip:192.0.2.7']\nto: ['svc:x/web', 'node:n1']\ndefault: some",
    );
    expect(matrix.ends?.from.map(({ kind }) => kind)).toEqual(["pod", "ip"]);
    expect(matrix.ends?.to.map(({ kind }) => kind)).toEqual(["service", "node"]);
    expect(expectedValue(matrix.default, "oracle")).toBe("some");
  });

  it("refuses one side alone, pods and overrides beside it, and ends that are none", () => {
    expect(() => matrixOf("ports: [80]\nfrom: [x/a]")).toThrow(/m\.yaml:5:13:.*`from` and `to` go together/);
    expect(() => matrixOf("ports: [80]\nto: [x/a]")).toThrow(/`from` and `to` go together/);
    expect(() => matrixOf("ports: [80]\nfrom: [x/a]\nto: [x/b]\npods: [x/a]")).toThrow(/without pods/);
    expect(() => matrixOf("ports: [80]\nfrom: [x/a]\nto: ['svc:web']")).toThrow(/m\.yaml:6:/);
    expect(() => matrixOf("ports: [80]\nfrom: [x/a]\nto: [x/b]\ntable: x")).toThrow(
      /leave out pods, from, to/,
    );
  });
});

describe("a fixture", () => {
  const load = (fixture: Parameters<typeof expandFixture>[0]): ReturnType<typeof loadManifests> =>
    loadManifests([
      { name: "fixture", text: JSON.stringify({ kind: "List", items: expandFixture(fixture) }) },
    ]);

  it("makes labelled namespaces, and labelled pods that take the nodes in turn", () => {
    const objects = load({
      nodes: 2,
      namespaces: { z: { labels: { env: "dev" } } },
      pods: ["x/a", "x/b", "y/a"],
      ports: ["80/TCP"],
    });
    expect(objects.namespaces.map(({ name, labels }) => [name, labels.ns, labels.env])).toEqual([
      ["z", "z", "dev"],
      ["x", "x", undefined],
      ["y", "y", undefined],
    ]);
    expect(objects.pods.map(({ name, nodeName, labels }) => [name, nodeName, labels])).toEqual([
      ["a", "n1", { pod: "a" }],
      ["b", "n2", { pod: "b" }],
      ["a", "n1", { pod: "a" }],
    ]);
    expect(objects.nodes.map(({ name }) => name)).toEqual(["n1", "n2"]);
  });

  it("names ports as the upstream tests do, and lets a pod have its own", () => {
    const objects = load({
      pods: ["x/a", { name: "x/b", ports: [] }],
      ports: ["80/TCP", "81/UDP", "80/SCTP"],
    });
    expect(objects.pods.map((pod) => pod.ports.map((port) => port.name))).toEqual([
      ["serve-80-tcp", "serve-81-udp", "serve-80-sctp"],
      [],
    ]);
  });

  it("keeps addresses, nodes, labels and hostNetwork that are given", () => {
    const objects = load({
      nodes: [{ name: "m", ip: "10.224.0.4" }],
      pods: [
        { name: "x/a", ip: "10.224.0.9", ip6: "fd00::9", labels: { app: "web" } },
        { name: "x/h", hostNetwork: true },
      ],
    });
    expect(objects.nodes[0]?.addresses).toHaveLength(1);
    expect(objects.pods[0]).toMatchObject({ labels: { app: "web" }, nodeName: "m" });
    expect(objects.pods[0]?.ips.map((ip) => ip.family)).toEqual([4, 6]);
    expect(objects.pods[1]).toMatchObject({ hostNetwork: true });
  });
});
