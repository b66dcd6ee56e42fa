/**
 * The second, slow reading of a manifest: line and column of one field, asked for by errors and traces. Documents are
 * parsed again once and remembered; JSON is walked without being parsed.
 */
import {
  type Document,
  isAlias,
  isMap,
  isSeq,
  LineCounter,
  parseDocument,
  type Node as YamlNode,
} from "yaml";
import type { Place, SourceRef } from "../base/index.ts";
import { type DocumentText, skipBlanks, skipJsonString, skipJsonValue, splitDocuments } from "./documents.ts";
import type { ManifestInput } from "./parse.ts";

type Step = string | number;

/** Finds the offset, line and column of the nearest thing on a path that is there. */
type Locator = (steps: readonly Step[]) => { readonly line: number; readonly column: number } | undefined;

/** What was read of an input so far: its documents, and a locator for each document or list item asked for. */
interface KnownInput {
  readonly documents: readonly DocumentText[];
  readonly locators: Map<string, Locator>;
}

const known = new WeakMap<ManifestInput, KnownInput>();

/**
 * Line and column of a field (`spec.ingress[0].from[1].ipBlock.cidr`) of the object `source` in its input; where the
 * field is absent, those of the nearest ancestor that is there.
 */
export function locate(input: ManifestInput, source: SourceRef, path: string): Place {
  let read = known.get(input);
  if (read === undefined) {
    read = { documents: splitDocuments(input.text), locators: new Map() };
    known.set(input, read);
  }
  const document = read.documents[source.documentIndex];
  if (document === undefined) return { file: input.name };
  const inner = (source.items ?? []).flatMap((index): Step[] => ["items", index]);
  const [item] = source.items ?? [];
  const cut = item === undefined || document.isJson ? undefined : cutListItem(document, item);
  const steps = [...(cut === undefined ? inner : [0, ...inner.slice(2)]), ...pathSteps(path)];
  const text = cut ?? document;
  const key = `${source.documentIndex} ${cut === undefined ? "" : item}`;
  let locator = read.locators.get(key);
  if (locator === undefined) {
    locator = (text.isJson ? jsonLocator(text) : undefined) ?? yamlLocator(text);
    read.locators.set(key, locator);
  }
  const found = locator(steps);
  if (found === undefined) return { file: input.name };
  const column = found.column + (found.line === 1 ? text.columnsBefore : 0);
  return { file: input.name, line: found.line + text.linesBefore, column };
}

/**
 * One item of a `List` in block style, as a sequence of its own, so that a place in a long list costs one item. YAML
 * allows a dash at a sequence's own indentation to start its items only. `undefined` where the item does not stand
 * alone (aliases) or cannot be cut out (flow style).
 */
function cutListItem(document: DocumentText, item: number): DocumentText | undefined {
  const { text } = document;
  const head = /^items:[ \t]*(?:#.*)?\r?\n(?:[ \t]*(?:#.*)?\r?\n)*([ \t]*)-[ \t\r\n]/m.exec(text);
  if (head === null) return undefined;
  const indent = head[1] ?? "";
  const line = new RegExp(
    `^(?:${indent}(-)(?=[ \\t\\r\\n])|${indent}[^ \\t\\r\\n#]|(?! |\\t|\\r|\\n|#)[^])`,
    "gm",
  );
  line.lastIndex = text.indexOf("\n", head.index) + 1;
  let count = -1;
  let start: number | undefined;
  let end = text.length;
  for (let match = line.exec(text); match !== null; match = line.exec(text)) {
    if (start !== undefined || match[1] === undefined) {
      end = match.index;
      break;
    }
    if (++count === item) start = match.index;
  }
  if (start === undefined) return undefined;
  const cut = text.slice(start, end);
  if (/(?:^|[\s,[{])\*\S/.test(cut)) return undefined;
  const before = text.slice(0, start).split("\n").length - 1;
  return { text: cut, isJson: false, linesBefore: document.linesBefore + before, columnsBefore: 0 };
}

/** `spec.ports[0].name` -> `spec`, `ports`, 0, `name`; a bracketed map key stays text. */
function pathSteps(path: string): readonly Step[] {
  const steps: Step[] = [];
  for (const [, bracket, name] of path.matchAll(/\[([^\]]*)\]|([^.[\]]+)/g)) {
    if (name !== undefined) steps.push(name);
    else if (bracket !== undefined) steps.push(/^[0-9]+$/.test(bracket) ? Number(bracket) : bracket);
  }
  return steps;
}

function yamlLocator({ text }: DocumentText): Locator {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    logLevel: "silent",
    strict: false,
    uniqueKeys: false,
  });
  return (steps) => {
    let node: YamlNode | null = document.contents;
    let offset = startOf(node);
    for (const step of steps) {
      const next = child(document, node, step);
      if (next === undefined) break;
      node = next.value;
      offset = next.offset ?? offset;
    }
    if (offset === undefined) return undefined;
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
}

interface Child {
  readonly value: YamlNode | null;
  readonly offset: number | undefined;
}

function child(document: Document, parent: YamlNode | null, step: Step): Child | undefined {
  const node = isAlias(parent) ? (parent.resolve(document) ?? null) : parent;
  if (isMap(node)) {
    const keyed = (key: Step): { readonly key: unknown; readonly value: unknown } | undefined =>
      node.items.findLast((item) => String((item.key as { value?: unknown } | null)?.value) === String(key));
    const pair = keyed(step);
    if (pair !== undefined)
      return { value: pair.value as YamlNode | null, offset: startOf(pair.key as YamlNode) };
    const merged = keyed("<<");
    return merged === undefined ? undefined : child(document, merged.value as YamlNode | null, step);
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

/** `undefined` for text that is no JSON after all. */
function jsonLocator({ text }: DocumentText): Locator | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  return (steps) => {
    let value = 0;
    let offset = 0;
    for (const step of steps) {
      const next = jsonChild(text, value, step);
      if (next === undefined) break;
      [value, offset] = [next.value, next.start];
    }
    const before = text.slice(0, offset);
    const lineStart = before.lastIndexOf("\n") + 1;
    let line = 1;
    for (let at = before.indexOf("\n"); at >= 0; at = before.indexOf("\n", at + 1)) line++;
    return { line, column: offset - lineStart + 1 };
  };
}

/** Where a member (its key) or an element of the value at `at` starts, and where its value does. */
function jsonChild(
  text: string,
  at: number,
  step: Step,
): { readonly start: number; readonly value: number } | undefined {
  const isObject = text[at] === "{";
  if (!isObject && (text[at] !== "[" || typeof step !== "number")) return undefined;
  let position = skipBlanks(text, at + 1);
  let found: { readonly start: number; readonly value: number } | undefined;
  for (let index = 0; position < text.length && !"}]".includes(text[position] ?? ""); index++) {
    const start = position;
    let key: Step = index;
    if (isObject) {
      const end = skipJsonString(text, position) ?? text.length;
      key = JSON.parse(text.slice(position, end)) as string;
      position = skipBlanks(text, skipBlanks(text, end) + 1); // the colon
    }
    if (String(key) === String(step)) found = { start, value: position };
    if (found !== undefined && !isObject) return found; // of equal keys the last one counts
    position = skipBlanks(text, skipJsonValue(text, position) ?? text.length);
    if (text[position] === ",") position = skipBlanks(text, position + 1);
  }
  return found;
}
