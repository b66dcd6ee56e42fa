/**
 * Cilium's datapath does what its documentation says: on random clusters with NetworkPolicies and Cilium's own, every
 * generation of policy maps gives the verdicts of a second reading that shares no code with the engine.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ciliumObjects,
  clusterOf,
  connectionBetween,
  createJudge,
  type ProductSelection,
  parseSelection,
  resolveEnd,
  resolveSource,
  type TableCell,
} from "../../src/harness/index.ts";
import type { ClusterState } from "../../src/k8s/index.ts";
import {
  createCiliumReading,
  defaultCiliumReading,
  type WrittenCidrGroup,
  type WrittenPolicy,
  type WrittenSpec,
} from "../../src/oracle/index.ts";
import { parseEnd } from "../../src/scenario/index.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";

type RawObjects = Parameters<typeof clusterOf>[0];

/** Addresses on and beside the edges of the blocks that the policies draw from; none is a pod's. */
const outside = ["203.0.113.7", "203.0.113.8", "192.0.2.127", "192.0.2.128", "8.8.8.8", "10.0.0.1"];

const asked = fc.uniqueArray(
  fc.constantFrom(
    ...[1, 78, 79, 80, 81, 443, 8080, 8081, 65535].flatMap((port) =>
      (["TCP", "UDP"] as const).map((protocol) => ({ protocol, port })),
    ),
    { protocol: "SCTP" as const, port: 80 },
    { protocol: "ICMP" as const, port: 8 },
  ),
  { minLength: 2, maxLength: 4 },
);

/** Cells that a policy may be about: of pods, and with the host firewall of nodes too. */
function cellsOf(
  state: ClusterState,
  ports: readonly { readonly protocol: "TCP" | "UDP" | "SCTP" | "ICMP"; readonly port: number }[],
  hostFirewall = false,
): readonly TableCell[] {
  const subjects = hostFirewall ? ["pod", "node"] : ["pod"];
  const pods = [...state.pods.values()].filter((pod) => !pod.hostNetwork);
  const ends = [
    ...pods.map(({ namespace, name }) => `${namespace}/${name}`),
    ...[...state.nodes.keys()].map((name) => `node:${name}`),
    ...outside.map((address) => `ip:${address}`),
  ].map((text) => parseEnd(text));
  return ends.flatMap((from) =>
    ends
      .filter((to) => from !== to && [from, to].some(({ kind }) => subjects.includes(kind)))
      .flatMap((to) => {
        const [source, target] = [resolveSource(state, from), resolveEnd(state, to)];
        return ports.map((words) => ({
          from: source,
          to: target,
          cell: connectionBetween(source, target, { ...words, family: 4 }),
          isSelf: false,
        }));
      }),
  );
}

function isCiliumPolicy({ kind }: RawObjects[number]): boolean {
  return kind === "CiliumNetworkPolicy" || kind === "CiliumClusterwideNetworkPolicy";
}

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

/** Cells on which an engine (shown `shown`) and the reading differ; with how many there were. */
function compare(
  objects: RawObjects,
  ports: Parameters<typeof cellsOf>[1],
  engine: string,
  shown: RawObjects = objects,
): { readonly problems: readonly string[]; readonly cells: number; readonly denied: number } {
  const selection = product(engine);
  const hostFirewall = engine.includes("+host-firewall");
  const { state } = clusterOf(shown, selection.aks);
  const policies = objects.filter(isCiliumPolicy);
  const groups = objects.filter(({ kind }) => kind === "CiliumCIDRGroup");
  const reading = createCiliumReading(
    state,
    policies as unknown as readonly WrittenPolicy[],
    groups as unknown as readonly WrittenCidrGroup[],
    { ...defaultCiliumReading, sctp: engine.includes("+sctp"), hostFirewall },
  );
  const { judge } = createJudge(state, selection, 1);
  const cells = cellsOf(state, ports, hostFirewall);
  const problems: string[] = [];
  let denied = 0;
  for (const cell of cells) {
    const expected = reading(cell.cell as Parameters<typeof reading>[0]);
    const { verdict, by } = judge(cell);
    if (expected.verdict === "deny") denied++;
    // what cannot be parsed between a node and its own pod is dropped for both of them at once
    const isSaid = cell.cell.protocol !== "SCTP" || !hostFirewall;
    if (verdict !== expected.verdict || (isSaid && by !== expected.by))
      problems.push(
        `${cell.from.id} -> ${cell.to.id} ${cell.cell.port}/${cell.cell.protocol}: ${expected.verdict} (${expected.by}) by the documentation, ${verdict} (${by})`,
      );
  }
  return { problems, cells: cells.length, denied };
}

