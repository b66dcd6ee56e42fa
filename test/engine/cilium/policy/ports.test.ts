/** Ports that agents read otherwise than they are written: zero, and names with several numbers. */
import { describe, expect, it } from "vitest";
import { nodes, pod, policy, type RawObject } from "../../../oracle/world.ts";
import { allowed, cnp } from "../questions.ts";

const generations = ["cilium@1.16", "cilium@1.18", "cilium@1.19"];
const toPorts = (port: string, endPort?: number): RawObject => ({
  ingress: [
    { toPorts: [{ ports: [{ port, protocol: "TCP", ...(endPort === undefined ? {} : { endPort }) }] }] },
  ],
});

describe("a range that begins at port 0", () => {
  const asked = [1, 1023, 1024, 8080, 65_535].map((port) => `ip:203.0.113.7 > x/a TCP ${port}`);
  const answers = (engine: string, rule: RawObject): readonly string[] =>
    allowed(engine, { objects: [...nodes, pod("x/a"), cnp("p", rule)], asked });

  it.each(generations)("is every port with the defect, and itself without: %s", (engine) => {
    expect(answers(engine, toPorts("0", 1023))).toEqual(asked.slice(0, 2));
    expect(answers(`${engine}+zero-start-defect`, toPorts("0", 1023))).toEqual(asked);
  });

  it.each(generations)("the defect leaves other ranges alone: %s", (engine) => {
    expect(answers(`${engine}+zero-start-defect`, toPorts("1", 1023))).toEqual(asked.slice(0, 2));
    expect(answers(`${engine}+zero-start-defect`, toPorts("1024", 65_535))).toEqual(asked.slice(2));
  });

  it("0 alone, and all of them, are every port with the defect or without", () => {
    for (const rule of [toPorts("0"), toPorts("0", 65_535)])
      for (const engine of ["cilium", "cilium+zero-start-defect"])
        expect(answers(engine, rule)).toEqual(asked);
  });
});

describe("ICMP type 0", () => {
  const ping = "ip:203.0.113.7 > x/a ICMP 8";
  const about = (direction: "ingress" | "ingressDeny", type: number | string): readonly RawObject[] => [
    ...nodes,
    pod("x/a"),
    cnp("p", {
      ...(direction === "ingressDeny" ? { ingress: [{ fromEntities: ["all"] }] } : {}),
      [direction]: [{ icmps: [{ fields: [{ type }] }] }],
    }),
  ];

  it.each(["cilium@1.14", ...generations])("is every type, allowed or denied: %s", (engine) => {
    const answers = (direction: "ingress" | "ingressDeny", type: number | string): boolean =>
      allowed(engine, { objects: about(direction, type), asked: [ping] }).length > 0;
    expect([answers("ingress", 0), answers("ingress", "EchoReply"), answers("ingress", 3)]).toEqual([
      true,
      true,
      false,
    ]);
    expect([answers("ingressDeny", 0), answers("ingressDeny", 3)]).toEqual([false, true]);
  });

  it("is of no other protocol", () => {
    const tcp = "ip:203.0.113.7 > x/a TCP 80";
    expect(allowed("cilium", { objects: about("ingress", 0), asked: [ping, tcp] })).toEqual([ping]);
  });
});

describe("a port name of an egress rule that has two numbers in the cluster", () => {
  const named = (id: string, containerPort: number, labels: RawObject): RawObject =>
    pod(id, {
      labels,
      containers: [{ name: "main", ports: [{ name: "http", containerPort, protocol: "TCP" }] }],
    });
  const objects = [
    ...nodes,
    pod("x/a", { labels: { app: "a" } }),
    named("x/b", 80, { app: "b" }),
    named("x/c", 8080, { app: "c" }),
    policy("x/p", {
      podSelector: { matchLabels: { app: "a" } },
      policyTypes: ["Egress"],
      egress: [{ to: [{ podSelector: { matchLabels: { app: "b" } } }], ports: [{ port: "http" }] }],
    }),
  ];
  const asked = ["x/a > x/b TCP 80", "x/a > x/b TCP 8080", "x/a > x/c TCP 8080"];

  it.each(["cilium@1.14", ...generations])("is no port, but for the repair's switch: %s", (engine) => {
    expect(allowed(engine, { objects, asked })).toEqual([]);
    expect(allowed(`${engine}+fix-30003`, { objects, asked })).toEqual(asked.slice(0, 1));
  });

  it("stays none where the selected pods themselves have both", () => {
    const all = policy("x/p", {
      podSelector: { matchLabels: { app: "a" } },
      policyTypes: ["Egress"],
      egress: [{ to: [{ podSelector: {} }], ports: [{ port: "http" }] }],
    });
    expect(allowed("cilium+fix-30003", { objects: [...objects.slice(0, -1), all], asked })).toEqual([]);
  });
});
