/**
 * Manifest text to raw objects: multi-document YAML, JSON, and `List` objects as kubectl prints them. The fast parse
 * keeps no positions; `locate` finds the place of a field again, in a second and slower parse, when an error or a
 * trace asks.
 */
import { CORE_SCHEMA, loadAll, YAMLException } from "js-yaml";
import { isMap, isSeq, LineCounter, type ParsedNode, parseAllDocuments, type Node as YamlNode } from "yaml";
import { InputError, type Issue, type Place, type SourceRef } from "../base/index.ts";
import type { Raw } from "./fields.ts";

export interface ManifestInput {
  /** File name, or `<stdin>`; names the input in messages. */
  readonly name: string;
  readonly text: string;
}

export interface RawObject {
  readonly raw: Raw;
  readonly source: SourceRef;
}

/** @throws InputError for a syntax error, or for a document that is no object, with file, line and column. */
export function parseManifest(input: ManifestInput): readonly RawObject[] {
  const objects: RawObject[] = [];
  let documentIndex = 0;
  for (const document of parseDocuments(input)) {
    if (document === null || document === undefined) continue;
    const source: SourceRef = { file: input.name, documentIndex };
    documentIndex++;
    if (typeof document !== "object" || Array.isArray(document))
      throw new InputError([
        {
          code: "invalid",
          path: "",
          message: "a manifest must be an object with apiVersion and kind",
          ...locate(input, source, ""),
        },
      ]);
    collect(document as Raw, source, objects);
  }
  return objects;
}

function collect(raw: Raw, source: SourceRef, into: RawObject[]): void {
  const kind = raw["kind"];
  const items = raw["items"];
  if (typeof kind !== "string" || !kind.endsWith("List") || !Array.isArray(items)) {
    into.push({ raw, source });
    return;
  }
  const itemKind = kind.slice(0, -"List".length); // typed lists leave the kind out of their items
  items.forEach((item: unknown, itemIndex) => {
    if (item === null || typeof item !== "object") return;
    const typed =
      "kind" in item ? (item as Raw) : { ...(item as Raw), kind: itemKind, apiVersion: raw["apiVersion"] };
    into.push({ raw: typed, source: { ...source, itemIndex } });
  });
}

function parseDocuments(input: ManifestInput): readonly unknown[] {
  if (/^\s*[{[]/.test(input.text)) {
    try {
      return [JSON.parse(input.text)];
    } catch {
      // flow-style YAML looks alike, and YAML's parser also tells where JSON is broken
    }
  }
  try {
    return loadAll(input.text, null, { schema: CORE_SCHEMA, filename: input.name });
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    const mark = error.mark;
    throw new InputError([
      {
        code: "syntax",
        path: "",
        file: input.name,
        line: mark.line + 1,
        column: mark.column + 1,
        message: `not valid ${/^\s*[{[]/.test(input.text) ? "JSON or YAML" : "YAML"}: ${error.reason}`,
      },
    ]);
  }
}

/**
 * Line and column of a field (`spec.ingress[0].from[1].ipBlock.cidr`) of the object `source` in its input; where the
 * field is absent, those of the nearest ancestor that is there.
 */
export function locate(input: ManifestInput, source: SourceRef, path: string): Place {
  const lines = new LineCounter();
  const place: Place = { file: input.name };
  const documents = parseAllDocuments(input.text, { lineCounter: lines, logLevel: "silent" });
  if (!Array.isArray(documents)) return place;
  const contents = (documents as readonly { readonly contents: ParsedNode | null }[])
    .map((document) => document.contents)
    .filter((node) => node !== null && !("value" in node && node.value === null));
  let node: YamlNode | null = contents[source.documentIndex] ?? null;
  let offset = startOf(node);
  const steps = [...(source.itemIndex === undefined ? [] : ["items", source.itemIndex]), ...pathSteps(path)];
  for (const step of steps) {
    const next = child(node, step);
    if (next === undefined) break;
    node = next.value;
    offset = next.offset ?? offset;
  }
  if (offset === undefined) return place;
  const { line, col } = lines.linePos(offset);
  return { ...place, line, column: col };
}

/** `spec.ports[0].name` -> `spec`, `ports`, 0, `name`; a bracketed map key stays text. */
function pathSteps(path: string): readonly (string | number)[] {
  const steps: (string | number)[] = [];
  for (const [, bracket, name] of path.matchAll(/\[([^\]]*)\]|([^.[\]]+)/g)) {
    if (name !== undefined) steps.push(name);
    else if (bracket !== undefined) steps.push(/^[0-9]+$/.test(bracket) ? Number(bracket) : bracket);
  }
  return steps;
}

interface Child {
  readonly value: YamlNode | null;
  readonly offset: number | undefined;
}

function child(node: YamlNode | null, step: string | number): Child | undefined {
  if (isMap(node)) {
    const pair = node.items.find(
      (item) => String((item.key as { value?: unknown } | null)?.value) === String(step),
    );
    if (pair === undefined) return undefined;
    return { value: pair.value as YamlNode | null, offset: startOf(pair.key as YamlNode) };
  }
  if (isSeq(node) && typeof step === "number") {
    const item = node.items[step] as YamlNode | undefined;
    return item === undefined ? undefined : { value: item, offset: startOf(item) };
  }
  return undefined;
}

function startOf(node: YamlNode | null): number | undefined {
  return node?.range?.[0];
}

/** Gives a field issue its place. */
export function placed(
  inputs: ReadonlyMap<string, ManifestInput>,
  source: SourceRef,
  issue: Omit<Issue, keyof Place>,
): Issue {
  const input = inputs.get(source.file);
  return { ...issue, ...(input === undefined ? { file: source.file } : locate(input, source, issue.path)) };
}
