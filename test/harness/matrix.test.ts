/** Truth tables: which cells there are, what they say, and that a stopped table keeps what it has. */
import { describe, expect, it } from "vitest";
import { computeMatrix, type EngineMatrix, type MatrixDocument } from "../../src/harness/index.ts";
import { pod, policy, selected, stateOf, stateWith } from "./cluster.ts";

const isolated = policy("x/b", '{ podSelector: { matchLabels: { app: b } }, policyTypes: ["Ingress"] }');

const matrix = (
  engines: string,
  objects: readonly string[],
  options: { readonly podsOnly?: boolean; readonly classesAbove?: number } = { podsOnly: true },
): Promise<MatrixDocument> =>
  computeMatrix(selected(engines, stateOf(...objects)), "0", { seed: 1, ...options });

const verdicts = (document: MatrixDocument, engine = 0): Readonly<Record<string, string>> =>
  Object.fromEntries(
    (document.results[engine]?.cells ?? []).map((cell) => [
      `${cell.from}>${cell.to}:${cell.port ?? cell.type}`,
      `${cell.verdict}${cell.by === undefined ? "" : ` ${cell.by}`}${cell.self ? " self" : ""}`,
    ]),
  );

const ciliumMatrix = (
  objects: readonly string[],
  options: { readonly podsOnly?: boolean; readonly classesAbove?: number },
): Promise<MatrixDocument> => {
  const words = { networkPlugin: "azure", networkDataplane: "cilium", networkPolicy: "cilium" } as const;
  return computeMatrix(selected("cilium", stateWith(words, ...objects)), "0", { seed: 1, ...options });
};

/** A policy of a kind that an engine brings along. */
const ciliumPolicy = (spec: string): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { namespace: x, name: named }
spec: ${spec}
`;

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

  it("asks at the ports and ranges that policies of other kinds name, too", async () => {
    const named = ciliumPolicy(`{ endpointSelector: {}, ingress: [
      { fromCIDRSet: [{ cidr: 192.0.2.0/24, except: [192.0.2.128/25] }], toPorts: [{ ports: [
        { port: "8443", protocol: TCP }, { port: "9000", endPort: 9010, protocol: UDP }] }] },
      { fromCIDR: [198.51.100.0/24], icmps: [{ fields: [{ type: EchoRequest }] }] }] }`);
    const group = `apiVersion: cilium.io/v2alpha1
kind: CiliumCIDRGroup
metadata: { name: partners }
spec: { externalCIDRs: [203.0.113.0/28] }
`;
    const document = await ciliumMatrix([pod("x/b"), named, group], {});
    expect(document.endpoints.map(({ id }) => id)).toEqual([
      "x/b",
      "node:n1",
      "ip:192.0.2.0/24",
      "ip:198.51.100.0/24",
      "ip:192.0.2.128/25",
      "ip:203.0.113.0/28",
      "ip:other",
    ]);
    expect(document.ports).toEqual([
      { protocol: "TCP", port: 80 },
      { protocol: "TCP", port: 8443 },
      { protocol: "UDP", port: 9000 },
      { protocol: "UDP", port: 9010 },
      { protocol: "ICMP", type: 8 },
    ]);
    expect(verdicts(document)).toMatchObject({
      "ip:192.0.2.0/24>x/b:8443": "allow",
      "ip:192.0.2.128/25>x/b:8443": "deny ingress",
      "ip:192.0.2.0/24>x/b:80": "deny ingress",
      "ip:192.0.2.0/24>x/b:9010": "allow",
      "ip:198.51.100.0/24>x/b:8": "allow",
      "ip:other>x/b:8": "deny ingress",
    });
  });

  it("keeps pods apart that policies of other kinds tell apart", async () => {
    const web = ciliumPolicy(
      '{ endpointSelector: { matchLabels: { tier: web } }, ingress: [{ fromEndpoints: [{ matchLabels: { "k8s:io.kubernetes.pod.namespace": y } }] }] }',
    );
    const objects = ["x/a", "x/b", "y/a", "z/a"].map((id) =>
      pod(id, { labels: id === "x/b" ? "app: a, tier: web" : "app: a" }),
    );
    const all = { podsOnly: true, classesAbove: 0 };
    const document = await ciliumMatrix([...objects, web], all);
    const classes = document.results[0]?.classes?.map(({ members }) => members);
    expect(classes).toEqual([["x/a"], ["x/b"], ["y/a"], ["z/a"]]);
    const without = await ciliumMatrix(objects, all);
    expect(without.results[0]?.classes?.map(({ members }) => members)).toEqual([
      ["x/a", "x/b", "y/a", "z/a"],
    ]);
  });

  it.each(["type: LoadBalancer", "internalTrafficPolicy: Local"])(
    "keeps pods of a backend's node apart from others where a Service does (%s)",
    async (spec) => {
      const web = `apiVersion: v1
