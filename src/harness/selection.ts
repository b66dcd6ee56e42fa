/**
 * Engine names as people write them: `name@version[+switch[=value]]...`, and what they stand for. A product runs on
 * each node the engine of that node's system; the oracle stands beside engines where verdicts are compared.
 */
import { InputError, type Issue } from "../base/index.ts";
import type { Engine, EngineDefinition, ProductName } from "../engine/index.ts";
import { engineDefinitions } from "../engine/registry.ts";
import type { ClusterWords } from "../k8s/index.ts";
import { type OracleReadings, parseOracleReadings } from "../oracle/index.ts";

/** One product at one version: an engine for each node system it has one for. */
export interface ProductSelection {
  readonly kind: "product";
  /** As the user wrote it; names the result. */
  readonly label: string;
  readonly product: ProductName;
  readonly version: string;
  /** Set when a suffixed name (`azure-npm-linux`) was given: the default pool's system. */
  readonly poolOs: "linux" | "windows" | undefined;
  /** What `az aks create` is told to get this product. */
  readonly aks: ClusterWords;
  readonly engines: { readonly linux?: Engine; readonly windows?: Engine };
}

/** The oracle, with the readings that were asked for. */
export interface OracleSelection {
  readonly kind: "oracle";
  readonly label: string;
  readonly version: string;
  readonly readings: OracleReadings;
}

/** What a name in `--engine` stands for. */
export type Selection = ProductSelection | OracleSelection;

/** Names that an engine list may use, without versions and switches. */
export function engineNames(): readonly string[] {
  return [
    "oracle",
    ...new Set(engineDefinitions.flatMap((definition) => [definition.product, definition.name])),
  ];
}

/**
 * Splits a comma list; `all` is every product. `external` holds what names of files stand for. @throws InputError naming
 * what is known.
 */
export function parseSelections(
  text: string,
  external: ReadonlyMap<string, Selection> = new Map(),
): readonly Selection[] {
  const names = text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.length === 0) throw usage("no engine named");
  const products = [...new Set(engineDefinitions.map((definition) => definition.product))];
  const expanded = names.flatMap((name) => (name === "all" ? products : [name]));
  return expanded.map((name) => external.get(name) ?? parseSelection(name));
}

/** @throws InputError for an unknown name, version, switch or value. */
export function parseSelection(label: string): Selection {
  const [head = "", ...switchTexts] = label.split("+");
  const at = head.indexOf("@");
  const name = at < 0 ? head : head.slice(0, at);
  const version = at < 0 ? undefined : head.slice(at + 1);
  const switches = parseSwitches(label, switchTexts);
  if (name === "oracle") {
    if (version !== undefined) throw usage(`the oracle has no versions: ${label}`);
    return {
      kind: "oracle",
      label,
      version: "networking.k8s.io/v1",
      readings: parseOracleReadings(switches),
    };
  }
  const definitions = engineDefinitions.filter((d) => d.product === name || d.name === name);
  const first = definitions[0];
  if (first === undefined) throw unknownEngine(name);
  const engines: { linux?: Engine; windows?: Engine } = {};
  for (const definition of definitions) {
    engines[definition.os] = definition.create(
      resolveVersion(definition, version),
      checkSwitches(definition, switches),
    );
  }
  return {
    kind: "product",
    label,
    product: first.product,
    version: (engines.linux ?? engines.windows)?.version ?? first.defaultVersion,
    aks: first.aks,
    poolOs: name === first.product ? undefined : first.os,
    engines,
  };
}

/** An engine that is not in the registry, as a product of its own. */
export function selectEngine(label: string, engine: Engine): ProductSelection {
  return {
    kind: "product",
    label,
    product: engine.product,
    version: engine.version,
    poolOs: undefined,
    aks: { networkPlugin: "azure", networkPolicy: "none" },
    engines: { [engine.os]: engine },
  };
}

/** What a module that brings an engine exports. */
export interface ExternalEngine {
  readonly engine?: unknown;
  readonly default?: unknown;
}

/** What a module exports as its engine, not yet looked at. */
export function engineOf({ engine, default: byDefault }: ExternalEngine): unknown {
  return engine ?? byDefault;
}

/** Has it the shape of an engine? What its functions do is its author's business. */
export function isEngine(value: unknown): value is Engine {
  if (typeof value !== "object" || value === null) return false;
  const engine = value as Readonly<Record<string, unknown>>;
  const isNamed = typeof engine["name"] === "string" && typeof engine["version"] === "string";
  const isPlaced = engine["os"] === "linux" || engine["os"] === "windows";
  const hasLists = Array.isArray(engine["divergences"]) && typeof engine["features"] === "object";
  return (
    isNamed &&
    isPlaced &&
    hasLists &&
    typeof engine["compile"] === "function" &&
    typeof engine["agent"] === "function"
  );
}

/** The engine that a node of this system runs, or the reason why the product has none. */
export function engineFor(selection: ProductSelection, os: "linux" | "windows"): Engine {
  const engine = selection.engines[os];
  if (engine === undefined)
    throw new InputError([
      { code: "refused", path: "", message: `${selection.product} does not run on ${os} nodes` },
    ]);
  return engine;
}

function parseSwitches(label: string, texts: readonly string[]): Readonly<Record<string, string>> {
  const switches: Record<string, string> = {};
  for (const text of texts) {
    const equals = text.indexOf("=");
    const name = equals < 0 ? text : text.slice(0, equals);
    if (name === "") throw usage(`empty switch in ${label}`);
    switches[name] = equals < 0 ? "true" : text.slice(equals + 1);
  }
  return switches;
}

function resolveVersion(definition: EngineDefinition, version: string | undefined): string {
  if (version === undefined) return definition.defaultVersion;
  if (!definition.versions.includes(version))
    throw usage(
      `unknown version ${version} of ${definition.product}; known: ${definition.versions.join(", ")}`,
      "unknown-name",
    );
  return version;
}

function checkSwitches(
  definition: EngineDefinition,
  switches: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const issues: Issue[] = [];
  for (const [name, value] of Object.entries(switches)) {
    const spec = definition.switches.find((s) => s.name === name);
    if (spec === undefined) {
      const known = definition.switches.map((s) => s.name).join(", ") || "none";
      issues.push({
        code: "unknown-name",
        path: "",
        message: `unknown switch ${name} of ${definition.product}; known: ${known}`,
      });
    } else if (!spec.values.includes(value)) {
      issues.push({
        code: "invalid",
        path: "",
        message: `switch ${name} of ${definition.product} takes ${spec.values.join(" or ")}, not ${value}`,
      });
    }
  }
  if (issues.length > 0) throw new InputError(issues);
  return switches;
}

function unknownEngine(name: string): InputError {
  return usage(`unknown engine ${name}; known: ${[...engineNames(), "all"].join(", ")}`, "unknown-name");
}

function usage(message: string, code: Issue["code"] = "usage"): InputError {
  return new InputError([{ code, path: "", message }]);
}

/** True if what the selection answers follows from API objects alone: no files or modules of a user's. */
export function followsApi(selection: Selection): boolean {
  if (selection.kind === "oracle") return true;
  const { linux, windows } = selection.engines;
  return [linux, windows].every(
    (engine) => engine === undefined || engineDefinitions.some(({ name }) => name === engine.name),
  );
}
