/** Traces: the same evaluator, observed: what was met, what came nearest, and the line of the manifest behind it. */
import { describe, expect, it } from "vitest";
import {
  createOriginPlacer,
  emulate,
  parseSelection,
  resolveEnd,
  resolveSource,
  type TraceDocument,
  traceConnection,
} from "../../src/harness/index.ts";
import { parseEnd } from "../../src/scenario/index.ts";
import { manifest, pod, policy, stateOf } from "./cluster.ts";

const objects = [
  pod("x/a"),
  pod("x/b", { node: "n2" }),
  policy(
    "x/b",
    `
  podSelector: { matchLabels: { app: b } }
  ingress:
    - from: [{ podSelector: { matchLabels: { app: c } } }]
      ports: [{ port: 80 }]
    - from: [{ podSelector: { matchLabels: { app: a } } }]
      ports: [{ port: 443 }]`,
  ),
];

function trace(
  from: string,
  to: string,
  port: number,
  engine = "azure-npm",
  given: readonly string[] = objects,
): TraceDocument {
  const state = stateOf(...given);
  const selection = parseSelection(engine);
  if (selection.kind !== "product") throw new Error("a product");
  return traceConnection(
    emulate(state, selection, { seed: 1 }),
    resolveSource(state, parseEnd(from)),
    resolveEnd(state, parseEnd(to)),
    { protocol: "TCP", port, family: 4 },
    createOriginPlacer(manifest(...given)),
    { version: "0", seed: 1 },
  );
}

/** 1-based line of the text in the manifest. */
function lineOf(text: string): number {
  const lines = (manifest(...objects)[0]?.text ?? "").split("\n");
  return lines.findIndex((line) => line.includes(text)) + 1;
}

describe("a trace of a denied connection", () => {
  const document = trace("x/a", "x/b", 80);

  it("says so, and by which direction", () => {
    expect(document).toMatchObject({ verdict: "deny", by: "ingress", oracle: { verdict: "deny" } });
  });

  it("names the policy and the line that deny", () => {
    expect(document.deniedBecause).toMatchObject([
      { policy: "x/b", file: "cluster.yaml", line: lineOf("ingress:"), role: "default-deny" },
    ]);
  });

  it("ends at the one rule that dropped the packet", () => {
    const entries = document.packets.flatMap((packet) => packet.entries);
    expect(entries.filter((entry) => entry.decided)).toEqual([document.decidedBy]);
    expect(document.decidedBy).toMatchObject({ table: "filter", matched: true });
    expect(document.decidedBy?.text).toMatch(/-j DROP$/);
    expect(document.packets).toHaveLength(1); // nothing came back
  });

  it("shows the nearest miss: the allowing rule that failed last, and why, in the packet's own values", () => {
    const [miss, ...more] = document.packets.flatMap((packet) =>
      packet.entries.filter((entry) => !entry.matched),
    );
    expect(more).toEqual([]);
    expect(miss?.why).toMatch(/source 10\.\S+ is not in set podlabel-app:c/);
    expect(miss?.origin).toMatchObject({
      policy: "x/b",
      path: "spec.ingress[0].from[0]",
      line: lineOf("app: c }"),
    });
  });

  it("quotes the manifest's line wherever a rule has one", () => {
    for (const { origin } of document.packets.flatMap((packet) => packet.entries))
      if (origin?.policy === "x/b") expect(origin.line).toBeGreaterThanOrEqual(lineOf("kind: NetworkPolicy"));
  });
});

describe("a trace of an allowed connection", () => {
  const document = trace("x/a", "x/b", 443);

  it("follows request and reply over both nodes", () => {
    expect(document.verdict).toBe("allow");
    expect(document.packets.map(({ direction, disposition }) => [direction, disposition])).toEqual([
      ["request", "delivered"],
      ["reply", "delivered"],
    ]);
    const nodes = document.packets.map((packet) => [...new Set(packet.hooks.map((hook) => hook.node))]);
    expect(nodes).toEqual([
      ["n1", "n2"],
      ["n2", "n1"],
    ]);
    expect(document.deniedBecause).toBeUndefined();
    expect(document.decidedBy).toBeUndefined();
  });

  it("shows no misses: only what matched", () => {
    expect(document.packets.flatMap((packet) => packet.entries).every((entry) => entry.matched)).toBe(true);
  });

  it("shows the rule that let it in, with its line", () => {
    const allowing = document.packets
      .flatMap((packet) => packet.entries)
      .find((entry) => entry.origin?.path?.startsWith("spec.ingress[1]") && entry.origin.role === "allow");
    expect(allowing?.origin).toMatchObject({ policy: "x/b", line: lineOf("app: a } } }]\n".trim()) });
  });
});

describe("a trace on Windows nodes", () => {
  const windows = (name: string): string => `apiVersion: v1
kind: Node
metadata: { name: ${name}, labels: { kubernetes.io/os: windows } }
`;
  const web = `apiVersion: v1
kind: Service
metadata: { namespace: x, name: web }
spec:
  selector: { app: b }
  ports:
    - port: 8000
      targetPort: 80
`;
  const given = [windows("n1"), windows("n2"), ...objects, web];
  const hooksOf = ({ packets }: TraceDocument) =>
    packets.map(({ hooks }) => hooks.map(({ node, hook }) => `${node} ${hook}`));

  it("shows the endpoints that a packet met, and not the uplinks where nothing is asked", () => {
    expect(hooksOf(trace("x/a", "x/b", 443, "azure-npm", given))).toEqual([
      ["n1 endpoint-Out", "n2 endpoint-In"],
      ["n2 endpoint-Out", "n1 endpoint-In"],
    ]);
  });

  it("names sets, not their ids", () => {
    const { packets } = trace("x/a", "x/b", 80, "azure-npm", given);
    const texts = packets.flatMap(({ entries }) => entries.map(({ text }) => text)).join("\n");
    expect(texts).toContain('"LocalAddresses":"podlabel-app:a,ns-x"');
  });

  it("shows what a load balancer chose, on the way there and back, with the Service's line", () => {
    const document = trace("x/a", "svc:x/web", 8000, "none", given);
    const at = (manifest(...given)[0]?.text ?? "")
      .split("\n")
      .findIndex((line) => line.includes("- port: 8000"));
    const choices = document.packets.map(({ entries }) =>
      entries.filter(({ chain }) => chain === "load balancers"),
    );
    expect(document.verdict).toBe("allow");
    expect(choices).toMatchObject([
      [{ node: "n1", hook: "endpoint-Out", origin: { policy: "x/web (Service)", line: at + 1 } }],
      [{ node: "n1", hook: "endpoint-In", origin: { policy: "x/web (Service)", line: at + 1 } }],
    ]);
    expect(choices[0]?.[0]?.text).toMatch(/"ExternalPort":8000.* -> 10\.224\.\d+\.\d+:80$/);
  });
});

describe("observing", () => {
  it("changes no verdict: traced and untraced judge alike", () => {
    for (const port of [80, 443, 8080])
      for (const [from, to] of [
        ["x/a", "x/b"],
        ["x/b", "x/a"],
        ["node:n1", "x/b"],
      ] as const)
        for (const engine of ["azure-npm", "none", "azure-npm+place-first"]) {
          const { verdict, oracle } = trace(from, to, port, engine);
          if (engine !== "none" && oracle.verdict !== "undefined")
            expect(verdict, `${from} ${to} ${port} ${engine}`).toBe(oracle.verdict);
        }
  });
});
