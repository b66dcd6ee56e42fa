/** Truth tables: which cells there are, what they say, and that a stopped table keeps what it has. */
import { describe, expect, it } from "vitest";
import { computeMatrix, type MatrixDocument } from "../../src/harness/index.ts";
import { pod, policy, selected, stateOf } from "./cluster.ts";

const isolated = policy("x/b", '{ podSelector: { matchLabels: { app: b } }, policyTypes: ["Ingress"] }');

const matrix = (
  engines: string,
  objects: readonly string[],
  options: { readonly podsOnly?: boolean } = { podsOnly: true },
): Promise<MatrixDocument> =>
  computeMatrix(selected(engines, stateOf(...objects)), "0", { seed: 1, ...options });

const verdicts = (document: MatrixDocument, engine = 0): Readonly<Record<string, string>> =>
  Object.fromEntries(
    (document.results[engine]?.cells ?? []).map((cell) => [
      `${cell.from}>${cell.to}:${cell.port ?? cell.type}`,
      `${cell.verdict}${cell.by === undefined ? "" : ` ${cell.by}`}${cell.self ? " self" : ""}`,
    ]),
  );

describe("a truth table", () => {
  it("holds every ordered pair on every port that is named, itself included and marked", async () => {
    const document = await matrix("oracle,azure-npm", [pod("x/a"), pod("x/b", { node: "n2" }), isolated]);
    const expected = {
      "x/a>x/a:80": "allow self",
      "x/a>x/b:80": "deny ingress",
      "x/b>x/a:80": "allow",
      "x/b>x/b:80": "allow self",
    };
    expect(verdicts(document)).toEqual(expected);
    const { "x/b>x/b:80": _, ...others } = expected;
    expect(verdicts(document, 1)).toMatchObject(others);
    expect(document.ports).toEqual([{ protocol: "TCP", port: 80 }]);
  });

  it("says which sides isolate for the oracle, the side that dropped first for an engine", async () => {
    const both = [
      pod("x/a"),
      pod("x/b", { node: "n2" }),
      policy("x/all", '{ podSelector: {}, policyTypes: ["Ingress", "Egress"] }'),
    ];
    const document = await matrix("oracle,azure-npm", both);
    expect(verdicts(document)["x/a>x/b:80"]).toBe("deny both");
    expect(verdicts(document, 1)["x/a>x/b:80"]).toMatch(/^deny (egress|ingress)$/);
  });

  it("takes in nodes and the ranges that policies tell apart when all ends are asked for", async () => {
    const block = policy(
      "x/b",
      "{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 192.0.2.0/24 } }] }] }",
    );
    const document = await matrix("oracle", [pod("x/b"), block], {});
    const ids = document.endpoints.map((end) => end.id);
    expect(ids).toEqual(["x/b", "node:n1", "ip:192.0.2.0/24", "ip:other"]);
    expect(verdicts(document)).toMatchObject({
      "ip:192.0.2.0/24>x/b:80": "allow",
      "ip:other>x/b:80": "deny ingress",
    });
    // between two hosts outside, or two nodes, there is nothing to police
    expect(Object.keys(verdicts(document)).every((cell) => cell.includes("x/b"))).toBe(true);
  });

  it("asks the ports that are given instead, ICMP types among them", async () => {
    const state = stateOf(pod("x/a"), pod("x/b"), isolated);
    const ports = [
      { protocol: "UDP", port: 53 },
      { protocol: "ICMP", port: 8 },
    ] as const;
    const document = await computeMatrix(selected("none", state), "0", { seed: 1, podsOnly: true, ports });
    expect(document.ports).toEqual([
      { protocol: "UDP", port: 53 },
      { protocol: "ICMP", type: 8 },
    ]);
    expect(document.results[0]?.cells.map(({ port, type }) => port ?? type)).toEqual([
      53, 8, 53, 8, 53, 8, 53, 8,
    ]);
  });

  it("carries what an engine could not express", async () => {
    const v6 = policy(
      "x/six",
      '{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "2001:db8::/32" } }] }] }',
    );
    const document = await matrix("azure-npm", [pod("x/a"), v6]);
    expect(document.results[0]?.diagnostics).toMatchObject([
      { severity: "error", policy: "x/six", file: "cluster.yaml" },
    ]);
  });

  it("keeps the cells that are judged when it is told to stop", async () => {
    const pods = Array.from({ length: 70 }, (_, i) => pod(`x/p${i}`));
    const state = stateOf(...pods);
    const seen: number[] = [];
    const document = await computeMatrix(selected("oracle,azure-npm", state), "0", {
      seed: 1,
      podsOnly: true,
      onProgress: (done) => {
        seen.push(done);
        return Promise.resolve(seen.length < 2);
      },
    });
    const cells = document.results.map((result) => result.cells.length);
    expect(cells[0]).toBeGreaterThan(0);
    expect(cells.reduce((sum, count) => sum + count, 0)).toBeLessThan(2 * 70 * 70);
    expect(document.results.length).toBeLessThan(3);
  });
});
