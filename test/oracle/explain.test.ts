/** Why: which policies isolate each side, which rule allows, what came nearest and on what it failed. */
import { describe, expect, it } from "vitest";
import { nodes, pod, policy, type RawObject, world } from "./world.ts";

const pods: readonly RawObject[] = [
  ...nodes,
  pod("x/web", { labels: { app: "web" }, podIPs: ["10.224.0.10"] }),
  pod("x/db", { labels: { app: "db" }, podIPs: ["10.224.0.11"] }),
  pod("y/any", { podIPs: ["10.224.0.12"] }),
];
const client = { podSelector: { matchLabels: { app: "client" } } };

describe("an explanation", () => {
  it("says that nothing isolates", () => {
    expect(world(pods).why("x/db > x/web TCP 80")).toEqual([
      "egress of x/db: no policy selects it for egress, so it is not isolated: allowed",
      "ingress of x/web: no policy selects it for ingress, so it is not isolated: allowed",
    ]);
  });

  it("names every policy that isolates, and the rule that allows with its place", () => {
    const { oracle, cell } = world([
      ...pods,
      policy("x/one", { podSelector: {} }),
      policy("x/two", {
        podSelector: { matchLabels: { app: "web" } },
        ingress: [{ ports: [{ port: 443 }] }, { ports: [{ port: 80 }] }],
      }),
    ]);
    const lines = oracle.explain(cell("y/any > x/web TCP 80")).slice(1);
    expect(lines.map(({ text }) => text)).toEqual([
      "ingress of x/web: isolated by x/one, which selects it",
      "ingress of x/web: isolated by x/two, which selects it",
      "ingress of x/web: allowed by x/two spec.ingress[1]",
    ]);
    expect(lines.map(({ origin }) => [origin?.name, origin?.path, origin?.role, origin?.direction])).toEqual([
      ["x/one", "spec.podSelector", "select", "ingress"],
      ["x/two", "spec.podSelector", "select", "ingress"],
      ["x/two", "spec.ingress[1]", "allow", "ingress"],
    ]);
  });

  it("says that policies without rules deny", () => {
    expect(
      world([...pods, policy("x/p", { podSelector: {}, policyTypes: ["Egress"] })]).why(
        "x/web > y/any TCP 80",
      )[1],
    ).toBe("egress of x/web: denied: these policies have no egress rule");
  });

  it.each([
    {
      what: "the peer",
      rule: { from: [client], ports: [{ port: 80 }] },
      why: "x/db (app=db) is none of its peers (pods with app=client in namespace x)",
    },
    {
      what: "the port",
      rule: {
        ports: [
          { port: 80, endPort: 90 },
          { protocol: "UDP", port: "dns" },
        ],
      },
      question: "x/db > x/web TCP 443",
      why: "443/TCP is none of its ports (80-90/TCP, dns/UDP)",
    },
    {
      what: "both",
      rule: {
        from: [{ ipBlock: { cidr: "192.0.2.0/24", except: ["192.0.2.7/32"] } }],
        ports: [{ protocol: "SCTP" }],
      },
      why: "x/db (app=db) is none of its peers (ipBlock 192.0.2.0/24 except 192.0.2.7/32), and 80/TCP is none of its ports (every port/SCTP)",
    },
    {
      what: "namespaces and an address that is no pod's",
      rule: {
        from: [
          {
            namespaceSelector: {
              matchExpressions: [
                { key: "team", operator: "In", values: ["a", "b"] },
                { key: "gone", operator: "DoesNotExist" },
              ],
            },
          },
        ],
      },
      question: "ip:203.0.113.7 > x/web TCP 80",
      why: "203.0.113.7 is none of its peers (all pods in namespaces with team In (a, b),gone DoesNotExist)",
    },
  ])(
    "tells the nearest miss and that it failed on $what",
    ({ rule, question = "x/db > x/web TCP 80", why }) => {
      const lines = world([...pods, policy("x/p", { podSelector: {}, ingress: [rule] })]).why(question);
      expect(lines.at(-1)).toBe(
        `ingress of x/web: denied: no rule allows it; nearest is x/p spec.ingress[0]: ${why}`,
      );
    },
  );

  it("of several misses tells the one that failed on least, of equals the first", () => {
    const rules = [
      { from: [client], ports: [{ port: 1 }] },
      { from: [client], ports: [{ port: 80 }] },
      { from: [client] },
    ];
    const lines = world([...pods, policy("x/p", { podSelector: {}, ingress: rules })]).why(
      "x/db > x/web TCP 80",
    );
    expect(lines.at(-1)).toContain("nearest is x/p spec.ingress[1]: x/db (app=db) is none of its peers");
  });

  it("says what holds whatever the rules say", () => {
    const all = policy("x/p", { podSelector: {}, policyTypes: ["Ingress", "Egress"] });
    const { why } = world([...pods, all]);
    expect(why("x/web > x/web TCP 80")).toEqual(["a pod cannot be isolated from itself: allowed"]);
    expect(why("node:n1 > x/web TCP 80").at(-1)).toBe(
      "ingress of x/web: allowed: it comes from the pod's own node",
    );
    expect(why("x/web > node:n1 TCP 80").at(-1)).toBe(
      "egress of x/web: left open: the destination is the pod's own node, on which the API's texts differ",
    );
    expect(why("y/any > x/web ICMP 8").at(-1)).toBe(
      "ingress of x/web: left open: the API speaks of TCP, UDP and SCTP only",
    );
    expect(why("node:n1 > ip:203.0.113.7 TCP 80")).toEqual([
      "neither end is a pod that policies apply to: allowed",
    ]);
  });

  it("says that a port name with two numbers leaves it open", () => {
    const containers = [80, 81].map((containerPort, i) => ({
      name: `c${i}`,
      ports: [{ name: "web", containerPort }],
    }));
    const lines = world([
      ...pods,
      pod("x/two", { labels: { app: "two" }, containers }),
      policy("x/p", {
        podSelector: { matchLabels: { app: "two" } },
        ingress: [{ ports: [{ port: "web" }] }],
      }),
    ]).why("x/db > x/two TCP 81");
    expect(lines.at(-1)).toBe(
      "ingress of x/two: left open (a port name with two numbers) by x/p spec.ingress[0]",
    );
  });
});