kind: Service
metadata: { namespace: x, name: web }
spec: { ${spec}, selector: { app: web }, ports: [{ port: 80 }] }
`;
      const client = (name: string, node: string) => pod(`x/${name}`, { node, labels: "app: client" });
      const deny = policy("x/deny", "{ podSelector: { matchLabels: { app: web } } }");
      const pods = [pod("x/web"), client("near", "n1"), client("far", "n2"), client("farther", "n3")];
      const document = await matrix("azure-npm", [...pods, web, deny], { classesAbove: 0 });
      const members = (document.results[0]?.classes ?? []).map((one) => one.members);
      expect(members).toContainEqual(["x/near"]);
      expect(members).toContainEqual(["x/far", "x/farther"]);
    },
  );

  it.each(["", "sessionAffinity: ClientIP, "])(
    "tries each backend that Cilium's program may draw, for a client that comes for the first time (%s)",
    async (affinity) => {
      const web = `apiVersion: v1
kind: Service
metadata: { namespace: x, name: web }
spec: { ${affinity}selector: { app: web }, ports: [{ port: 80 }] }
`;
      const backends = ["one", "two", "three", "four"].map((name) =>
        pod(`x/${name}`, { labels: `app: web, is: ${name}` }),
      );
      const closed = (labels: string) =>
        policy("x/closed", `{ podSelector: { matchLabels: { ${labels} } } }`);
      const cell = async (...policies: readonly string[]) =>
        verdicts(await ciliumMatrix([pod("x/client"), ...backends, web, ...policies], {}))[
          "x/client>svc:x/web:80"
        ];
      expect(await cell()).toBe("allow");
      for (const name of ["one", "two", "three", "four"])
        expect(await cell(closed(`is: ${name}`))).toMatch(/^some/);
      expect(await cell(closed("app: web"))).toMatch(/^deny/);
    },
  );

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

describe("a truth table between classes", () => {
  const classed = async (engine: string, objects: readonly string[]): Promise<EngineMatrix> => {
    const document = await computeMatrix(selected(engine, stateOf(...objects)), "0", {
      seed: 1,
      classesAbove: 0,
    });
    const [result] = document.results;
    if (result === undefined) throw new Error("no result");
    return result;
  };

  it("puts pods together that nothing tells apart, and names the members", async () => {
    const like = (name: string, node: string): string => pod(`x/${name}`, { node, labels: "app: a, run: r" });
    const { classes, cells } = await classed("oracle", [
      like("a1", "n1"),
      like("a2", "n2"),
      pod("x/b"),
      isolated,
    ]);
    expect(classes?.slice(0, 2)).toEqual([
      { id: "class:1", kind: "pod", count: 2, members: ["x/a1", "x/a2"] },
      { id: "x/b", kind: "pod", count: 1, members: ["x/b"] },
    ]);
    expect(cells.find(({ from, to }) => from === "class:1" && to === "x/b")).toMatchObject({
      verdict: "deny",
    });
    // members with one another: two of them stand for all, so this is no cell of an end with itself
    expect(cells.find(({ from, to }) => from === "class:1" && to === "class:1")?.self).toBeUndefined();
    expect(cells.find(({ from, to }) => from === "x/b" && to === "x/b")?.self).toBe(true);
  });

  it("has two cells where it matters whether ends share a node", async () => {
    const out = policy("x/out", '{ podSelector: {}, policyTypes: ["Egress"] }');
    const like = (name: string, node: string): string => pod(`x/${name}`, { node, labels: "app: a" });
    const { cells } = await classed("azure-npm", [like("a1", "n1"), like("a2", "n2"), out]);
    const toNode = cells.filter(({ from, to }) => from === "class:1" && to === "node:n1");
    expect(toNode.map(({ place, verdict }) => [place, verdict])).toEqual([
      ["same-node", "allow"], // INPUT, where Azure NPM has no rules
      ["other-node", "deny"],
    ]);
  });

  it("keeps pods of different nodes apart where a Service prefers its own node", async () => {
    const service = `apiVersion: v1
kind: Service
metadata: { namespace: x, name: b }
spec: { selector: { app: b }, internalTrafficPolicy: Local, ports: [{ port: 80 }] }
`;
    const like = (name: string, node: string): string => pod(`x/${name}`, { node, labels: "app: a" });
    const objects = [
      like("a1", "n1"),
      like("a2", "n2"),
      pod("x/b", { node: "n1" }),
      pod("x/c", { node: "n2" }),
      service,
    ];
    const { cells } = await classed("none", objects);
    const toService = cells.filter(({ to, port }) => to === "svc:x/b" && port === 80);
    expect(toService.map(({ from, verdict }) => [from, verdict])).toEqual(
      expect.arrayContaining([
        ["x/a1", "allow"],
        ["class:1", "deny"], // x/a2 and x/c, of which nothing else tells them apart
      ]),
    );
  });

  it("is what a large cluster gets by itself; a table beyond all measure is refused", async () => {
    const numbered = (count: number): readonly string[] =>
      Array.from({ length: count }, (_, i) =>
        pod(`x/p${i}`).replace("containerPort: 80", `containerPort: ${1000 + i}`),
      );
    const document = await matrix("oracle", numbered(60), {});
    expect(document.results[0]?.classes).toBeDefined();
    await expect(matrix("oracle", numbered(170), {})).rejects.toThrow(/are too many for one truth table/);
  });
});
