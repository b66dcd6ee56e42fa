/** Where the API leaves the answer open, or permits more than one: `undefined`, and what each switch makes of it. */
import { describe, expect, it } from "vitest";
import { oracleReadings, parseOracleReadings } from "../../src/oracle/index.ts";
import { namespace, node, nodes, pod, policy, type RawObject, world } from "./world.ts";

const denyAll = (ns: string): RawObject =>
  policy(`${ns}/deny`, { podSelector: {}, policyTypes: ["Ingress", "Egress"] });
const two: readonly RawObject[] = [
  ...nodes,
  pod("x/a", { labels: { app: "a" }, podIPs: ["10.224.0.10"] }),
  pod("x/b", { labels: { app: "b" }, node: "n2", podIPs: ["10.224.1.10"] }),
];

describe("hostNetwork pods", () => {
  const hosts = [
    ...two,
    pod("x/host", { labels: { app: "a" }, hostNetwork: true }),
    pod("x/far", { labels: { app: "a" }, node: "n2", hostNetwork: true }),
  ];
  const fromA = policy("x/p", {
    podSelector: {},
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "a" } } }] }],
  });

  it("are their node: never selected, never a peer of selectors; the own node's reach its pods", () => {
    const { ask } = world([...hosts, fromA]);
    expect(ask("x/b > x/host TCP 80")).toBe("allow");
    expect(ask("x/host > x/a TCP 80")).toBe("allow");
    expect(ask("x/far > x/a TCP 80")).toBe("deny");
    expect(ask("x/host > x/b TCP 80")).toBe("deny");
  });

  it("on another node come in by an ipBlock with that node's address", () => {
    const block = policy("x/p", {
      podSelector: { matchLabels: { app: "a" } },
      ingress: [{ from: [{ ipBlock: { cidr: "10.224.1.4/32" } }] }],
    });
    const { ask } = world([...hosts, block]);
    expect(ask("x/far > x/a TCP 80")).toBe("allow");
    expect(ask("x/b > x/a TCP 80")).toBe("deny");
  });

  it("have no ports by name", () => {
    const named = [{ name: "c", ports: [{ name: "http", containerPort: 80 }] }];
    const egress = policy("x/p", {
      podSelector: { matchLabels: { app: "b" } },
      policyTypes: ["Egress"],
      egress: [{ ports: [{ port: "http" }] }],
    });
    expect(
      world([...two, pod("x/host", { hostNetwork: true, containers: named }), egress]).ask(
        "x/b > x/host TCP 80",
      ),
    ).toBe("deny");
  });

  it("told apart are pods like others", () => {
    const { ask } = world([...hosts, fromA], { hostNetwork: "distinguished" });
    expect(ask("x/b > x/host TCP 80")).toBe("deny");
    expect(ask("x/a > x/host TCP 80")).toBe("allow");
    expect(ask("x/far > x/a TCP 80")).toBe("allow");
    expect(ask("x/host > x/b TCP 80")).toBe("allow");
  });
});

describe("a pod's egress to its own node", () => {
  const isolated = [...two, denyAll("x"), pod("y/host", { hostNetwork: true })];
  it.each([
    { reading: {}, own: "undefined" },
    { reading: { ownNode: "allowed" }, own: "allow" },
    { reading: { ownNode: "policed" }, own: "deny" },
  ])("$reading: $own; other nodes are policed", ({ reading, own }) => {
    const { ask } = world(isolated, reading);
    expect(ask("x/a > node:n1 TCP 10250")).toBe(own);
    expect(ask("x/a > y/host TCP 80")).toBe(own);
    expect(ask("x/a > node:n2 TCP 10250")).toBe("deny");
    expect(ask("node:n1 > x/a TCP 80")).toBe("allow");
  });

  it("is allowed where a rule allows it, and where nothing isolates", () => {
    const block = policy("x/p", {
      podSelector: {},
      policyTypes: ["Egress"],
      egress: [{ to: [{ ipBlock: { cidr: "10.224.0.4/32" } }] }],
    });
    expect(world([...two, block]).ask("x/a > node:n1 TCP 80")).toBe("allow");
    expect(world(two).ask("x/a > node:n1 TCP 80")).toBe("allow");
  });

  it("of a hostNetwork pod that is told apart is policed as a pod", () => {
    expect(world(isolated, { hostNetwork: "distinguished" }).ask("x/a > y/host TCP 80")).toBe("deny");
  });
});

