/** `podwire capture`: the packets of a scenario as a pcapng file, or sent to a real node and held against it. */
import { setTimeout as pause } from "node:timers/promises";
import { type Command, Option } from "commander";
import { InputError, usageError } from "../../base/index.ts";
import {
  captureScenario,
  engineNames,
  type LiveDocument,
  type ProductSelection,
} from "../../harness/index.ts";
import { checkPlaces, parseLivePlace, planLive, runLive } from "../../harness/netns/index.ts";
import { liveReport, runReport } from "../../report/index.ts";
import type { Scenario } from "../../scenario/index.ts";
import { emit, noter, outputsOf } from "../emit.ts";
import { enginesOfScenario } from "../engines.ts";
import { ExitCode } from "../failure.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";
import { writeFileAtomically } from "../output.ts";
import { createProgress } from "../progress.ts";
import { readScenario } from "../scenarios.ts";
import { version } from "../version.ts";
import { runDocument, runPlaced } from "./run.ts";

interface CaptureOptions extends CommonOptions {
  readonly engine?: string;
  readonly out?: string;
  readonly live: readonly string[];
}

export function addCaptureCommand(program: Command, finish: (code: ExitCode) => void): void {
  const capture = program
    .command("capture")
    .summary("the packets that a scenario generates, as pcapng or on a real node")
    .description(
      "Runs a scenario on one engine (the first with tables that it names) and writes every packet at every interface that it crosses; with --live, sends what enters one of its nodes to a real one and compares what comes out. -o writes that comparison, or without --live the results of the run (by default only if an expectation fails).",
    )
    .argument("<scenario>", "scenario file")
    .option("--out <file.pcapng>", "file to write")
    .option("-e, --engine <engine>", "instead of the first that the scenario names")
    .addOption(
      new Option(
        "--live <netns:interface[=end,...]>",
        "where packets of the ends (namespace/pod or uplink; default: all) enter a real node and leave it; repeatable",
      )
        .argParser((value: string, previous: readonly string[]) => [...previous, value])
        .default([] as readonly string[], "none"),
    );
  addCommonOptions(capture).action(async (name: string, options: CaptureOptions) => {
    if (options.out === undefined && options.live.length === 0)
      throw usageError("capture needs --out FILE.pcapng or --live NETNS:INTERFACE");
    const scenario = readScenario(name, engineNames());
    const selections = await enginesOfScenario(scenario, options.engine);
    const selection = selections.find((one) => one.kind === "product");
    if (selection === undefined)
      throw usageError("capture needs an engine with tables; the oracle sends no packets");
    const codes: ExitCode[] = [];
    if (options.live.length > 0) codes.push(await playLive(scenario, selection, options));
    if (options.out !== undefined) codes.push(writeCapture(scenario, selection, options.out, options));
    finish(codes.find((code) => code !== ExitCode.ok) ?? ExitCode.ok);
  });
}

function writeCapture(
  scenario: Scenario,
  selection: ProductSelection,
  out: string,
  options: CaptureOptions,
): ExitCode {
  // with --live the outputs are for what came out of the real node
  const outputs = outputsOf(options.live.length > 0 ? { ...options, output: [] } : options, runReport);
  const { result, packets, pieces } = runPlaced(scenario, () =>
    captureScenario(scenario, selection, options.seed),
  );
  writeFileAtomically(out, pieces);
  noter(options)(`${packets} packets of ${scenario.name} on ${selection.label} written to ${out}`);
  const isAsked = options.output.length > 0 && options.live.length === 0;
  if (isAsked || !result.ok) emit(runDocument([result], options), outputs, runReport, options);
  return result.ok ? ExitCode.ok : ExitCode.failed;
}

async function playLive(
  scenario: Scenario,
  selection: ProductSelection,
  options: CaptureOptions,
): Promise<ExitCode> {
  const outputs = outputsOf(options, liveReport);
  const places = options.live.map(parseLivePlace);
  const twice = places.find((one, i) => places.findIndex((other) => samePlace(one, other)) < i);
  if (twice !== undefined)
    throw usageError(`--live ${twice.namespace}:${twice.interface} stands twice; join the ends with commas`);
  checkPlaces(places);
  const { node, sends, leftOut } = runPlaced(scenario, () =>
    planLive(scenario, selection, options.seed, places),
  );
  const progress = createProgress("packets", options);
  let outcome: Awaited<ReturnType<typeof runLive>>;
  try {
    outcome = await runLive({ node, sends, leftOut }, places, {
      pause: (ms) => pause(ms),
      onProgress: (done, total) => progress.update(done, total),
    });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new InputError([{ code: "refused", path: "", message: `--live: ${error.message}` }]);
  } finally {
    progress.stop();
  }
  const { sent, cameOut, expected, differences, isInterrupted } = outcome;
  const document: LiveDocument = {
    schema: "podwire/live/v1",
    version,
    seed: options.seed,
    scenario: scenario.name,
    engine: selection.label,
    engineVersion: selection.version,
    node,
    places,
    packets: sends.length,
    sent,
    expected,
    cameOut,
    differences,
    leftOut,
    ...(isInterrupted ? { interrupted: true } : {}),
  };
  emit(document, outputs, liveReport, options);
  if (isInterrupted) return ExitCode.interrupted;
  return differences.length === 0 ? ExitCode.ok : ExitCode.failed;
}

function samePlace(
  a: { readonly namespace: string; readonly interface: string },
  b: { readonly namespace: string; readonly interface: string },
): boolean {
  return a.namespace === b.namespace && a.interface === b.interface;
}
