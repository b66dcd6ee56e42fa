/**
 * Scenario files: text -> `Scenario`. All problems of a file are reported at once, each at the line and column of
 * what is wrong; an unknown word comes with the known one nearest to it.
 */
import { InputError, type Issue, type Place } from "../base/index.ts";
import { type FieldPath, formatPath, type PlacedDocument, parsePlacedDocument } from "./document.ts";
import { expandFixture } from "./fixture.ts";
import { toIssues } from "./problems.ts";
import type { ManifestText, Scenario, ScenarioCluster } from "./scenario.ts";
import { type RawManifests, type RawScenario, scenarioSchema } from "./schema.ts";
import { readStep, type StepContext } from "./steps.ts";
import { nearestWord } from "./suggest.ts";

/** Scenario text with its file's name. */
export interface ScenarioInput {
  /** The file's path, as errors name it. */
  readonly name: string;
  readonly text: string;
}

/** Names of engines that may stand in a scenario, and how to read manifests that it names. */
export interface ScenarioLoadOptions {
  /**
   * Reads what a `path:` entry names, relative to the scenario's file; may give several files (a directory).
   * @throws InputError when it cannot. Without a reader `path:` entries are refused.
   */
  readonly readManifests?: (path: string, scenarioFile: string) => readonly ManifestText[];
  /** Names that engine lists and expectations may use (without version and switches); any name if absent. */
  readonly engineNames?: readonly string[];
}

/** @throws InputError with every problem of the file. */
export function loadScenario(input: ScenarioInput, options: ScenarioLoadOptions = {}): Scenario {
  const document = parsePlacedDocument(input.name, input.text);
  const parsed = scenarioSchema.safeParse(document.value);
  if (!parsed.success)
    throw new InputError(parsed.error.issues.flatMap((issue) => toIssues(issue, [], document)));
  return buildScenario(parsed.data, document, options);
}

function buildScenario(raw: RawScenario, document: PlacedDocument, options: ScenarioLoadOptions): Scenario {
  const issues: Issue[] = [];
  const context: StepContext = {
    document,
    issues,
    flows: new Map(),
    texts: (value, path) => readManifestTexts(value, path, document, options, issues),
    made: (object, path) => madeManifest(object, path, document),
    checkEngine(label, path) {
      const known = options.engineNames;
      const name = label.split(/[@+]/, 1)[0] ?? "";
      if (known === undefined || known.includes(name)) return;
      const nearest = nearestWord(name, known);
      const hint = nearest === undefined ? `known: ${known.join(", ")}` : `did you mean ${nearest}?`;
      const place =
        typeof path[path.length - 1] === "number" ? document.place(path) : document.keyPlace(path);
      issues.push({
        code: "unknown-name",
        path: formatPath(path),
        message: `unknown engine ${name}; ${hint}`,
        ...place,
      });
    },
  };
  const fixture =
    raw.fixture === undefined
      ? []
      : [context.made({ apiVersion: "v1", kind: "List", items: expandFixture(raw.fixture) }, ["fixture"])];
  for (const [index, engine] of raw.engines.entries())
    if (!/^(all$|program:|[./])/.test(engine)) context.checkEngine(engine, ["engines", index]);
  const manifests = raw.manifests === undefined ? [] : context.texts(raw.manifests, ["manifests"]);
  const steps = raw.steps.map((step, index) => readStep(step, ["steps", index], context));
  if (issues.length > 0) throw new InputError(issues);
  return deepFreeze({
    name: raw.name ?? stem(document.file),
    file: document.file,
    description: leadingComment(document.text),
    clusterPlaces: clusterPlaces(document, raw.cluster ?? {}),
    cluster: (raw.cluster ?? {}) as ScenarioCluster, // the schema's enums are the type's unions
    manifests: [...fixture, ...manifests],
    engines: raw.engines,
    steps: steps.filter((step) => step !== undefined),
  });
}

/** The block's own place is the file's start if it is absent. */
function clusterPlaces(document: PlacedDocument, cluster: object): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>([["", document.keyPlace(["cluster"])]]);
  const add = (value: unknown, path: FieldPath): void => {
    places.set(formatPath(path), document.place(["cluster", ...path]));
    if (Array.isArray(value)) for (const [i, part] of value.entries()) add(part, [...path, i]);
    else if (typeof value === "object" && value !== null)
      for (const [name, part] of Object.entries(value)) add(part, [...path, name]);
  };
  for (const [name, value] of Object.entries(cluster)) add(value, [name]);
  return places;
}

function madeManifest(object: unknown, path: FieldPath, document: PlacedDocument): ManifestText {
  const padding = "\n".repeat((document.keyPlace(path).line ?? 1) - 1);
  return { name: `${document.file}#${formatPath(path)}`, text: padding + JSON.stringify(object) };
}

/** The scenario file of a manifest's name, whose lines are those of the manifest; other names stay as they are. */
export function manifestFile(name: string): string {
  const hash = name.lastIndexOf("#");
  return hash < 0 ? name : name.slice(0, hash);
}

function readManifestTexts(
  value: RawManifests,
  path: FieldPath,
  document: PlacedDocument,
  options: ScenarioLoadOptions,
  issues: Issue[],
): readonly ManifestText[] {
  const entries = isList(value)
    ? value.map((entry, index) => ({ entry, at: [...path, index] }))
    : [{ entry: value, at: path }];
  return entries.flatMap(({ entry, at }): readonly ManifestText[] => {
    const inline = {
      name: `${document.file}#${formatPath(at)}`,
      text: document.paddedText(at) ?? asText(entry),
    };
    if (typeof entry === "string" || "kind" in entry || typeof entry.path !== "string") return [inline];
    const place = document.place([...at, "path"]);
    if (options.readManifests === undefined) {
      issues.push({
        code: "refused",
        path: formatPath(at),
        message: "manifest files cannot be read here; write them inline",
        ...place,
      });
      return [];
    }
    try {
      return options.readManifests(entry.path, document.file);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      for (const { code, message } of error.issues)
        issues.push({ code, path: formatPath(at), message: `${entry.path}: ${message}`, ...place });
      return [];
    }
  });
}

function isList(value: RawManifests): value is readonly (string | Readonly<Record<string, unknown>>)[] {
  return Array.isArray(value);
}

function asText(entry: string | Readonly<Record<string, unknown>>): string {
  return typeof entry === "string" ? entry : JSON.stringify(entry);
}

/** Comment lines before anything else, without their `#`. */
function leadingComment(text: string): readonly string[] {
  const lines: string[] = [];
  for (const line of text.split("\n")) {
    if (!line.startsWith("#")) break;
    lines.push(line.replace(/^#\s?/, "").trimEnd());
  }
  return lines;
}

/** File name without directories and suffix. */
function stem(file: string): string {
  return (file.split("/").pop() ?? file).replace(/\.[^.]+$/, "");
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const part of Object.values(value)) deepFreeze(part);
  return value;
}