describe("ipBlock and the addresses of pods", () => {
  const block = policy("x/p", {
    podSelector: { matchLabels: { app: "a" } },
    ingress: [{ from: [{ ipBlock: { cidr: "10.224.0.0/16" } }] }],
  });
  it("match, as upstream's tests need", () => {
    expect(world([...two, block]).ask("x/b > x/a TCP 80")).toBe("allow");
  });

  it("never match as ipBlockPods=never; nodes and hosts do", () => {
    const { ask } = world([...two, block], { ipBlockPods: "never" });
    expect(ask("x/b > x/a TCP 80")).toBe("deny");
    expect(ask("node:n2 > x/a TCP 80")).toBe("allow");
    expect(ask("ip:10.224.9.9 > x/a TCP 80")).toBe("allow");
  });

  it("never match hostNetwork pods either where these are told apart", () => {
    const objects = [...two, pod("x/far", { node: "n2", hostNetwork: true }), block];
    expect(world(objects, { ipBlockPods: "never" }).ask("x/far > x/a TCP 80")).toBe("allow");
    expect(
      world(objects, { ipBlockPods: "never", hostNetwork: "distinguished" }).ask("x/far > x/a TCP 80"),
    ).toBe("deny");
  });
});

describe("ICMP", () => {
  it.each([
    { reading: {}, isolated: "undefined" },
    { reading: { icmp: "allowed" }, isolated: "allow" },
    { reading: { icmp: "denied" }, isolated: "deny" },
  ])(
    "$reading: $isolated for isolated pods, allowed for others and from the own node",
    ({ reading, isolated }) => {
      const all = policy("x/p", { podSelector: { matchLabels: { app: "a" } }, ingress: [{}] });
      const { ask } = world([...two, all], reading);
      expect(ask("x/b > x/a ICMP 8")).toBe(isolated);
      expect(ask("x/a > x/b ICMP 8")).toBe("allow");
      expect(ask("node:n1 > x/a ICMP 8")).toBe("allow");
      expect(ask("node:n2 > x/a ICMP 8")).toBe(isolated);
    },
  );
});

describe("one port name with two numbers in one pod", () => {
  const containers = [
    { name: "one", ports: [{ name: "web", containerPort: 80 }] },
    {
      name: "two",
      ports: [
        { name: "web", containerPort: 81 },
        { name: "web2", containerPort: 81 },
      ],
    },
  ];
  const objects = [
    ...nodes,
    pod("x/a", { labels: { app: "a" }, containers }),
    pod("x/b"),
    policy("x/p", { podSelector: { matchLabels: { app: "a" } }, ingress: [{ ports: [{ port: "web" }] }] }),
  ];
  it.each([
    { reading: {}, second: "undefined" },
    { reading: { duplicatePortNames: "every" }, second: "allow" },
    { reading: { duplicatePortNames: "first" }, second: "deny" },
  ])("$reading: the first always, the second $second, others never", ({ reading, second }) => {
    const { ask } = world(objects, reading);
    expect([80, 81, 82].map((port) => ask(`x/b > x/a TCP ${port}`))).toEqual(["allow", second, "deny"]);
  });

  it("is decided by another rule where that allows the port", () => {
    const other = policy("x/q", { podSelector: {}, ingress: [{ ports: [{ port: "web2" }] }] });
    expect(world([...objects, other]).ask("x/b > x/a TCP 81")).toBe("allow");
  });

  it("is denied where the other side denies, whatever the first says", () => {
    const egress = policy("x/q", { podSelector: {}, policyTypes: ["Egress"] });
    expect(world([...objects, egress]).answer("x/b > x/a TCP 81")).toEqual({ verdict: "deny", by: "egress" });
  });
});

