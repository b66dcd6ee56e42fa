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
  type CiliumReadingOptions,
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
const addresses = ["203.0.113.7", "203.0.113.8", "192.0.2.127", "192.0.2.128", "8.8.8.8", "10.0.0.1"];

/** What is asked of a cluster: some ports, and some addresses outside. */
interface Asked {
  readonly ports: readonly {
    readonly protocol: "TCP" | "UDP" | "SCTP" | "ICMP";
    readonly port: number;
  }[];
  readonly outside: readonly string[];
}

const ports = fc.uniqueArray(
  fc.constantFrom(
    ...[1, 78, 79, 80, 81, 443, 8080, 8081, 65535].flatMap((port) =>
      (["TCP", "UDP"] as const).map((protocol) => ({ protocol, port })),
    ),
    { protocol: "SCTP" as const, port: 80 },
    { protocol: "ICMP" as const, port: 8 },
  ),
  { minLength: 2, maxLength: 4 },
);

const asked: fc.Arbitrary<Asked> = fc.record({
  ports,
  outside: fc.subarray(addresses, { minLength: 2, maxLength: 3 }),
});

/** Cells that a policy may be about: of pods, and with the host firewall of nodes too. */
function cellsOf(
  state: ClusterState,
  { ports: words, outside }: Asked,
  hostFirewall: boolean,
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
        return words.map((word) => ({
          from: source,
          to: target,
          cell: connectionBetween(source, target, { ...word, family: 4 }),
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

/** What the documentation says of versions, where that is not the default. */
const readings: Readonly<Record<string, Partial<CiliumReadingOptions>>> = {
  "1.14": {
    knowsEndPort: false,
    knowsDefaultDeny: false,
    otherFamily: { cidr: true, cidrSet: "without-exceptions" },
  },
  "1.16": { otherFamily: { cidr: false, cidrSet: "no" } },
  "1.19": { otherFamily: { cidr: true, cidrSet: "yes" } },
};

interface Comparison {
  readonly problems: readonly string[];
  readonly cells: number;
  readonly denied: number;
}

/** Cells on which an engine (shown `shown`) and the reading differ; with how many there were. */
function compare(objects: RawObjects, what: Asked, engine: string, shown: RawObjects = objects): Comparison {
  const selection = product(engine);
  const [, version] = /@([^+]+)/.exec(engine) ?? [];
  const hostFirewall = engine.includes("+host-firewall");
  const { state } = clusterOf(shown, selection.aks);
  const reading = createCiliumReading(
    state,
    objects.filter(isCiliumPolicy) as unknown as readonly WrittenPolicy[],
    objects.filter(({ kind }) => kind === "CiliumCIDRGroup") as unknown as readonly WrittenCidrGroup[],
    { ...defaultCiliumReading, ...readings[version ?? ""], sctp: engine.includes("+sctp"), hostFirewall },
  );
  const { judge } = createJudge(state, selection, 1);
  const cells = cellsOf(state, what, hostFirewall);
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
        `${engine}: ${cell.from.id} -> ${cell.to.id} ${cell.cell.port}/${cell.cell.protocol}: ${expected.verdict} (${expected.by}) by the documentation, ${verdict} (${by})`,
      );
  }
  return { problems, cells: cells.length, denied };
}

/**
 * Each engine on the same clusters: where the reading has no options that tell versions apart, their equal answers make
 * the generations of policy maps equal as well.
 */
describe.each([
  { engines: ["cilium@1.16", "cilium@1.18", "cilium@1.19"], runs: 90, options: {} },
  { engines: ["cilium@1.16", "cilium@1.18", "cilium@1.19"], runs: 20, options: { ipv6Blocks: true } },
  { engines: ["cilium@1.14", "cilium@1.17", "cilium@1.18+sctp"], runs: 20, options: { ipv6Blocks: true } },
  {
    engines: ["cilium@1.16+host-firewall", "cilium@1.18+host-firewall", "cilium@1.19+host-firewall"],
    runs: 15,
    options: { nodePoliciesMax: 3 },
  },
])("$engines on random clusters with policies of every kind ($runs, $options)", (row) => {
  it("give the verdicts of the second reading, side by side", {
    timeout: isSoak ? 3_600_000 : 600_000,
  }, () => {
    let cells = 0;
    let denied = 0;
    fc.assert(
      fc.property(ciliumObjects(row.options), asked, (objects, what) => {
        for (const engine of row.engines) {
          const compared = compare(objects, what, engine);
          cells += compared.cells;
          denied += compared.denied;
          expect(compared.problems.slice(0, 5)).toEqual([]);
        }
      }),
      { numRuns: isSoak ? 1000 : row.runs, seed: isSoak ? Date.now() : 20_265 },
    );
    expect(cells).toBeGreaterThan(row.runs * row.engines.length * 60);
    expect(denied / cells).toBeGreaterThan(0.2);
    expect(denied / cells).toBeLessThan(0.9);
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
        ([objects, what]) =>
          compare(objects, what, "cilium@1.18+host-firewall", change(objects)).problems.length > 0,
      ),
    ).toBe(true);
  });
});
