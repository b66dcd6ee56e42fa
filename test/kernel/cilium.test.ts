/** The programs of Cilium's datapath in the real kernel: they load, and do to every packet what they do here. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  ciliumObjects,
  clusterObjects,
  clusterOf,
  createJudge,
  engineNames,
  type ProductSelection,
  parseSelection,
  runScenario,
  tableCells,
} from "../../src/harness/index.ts";
import type { BpfJudge } from "../../src/harness/kernel/index.ts";
import { icmpEcho, tcp, udp } from "../../src/packet/index.ts";
import { loadScenario } from "../../src/scenario/index.ts";
import { TcpFlag } from "../../src/wire/index.ts";
import { LoneNode, podA, podB, type RawPolicy, variants } from "../engine/cilium/lone-node.ts";
import { ip } from "../filter/node.ts";
import { describeNeeding } from "../needs.ts";
import { KernelTwin, recordRuns, startTwinJudge } from "./bpf-twin.ts";

const rawPolicies: fc.Arbitrary<readonly RawPolicy[]> = fc.uniqueArray(
  fc.record(
    {
      identity: fc.constantFrom(0, 1000, 2000, 2, 1),
      egress: fc.boolean(),
      protocol: fc.constantFrom(6, 17, 1),
      deny: fc.boolean(),
    },
    { requiredKeys: ["identity", "egress"] },
  ),
  { maxLength: 8, selector: ({ identity, egress, protocol }) => `${identity} ${egress} ${protocol}` },
);

const withPorts = rawPolicies.chain((list) =>
  fc
    .array(fc.tuple(fc.constantFrom(0, 14, 16), fc.constantFrom(80, 84, 8)), {
      minLength: list.length,
      maxLength: list.length,
    })
    .map((ports) =>
      list.map((one, i): RawPolicy => {
        const [portBits = 0, port = 80] = ports[i] ?? [];
        return one.protocol === undefined || portBits === 0 ? one : { ...one, port, portBits };
      }),
    ),
);

const addresses = [podA, podB, "203.0.113.7", "10.0.0.99"];

const packet = fc
  .record({
    src: fc.constantFrom(...addresses),
    dst: fc.constantFrom(...addresses),
    dport: fc.constantFrom(80, 83, 84, 443),
    sport: fc.constantFrom(80, 40_000, 40_001),
    kind: fc.constantFrom("syn", "ack", "fin", "rst", "udp", "ping"),
  })
  .map(({ src, dst, sport, dport, kind }) => {
    const ends = { src: ip(src), dst: ip(dst) };
    if (kind === "udp") return udp({ ...ends, sport, dport });
    if (kind === "ping") return icmpEcho({ ...ends, identifier: sport, sequence: 1 });
    const flags = { syn: TcpFlag.syn, ack: TcpFlag.ack, fin: TcpFlag.fin | TcpFlag.ack, rst: TcpFlag.rst };
    return tcp({ ...ends, sport, dport, flags: flags[kind] });
  });

const passage = fc.record({
  packet,
  pod: fc.constantFrom("A" as const, "B" as const),
  isOutgoing: fc.boolean(),
  mark: fc.constantFrom(0, 0xc00, 0x7d0_0f00, 0x3e8_0f00),
});

const cilium = parseSelection("cilium") as ProductSelection;

describeNeeding("Cilium's datapath", ["root", "cc", "ip"], () => {
  let judge: BpfJudge;
  let twin: KernelTwin;
  beforeAll(() => {
    judge = startTwinJudge();
    twin = new KernelTwin(judge);
  });
  afterAll(() => judge.close());

  it.each(["G1", "G2", "G3"] as const)(
    "of %s judges random packets over random policy maps as the kernel does",
    {
      timeout: 300_000,
    },
    async (generation) => {
      let runs = 0;
      await fc.assert(
        fc.asyncProperty(
          withPorts,
          withPorts,
          fc.array(passage, { minLength: 30, maxLength: 80 }),
          async (policyA, policyB, passages) => {
            const logs = recordRuns(() => {
              const node = new LoneNode({
                variant: variants[generation],
                policyA,
                policyB,
                prefixes: [["203.0.113.0", 24, 2]],
              });
              for (const { packet: bytes, pod, isOutgoing, mark } of passages)
                if (isOutgoing) node.from(pod, bytes);
                else node.to(pod, bytes, mark);
            });
            const { problems, compared } = await twin.compare(logs);
            runs += compared;
            expect(problems).toEqual([]);
          },
        ),
        { numRuns: 60, seed: 20_266 },
      );
      console.log(`${generation}: ${runs} runs of Cilium's programs compared with the kernel's`);
    },
  );

  it.each([
    ["cilium", ""],
    ["cilium@1.16", "cilium/"],
    ["cilium@1.19", "cilium/"],
    ["cilium+host-firewall", "cilium/"],
  ])(
    "does to the packets of every scenario on %s what it does in the kernel (%s*)",
    { timeout: 900_000 },
    async (engine, part) => {
      const selection = parseSelection(engine) as ProductSelection;
      const folder = join(import.meta.dirname, "../../scenarios");
      const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(
        // Cilium has no Windows
        (name) => name.startsWith(part) && name.endsWith(".yaml") && !name.startsWith("windows/"),
      );
      let runs = 0;
      for (const name of files) {
        const file = join(folder, name);
        const readManifests = (path: string): readonly { readonly name: string; readonly text: string }[] => [
          { name: path, text: readFileSync(join(dirname(file), path), "utf8") },
        ];
        const text = readFileSync(file, "utf8");
        const scenario = loadScenario({ name: file, text }, { engineNames: engineNames(), readManifests });
        const logs = recordRuns(() => runScenario(scenario, selection, { seed: 1 }));
        const { problems, compared } = await twin.compare(logs);
        runs += compared;
        expect(problems.map((problem) => `${name}: ${problem}`)).toEqual([]);
      }
      expect(runs).toBeGreaterThan(files.length * 20);
      console.log(`${runs} runs of ${files.length} scenarios on ${engine} compared with the kernel's`);
    },
  );

  it("judges random clusters as the kernel does", { timeout: 900_000 }, async () => {
    const guarded = parseSelection("cilium+host-firewall") as ProductSelection;
    const drawn = [
      [cilium, fc.sample(ciliumObjects(), { numRuns: 30, seed: 11 })],
      [cilium, fc.sample(clusterObjects({ servicesMax: 3 }), { numRuns: 20, seed: 12 })],
      [guarded, fc.sample(ciliumObjects({ nodePoliciesMax: 2 }), { numRuns: 10, seed: 13 })],
    ] as const;
    const clusters = drawn.flatMap(([selection, list]) => list.map((objects) => ({ selection, objects })));
    let runs = 0;
    for (const [i, { selection, objects }] of clusters.entries()) {
      const { state } = clusterOf(objects, selection.aks);
      const logs = recordRuns(() => {
        const { judge: judgeCell } = createJudge(state, selection, 1);
        const ports = [80, 443].map((port) => ({ protocol: "TCP" as const, port }));
        for (const cell of tableCells(state, [selection], { ports }).cells) judgeCell(cell);
      });
      const { problems, compared } = await twin.compare(logs);
      runs += compared;
      expect(problems.map((problem) => `cluster ${i}: ${problem}`)).toEqual([]);
    }
    console.log(`${runs} runs of ${clusters.length} random clusters compared with the kernel's`);
  });

  it("is told apart from one that does something else", async () => {
    const bytes = tcp({ src: ip(podA), dst: ip(podB), sport: 40_000, dport: 80, flags: TcpFlag.syn });
    const [log = { steps: [], left: undefined }] = recordRuns(
      () => void new LoneNode().from("A", bytes),
      "stands",
    );
    expect(await twin.compare([log])).toEqual({ problems: [], compared: 1 });
    const steps = log.steps.map((step) =>
      step.kind === "run" ? { ...step, markAfter: step.markAfter ^ 1 } : step,
    );
    expect((await twin.compare([{ ...log, steps }])).problems).toHaveLength(1);
    const [filled] = log.steps;
    const untouched = filled?.kind === "filled" ? filled.tables : undefined;
    // a connection, and its errors, that one side alone has
    expect((await twin.compare([{ ...log, left: untouched }])).problems).toHaveLength(2);
  });
});