describe("sidecars", () => {
  it("have port names like app containers, init containers that end have none", () => {
    const initContainers = [
      { name: "side", restartPolicy: "Always", ports: [{ name: "proxy", containerPort: 15001 }] },
      { name: "once", ports: [{ name: "once", containerPort: 15002 }] },
    ];
    const names = ["proxy", "once"].map((name) => ({ port: name }));
    const { ask } = world([
      ...nodes,
      pod("x/a", { labels: { app: "a" }, initContainers }),
      pod("x/b"),
      policy("x/p", { podSelector: { matchLabels: { app: "a" } }, ingress: [{ ports: names }] }),
    ]);
    expect(ask("x/b > x/a TCP 15001")).toBe("allow");
    expect(ask("x/b > x/a TCP 15002")).toBe("deny");
  });
});

describe("two families", () => {
  const words = { networkPluginMode: "overlay" as const, ipFamilies: ["ipv4", "ipv6"] as const };
  const objects = [
    node("n1", "10.224.0.4", "fd00:10:224::4"),
    node("n2", "10.224.1.4", "fd00:10:224::5"),
    pod("x/a", { labels: { app: "a" }, podIPs: ["10.244.0.10", "fd00::a"] }),
    pod("x/b", { labels: { app: "b" }, node: "n2", podIPs: ["10.244.1.10", "fd00::b"] }),
  ];
  const on = (from: readonly RawObject[]): RawObject =>
    policy("x/p", { podSelector: { matchLabels: { app: "a" } }, ingress: [{ from }] });

  it("selectors match a pod in both, blocks in their own", () => {
    const selected = world([...objects, on([{ podSelector: { matchLabels: { app: "b" } } }])], {}, words);
    expect([4, 6].map((family) => selected.ask("x/b > x/a TCP 80", family as 4))).toEqual(["allow", "allow"]);
    const four = world([...objects, on([{ ipBlock: { cidr: "0.0.0.0/0" } }])], {}, words);
    expect([4, 6].map((family) => four.ask("x/b > x/a TCP 80", family as 4))).toEqual(["allow", "deny"]);
    const six = world(
      [...objects, on([{ ipBlock: { cidr: "fd00::/64", except: ["fd00::c/128"] } }])],
      {},
      words,
    );
    expect([4, 6].map((family) => six.ask("x/b > x/a TCP 80", family as 4))).toEqual(["deny", "allow"]);
    expect(six.ask("ip:fd00::c > x/a TCP 80", 6)).toBe("deny");
  });

  it("isolation holds for both, and the own node is allowed in both", () => {
    const { ask } = world([...objects, on([])], {}, words);
    expect(ask("x/b > x/a TCP 80", 6)).toBe("allow");
    const shut = world([...objects, denyAll("x")], {}, words);
    for (const family of [4, 6] as const) {
      expect(shut.ask("x/b > x/a TCP 80", family)).toBe("deny");
      expect(shut.ask("node:n1 > x/a TCP 80", family)).toBe("allow");
    }
  });
});

describe("namespaces", () => {
  it("that nobody described carry the label of their name and no other", () => {
    const labels = { "kubernetes.io/metadata.name": "y" };
    const rule = policy("x/p", {
      podSelector: {},
      ingress: [{ from: [{ namespaceSelector: { matchLabels: labels } }] }],
    });
    const { ask } = world([...two, namespace("z", { a: "b" }), pod("y/c"), pod("z/d"), rule]);
    expect(ask("y/c > x/a TCP 80")).toBe("allow");
    expect(ask("z/d > x/a TCP 80")).toBe("deny");
  });
});

describe("the switches", () => {
  it("default to the first value of each", () => {
    const defaults = Object.fromEntries(oracleReadings.map(({ name, values }) => [name, values[0]]));
    expect(parseOracleReadings({})).toEqual(defaults);
  });

  it("are refused by name and by value, all at once", () => {
    expect(() => parseOracleReadings({ hostNetworks: "ignored", icmp: "maybe" })).toThrow(
      /unknown reading hostNetworks of the oracle; known: hostNetwork, .*\n.*icmp of the oracle takes undefined or allowed or denied, not maybe/,
    );
    expect(() => parseOracleReadings({ constructor: "x" })).toThrow("unknown reading constructor");
  });
});
