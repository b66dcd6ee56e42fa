/**
 * The scenario file as a YAML document that knows where everything stands. Governing source: YAML 1.2 core schema.
 * Field paths are written as in the API server's messages (`steps[2].probe.expect`).
 */
import {
  type Document,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
} from "yaml";
import { InputError, type Issue, type Place } from "../base/index.ts";

export type FieldPath = readonly (string | number)[];

export interface PlacedDocument {
  readonly file: string;
  readonly text: string;
  readonly value: unknown;
  /** The place of the value at a path, or of the nearest thing around it that exists. */
  place(path: FieldPath): Place;
  /** The place of the key `path[last]` in its mapping. */
  keyPlace(path: FieldPath): Place;
  /**
   * The source text of a node, preceded by line breaks and blanks so that every line keeps its number (and, but for
   * block scalars, its column); `undefined` where the text alone would not say the same (aliases).
   */
  paddedText(path: FieldPath): string | undefined;
}

/** @throws InputError with code `syntax` for text that is not one YAML document. */
export function parsePlacedDocument(file: string, text: string): PlacedDocument {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  const list = "empty" in documents ? [] : documents;
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col };
  };
  const issues: Issue[] = list.flatMap((document) =>
    document.errors.map(
      (error): Issue => ({ code: "syntax", path: "", message: error.message, ...at(error.pos[0]) }),
    ),
  );
  const [document, second] = list;
  if (document === undefined)
    issues.push({ code: "syntax", path: "", message: "the scenario is empty", file });
  if (second !== undefined)
    issues.push({
      code: "syntax",
      path: "",
      message: "a scenario is one YAML document",
      ...at(second.range[0]),
    });
  if (document === undefined || issues.length > 0) throw new InputError(issues);
  return {
    file,
    text,
    value: toValue(document, file),
    place: (path) => at(nodeStart(nodeNear(document, path))),
    keyPlace: (path) => at(keyStart(document, path)),
    paddedText: (path) => paddedText(document, text, path),
  };
}

function toValue(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 1000 });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new InputError([{ code: "syntax", path: "", message, file }]);
  }
}

/** `steps[2].probe.expect`; keys that are no plain names are quoted. */
export function formatPath(path: FieldPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${part}]`;
  }
  return text;
}

function nodeNear(document: Document, path: FieldPath): Node | null {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node;
  }
  return isNode(document.contents) ? document.contents : null;
}

function nodeStart(node: Node | null): number {
  return node?.range?.[0] ?? 0;
}

function keyStart(document: Document, path: FieldPath): number {
  const key = path[path.length - 1];
  const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  if (isMap(parent)) {
    const pair = parent.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === key);
    if (pair && isNode(pair.key) && pair.key.range) return pair.key.range[0];
  }
  return nodeStart(nodeNear(document, path));
}

function paddedText(document: Document, text: string, path: FieldPath): string | undefined {
  const node = document.getIn(path, true);
  if (!isNode(node) || !node.range) return undefined;
  const [start, end] = node.range;
  if (isScalar(node)) {
    if (typeof node.value !== "string") return undefined;
    const isBlock = node.type === "BLOCK_LITERAL" || node.type === "BLOCK_FOLDED";
    return "\n".repeat(lineBreaks(text, start) + (isBlock ? 1 : 0)) + node.value;
  }
  if (!isMap(node) && !isSeq(node)) return undefined;
  const slice = text.slice(start, end);
  if (/[*&]/.test(slice)) return undefined; // may be an alias or an anchor: the slice does not stand alone
  const lineStart = text.lastIndexOf("\n", start - 1) + 1;
  return `${"\n".repeat(lineBreaks(text, start))}${" ".repeat(start - lineStart)}${slice}`;
}

function lineBreaks(text: string, end: number): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0 && at < end; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
