/** What HNS states of its tables is what they do: port by port, and on clusters with Windows nodes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatIp, ipEquals } from "../../../src/addr/index.ts";
import type { DecisionChain } from "../../../src/base/index.ts";
import {
  type AclPolicy,
  anyAcl,
  type HnsLoadBalancer,
  type HnsTables,
} from "../../../src/filter/hns/index.ts";
import { Hook, Verdict } from "../../../src/filter/index.ts";
import {
  clusterObjects,
  clusterOf,
  type ProductSelection,
  parseSelection,
} from "../../../src/harness/index.ts";
import { icmpEcho, tcp, udp } from "../../../src/packet/index.ts";
import { answerOf } from "../../questions.ts";
import { isSoak, runs } from "../../runs.ts";
import { betweenPods, statementLaw } from "../../statement-law.ts";
import { addresses } from "../arbitraries.ts";
import { ip } from "../node.ts";
import { balancer, tables } from "./arbitraries.ts";
import { HnsTestNode } from "./node.ts";

const node = ip("192.0.2.1");
const pods = { 1: ["10.0.0.1", "fd00::1"], 2: ["10.0.0.3"] } as const;
const peers = [...addresses[4].slice(2, 8), ...addresses[6].slice(2, 5)].map(ip);

/** What both say of every new connection of the endpoints, as text. */
function verdicts(x: HnsTables): { readonly walked: readonly string[]; readonly stated: readonly string[] } {
  const test = new HnsTestNode(x);
  const { ways } = test.datapath.questions();
  const [walked, stated]: [string[], string[]] = [[], []];
  for (const endpoint of [1, 2] as const)
    for (const own of pods[endpoint].map(ip))
      for (const peer of peers)
        for (const direction of ["Out", "In"] as const) {
          if (peer.family !== own.family || ipEquals(peer, own)) continue;
          const [src, dst] = direction === "Out" ? [own, peer] : [peer, own];
          const hook = direction === "Out" ? Hook.endpointOut : Hook.endpointIn;
          const chains = ways[direction === "Out" ? "pod-wire" : "wire-pod"]?.filter(
            (one) => one.hook === hook,
          );
          for (const [protocol, port] of asked(own.family)) {
            const ends = { src, dst, sport: 40_000, dport: port };
            const packet =
              protocol === 6
                ? tcp({ ...ends, flags: 2 })
                : protocol === 17
                  ? udp(ends)
                  : icmpEcho({ src, dst, identifier: 1, sequence: 1 });
            const { verdict } = answerOf(chains ?? [], { src, dst, protocol, port }, (one) =>
              ipEquals(one, node),
            );
            if (verdict === "ask") continue;
            test.datapath.forgetFlows();
            const passed = test.pass(packet, hook, endpoint).verdict === Verdict.accept;
            const text = `${direction} ${formatIp(src)} > ${formatIp(dst)} ${protocol}/${port}`;
            walked.push(`${text} ${passed ? "accept" : "drop"}`);
            stated.push(`${text} ${verdict}`);
          }
        }
  return { walked, stated };
}

function asked(family: 4 | 6): readonly (readonly [protocol: number, port: number])[] {
  return [[6, 80], [6, 443], [17, 80], family === 4 ? [1, 8] : [58, 128]];
}

describe("statements of HNS tables", () => {
  it("law: decide what the ports of the endpoints decide", { timeout: isSoak ? 3_600_000 : 60_000 }, () => {
    let decided = 0;
    fc.assert(
      fc.property(tables(10), (x) => {
        const { walked, stated } = verdicts(x);
        expect(stated).toEqual(walked);
        decided += walked.length;
      }),
      { ...runs(40), seed: 20_261 },
    );
    expect(decided).toBeGreaterThan(1000);
  });

  it("leave to the walk what is translated before a layer could drop it", () => {
    const block: AclPolicy = {
      ...anyAcl,
      id: undefined,
      action: "Block",
      direction: "Out",
      ruleType: "Host",
      priority: 0,
    };
    const [x] = fc.sample(tables(0), { numRuns: 1, seed: 1 });
    const mapping = {
      protocol: 6,
      internalPort: 79,
      externalPort: 80,
      distribution: "None",
      flags: 0,
    } as const;
    const nodePort: HnsLoadBalancer = {
      id: "node-port",
      endpoints: ["endpoint-3"],
      sourceVip: undefined,
      frontendVips: [],
      portMappings: [mapping],
      flags: 0,
    };
    const y: HnsTables = { ...withAcls(x as HnsTables, [[], [block]]), loadBalancers: [nodePort] };
    const { ways } = new HnsTestNode(y).datapath.questions();
    const answer = (port: number): string =>
      answerOf(ways["pod-node"] ?? [], { src: ip("10.0.0.3"), dst: node, protocol: 6, port }, (one) =>
        ipEquals(one, node),
      ).verdict;
    expect([answer(80), answer(81)]).toEqual(["ask", "drop"]);
  });
});

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

