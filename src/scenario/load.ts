/**
 * Scenario files: text -> `Scenario`. All problems of a file are reported at once, each at the line and column of
 * what is wrong; an unknown word comes with the known one nearest to it.
 */
import type { z } from "zod";
import { InputError, type Issue } from "../base/index.ts";
import { type FieldPath, formatPath, type PlacedDocument, parsePlacedDocument } from "./document.ts";
import { expandFixture } from "./fixture.ts";
import type { ManifestText, Scenario, ScenarioCluster } from "./scenario.ts";
import { type RawManifests, type RawScenario, scenarioJsonSchema, scenarioSchema } from "./schema.ts";
import { readStep, type StepContext } from "./steps.ts";
import { nearestWord } from "./suggest.ts";

export interface ScenarioInput {
  /** The file's path, as errors name it. */
  readonly name: string;
  readonly text: string;
}

export interface ScenarioLoadOptions {
  /**
   * Reads what a `path:` entry names, relative to the scenario's file; may give several files (a directory).
   * @throws InputError when it cannot. Without a reader `path:` entries are refused.
   */
  readonly readManifests?: (path: string, scenarioFile: string) => readonly ManifestText[];
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
  };
  const fixture: ManifestText[] = [];
  if (raw.fixture !== undefined)
    fixture.push({
      name: `${document.file}#fixture`,
      text: JSON.stringify({ apiVersion: "v1", kind: "List", items: expandFixture(raw.fixture) }),
    });
  const manifests = raw.manifests === undefined ? [] : context.texts(raw.manifests, ["manifests"]);
  const steps = raw.steps.map((step, index) => readStep(step, ["steps", index], context));
  if (issues.length > 0) throw new InputError(issues);
  return deepFreeze({
    name: raw.name ?? stem(document.file),
    file: document.file,
    description: leadingComment(document.text),
    cluster: (raw.cluster ?? {}) as ScenarioCluster, // the schema's enums are the type's unions
    manifests: [...fixture, ...manifests],
    engines: raw.engines,
    steps: steps.filter((step) => step !== undefined),
  });
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

/** One of zod's issues as ours: placed, and with a suggestion where a word is unknown. */
function toIssues(issue: z.core.$ZodIssue, base: FieldPath, document: PlacedDocument): readonly Issue[] {
  const path = [...base, ...issue.path.map((part) => (typeof part === "symbol" ? String(part) : part))];
  const at = (): Pick<Issue, "path" | "file" | "line" | "column"> => ({
    path: formatPath(path),
    ...document.place(path),
  });
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = knownFields(path);
      return issue.keys.map((key) => {
        const nearest = nearestWord(key, known);
        const hint = nearest === undefined ? `known here: ${known.join(", ")}` : `did you mean ${nearest}?`;
        const what = path.length === 2 && path[0] === "steps" ? "step" : "field";
        return {
          code: "unknown-name",
          path: formatPath([...path, key]),
          message: `unknown ${what} ${key}; ${hint}`,
          ...document.keyPlace([...path, key]),
        };
      });
    }
    case "invalid_union": {
      const branch = nearestBranch(issue.errors);
      if (branch !== undefined) return branch.flatMap((inner) => toIssues(inner, path, document));
      const wanted = issue.errors.flat().map((inner) => inner.message);
      return [{ code: "invalid", message: [...new Set(wanted)].join("; or: "), ...at() }];
    }
    case "invalid_value": {
      const value = valueAt(document.value, path);
      const nearest = typeof value === "string" ? nearestWord(value, issue.values.map(String)) : undefined;
      const hint = nearest === undefined ? "" : `; did you mean ${nearest}?`;
      const given = value === undefined ? "missing" : `not ${JSON.stringify(value)}`;
      return [
        {
          code: value === undefined ? "required" : "invalid",
          message: `must be ${issue.values.map(String).join(", ")}, ${given}${hint}`,
          ...at(),
        },
      ];
    }
    case "invalid_type":
      if (valueAt(document.value, path) === undefined)
        return [
          {
            code: "required",
            message: `${String(path[path.length - 1] ?? "the scenario")} is missing`,
            ...at(),
          },
        ];
      return [{ code: "invalid", message: issue.message, ...at() }];
    default:
      return [{ code: "invalid", message: issue.message, ...at() }];
  }
}

/** The branch of a union that the value was meant for: one whose complaint is about a part, not about the type. */
function nearestBranch(
  errors: readonly (readonly z.core.$ZodIssue[])[],
): readonly z.core.$ZodIssue[] | undefined {
  const meant = errors.filter(
    (issues) => !issues.some((issue) => issue.path.length === 0 && issue.code === "invalid_type"),
  );
  return meant.length === 1 || meant.length > 0
    ? meant.reduce((a, b) => (b.length < a.length ? b : a))
    : undefined;
}

function valueAt(value: unknown, path: FieldPath): unknown {
  let current = value;
  for (const part of path) {
    if (typeof current !== "object" || current === null) return undefined;
    current = (current as Readonly<Record<string | number, unknown>>)[part];
  }
  return current;
}

interface JsonSchemaNode {
  readonly properties?: Readonly<Record<string, JsonSchemaNode>>;
  readonly items?: JsonSchemaNode;
  readonly anyOf?: readonly JsonSchemaNode[];
  readonly additionalProperties?: JsonSchemaNode | boolean;
}

/** Field names that the published schema allows at a path. */
function knownFields(path: FieldPath): readonly string[] {
  let nodes: readonly JsonSchemaNode[] = [scenarioJsonSchema() as JsonSchemaNode];
  const alternatives = (list: readonly JsonSchemaNode[]): readonly JsonSchemaNode[] =>
    list.flatMap((node) =>
      node.anyOf ? [node, ...node.anyOf.flatMap((inner) => [inner, ...(inner.anyOf ?? [])])] : [node],
    );
  for (const part of path)
    nodes = alternatives(nodes).flatMap((node) => {
      const extra = typeof node.additionalProperties === "object" ? node.additionalProperties : undefined;
      const next = typeof part === "number" ? node.items : (node.properties?.[part] ?? extra);
      return next === undefined ? [] : [next];
    });
  return [...new Set(alternatives(nodes).flatMap((node) => Object.keys(node.properties ?? {})))];
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
