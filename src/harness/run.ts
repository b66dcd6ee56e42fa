/** Runs a scenario on an engine (or asks the oracle), step by step, and holds what happened against what is expected. */
import {
  assert,
  createExplorer,
  createPrng,
  type Explorer,
  InputError,
  type Prng,
  unreachable,
} from "../base/index.ts";
import { vendorKinds } from "../engine/registry.ts";
import { type BuiltCluster, type ClusterState, type Connection, loadManifests } from "../k8s/index.ts";
import { createOracle } from "../oracle/index.ts";
import {
  type Attempt,
  expectationKeys,
  expectedValue,
  formatEnd,
  formatPort,
  type Scenario,
  type Step,
} from "../scenario/index.ts";
import { type Flow, firstPacket, type NetworkOptions } from "../sim/index.ts";
import { printPacket } from "../wire/index.ts";
import { connectionAttempt, senderOf } from "./attempt.ts";
import type { CellVerdict, DiagnosticDocument, RunResultDocument, StepResult } from "./documents.ts";
import { editedBy } from "./edits.ts";
import type { SourceEnd } from "./ends.ts";
import { attemptedConnection, expectedCells } from "./expected-cells.ts";
import { LiveCluster } from "./live.ts";
import { diagnosticDocument, explorerLimits, judgeWays } from "./matrix.ts";
import { flowRequest } from "./probe.ts";
import { resolveSource } from "./resolve-end.ts";
import { type SelectedCluster, selectedCluster } from "./selected-cluster.ts";
import type { Selection } from "./selection.ts";

/** The seed, and taps and watchers of the network. */
export interface RunOptions {
  readonly seed: number;
  readonly network?: NetworkOptions;
  /** Told every change of the cluster before it is made, as something that can be done to another one. */
  readonly onChange?: (change: (cluster: LiveCluster) => void) => void;
}

/** @throws InputError when the scenario's cluster or manifests are bad, or a step names what is not there. */
export function runScenario(scenario: Scenario, named: Selection, options: RunOptions): RunResultDocument {
  const { state, selection } = scenarioCluster(scenario, named);
  const runner: Runner =
    selection.kind === "oracle"
      ? new OracleRunner(state, selection)
      : new EngineRunner(state, selection, options);
  const steps: StepResult[] = [];
  for (const [i, step] of scenario.steps.entries()) {
    const outcome = runStep(runner, step);
    steps.push({
      step: i + 1,
      action: step.action,
      ...(step.place.line === undefined ? {} : { line: step.place.line }),
      ok: outcome.problems.length === 0,
      problems: outcome.problems,
      ...(outcome.open === 0 ? {} : { undefined: outcome.open }),
    });
  }
  return {
    scenario: scenario.name,
    file: scenario.file,
    engine: selection.label,
    engineVersion: selection.version,
    seed: options.seed,
    ok: steps.every((step) => step.ok),
    virtualNs: runner.nowNs(),
    packets: runner.packets(),
    steps,
    diagnostics: runner.diagnostics(),
  };
}

/** The cluster before the first step. @throws InputError as `runScenario`. */
export function scenarioCluster<S extends Selection>(scenario: Scenario, selection: S): SelectedCluster<S> {
  const { force = false, ...words } = scenario.cluster;
  const objects = loadManifests(scenario.manifests, { vendorKinds });
  return selectedCluster(objects, selection, words, { force, inputs: scenario.manifests });
}

type MatrixStep = Extract<Step, { action: "expectMatrix" }>;

interface StepOutcome {
  readonly problems: readonly string[];
  /** Comparisons left out because the API leaves the answer open. */
  readonly open: number;
}

const fine: StepOutcome = { problems: [], open: 0 };

/** What a scenario can ask of an engine's cluster, and of the oracle. `undefined`: it has nothing to say. */
interface Runner {
  readonly selection: Selection;
  readonly state: ClusterState;
  edit(built: BuiltCluster): void;
  verdict(connection: Connection): CellVerdict;
  probe(connection: Connection, timeoutNs: number): Answer;
  connect(name: string, connection: Connection): Answer;
  send(name: string, side: "client" | "server"): string | undefined;
  close(name: string): void;
  inject(packet: Injection): string | undefined;
  advance(durationNs: number): void;
  /** Does something to the engine itself, on a node or on all. */
  tend(what: "restart" | "uninstall" | "install", node: string | undefined): void;
  diagnostics(): readonly DiagnosticDocument[];
  nowNs(): number;
  packets(): number;
}

/** Bytes of a sender, or a packet of a connection that was never opened. */
type Injection =
  | { readonly from: SourceEnd; readonly bytes: Uint8Array }
  | { readonly connection: Connection; readonly sourcePort: number; readonly flags: number };

/** What happened, and which expected outcomes it satisfies. */
interface Answer {
  readonly said: string;
  readonly satisfies: readonly string[];
}

function runStep(runner: Runner, step: Step): StepOutcome {
  try {
    return performStep(runner, step);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(error.issues.map((issue) => ({ ...step.place, ...issue })));
  }
}

