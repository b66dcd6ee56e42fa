/**
 * What scenarios assert of engines, found from what they expect: a divergence where an engine is expected to differ from the
 * API and the divergence says so; a feature that an engine has where it is expected to deny with the API; one that it lacks,
 * or has in part, where it is expected to do otherwise (or where the API does not say); a diagnostic by its code.
 */
import { InputError } from "../base/index.ts";
import type { Engine } from "../engine/index.ts";
import { engineDefinitions, featureUses, leftToEngines } from "../engine/registry.ts";
import type { ClusterState, Connection } from "../k8s/index.ts";
import { createOracle, type Oracle } from "../oracle/index.ts";
import {
  type Attempt,
  type Expectation,
  expectedValue,
  type Scenario,
  type Step,
} from "../scenario/index.ts";
import { divergencesOf } from "./diff.ts";
import type { CellVerdict } from "./documents.ts";
import { editedBy, isEdit } from "./edits.ts";
import { attemptedConnection, expectedCells } from "./expected-cells.ts";
import { scenarioCluster } from "./run.ts";
import { followsApi, type ProductSelection, parseSelections } from "./selection.ts";

/** Files of scenarios by what they assert. */
export interface Assertions {
  /** Of an engine (`azure-npm-windows`), by the divergence's id. */
  divergences(engine: string): ReadonlyMap<string, readonly string[]>;
  /** Of an engine, by the feature's name. */
  features(engine: string): ReadonlyMap<string, readonly string[]>;
  /** By code. */
  readonly diagnostics: ReadonlyMap<string, readonly string[]>;
}

/** Of an engine's default version and settings where features are concerned, of any where divergences are. */
export function assertionsOf(scenarios: readonly Scenario[]): Assertions {
  const finder = new AssertionFinder();
  for (const scenario of scenarios) finder.scenario(scenario);
  return finder;
}

type Found = Map<string, string[]>;

class AssertionFinder implements Assertions {
  readonly #divergences = new Map<string, Found>();
  readonly #features = new Map<string, Found>();
  readonly diagnostics: Found = new Map();
  #file = "";

  divergences(engine: string): Found {
    return of(this.#divergences, engine);
  }

  features(engine: string): Found {
    return of(this.#features, engine);
  }

  scenario(scenario: Scenario): void {
    this.#file = scenario.file;
    const named = scenario.engines.filter((label) => !/^(program:|[./])/.test(label));
    for (const selection of named.length === 0 ? [] : parseSelections(named.join(","))) {
      if (selection.kind === "oracle" || !followsApi(selection)) continue;
      try {
        const cluster = scenarioCluster(scenario, selection);
        this.#walk(scenario, cluster.selection, cluster.state);
      } catch (error) {
        if (!(error instanceof InputError)) throw error; // does not run there: asserts nothing
      }
    }
  }

  #walk({ steps }: Scenario, selection: ProductSelection, first: ClusterState): void {
    let state = first;
    let oracle = createOracle(state);
    for (const step of steps) {
      if (isEdit(step)) {
        state = editedBy(state, step).state;
        oracle = createOracle(state);
      } else if (step.action === "expectDiagnostic") {
        if (!step.absent && step.code !== undefined) this.#note(this.diagnostics, step.code);
      } else
        for (const check of checksOf(state, step, selection)) this.#check(state, oracle, selection, check);
    }
  }

  #check(
    state: ClusterState,
    oracle: Oracle,
    selection: ProductSelection,
    { connection, verdicts }: Check,
  ): void {
    const { verdict } = oracle.judge(connection);
    const expected = verdicts[0];
    const systems = systemsOf(state, connection);
    const engines = [selection.engines.linux, selection.engines.windows].filter((one) => one !== undefined);
    for (const engine of engines)
      if (systems.has(engine.os)) this.#checkFeatures(state, connection, engine, verdict, expected);
    if (verdicts.includes(verdict) && verdicts.length === 1) return;
    const fitting = divergencesOf(selection, state, connection, verdict)
      .filter((one) => verdicts.includes(one.verdict))
      .map(({ divergence }) => divergence.id);
    for (const engine of engines) {
      const isThere = [...state.nodes.values()].some(({ os }) => os === engine.os);
      for (const { id } of isThere ? engine.divergences : [])
        if (fitting.includes(id)) this.#note(this.divergences(engine.name), id);
    }
  }

  #checkFeatures(
    state: ClusterState,
    connection: Connection,
    engine: Engine,
    verdict: CellVerdict,
    expected: CellVerdict,
  ): void {
    const { features, ownUses = {} } = engine.features;
    const usual = usualFeatures(engine.name);
    for (const [name, { support }] of Object.entries(features)) {
      if (usual?.[name]?.support !== support) continue;
      const own = ownUses[name];
      if (!(own ?? featureUses[name])?.(state, connection)) continue;
      const isAsserted =
        own !== undefined ||
        leftToEngines.has(name) ||
        (support === "yes" ? expected === "deny" && verdict === "deny" : expected !== verdict);
      if (isAsserted) this.#note(this.features(engine.name), name);
    }
  }

  #note(found: Found, key: string): void {
    const files = found.get(key) ?? [];
    if (!files.includes(this.#file)) files.push(this.#file);
    found.set(key, files);
  }
}

function of(all: Map<string, Found>, engine: string): Found {
  let found = all.get(engine);
  if (found === undefined) {
    found = new Map();
    all.set(engine, found);
  }
  return found;
}

const usuals = new Map<string, Engine["features"]["features"] | undefined>();

/** What the table says: features of the default version without switches. */
function usualFeatures(name: string): Engine["features"]["features"] | undefined {
  if (!usuals.has(name)) {
    const definition = engineDefinitions.find((one) => one.name === name);
    usuals.set(name, definition?.create(definition.defaultVersion, {}).features.features);
  }
  return usuals.get(name);
}

/** Systems of the nodes that the ends' pods are on; of all nodes where neither end is a pod. */
function systemsOf({ nodes }: ClusterState, { from, to }: Connection): ReadonlySet<"linux" | "windows"> {
  const pods = [from, to].flatMap((end) => (end.kind === "pod" ? [nodes.get(end.pod.nodeName)] : []));
  const concerned = pods.length > 0 ? pods : [...nodes.values()];
  return new Set(concerned.flatMap((node) => node?.os ?? []));
}

interface Check {
  readonly connection: Connection;
  /** Those that what is expected may be: who refuses a connection is a listener's host, or a Service's node. */
  readonly verdicts: readonly [CellVerdict, ...CellVerdict[]];
}

const verdictsOf: Readonly<Record<string, Check["verdicts"]>> = {
  connected: ["allow"],
  refused: ["allow", "deny"],
  timeout: ["deny"],
};

function checksOf(state: ClusterState, step: Step, { label, product }: ProductSelection): readonly Check[] {
  const attempt = (one: Attempt, expect: Expectation<string>): readonly Check[] => {
    const outcome = expectedValue(expect, label, product);
    const verdicts = verdictsOf[outcome] ?? ["undefined"];
    return [{ connection: attemptedConnection(state, one), verdicts }];
  };
  if (step.action === "probe" || step.action === "connect") return attempt(step, step.expect);
  if (step.action !== "expectMatrix") return [];
  return expectedCells(state, step.matrix).map(({ connection, verdict }) => ({
    connection,
    verdicts: [expectedValue(verdict, label, product)],
  }));
}
