/** Addresses of the virtual cluster: every network option, what the input gives, laws through random edits. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatCidr, formatIp } from "../../src/addr/index.ts";
import { type ClusterWords, deleteObject } from "../../src/k8s/index.ts";
import { addresses, apply, build, get, node, pod, podAddresses, two } from "./cluster.ts";
import type { RawObject } from "./load.ts";

describe("addresses", () => {
  it.each([
    {
      plugin: "Azure CNI in the node subnet",
      words: {},
      nodes: ["10.224.0.4", "10.224.0.255"],
      ranges: ["", ""],
      pods: ["10.224.0.5", "10.224.1.0"],
    },
    {
      plugin: "Azure CNI overlay",
      words: { networkPluginMode: "overlay" },
      nodes: ["10.224.0.4", "10.224.0.5"],
      ranges: ["10.244.0.0/24", "10.244.1.0/24"],
      pods: ["10.244.0.2", "10.244.1.2"],
    },
    {
      plugin: "kubenet",
      words: { networkPlugin: "kubenet" },
      nodes: ["10.224.0.4", "10.224.0.5"],
      ranges: ["10.244.0.0/24", "10.244.1.0/24"],
      pods: ["10.244.0.2", "10.244.1.2"],
    },
    {
      plugin: "overlay with both families",
      words: { networkPluginMode: "overlay", ipFamilies: ["ipv4", "ipv6"] },
      nodes: ["10.224.0.4 fd00:10:224::4", "10.224.0.5 fd00:10:224::5"],
      ranges: ["10.244.0.0/24 fd12:3456:789a::/64", "10.244.1.0/24 fd12:3456:789a:1::/64"],
      pods: ["10.244.0.2 fd12:3456:789a::2", "10.244.1.2 fd12:3456:789a:1::2"],
    },
  ] as const)("of $plugin", ({ words, nodes, ranges, pods }) => {
    const { state } = build(two, words);
    const made = [...state.nodes.values()];
    expect(made.map((one) => one.addresses.map(formatIp).join(" "))).toEqual(nodes);
    expect(made.map((one) => one.podCidrs.map(formatCidr).join(" "))).toEqual(ranges);
    expect([...state.pods.values()].map(addresses)).toEqual(pods);
  });

  it("IPv6 alone is nothing that AKS has, but can be forced", () => {
    const words: ClusterWords = { networkPluginMode: "overlay", ipFamilies: ["ipv6"] };
    expect(() => build(two, words)).toThrow("AKS has no clusters with IPv6 alone");
    expect(addresses(get(build(two, words, { force: true }).state, "x/a"))).toBe("fd12:3456:789a::2");
  });

  it("that the input gives are kept, and nobody else gets them", () => {
    const given = pod("x/given", {
      spec: { nodeName: "n1" },
      status: { podIP: "10.224.0.4", hostIP: "10.224.0.9" },
    });
    const { state, warnings } = build([given, ...two]);
    expect(podAddresses(state)[0]).toEqual(["x/given", "10.224.0.4"]);
    expect(state.nodes.get("n1")?.addresses.map(formatIp)).toEqual(["10.224.0.9"]);
    expect(warnings).toEqual([]);
  });

  it("that the input gives to two pods are told", () => {
    const status = { podIP: "10.224.0.77" };
    const { warnings } = build([pod("x/a", { status }), pod("x/b", { status })]);
    expect(warnings).toEqual(["pod x/b has the address 10.224.0.77 of another"]);
  });

  it("of ended pods are free for others", () => {
    const ended = pod("x/done", {
      spec: { nodeName: "n1" },
      status: { podIP: "10.224.0.5", phase: "Succeeded" },
    });
    const { state, warnings } = build([ended, ...two]);
    expect(addresses(get(state, "x/a"))).toBe("10.224.0.5");
    expect(warnings).toEqual([]);
  });

  it("of hostNetwork pods are their node's", () => {
    const { state } = build([pod("x/host", { spec: { nodeName: "n1", hostNetwork: true } })]);
    expect(addresses(get(state, "x/host"))).toBe("10.224.0.4");
  });

  it("of a node that comes later never collide with those of nodes that are there", () => {
    const words: ClusterWords = { networkPluginMode: "overlay" };
    const given = node("n2", undefined, { spec: { podCIDR: "10.244.1.0/24" } });
    const first = build([node("n1"), given, node("n3")], words).state;
    const later = apply(deleteObject(first, "Node", "", "n1").state, node("n4")).state;
    const ranges = [...later.nodes.values()].flatMap((one) => one.podCidrs.map(formatCidr));
    expect(ranges).toEqual(["10.244.1.0/24", "10.244.2.0/24", "10.244.0.0/24"]);
  });

  it("run out with a message", () => {
    const pods = Array.from({ length: 300 }, (_, i) => pod(`x/p${i}`, { spec: { nodeName: "n1" } }));
    expect(() => build(pods, { networkPluginMode: "overlay" })).toThrow(
      "no free pod address left in 10.244.0.0/24",
    );
  });
});

describe("law: no two addresses of a cluster are equal", () => {
  const plugins: fc.Arbitrary<ClusterWords> = fc.constantFrom(
    {},
    { networkPluginMode: "overlay" as const },
    { networkPlugin: "kubenet" as const },
    { networkPluginMode: "overlay" as const, ipFamilies: ["ipv4", "ipv6"] as const },
  );
  const step = fc.oneof(
    fc.record({ add: fc.nat(11), on: fc.constantFrom("n1", "n2", undefined) }),
    fc.record({ remove: fc.nat(11) }),
    fc.record({ addNode: fc.nat(3) }),
    fc.record({ removeNode: fc.nat(3) }),
    fc.record({ end: fc.nat(11) }),
  );

  it("through every edit, and what goes on keeps what it has", () => {
    fc.assert(
      fc.property(plugins, fc.array(step, { maxLength: 25 }), (words, steps) => {
        let { state } = build([node("n1"), node("n2")], words);
        for (const one of steps) {
          const before = state;
          if ("add" in one && one.add !== undefined)
            state = apply(
              state,
              pod(`x/p${one.add}`, { spec: one.on && state.nodes.has(one.on) ? { nodeName: one.on } : {} }),
            ).state;
          else if ("remove" in one && state.pods.has(`x/p${one.remove}`))
            state = deleteObject(state, "Pod", "x", `p${one.remove}`).state;
          else if ("addNode" in one) state = apply(state, node(`n${one.addNode}`)).state;
          else if ("removeNode" in one && state.nodes.has(`n${one.removeNode}`))
            state = deleteObject(state, "Node", "", `n${one.removeNode}`).state;
          else if ("end" in one && state.pods.has(`x/p${one.end}`))
            state = apply(state, pod(`x/p${one.end}`, { status: { phase: "Failed" } })).state;
          const living = [...state.pods.values()].filter(
            ({ phase, nodeName }) => phase === "Running" && nodeName !== "",
          );
          const texts = [...living, ...[...state.nodes.values()].map((n) => ({ ips: n.addresses }))].flatMap(
            ({ ips }) => ips.map(formatIp),
          );
          expect(new Set(texts).size).toBe(texts.length);
          for (const one2 of living) {
            expect(one2.ips).toHaveLength(state.options.ipFamilies.length);
            const old = before.pods.get(`x/${one2.name}`);
            if (old?.phase === "Running" && old.nodeName === one2.nodeName)
              expect(addresses(one2)).toBe(addresses(old));
          }
          const ranges = [...state.nodes.values()].flatMap((n) => n.podCidrs.map(formatCidr));
          expect(new Set(ranges).size).toBe(ranges.length);
        }
      }),
      { numRuns: 150, seed: 42 },
    );
  });
});

describe("law: what has no address does not bear on those that have", () => {
  it("namespaces, policies and Services may stand anywhere among the pods", () => {
    const others: readonly RawObject[] = [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "x" } },
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "p", namespace: "y" },
        spec: {},
      },
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "s", namespace: "x" },
        spec: { ports: [{ port: 80 }] },
      },
    ];
    const pods = Array.from({ length: 8 }, (_, i) => pod(`x/p${i}`));
    const expected = podAddresses(build([...pods, ...others]).state);
    fc.assert(
      fc.property(fc.array(fc.nat(8), { minLength: 3, maxLength: 3 }), (places) => {
        const mixed: RawObject[] = [...pods];
        others.forEach((object, i) => {
          mixed.splice(places[i] ?? 0, 0, object);
        });
        expect(podAddresses(build(mixed).state)).toEqual(expected);
      }),
      { numRuns: 30, seed: 1 },
    );
  });

  it("equal input gives equal clusters", () => {
    const objects = [pod("x/a"), pod("y/b"), node("n1"), node("n2")];
    expect(JSON.stringify([...build(objects).state.pods])).toBe(
      JSON.stringify([...build(objects).state.pods]),
    );
  });
});