function performStep(runner: Runner, step: Step): StepOutcome {
  const { state } = runner;
  switch (step.action) {
    case "apply":
    case "createPod":
    case "deletePod":
    case "delete":
    case "label":
      runner.edit(editedBy(state, step));
      return fine;
    case "probe": {
      const connection = attemptedConnection(state, step);
      return compare(runner, step, attemptText(step), runner.probe(connection, step.timeoutNs));
    }
    case "connect": {
      const connection = attemptedConnection(state, step);
      return compare(
        runner,
        step,
        `${step.flow}: ${attemptText(step)}`,
        runner.connect(step.flow, connection),
      );
    }
    case "send": {
      const said = runner.send(step.flow, step.from);
      if (said === undefined) return fine;
      return compare(runner, step, `${step.flow} from ${step.from}`, { said, satisfies: [said] });
    }
    case "close":
      runner.close(step.flow);
      return fine;
    case "inject": {
      const said = runner.inject(injectionOf(state, step));
      return said === undefined
        ? fine
        : compare(runner, step, injectionText(step), { said, satisfies: [said] });
    }
    case "expectMatrix":
      return compareMatrix(runner, step);
    case "expectDiagnostic":
      return compareDiagnostic(runner, step);
    case "advance":
      runner.advance(step.durationNs);
      return fine;
    case "restart":
    case "uninstall":
    case "install":
      runner.tend(step.action, step.node);
      return fine;
    default:
      return unreachable(step);
  }
}

function attemptText({ from, to, port }: Attempt): string {
  return `${formatEnd(from)} -> ${formatEnd(to)} ${formatPort(port)}`;
}

type InjectStep = Extract<Step, { action: "inject" }>;

function injectionOf(state: ClusterState, { from, packet }: InjectStep): Injection {
  if (packet.kind === "bytes") return { from: resolveSource(state, from), bytes: bytesOf(packet.hex) };
  return { ...packet, connection: attemptedConnection(state, { ...packet, from }) };
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}

function injectionText({ from, packet }: InjectStep): string {
  if (packet.kind === "fields") return attemptText({ ...packet, from });
  return `${formatEnd(from)}: ${printPacket(bytesOf(packet.hex))}`;
}

type AnsweredStep = Extract<Step, { action: "probe" | "connect" | "send" | "inject" }>;

function expectedFor(runner: Runner, step: AnsweredStep): string {
  const { label, kind } = runner.selection;
  return expectedValue<string>(step.expect, label, kind === "product" ? runner.selection.product : undefined);
}

function compare(runner: Runner, step: AnsweredStep, what: string, answer: Answer): StepOutcome {
  const expected = expectedFor(runner, step);
  if (expected === "undefined" && runner.selection.kind === "product") return { problems: [], open: 1 };
  if (answer.satisfies.includes(expected)) return fine;
  return { problems: [`${what}: expected ${expected}, was ${answer.said}`], open: 0 };
}

function compareMatrix(runner: Runner, step: MatrixStep): StepOutcome {
  const cells = expectedCells(runner.state, step.matrix);
  const { label, ...selection } = runner.selection;
  const product = selection.kind === "product" ? selection.product : undefined;
  const problems: string[] = [];
  let open = 0;
  for (const { from, to, connection, verdict } of cells) {
    const expected = expectedValue(verdict, label, product);
    if (expected === "undefined" && selection.kind === "product") {
      open++;
      continue;
    }
    const actual = runner.verdict(connection);
    if (actual !== expected)
      problems.push(`${from} -> ${to} ${formatPort(connection)}: expected ${expected}, was ${actual}`);
  }
  return { problems, open };
}

function compareDiagnostic(runner: Runner, step: Extract<Step, { action: "expectDiagnostic" }>): StepOutcome {
  const { selection } = runner;
  if (selection.kind === "oracle") return fine;
  const keys = expectationKeys(selection.label, selection.product);
  if (step.engines.length > 0 && !step.engines.some((engine) => keys.includes(engine))) return fine;
  const found = runner
    .diagnostics()
    .some(
      (one) =>
        (step.code === undefined || one.code === step.code) &&
        (step.policy === undefined || one.policy === step.policy) &&
        (step.message === undefined || one.message.includes(step.message)),
    );
  if (found !== step.absent) return fine;
  const what = [step.code, step.policy, step.message].filter((part) => part !== undefined).join(" ");
  return {
    problems: [step.absent ? `diagnostic given all the same: ${what}` : `no such diagnostic: ${what}`],
    open: 0,
  };
}

/** The oracle: no packets, no time; only what the API says of the present state. */
class OracleRunner implements Runner {
  readonly selection: Extract<Selection, { kind: "oracle" }>;
  state: ClusterState;

