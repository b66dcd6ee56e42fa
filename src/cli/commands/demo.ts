/** `npm start`: the AKS walk-through on every engine there is, a truth table, one trace and the decision rate. */
import { existsSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { usageError } from "../../base/index.ts";
import {
  computeMatrix,
  createOriginPlacer,
  emulate,
  engineNames,
  parseSelections,
  resolveEnd,
  resolveSource,
  runScenario,
  selectedCluster,
  traceConnection,
  vendorKinds,
} from "../../harness/index.ts";
import { loadManifests, type ManifestInput } from "../../k8s/index.ts";
import { benchReport, matrixReport, runResultText, traceReport } from "../../report/index.ts";
import { parseEnd, type Scenario } from "../../scenario/index.ts";
import { wantsColor } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";
import { writeOutput } from "../output.ts";
import { readScenario } from "../scenarios.ts";
import { version } from "../version.ts";
import { runBench } from "./bench.ts";

const screen = { format: "text", file: undefined } as const;

export function addDemoCommand(program: Command, finish: (code: ExitCode) => void): void {
  const demo = program
    .command("demo")
    .summary("the AKS walk-through on every engine, a truth table, a trace and the decision rate");
  addCommonOptions(demo).action(async (options: CommonOptions) => {
    finish(await runDemo(options));
  });
}

async function runDemo(options: CommonOptions): Promise<ExitCode> {
  const look = { color: wantsColor(options) };
  const say = (text: string): void => writeOutput(screen, [text]);
  const selections = parseSelections("all");
  let failed = 0;
  say(
    "1. The AKS walk-through: a server, a client, a policy that lets in pods labelled app=client on TCP 80.\n",
  );
  say(
    "   Without a policy the client connects; with it, it times out; once labelled, it connects again.\n\n",
  );
  const scenarios = ["walk-through-same-node", "walk-through-cross-node"].map((name) =>
    readScenario(demoFile(name), engineNames()),
  );
  for (const scenario of scenarios) {
    for (const selection of [...parseSelections("oracle"), ...selections]) {
      const result = runScenario(scenario, selection, { seed: options.seed });
      if (!result.ok) failed++;
      writeOutput(screen, runResultText(result, look));
    }
  }
  const [scenario] = scenarios;
  if (scenario === undefined) return ExitCode.internal;
  const inputs = manifestsWithPolicy(scenario);
  const objects = loadManifests(inputs, { vendorKinds });
  const clusters = [...parseSelections("oracle"), ...selections].map((selection) =>
    selectedCluster(objects, selection, scenario.cluster),
  );
  say("\n2. The truth table while the client is not labelled yet.\n\n");
  const [first, ...rest] = clusters;
  if (first === undefined) return ExitCode.internal;
  writeOutput(
    screen,
    matrixReport["text"]?.(await computeMatrix([first, ...rest], version, { seed: options.seed }), look) ??
      [],
  );
  for (const { selection, state } of clusters) {
    if (selection.kind !== "product") continue;
    say(`\n3. Why: the client's SYN on ${selection.label}, rule by rule.\n\n`);
    const cluster = emulate(state, selection, { seed: options.seed });
    const from = resolveSource(state, parseEnd("demo/client"));
    const to = resolveEnd(state, parseEnd("demo/server"));
    const document = traceConnection(
      cluster,
      from,
      to,
      { protocol: "TCP", port: 80, family: 4 },
      createOriginPlacer(inputs),
      { version, seed: options.seed },
    );
    writeOutput(screen, traceReport["text"]?.(document, look) ?? []);
    break; // one engine shows how
  }
  say(
    "\n4. How fast: Azure NPM's tables at its documented limit, by its exact verdict table and rule by rule, on one core.\n\n",
  );
  const bench = await runBench(
    { ...options, profile: "aks-npm-limit", traffic: "uniform", engine: "azure-npm" },
    parseSelections("azure-npm"),
  );
  writeOutput(screen, benchReport["text"]?.(bench, look) ?? []);
  return failed > 0 ? ExitCode.failed : ExitCode.ok;
}

/** Files of the demo ship with the package. */
function demoFile(name: string): string {
  const url = new URL(`../../../scenarios/aks/${name}.yaml`, import.meta.url);
  if (!existsSync(url)) throw usageError(`the package lacks scenarios/aks/${name}.yaml`);
  return relative(process.cwd(), fileURLToPath(url));
}

/** The scenario's objects and what its steps apply; labels stay as they were at the start. */
function manifestsWithPolicy(scenario: Scenario): readonly ManifestInput[] {
  return [
    ...scenario.manifests,
    ...scenario.steps.flatMap((step) => (step.action === "apply" ? step.manifests : [])),
  ];
}
