/**
 * Manifest text to raw objects: multi-document YAML, JSON, streams of JSON, and `List` objects as kubectl prints them,
 * also within each other. This parse is fast and keeps no positions; `locate` finds the place of a field again when
 * an error or a trace asks.
 */
import { load, YAMLException } from "js-yaml";
import { InputError, type Issue, type SourceRef } from "../base/index.ts";
import { type DocumentText, splitDocuments } from "./documents.ts";
import type { Raw } from "./fields.ts";
import { locate } from "./locate.ts";
import { kubectlSchema } from "./yaml-values.ts";

/** Manifest text with the name that messages use. */
export interface ManifestInput {
  /** File name, or `<stdin>`; names the input in messages. */
  readonly name: string;
  readonly text: string;
}

export interface RawObject {
  readonly raw: Raw;
  readonly source: SourceRef;
}

export interface ParsedManifest {
  readonly objects: readonly RawObject[];
  /** Syntax errors, and documents or list items that are no objects. */
  readonly issues: readonly Issue[];
}

/** Reads every document; one that cannot be read is an issue and keeps no other from being read. */
export function parseManifest(input: ManifestInput): ParsedManifest {
  const objects: RawObject[] = [];
  const issues: Issue[] = [];
  splitDocuments(input.text).forEach((document, documentIndex) => {
    const source: SourceRef = { file: input.name, documentIndex };
    const parsed = parseDocument(input, document);
    if ("issue" in parsed) issues.push(parsed.issue);
    else if (parsed.value !== null && parsed.value !== undefined)
      collect(parsed.value, source, objects, (message, at) => {
        issues.push({ code: "invalid", path: "", message, ...locate(input, at, "") });
      });
  });
  return { objects, issues };
}

/** The value of a text that holds one document, whatever it is. @throws InputError with the place of what breaks it. */
export function parseValue(input: ManifestInput): unknown {
  const [first, second] = splitDocuments(input.text);
  const source: SourceRef = { file: input.name, documentIndex: second === undefined ? 0 : 1 };
  const fail = (message: string): InputError =>
    new InputError([{ code: "syntax", path: "", message, ...locate(input, source, "") }]);
  if (first === undefined) throw fail("nothing in it");
  if (second !== undefined) throw fail("one document was expected");
  const parsed = parseDocument(input, first);
  if ("issue" in parsed) throw new InputError([parsed.issue]);
  return parsed.value;
}

function parseDocument(
  { name }: ManifestInput,
  { text, isJson, linesBefore, columnsBefore }: DocumentText,
): { readonly value: unknown } | { readonly issue: Issue } {
  if (isJson) {
    try {
      return { value: JSON.parse(text) };
    } catch {
      // flow-style YAML looks alike, and YAML's parser also tells where JSON is broken
    }
  }
  try {
    return { value: load(text, { schema: kubectlSchema, filename: name }) };
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    const before = text.slice(0, Math.min(error.mark.position, text.trimEnd().length)); // not behind the end
    const line = before.split("\n").length;
    const column = before.length - before.lastIndexOf("\n") + (line === 1 ? columnsBefore : 0);
    const format = /^\s*[{[]/.test(text) ? "JSON or YAML" : "YAML";
    return {
      issue: {
        code: "syntax",
        path: "",
        file: name,
        line: linesBefore + line,
        column,
        message: `not valid ${format}: ${error.reason}`,
      },
    };
  }
}

type Report = (message: string, at: SourceRef) => void;

/** `around` holds the lists that a value stands in: an alias may not lead back into one of them. */
function collect(
  value: unknown,
  source: SourceRef,
  into: RawObject[],
  report: Report,
  around: readonly unknown[] = [],
): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    report("a manifest must be an object with apiVersion and kind", source);
    return;
  }
  const raw = value as Raw;
  const { kind, items } = raw;
  const isList =
    typeof kind === "string" && kind.endsWith("List") && (Array.isArray(items) || items === null);
  if (!isList) {
    into.push({ raw, source });
    return;
  }
  if (around.includes(value)) {
    report("a list contains itself", source);
    return;
  }
  const within = [...around, value];
  const itemKind = kind.slice(0, -"List".length); // typed lists leave the kind out of their items
  for (const [index, item] of (items ?? []).entries()) {
    const isTyped = typeof item !== "object" || item === null || "kind" in item || itemKind === "";
    const typed: unknown = isTyped ? item : { ...item, kind: itemKind, apiVersion: raw["apiVersion"] };
    collect(typed, { ...source, items: [...(source.items ?? []), index] }, into, report, within);
  }
}