  constructor(state: ClusterState, selection: Extract<Selection, { kind: "oracle" }>) {
    this.state = state;
    this.selection = selection;
  }
  edit(built: BuiltCluster): void {
    this.state = built.state;
  }
  verdict(connection: Connection): CellVerdict {
    return createOracle(this.state, this.selection.readings).judge(connection).verdict;
  }
  probe(connection: Connection): Answer {
    const verdict = this.verdict(connection);
    // whether anybody listens is not the API's business: a refusal, too, means that packets pass
    const satisfies = {
      allow: ["connected", "refused"],
      deny: ["timeout"],
      undefined: ["undefined"],
      some: [],
    }[verdict];
    return { said: verdict, satisfies };
  }
  connect(_name: string, connection: Connection): Answer {
    return this.probe(connection);
  }
  send(): undefined {
    return undefined;
  }
  close(): void {}
  inject(): undefined {
    return undefined;
  }
  advance(): void {}
  tend(): void {}
  diagnostics(): readonly DiagnosticDocument[] {
    return [];
  }
  nowNs(): number {
    return 0;
  }
  packets(): number {
    return 0;
  }
}

/** Source ports of matrix cells; hosts' own connections start above. */
const firstJudgePort = 1024;
const judgePorts = 31_744;

class EngineRunner implements Runner {
  readonly selection: Extract<Selection, { kind: "product" }>;
  readonly #cluster: LiveCluster;
  readonly #flows = new Map<string, Flow>();
  #judged = 0;
  readonly #random: Prng;
  readonly #explorer: Explorer;
  readonly #onChange: RunOptions["onChange"];

  constructor(state: ClusterState, selection: Extract<Selection, { kind: "product" }>, options: RunOptions) {
    this.selection = selection;
    this.#onChange = options.onChange;
    this.#random = createPrng(options.seed).fork("clients");
    this.#explorer = createExplorer(options.seed, explorerLimits);
    this.#cluster = new LiveCluster(state, selection, {
      seed: options.seed,
      random: this.#explorer.random,
      ...(options.network ? { network: options.network } : {}),
    });
  }
  get state(): ClusterState {
    return this.#cluster.state;
  }
  edit(built: BuiltCluster): void {
    this.#change((cluster) => cluster.edit(built));
  }
  #change(change: (cluster: LiveCluster) => void): void {
    this.#onChange?.(change);
    change(this.#cluster);
  }
  verdict(connection: Connection): CellVerdict {
    const nextSourcePort = (): number => firstJudgePort + (this.#judged++ % judgePorts);
    return judgeWays(this.#cluster, this.#explorer, connection, nextSourcePort).verdict;
  }
  probe(connection: Connection, timeoutNs: number): Answer {
    const flow = this.#open(connection, timeoutNs);
    this.#cluster.hosts.close(flow);
    return { said: flow.outcome, satisfies: [flow.outcome] };
  }
  connect(name: string, connection: Connection): Answer {
    const flow = this.#open(connection, 3e9);
    this.#flows.set(name, flow);
    return { said: flow.outcome, satisfies: [flow.outcome] };
  }
  #open(connection: Connection, timeoutNs: number): Flow {
    const { network, hosts } = this.#cluster;
    return hosts.connect(flowRequest(network, connection, this.#random), timeoutNs);
  }
  send(name: string, side: "client" | "server"): string {
    const flow = this.#flows.get(name);
    assert(flow !== undefined, "the scenario was checked: every flow is opened before it is used");
    return this.#cluster.hosts.send(flow, side);
  }
  close(name: string): void {
    const flow = this.#flows.get(name);
    if (flow !== undefined) this.#cluster.hosts.close(flow);
  }
  inject(injection: Injection): string {
    const { network } = this.#cluster;
    const [from, bytes] =
      "bytes" in injection ? [senderOf(network, injection.from), injection.bytes] : this.#packetOf(injection);
    const { disposition, emitted } = network.sendToEnd(from, bytes);
    if (disposition === "delivered") return "delivered";
    return emitted.length > 0 ? "reset" : "lost";
  }
  #packetOf({
    connection,
    sourcePort,
    flags,
  }: Exclude<Injection, { bytes: unknown }>): readonly [string, Uint8Array] {
    const attempt = connectionAttempt(this.#cluster.network, connection, sourcePort, this.#random);
    assert(attempt !== undefined, "the ends have addresses of the family");
    return [attempt.from, firstPacket(attempt, flags)];
  }
  advance(durationNs: number): void {
    this.#cluster.advance(durationNs);
  }
  tend(what: "restart" | "uninstall" | "install", node: string | undefined): void {
    this.#change((cluster) => cluster[what](node));
  }
  diagnostics(): readonly DiagnosticDocument[] {
    // each node's agent says the same of a policy
    const unique = new Map(
      this.#cluster.diagnostics.map((one) => [`${one.code} ${one.policy} ${one.message}`, one]),
    );
    return [...unique.values()].map(diagnosticDocument);
  }
  nowNs(): number {
    return this.#cluster.network.loop.nowNs();
  }
  packets(): number {
    return this.#cluster.network.counts.sent;
  }
}