describe.each([
  { engine: "cilium", runs: 100 },
  { engine: "cilium@1.16", runs: 60 },
  { engine: "cilium@1.17", runs: 20 },
  { engine: "cilium@1.19", runs: 60 },
  { engine: "cilium+sctp", runs: 20 },
  { engine: "cilium+host-firewall", runs: 30 },
  { engine: "cilium@1.16+host-firewall", runs: 10 },
  { engine: "cilium@1.19+host-firewall", runs: 10 },
])("$engine on random clusters with policies of every kind ($runs)", ({ engine, runs }) => {
  const nodePoliciesMax = engine.includes("+host-firewall") ? 3 : 0;
  it("gives the verdicts of the second reading", { timeout: 600_000 }, () => {
    let cells = 0;
    let denied = 0;
    fc.assert(
      fc.property(ciliumObjects({ nodePoliciesMax }), asked, (objects, ports) => {
        const compared = compare(objects, ports, engine);
        cells += compared.cells;
        denied += compared.denied;
        expect(compared.problems.slice(0, 5)).toEqual([]);
      }),
      { numRuns: isSoak ? Math.max(1000, runs * 10) : runs, seed: isSoak ? Date.now() : 20_265 },
    );
    expect(cells).toBeGreaterThan(runs * 100);
    expect(denied / cells).toBeGreaterThan(0.2);
    expect(denied / cells).toBeLessThan(0.9);
  });
});

describe("generations of policy maps", () => {
  it("give the same verdicts on random clusters, raw bytes apart", { timeout: 600_000 }, () => {
    fc.assert(
      fc.property(ciliumObjects(), asked, (objects, ports) => {
        const verdicts = ["cilium@1.16", "cilium@1.18", "cilium@1.19"].map((engine) => {
          const { judge } = createJudge(clusterOf(objects, product(engine).aks).state, product(engine), 1);
          return cellsOf(clusterOf(objects, product(engine).aks).state, ports).map((cell) => judge(cell));
        });
        expect(verdicts[1]).toEqual(verdicts[0]);
        expect(verdicts[2]).toEqual(verdicts[0]);
      }),
      { numRuns: isSoak ? 1000 : 30, seed: isSoak ? Date.now() : 20_267 },
    );
  });
});

/** What the comparison must not miss: an engine that reads other policies than the ones that are written. */
describe("the comparison", () => {
  /** The specs of Cilium's policies otherwise than they are written. */
  const withSpecs =
    (change: (spec: WrittenSpec) => WrittenSpec) =>
    (objects: RawObjects): RawObjects =>
      objects.map((object) =>
        isCiliumPolicy(object) && object["spec"] !== undefined
          ? { ...object, spec: change(object["spec"] as WrittenSpec) }
          : object,
      );
  const allowing = ({
    ingress = [],
    ingressDeny = [],
    egress = [],
    egressDeny = [],
    ...spec
  }: WrittenSpec): WrittenSpec => ({
    ...spec,
    ingress: [...ingress, ...ingressDeny],
    egress: [...egress, ...egressDeny],
  });

  const isForNodes = ({ spec }: RawObjects[number]): boolean =>
    (spec as WrittenSpec | undefined)?.nodeSelector !== undefined;

  it.each([
    ["denials as allowances", withSpecs(allowing)],
    ["no policy for nodes", (objects: RawObjects) => objects.filter((object) => !isForNodes(object))],
    ["no enableDefaultDeny", withSpecs(({ enableDefaultDeny: _, ...spec }) => spec)],
    [
      "no policy of Cilium's own",
      (objects: RawObjects) => objects.filter((object) => !isCiliumPolicy(object)),
    ],
  ] as const)("tells when the engine is shown %s", { timeout: 120_000 }, (_, change) => {
    const drawn = fc.tuple(ciliumObjects({ nodePoliciesMax: 2 }), asked);
    const clusters = fc.sample(drawn, { numRuns: 25, seed: 4 });
    expect(
      clusters.some(
        ([objects, ports]) =>
          compare(objects, ports, "cilium+host-firewall", change(objects)).problems.length > 0,
      ),
    ).toBe(true);
  });
});