describe.each([
  { engine: "azure-npm-windows", windowsNodes: ["n1", "n2"] },
  { engine: "azure-npm", windowsNodes: ["n1"] },
])("statements of $engine with Windows on $windowsNodes", ({ engine, windowsNodes }) => {
  it("decide on random clusters what the walk decides, and every connection between pods", {
    timeout: isSoak ? 3_600_000 : 60_000,
  }, () => {
    const selection = product(engine);
    let decided = 0;
    fc.assert(
      fc.property(clusterObjects({ podsMax: 4, windowsNodes, servicesMax: 2 }), (objects) => {
        const counts = statementLaw(clusterOf(objects, selection.aks).state, selection, {
          oneIn: isSoak ? 1 : 11,
        });
        expect(counts.broken).toEqual([]);
        expect(betweenPods(counts.asked)).toEqual([]);
        decided += counts.decided;
      }),
      { ...runs(6), seed: 20_261 },
    );
    expect(decided).toBeGreaterThan(30);
  });
});

describe("chains of HNS endpoints", () => {
  it("are shared by those whose ACLs differ in ids and in their own node's address alone", () => {
    const allowed = (id: string, net: string): AclPolicy => ({
      ...anyAcl,
      id,
      action: "Allow",
      direction: "In",
      ruleType: "Switch",
      priority: 201,
      remoteAddresses: [{ kind: "net", net: { ...ip(net), prefix: 32 } }],
    });
    const rest: AclPolicy = {
      ...allowed("rest", "0.0.0.0"),
      action: "Block",
      priority: 3000,
      remoteAddresses: [],
    };
    const chainsOf = (one: readonly AclPolicy[], two: readonly AclPolicy[]): readonly DecisionChain[] => {
      const [x] = fc.sample(tables(0), { numRuns: 1, seed: 1 });
      const { ways } = new HnsTestNode(withAcls(x as HnsTables, [one, two])).datapath.questions();
      return (ways["wire-pod"] ?? []).flatMap(({ chain }) =>
        chain.rules.flatMap(({ action }) => (action.kind === "choose" ? [...action.chains.values()] : [])),
      );
    };
    const [first, second] = chainsOf(
      [allowed("a", "192.0.2.1"), { ...rest, id: "a" }],
      [allowed("b", "192.0.2.1"), allowed("c", "192.0.2.1"), { ...rest, id: "b" }],
    );
    expect(first).toBe(second);
    expect(first?.rules.map(({ source }) => source?.[0]?.map.own)).toEqual([1, undefined]);
    expect(balancing()).toBeDefined();
    expect(balancing()).toBe(balancing());
    const [third, fourth] = chainsOf([allowed("a", "10.0.0.4"), rest], [allowed("a", "10.0.0.5"), rest]);
    expect(third).not.toBe(fourth);
  });
});

/** What a node asks first of what comes from the wire. */
function balancing(): unknown {
  const [x] = fc.sample(tables(0), { numRuns: 1, seed: 1 });
  const [loadBalancers] = fc.sample(fc.array(balancer, { minLength: 1, maxLength: 1 }), {
    numRuns: 1,
    seed: 1,
  });
  const { ways } = new HnsTestNode({
    ...(x as HnsTables),
    loadBalancers: loadBalancers ?? [],
  }).datapath.questions();
  const action = ways["wire-pod"]?.[0]?.chain.rules[0]?.action;
  return action?.kind === "jump" ? action.chain : undefined;
}

function withAcls(x: HnsTables, acls: readonly (readonly AclPolicy[])[]): HnsTables {
  const [network] = x.networks;
  if (network === undefined) throw new Error("the tables have a network");
  return {
    ...x,
    networks: [{ ...network, acls: [] }],
    endpoints: x.endpoints.map((one, i) => ({ ...one, tiers: [], acls: acls[i] ?? [] })),
    loadBalancers: [],
  };
}
